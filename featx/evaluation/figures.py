"""The figures that predictions are judged by, each defined once, for the data and for every bootstrap draw of it.

A figure is a function of weights: how often each row counts. All ones give the figure of the data; a column a draw gives it
for each draw, from the same lines of code. Ranking figures compare scores within a fold only and add up over folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.outcomes import Outcomes

__all__ = ["FIGURES", "Figure", "figure_of", "measure", "measure_classes"]

Weights = NDArray[np.float64]
"""Shape (n, b): how often row i counts in draw j. Contiguous in j, over which everything below is vectorised."""

_CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017, section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a figure is.

    Parameters
    ----------
    title : str
        For tables.
    higher_is_better : bool
    is_share : bool
        Whether it is a share of rows (or a mean of such shares), so that all right or all wrong is an outcome with an interval.
    meaning : str
        One sentence.
    """

    title: str
    higher_is_better: bool = True
    is_share: bool = False
    meaning: str


FIGURES: dict[str, Figure] = {
    "balanced_accuracy": Figure(
        title="balanced accuracy", is_share=True, meaning="Mean over classes of the share recognised."
    ),
    "accuracy": Figure(title="accuracy", is_share=True, meaning="Share of right labels."),
    "macro_f1": Figure(title="macro F1", is_share=True, meaning="Mean over classes of the F1 score."),
    "roc_auc": Figure(
        title="ROC AUC",
        is_share=True,
        meaning="Chance that, within a fold, a row of a class scores higher for it than a row of another; mean over classes.",
    ),
    "average_precision": Figure(
        title="average precision",
        is_share=True,
        meaning="Area under the precision-recall steps within folds, weighted by their positives; mean over classes.",
    ),
    "log_loss": Figure(
        title="log loss",
        higher_is_better=False,
        meaning="Mean of -log of the probability given to the right label, in nats.",
    ),
    "brier": Figure(
        title="Brier score",
        higher_is_better=False,
        meaning="Mean squared error of the probabilities (two classes: 0 to 1; more: summed over classes, 0 to 2).",
    ),
    "calibration_error": Figure(
        title="calibration error",
        higher_is_better=False,
        meaning="Mean gap between the predicted label's probability and how often it is right, in 15 bins (Guo et al. 2017).",
    ),
    "sensitivity": Figure(
        title="sensitivity", is_share=True, meaning="Share of the positive class recognised."
    ),
    "specificity": Figure(title="specificity", is_share=True, meaning="Share of the other class recognised."),
    "r2": Figure(
        title="R2", meaning="Share of the target's variance that is explained; below 0 worse than its mean."
    ),
    "mae": Figure(title="mean absolute error", higher_is_better=False, meaning="In units of the target."),
    "rmse": Figure(
        title="root mean squared error", higher_is_better=False, meaning="In units of the target."
    ),
}
"""Figures by name, the headline first. Those at a threshold are ``sensitivity@NAME`` and ``specificity@NAME``."""

_AT_THRESHOLD = {
    "sensitivity": Figure(title="sensitivity", is_share=True, meaning="At a threshold chosen in training."),
    "specificity": Figure(title="specificity", is_share=True, meaning="At a threshold chosen in training."),
}


def figure_of(name: str) -> Figure:
    """The figure of a name, those at a threshold included."""
    kind, at, threshold = name.partition("@")
    if not at:
        return FIGURES[name]
    return Figure(title=f"{kind}, set for {threshold}", is_share=True, meaning=_AT_THRESHOLD[kind].meaning)


