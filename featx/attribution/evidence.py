"""``evidence``: the maps of a fitted model's predictions, exact where they can be, by covering parts where they cannot."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from featx.attribution.explainer import Explainer, Head
from featx.attribution.maps import Evidence
from featx.attribution.parting import parts_of
from featx.backbone_features import BackboneFeatures, HasParts
from featx.errors import FeatxWarning, ParameterError

__all__ = ["evidence"]

_METHODS = ("auto", "exact", "occlusion")


def evidence(model: Any, X: Any, *, label: Any = None, method: str = "auto") -> list[Evidence]:
    """Where in each picture, or in which words of each text, the score of a fitted model comes from.

    With average pooling (of texts: mean pooling, normalised or not) and linear steps behind it the map is exact: its mean is the
    decision value. With other pooling, trees or kernels there is no such map; then parts are covered one after the other (64
    squares of the picture by its mean colour; each word left out), and the fall of the score is shown, labelled an
    approximation.

    Parameters
    ----------
    model : Pipeline, AugmentedClassifier or FineTuneClassifier
        Fitted; of a Pipeline the first step is an :class:`featx.ImageFeatures` or :class:`featx.TextFeatures`, or a Pipeline that
        begins with one. A fitted search over one of these, too, or a calibration of one (``ensemble=False``).
    X : sequence of samples
        What that step takes.
    label : optional
        The class to explain. None takes the predicted one of each sample.
    method : "auto", "exact" or "occlusion"
        "auto" is exact where that is possible, else occlusion with a warning that says why.

    Returns
    -------
    list of Evidence
        One a sample.

    Raises
    ------
    ParameterError
        No such model or label; or ``method="exact"`` where there is no exact map.
    SampleError

    Notes
    -----
    A map says what the model's score is made of. It does not say that these parts cause the label, and a position sees the
    surroundings that its receptive field covers.

    An :class:`featx.AugmentedClassifier` with ``tta=True`` predicts by the mean over views of a picture, which lie differently on
    each other. The map is of the picture as it is, for the label that is predicted by the mean; its `score` is what the head says
    of this one view, ``score_name`` ends in ``"from the picture alone"``, and ``note`` says so.

    Examples
    --------
    >>> import featx
    >>> from sklearn.datasets import load_sample_image
    >>> X = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    >>> model = Pipeline([("features", featx.ImageFeatures()), ("head", featx.make_head("logistic"))]).fit(X, ["tower", "bloom"])
    >>> found = featx.evidence(model, X[:1])[0]
    >>> found.method, bool(abs(found.values.mean() - found.score) < 1e-4)
    ('exact', True)
    """
    if method not in _METHODS:
        raise ParameterError(f"method={method!r}: expected one of {', '.join(map(repr, _METHODS))}.")
    features, follows = _parted(model)
    explainer, head = Explainer(features), Head.of(follows)
    if label is not None:
        head.check(label)
    samples = features.samples_of(X)
    vectors = features.transform(samples)
    if label is not None:
        labels = [label] * len(samples)
    elif head.averages:  # what the views say together is predicted, and that is asked about
        labels = np.asarray(model.predict(samples)).tolist()
    else:
        labels = head.labels(vectors)
    if method != "occlusion":
        found = explainer.exact(head, samples, vectors, labels)
        if not isinstance(found, str):
            return found
        if method == "exact":
            raise ParameterError(f'method="exact": {found}. Use method="occlusion", an approximation.')
        warnings.warn(
            f"{found}, so there is no exact map: parts are covered instead.", FeatxWarning, stacklevel=2
        )
    covered = [explainer.covered(head, each, of) for each, of in zip(samples, labels, strict=True)]
    return [each for each in covered if each is not None]  # all: no limit was set


def _parted(model: Any) -> tuple[BackboneFeatures, Any]:
    """The features of a fitted model, and what follows them as one estimator.

    Raises
    ------
    ParameterError
        It has none, or is no classifier or regressor.
    """
    if isinstance(model, HasParts):
        check_is_fitted(model)
    found = parts_of(model)
    if found is None:
        raise ParameterError(
            "evidence: expected a fitted Pipeline whose first step is an ImageFeatures or TextFeatures, followed by a "
            "classifier or regressor; or a fitted AugmentedClassifier or FineTuneClassifier; "
            f"{_instead(getattr(model, 'best_estimator_', model))}"
        )
    check_is_fitted(found[0])
    return found


def _instead(fitted: Any) -> str:
    """What was found, and what to pass."""
    first = fitted.steps[0][1] if isinstance(fitted, Pipeline) else fitted
    if isinstance(first, ColumnTransformer):
        parts = first.transformers_ if hasattr(first, "transformers_") else first.transformers
        own = [
            (type(part).__name__, column) for _, part, column in parts if isinstance(part, BackboneFeatures)
        ]
        kind, column = own[0] if own else ("ImageFeatures", "...")
        at = repr(column[0] if isinstance(column, list) and len(column) == 1 else column)
        return (
            "this one begins with a ColumnTransformer, whose columns share every score. For what one of them says alone fit a "
            f"model of it, Pipeline([('features', {kind}(...)), ('head', ...)]).fit(X[{at}], y), and pass that with X[{at}]."
        )
    if isinstance(fitted, Pipeline):
        return f"this one begins with a {type(first).__name__}."
    if hasattr(fitted, "calibrated_classifiers_") or hasattr(fitted, "estimator_"):
        return f"found {type(fitted).__name__}. Pass the fitted model inside it."
    return f"found {type(fitted).__name__}."
