"""What was predicted for samples that the predictor had not seen, ready to be judged.

Owns the one form in which predictions travel, and how those of a group's samples become one of the group. Scores are compared
within one fold only: each fold has a model of its own, and their scales differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DatasetError, ParameterError, did_you_mean

__all__ = [
    "AGGREGATES",
    "Outcomes",
    "aggregate",
    "aggregate_rows",
    "check_how",
    "check_one_label",
    "concatenate",
    "pooled_proba",
    "voted",
]

AGGREGATES = ("mean", "median", "max", "vote")
"""How predictions of a group's samples become one."""

_NO_LABEL = "such a group has no label. Judge samples, or correct the labels."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Outcomes and the truth, a row a sample (or a group).

    Parameters
    ----------
    truth : ndarray, shape (n,)
        Positions in ``classes`` (int), or the target of a regression (float64).
    predicted : ndarray, shape (n,)
        Likewise.
    folds : ndarray of int, shape (n,)
        Which model predicted the row.
    units : ndarray of int, shape (n,)
        What was drawn from the world independently, and is drawn again by the bootstrap: groups, else samples.
    samples : ndarray of int, shape (n,)
        Position of the row's sample (of the first of its group) in the data.
    classes : ndarray, shape (k,), or None
        Sorted labels; None for a regression.
    scores : ndarray of float64, shape (n, k), or None
        Higher where a class is likelier; for ranking within a fold. For two classes the columns are each other's negative.
    proba : ndarray of float64, shape (n, k), or None
        Probabilities; rows sum to one.
    decisions : dict of str to ndarray of bool, shape (n,)
        For two classes: whether the row passes a threshold that was chosen without it, by the threshold's name.
    """

    truth: NDArray[Any]
    predicted: NDArray[Any]
    folds: NDArray[np.intp]
    units: NDArray[np.intp]
    samples: NDArray[np.intp]
    classes: NDArray[Any] | None = None
    scores: NDArray[np.float64] | None = None
    proba: NDArray[np.float64] | None = None
    decisions: dict[str, NDArray[np.bool_]] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[Any]) -> Outcomes:
        """The predictions of some rows, in their order."""
        return replace(
            self,
            truth=self.truth[rows],
            predicted=self.predicted[rows],
            folds=self.folds[rows],
            units=self.units[rows],
            samples=self.samples[rows],
            scores=None if self.scores is None else self.scores[rows],
            proba=None if self.proba is None else self.proba[rows],
            decisions=None if self.decisions is None else {k: v[rows] for k, v in self.decisions.items()},
        )


def concatenate(parts: Sequence[Outcomes]) -> Outcomes:
    """Outcomes of several folds as one, in the order of their samples."""
    first = parts[0]

    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if any(value is None for value in values) else np.concatenate(values)

    names = None if first.decisions is None else list(first.decisions)
    whole = Outcomes(
        **{
            name: joined(name)
            for name in ("truth", "predicted", "folds", "units", "samples", "scores", "proba")
        },
        classes=first.classes,
        decisions=None
        if names is None
        else {n: np.concatenate([p.decisions[n] for p in parts]) for n in names},  # type: ignore[index]  # all have them or none
    )
    return whole.take(np.argsort(whole.samples, kind="stable"))


def aggregate(outcomes: Outcomes, groups: NDArray[np.intp], how: str, *, positive: int = 1) -> Outcomes:
    """One prediction a group, from those of its samples.

    Parameters
    ----------
    outcomes : Outcomes
        Without ``decisions``: a threshold for samples is none for groups.
    groups : ndarray of int, shape (n,)
        The group of each row. Rows of one group in different folds stay apart.
    how : "mean", "median", "max" or "vote"
        Of the probabilities (else the scores); see :func:`pooled_proba`. Of two classes "max" takes the highest probability of
        the positive one: one positive sample makes the group positive. A vote counts predicted labels; see :func:`voted`. For a
        regression, of the values; no vote.
    positive : int
        Of two classes, the position of the one that "max" is about.

    Raises
    ------
    DatasetError
        A group whose samples have different labels.
    ParameterError
        An unknown `how`, or one that does not fit.
    """
    check_how(how, regression=outcomes.classes is None)
    keys = np.column_stack([outcomes.folds, groups])
    _, first, of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    of = of.reshape(-1)
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(len(first)))
    base = outcomes.take(first)
    if outcomes.classes is None:
        truth = aggregate_rows(outcomes.truth[:, None], order, starts, "mean")[:, 0]
        values = aggregate_rows(outcomes.predicted[:, None], order, starts, how)[:, 0]
        return replace(base, truth=truth, predicted=values)
    mixed = np.flatnonzero(outcomes.truth != outcomes.truth[first][of])
    if len(mixed):
        at = int(mixed[0])
        label, another = outcomes.classes[outcomes.truth[[first[of[at]], at]]].tolist()
        raise DatasetError(
            f"aggregate={how!r}: {_hold(len(np.unique(of[mixed])))} samples of several labels (row {outcomes.samples[at]}, "
            f"counted from 0, is {str(another)!r}, another of its group {str(label)!r}), so {_NO_LABEL}"
        )
    if how == "vote":
        votes = np.zeros((len(outcomes), len(outcomes.classes)))
        votes[np.arange(len(outcomes)), outcomes.predicted] = 1
        shares = aggregate_rows(votes, order, starts, "mean")
        sure = outcomes.scores if outcomes.proba is None else outcomes.proba
        means = None if sure is None else aggregate_rows(sure, order, starts, "mean")
        return replace(base, predicted=voted(shares, means), scores=shares, proba=shares)
    if outcomes.proba is not None:
        proba = pooled_proba(outcomes.proba, order, starts, how, positive=positive)
        return replace(base, predicted=proba.argmax(axis=1), scores=proba, proba=proba)
    if outcomes.scores is None:
        raise ParameterError(
            f"aggregate={how!r}: the estimator gives neither probabilities nor scores. Use aggregate='vote', or a classifier "
            "with predict_proba."
        )
    scores = _pooled_scores(outcomes.scores, order, starts, how, positive)
    return replace(base, predicted=scores.argmax(axis=1), scores=scores, proba=None)


def check_one_label(
    how: str,
    *,
    truth: NDArray[np.intp],
    groups: NDArray[Any],
    classes: NDArray[Any],
    names: Sequence[str],
) -> None:
    """Refuse groups that have no label of their own, all of them counted, before anything is fitted.

    Parameters
    ----------
    how : str
        See :func:`aggregate`.
    truth : ndarray of int, shape (n,)
        Positions in `classes`.
    groups : ndarray, shape (n,)
        As the user named them.
    classes : ndarray, shape (k,)
    names : sequence of str
        Of the samples.

    Raises
    ------
    DatasetError
    """
    first: dict[Any, int] = {}
    mixed: dict[Any, tuple[int, int]] = {}
    for i, group in enumerate(groups.tolist()):
        earlier = first.setdefault(group, i)
        if truth[earlier] != truth[i]:
            mixed.setdefault(group, (earlier, i))
    if not mixed:
        return
    group, pair = next(iter(mixed.items()))
    words = " and ".join(f"{names[i]} is {str(classes[truth[i]])!r}" for i in pair)
    raise DatasetError(
        f"aggregate={how!r}: {_hold(len(mixed))} samples of several labels (in {str(group)!r} {words}), so {_NO_LABEL}"
    )


def check_how(how: str, *, regression: bool) -> None:
    """Refuse an aggregation that is none, or none of numbers.

    Raises
    ------
    ParameterError
    """
    if how not in AGGREGATES:
        raise ParameterError(
            f"aggregate={how!r}: expected one of {', '.join(map(repr, AGGREGATES))}.{did_you_mean(str(how), AGGREGATES)}"
        )
    if regression and how == "vote":
        raise ParameterError('aggregate="vote": there are no labels to count. Use "mean", "median" or "max".')


def _hold(n: int) -> str:
    return "1 group holds" if n == 1 else f"{n} groups hold"


def voted(shares: NDArray[np.float64], means: NDArray[np.float64] | None) -> NDArray[np.intp]:
    """The class (g,) with most votes of each group.

    Parameters
    ----------
    shares : ndarray, shape (g, k)
        Of the votes.
    means : ndarray, shape (g, k), or None
        Mean probabilities (else scores) of each group's samples: among classes with equally many votes the one with the highest
        wins. Without any, or where these are equal too, the first in sorted order does.
    """
    # Shares of one group are whole numbers over the same number, so that equal ones are equal to the last digit.
    leading = shares == shares.max(axis=1, keepdims=True)
    by = np.zeros_like(shares) if means is None else means
    # Where a score can be -inf, so can the mean of a class that leads: "not leading" has to be marked apart from it.
    best = np.where(leading, by, -np.inf).max(axis=1, keepdims=True)
    return (leading & (by == best)).argmax(axis=1)


def pooled_proba(
    proba: NDArray[np.float64],
    order: NDArray[np.intp],
    starts: NDArray[np.intp],
    how: str,
    *,
    positive: int = 1,
) -> NDArray[np.float64]:
    """Probabilities (g, k) of groups, from those (n, k) of their samples; rows sum to one.

    Of two classes that of the positive one is pooled, and the other is the rest. Of more each is pooled by itself, and they are
    divided by their sum; a group whose medians are all zero, three samples that are each sure of another class, takes the means.

    Parameters
    ----------
    proba : ndarray, shape (n, k)
    order, starts
        As for :func:`aggregate_rows`.
    how : "mean", "median" or "max"
    positive : int
        Of two classes; only "max" tells them apart.
    """
    if proba.shape[1] == 2:
        one = aggregate_rows(proba[:, [positive]], order, starts, how)
        return np.column_stack([one, 1 - one] if positive == 0 else [1 - one, one])
    rows = aggregate_rows(proba, order, starts, how)
    nothing = rows.sum(axis=1) == 0
    if nothing.any():
        rows[nothing] = aggregate_rows(proba, order, starts, "mean")[nothing]
    return rows / rows.sum(axis=1, keepdims=True)


def _pooled_scores(
    scores: NDArray[np.float64], order: NDArray[np.intp], starts: NDArray[np.intp], how: str, positive: int
) -> NDArray[np.float64]:
    """Scores (g, k) of groups, likewise; of two classes the columns stay each other's negative."""
    if scores.shape[1] != 2:
        return aggregate_rows(scores, order, starts, how)
    one = aggregate_rows(scores[:, [positive]], order, starts, how)
    return np.column_stack([one, -one] if positive == 0 else [-one, one])


def aggregate_rows(
    values: NDArray[np.float64], order: NDArray[np.intp], starts: NDArray[np.intp], how: str
) -> NDArray[np.float64]:
    """Mean, median or maximum (g, k) over the rows (n, k) of each group.

    Parameters
    ----------
    values : ndarray, shape (n, k)
    order : ndarray of int, shape (n,)
        The rows, group after group.
    starts : ndarray of int, shape (g,)
        Where in ``order`` each group begins.
    how : "mean", "median" or "max"
    """
    if how == "max":
        return np.maximum.reduceat(values[order], starts, axis=0)
    if how == "mean":
        sizes = np.diff(np.append(starts, len(order)))
        return np.add.reduceat(values[order], starts, axis=0) / sizes[:, None]
    return np.stack([np.median(values[rows], axis=0) for rows in np.split(order, starts[1:])])