def measure(
    outcomes: Outcomes, weights: Weights | None = None, *, positive: int = 1
) -> dict[str, NDArray[np.float64]]:
    """Every figure that the outcomes allow.

    Parameters
    ----------
    outcomes : Outcomes
    weights : ndarray of float64, shape (n, b), optional
        How often each row counts in each draw; None counts each once (b = 1).
    positive : int
        For two classes: the position of the one that sensitivity and average precision are about.

    Returns
    -------
    dict of str to ndarray of float64, shape (b,)
        By the names in :data:`FIGURES`. NaN in draws in which a figure is not defined, such as a ROC AUC without one of the
        classes. Means over classes are over those that occur, for the figures that do not need every class.
    """
    weights = np.ones((len(outcomes), 1)) if weights is None else np.asarray(weights, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        if outcomes.classes is None:
            return _regression(outcomes, weights)
        found = _labels(outcomes, weights)
        if outcomes.scores is not None:
            found |= _rankings(outcomes, weights, positive)
        if outcomes.proba is not None:
            found |= _probabilities(outcomes, weights)
        if len(outcomes.classes) == 2:
            found |= _two_classes(outcomes, weights, positive)
    return found


def measure_classes(outcomes: Outcomes, weights: Weights | None = None) -> dict[str, NDArray[np.float64]]:
    """Figures a class.

    Returns
    -------
    dict of str to ndarray of float64, shape (k, b)
        ``precision``, ``recall``, ``f1``; NaN where a class neither occurs nor is predicted, as far as each needs it.
    """
    if outcomes.classes is None:
        return {}
    weights = np.ones((len(outcomes), 1)) if weights is None else weights
    hits, true, predicted = _counts(outcomes, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": hits / predicted,
            "recall": hits / true,
            "f1": np.where(true > 0, 2 * hits / (true + predicted), np.nan),
        }


def _labels(outcomes: Outcomes, weights: Weights) -> dict[str, NDArray[np.float64]]:
    hits, true, predicted = _counts(outcomes, weights)
    return {
        "balanced_accuracy": np.nanmean(_defined(hits / true), axis=0),
        "accuracy": hits.sum(axis=0) / true.sum(axis=0),
        "macro_f1": np.nanmean(_defined(np.where(true > 0, 2 * hits / (true + predicted), np.nan)), axis=0),
    }


def _defined(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (k, b) such that no column is NaN throughout; a draw of no rows at all is a column of zeros."""
    return np.where(np.isnan(rows).all(axis=0), 0.0, rows)


def _counts(
    outcomes: Outcomes, weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Right rows by class, rows by true class, rows by predicted class, each (k, b)."""
    assert outcomes.classes is not None
    k = len(outcomes.classes)
    right = np.where((outcomes.truth == outcomes.predicted)[:, None], weights, 0.0)
    return (
        _sums(right, outcomes.truth, k),
        _sums(weights, outcomes.truth, k),
        _sums(weights, outcomes.predicted, k),
    )


def _sums(values: NDArray[np.float64], codes: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Sums (k, b) of the rows (n, b) that have each code."""
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    sums = np.zeros((k, values.shape[1]))
    if len(present):
        sums[present] = np.add.reduceat(values[order], starts, axis=0)
    return sums


def _rankings(outcomes: Outcomes, weights: Weights, positive: int) -> dict[str, NDArray[np.float64]]:
    assert outcomes.classes is not None
    assert outcomes.scores is not None
    two = len(outcomes.classes) == 2
    areas, precisions = [], []
    for c in [positive] if two else range(len(outcomes.classes)):
        area, precision = _ranking(outcomes.scores[:, c], outcomes.truth == c, outcomes.folds, weights)
        areas.append(area)
        precisions.append(precision)
    # Without one of the classes there is nothing to rank it against, and a mean over the others is another figure.
    return {"roc_auc": np.mean(areas, axis=0), "average_precision": np.mean(precisions, axis=0)}


def _ranking(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], folds: NDArray[np.intp], weights: Weights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area under the ROC curve and average precision, (b,) each, of one class.

    The area is the share of right pairs among all pairs within folds. Average precision is that of each fold, weighted by
    its positives.
    """
    b = weights.shape[1]
    right, pairs, steps, positives = np.zeros(b), np.zeros(b), np.zeros(b), np.zeros(b)
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        rows = rows[np.argsort(-scores[rows], kind="stable")]  # best first
        ranked = scores[rows]
        # Equal scores are one step; compared, for the difference of two infinite ones is not zero but NaN.
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        its = weights[rows]
        yes = np.add.reduceat(np.where(positive[rows, None], its, 0.0), starts, axis=0)  # (steps, b)
        no = np.add.reduceat(np.where(positive[rows, None], 0.0, its), starts, axis=0)
        yes_so_far, no_so_far = yes.cumsum(axis=0), no.cumsum(axis=0)
        right += (no * (yes_so_far - yes / 2)).sum(axis=0)
        pairs += yes_so_far[-1] * no_so_far[-1]
        seen = yes_so_far + no_so_far
        steps += (yes * np.divide(yes_so_far, seen, out=np.zeros_like(seen), where=seen > 0)).sum(axis=0)
        positives += yes_so_far[-1]
    return right / pairs, np.where(pairs > 0, steps / positives, np.nan)


def _probabilities(outcomes: Outcomes, weights: Weights) -> dict[str, NDArray[np.float64]]:
    proba, truth = outcomes.proba, outcomes.truth
    assert proba is not None
    rows, total = np.arange(len(truth)), weights.sum(axis=0)
    given = np.clip(proba[rows, truth], np.finfo(np.float64).eps, 1.0)
    squared = (proba**2).sum(axis=1) - 2 * proba[rows, truth] + 1  # sum over classes of (p - y)^2
    if proba.shape[1] == 2:
        squared = squared / 2
    sure, right = proba[rows, outcomes.predicted], (outcomes.predicted == truth).astype(np.float64)
    bins = np.minimum((sure * _CALIBRATION_BINS).astype(np.intp), _CALIBRATION_BINS - 1)
    gaps = _sums((sure - right)[:, None] * weights, bins, _CALIBRATION_BINS)
    return {
        "log_loss": -np.log(given) @ weights / total,
        "brier": squared @ weights / total,
        "calibration_error": np.abs(gaps).sum(axis=0) / total,
    }


def _two_classes(outcomes: Outcomes, weights: Weights, positive: int) -> dict[str, NDArray[np.float64]]:
    is_positive = outcomes.truth == positive
    passes = {"": outcomes.predicted == positive, **(outcomes.decisions or {})}
    n_yes, n_no = is_positive.astype(np.float64) @ weights, (~is_positive).astype(np.float64) @ weights
    found = {}
    for name, passed in passes.items():
        at = f"@{name}" if name else ""
        found[f"sensitivity{at}"] = (is_positive & passed).astype(np.float64) @ weights / n_yes
        found[f"specificity{at}"] = (~is_positive & ~passed).astype(np.float64) @ weights / n_no
    return found


def _regression(outcomes: Outcomes, weights: Weights) -> dict[str, NDArray[np.float64]]:
    truth, total = outcomes.truth, weights.sum(axis=0)
    error = outcomes.predicted - truth
    mean = truth @ weights / total
    spread = (truth - truth.mean()) ** 2 @ weights / total - (mean - truth.mean()) ** 2
    squared = error**2 @ weights / total
    return {
        # A draw of one value over and over has no spread but that of rounding.
        "r2": np.where(spread > 1e-12 * truth.var(), 1 - squared / spread, np.nan),
        "mae": np.abs(error) @ weights / total,
        "rmse": np.sqrt(squared),
    }
