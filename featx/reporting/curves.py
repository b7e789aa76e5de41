"""Curves of scores: ROC, precision against recall, and how often a probability is right; as arrays, drawn elsewhere.

Scores are compared within a fold only. The curve of all folds is their mean at each place, each fold counting as it does in
the figure, so that the area under it is the figure (to the width of its grid).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.outcomes import Outcomes

__all__ = ["Curves", "Reliability", "precision_recall_curves", "reliability", "roc_curves"]

_GRID = np.linspace(0, 1, 201)
_BINS = 10
_MOST_POINTS = 500

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Curves of one class, x and y from 0 to 1.

    Parameters
    ----------
    folds : tuple of (x, y)
        One a fold that has rows of the class and of others.
    mean : (x, y)
        All folds together.
    """

    folds: tuple[Line, ...]
    mean: Line


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Rows by probability, in ten bins of equal width; empty ones left out.

    Parameters
    ----------
    said : ndarray of float64, shape (b,)
        Mean probability.
    happened : ndarray of float64, shape (b,)
        Share of rows for which it came true.
    counts : ndarray of int, shape (b,)
    """

    said: NDArray[np.float64]
    happened: NDArray[np.float64]
    counts: NDArray[np.intp]


def roc_curves(outcomes: Outcomes, c: int) -> Curves | None:
    """Share of the class that is found against share of the rest that is taken for it; None where there is nothing to rank.

    Folds count by their pairs of a row of the class and another, as in the figure ``roc_auc``.
    """
    return _curves(outcomes, c, _roc, _between, lambda yes, no: yes * no)


def precision_recall_curves(outcomes: Outcomes, c: int) -> Curves | None:
    """Precision against recall, in steps; None where there is nothing to rank.

    Folds count by their rows of the class, as in the figure ``average_precision``.
    """
    return _curves(outcomes, c, _precision_recall, _at_least, lambda yes, no: yes)


def reliability(outcomes: Outcomes, c: int | None) -> Reliability | None:
    """How often a class is the right one where its probability is such; of the predicted class where `c` is None."""
    if outcomes.proba is None:
        return None
    if c is None:
        said = outcomes.proba[np.arange(len(outcomes)), outcomes.predicted]
        true = outcomes.predicted == outcomes.truth
    else:
        said, true = outcomes.proba[:, c], outcomes.truth == c
    bins = np.minimum((said * _BINS).astype(np.intp), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    there = counts > 0
    return Reliability(
        said=np.bincount(bins, said, _BINS)[there] / counts[there],
        happened=np.bincount(bins, true.astype(np.float64), _BINS)[there] / counts[there],
        counts=counts[there],
    )


def _curves(
    outcomes: Outcomes,
    c: int,
    curve: Callable[[NDArray[np.float64], NDArray[np.bool_]], Line],
    read: Callable[[Line], NDArray[np.float64]],
    weigh: Callable[[int, int], int],
) -> Curves | None:
    if outcomes.scores is None:
        return None
    lines: list[Line] = []
    means, weights = [], []
    for fold in np.unique(outcomes.folds):
        rows = outcomes.folds == fold
        positive = outcomes.truth[rows] == c
        yes, no = int(positive.sum()), int((~positive).sum())
        if yes and no:
            line = curve(outcomes.scores[rows, c], positive)
            lines.append(_thinned(line))
            means.append(read(line))
            weights.append(float(weigh(yes, no)))
    if not lines:
        return None
    mean = np.average(means, axis=0, weights=weights)
    return Curves(folds=tuple(lines), mean=(_GRID, mean))


def _thinned(line: Line) -> Line:
    """At most some hundred points, both ends among them: more show nowhere, and weigh down a page."""
    n = len(line[0])
    if n <= _MOST_POINTS:
        return line
    kept = np.linspace(0, n - 1, _MOST_POINTS).astype(np.intp)
    return line[0][kept], line[1][kept]


def _steps(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the class and of the rest at or above each distinct score, best first; equal scores are one step."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    yes = positive[order].cumsum()[ends]
    return yes, ends + 1 - yes


def _roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Line:
    yes, no = _steps(scores, positive)
    return np.append(0.0, no / no[-1]), np.append(0.0, yes / yes[-1])


def _precision_recall(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Line:
    yes, no = _steps(scores, positive)
    kept = int(np.searchsorted(yes, yes[-1])) + 1  # once all are found, precision only falls
    return yes[:kept] / yes[-1], yes[:kept] / (yes[:kept] + no[:kept])


def _between(line: Line) -> NDArray[np.float64]:
    """The line on the grid, with the upper end where it is vertical."""
    x, y = line
    left = np.searchsorted(x, _GRID, side="right") - 1
    right = np.minimum(left + 1, len(x) - 1)
    wide = x[right] - x[left]
    part = np.divide(_GRID - x[left], wide, out=np.zeros_like(_GRID), where=wide > 0)
    return y[left] + part * (y[right] - y[left])


def _at_least(line: Line) -> NDArray[np.float64]:
    """The precision at the first step that reaches each recall."""
    x, y = line
    return y[np.searchsorted(x, _GRID - 1e-12)]
