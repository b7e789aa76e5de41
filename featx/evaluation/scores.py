"""How good predictions are: the figures of every comparison of heads, as :mod:`featx.evaluation.figures` defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.errors import DatasetError, ParameterError
from featx.evaluation.figures import measure
from featx.evaluation.outcomes import Outcomes

__all__ = ["Scores", "score_predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Figures of one set of predictions.

    Parameters
    ----------
    accuracy : float
        Share of right labels, 0 to 1.
    balanced_accuracy : float
        Mean over classes of the share of their samples that were recognised, 0 to 1.
    macro_f1 : float
        Mean over classes of the F1 score, 0 to 1.
    roc_auc : float or None
        Area under the ROC curve, 0 to 1; with more than two classes the mean of each class against the rest. None where the
        samples do not hold every class.
    log_loss : float
        Mean of -log of the probability given to the right label, in nats; lower is better.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    roc_auc: float | None
    log_loss: float

    def to_dict(self) -> dict[str, float]:
        """The figures by name, without those that are undefined."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def score_predictions(
    y_true: ArrayLike | Sequence[Any], proba: ArrayLike, classes: ArrayLike | Sequence[Any]
) -> Scores:
    """Score probabilities against labels; the predicted label is the most probable one.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels. Not every class need occur: means over classes are over those that do.
    proba : array-like of shape (n_samples, n_classes)
        Rows that sum to one.
    classes : array-like of shape (n_classes,)
        Sorted labels, the order of the columns.

    Raises
    ------
    DatasetError
        No samples, or a label that is not among `classes`.
    ParameterError
        Shapes that do not belong together.

    Examples
    --------
    >>> scores = score_predictions(["ant", "bee", "bee"], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], ["ant", "bee"])
    >>> scores.accuracy, scores.balanced_accuracy, scores.roc_auc
    (0.6666666666666666, 0.75, 1.0)
    """
    known, labels = np.asarray(classes), np.asarray(y_true)
    given: NDArray[np.float64] = np.asarray(proba, dtype=np.float64)
    if given.shape != (len(labels), len(known)):
        raise ParameterError(
            f"proba: expected shape ({len(labels)}, {len(known)}), one row a label and one column a class; found {given.shape}."
        )
    if not len(labels):
        raise DatasetError("no samples to score. Give at least one.")
    position = {label: i for i, label in enumerate(known.tolist())}
    unknown = sorted({repr(label) for label in labels.tolist() if label not in position})
    if unknown:
        raise DatasetError(
            f"labels: {', '.join(unknown)} did not occur in training, which knows {', '.join(map(repr, position))}. Train with "
            "those classes too, or leave their samples out."
        )
    codes = np.asarray([position[label] for label in labels.tolist()], dtype=np.intp)
    rows = np.arange(len(codes))
    given = given / given.sum(axis=1, keepdims=True)
    outcomes = Outcomes(
        truth=codes,
        predicted=given.argmax(axis=1),
        folds=np.zeros_like(rows),
        units=rows,
        samples=rows,
        classes=known,
        scores=given,
        proba=given,
    )
    figures = {name: float(values[0]) for name, values in measure(outcomes).items()}
    return Scores(
        accuracy=figures["accuracy"],
        balanced_accuracy=figures["balanced_accuracy"],
        macro_f1=figures["macro_f1"],
        roc_auc=None if np.isnan(figures["roc_auc"]) else figures["roc_auc"],
        log_loss=figures["log_loss"],
    )
