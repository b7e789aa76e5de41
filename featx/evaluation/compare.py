"""Heads compared on embeddings by cross-validation; the best one fitted on everything.

Invariant: nothing of a fold's test part, and no other sample of its groups, is seen by what is tested on it: neither by the head,
nor by the search of its parameters, nor by its calibration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from featx.errors import DatasetError, InputError, ParameterError
from featx.evaluation.columns import check_groups, check_labels
from featx.evaluation.folds import Fold, inner_folds, make_folds
from featx.evaluation.results import FoldResult, HeadComparison, HeadResult
from featx.evaluation.scores import score_predictions
from featx.heads import HEAD_NAMES, group_parameters, make_head, param_grid, search_scoring

if TYPE_CHECKING:
    from featx.progress import Progress

__all__ = ["FoldResult", "HeadComparison", "HeadResult", "compare_heads", "refit", "score_head"]

_T = TypeVar("_T")


def compare_heads(
    X: ArrayLike,
    y: ArrayLike | Sequence[Any],
    *,
    groups: ArrayLike | Sequence[Any] | None = None,
    heads: Sequence[str] = HEAD_NAMES,
    cv: int = 5,
    search: bool = False,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> HeadComparison:
    """Cross-validate heads on embeddings, all on the same folds.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings.
    y : array-like of shape (n_samples,)
        Labels.
    groups : array-like of shape (n_samples,), optional
        Samples that belong together, such as those of one patient.
    heads : sequence of str
        Names from :data:`featx.heads.HEAD_NAMES`, the one preferred among equals first.
    cv : int
        Folds; see :func:`featx.evaluation.folds.make_folds`.
    search : bool
        Search each head's :func:`featx.heads.param_grid` inside the training part of each fold (nested cross-validation) by
        its :func:`featx.heads.search_scoring`, on 3 folds, or fewer where `cv`, samples or groups of a class are fewer.
    random_state : int
        Seed of folds and heads.
    n_jobs : int, optional
        Threads that each take a head and a fold; None is one a core. BLAS runs on one thread in each: with its own, a
        search was measured 30 times slower where cores were busy.
    progress : Progress, optional
        ``update(1)`` after each of ``len(heads) * cv`` fits.

    Raises
    ------
    DatasetError
        Labels or groups that allow no such folds.
    InputError
        Embeddings that are not finite, or not one a label.
    ParameterError
        An unknown head.
    """
    names = _check_heads(heads)
    data = _check_data(X, y, groups)
    folds = make_folds(data.labels, data.groups, n_splits=cv, random_state=random_state)
    inner = [data.part(train).inner_folds(cv, random_state) if search else None for train, _ in folds]

    def run(task: tuple[int, int]) -> tuple[FoldResult, NDArray[np.float64]]:
        i, j = task
        train, test = folds[j]
        started_s = time.perf_counter()
        head, params = _fit(names[i], data.part(train), inner[j], random_state)
        fit_time_s = time.perf_counter() - started_s
        proba = head.predict_proba(data.rows[test])
        scores = score_predictions(data.labels[test], proba, head.classes_)
        return FoldResult(scores=scores, fit_time_s=fit_time_s, params=params), proba

    tasks = [(i, j) for i in range(len(names)) for j in range(len(folds))]
    # The slowest heads come last in the usual order: started first, they leave no core idle at the end.
    done = dict(zip(tasks[::-1], _in_threads(run, tasks[::-1], n_jobs, progress), strict=True))
    classes = np.unique(data.labels)
    results = []
    for i, name in enumerate(names):
        proba = np.empty((len(data.rows), len(classes)))
        for j, (_, test) in enumerate(folds):
            proba[test] = done[i, j][1]
        results.append(
            HeadResult(name=name, folds=tuple(done[i, j][0] for j in range(len(folds))), proba=proba)
        )
    return HeadComparison(
        results=tuple(results),
        classes=classes,
        n_samples=len(data.rows),
        n_features=data.rows.shape[1],
        n_groups=None if data.groups is None else len(np.unique(data.groups)),
        n_folds=len(folds),
        searched=search,
    )


def refit(
    name: str,
    X: ArrayLike,
    y: ArrayLike | Sequence[Any],
    *,
    groups: ArrayLike | Sequence[Any] | None = None,
    cv: int = 5,
    search: bool = False,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> BaseEstimator:
    """Fit one head on all samples, in the way that :func:`compare_heads` fitted it on each fold's training part.

    Parameters
    ----------
    name : str
        From :data:`featx.heads.HEAD_NAMES`.
    X, y, groups, cv, search, random_state, n_jobs
        As for :func:`compare_heads`.

    Returns
    -------
    estimator
        Fitted; the parameters that a search chose are its own.

    Raises
    ------
    DatasetError, InputError, ParameterError
    """
    _check_heads([name])
    data = _check_data(X, y, groups)
    with threadpool_limits(limits=1, user_api="blas"):
        inner = data.inner_folds(cv, random_state) if search else None
        return _fit(name, data, inner, random_state, n_jobs=_workers(n_jobs))[0]


def score_head(head: Any, X: ArrayLike, y: ArrayLike | Sequence[Any]) -> dict[str, float]:
    """Score a fitted head on samples it has not seen.

    Parameters
    ----------
    head : estimator
        With ``predict_proba`` and ``classes_``.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)

    Returns
    -------
    dict of str to float
        :meth:`featx.evaluation.scores.Scores.to_dict`.

    Raises
    ------
    DatasetError
        No samples, or a label that the head does not know.
    """
    if not len(np.asarray(y)):
        raise DatasetError("no samples to score. Give at least one.")
    return score_predictions(y, head.predict_proba(X), head.classes_).to_dict()


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Checked input."""

    rows: NDArray[np.floating]  # (n, d)
    labels: NDArray[Any]  # (n,)
    groups: NDArray[np.intp] | None  # (n,)

    def part(self, indices: NDArray[np.intp]) -> _Data:
        groups = None if self.groups is None else self.groups[indices]
        return _Data(self.rows[indices], self.labels[indices], groups)

    def inner_folds(self, cv: int, random_state: int) -> list[Fold]:
        return inner_folds(self.labels, self.groups, at_most=min(3, cv), random_state=random_state)


def _check_heads(heads: Sequence[str]) -> tuple[str, ...]:
    if isinstance(heads, str) or not len(heads):
        raise ParameterError(
            f"heads={heads!r}: expected a sequence of names, some of {', '.join(map(repr, HEAD_NAMES))}."
        )
    for name in heads:
        param_grid(name)
    if len(set(heads)) < len(heads):
        raise ParameterError(f"heads={list(heads)!r}: one occurs twice. Name each once.")
    return tuple(heads)


def _check_data(
    X: ArrayLike, y: ArrayLike | Sequence[Any], groups: ArrayLike | Sequence[Any] | None
) -> _Data:
    rows, labels = np.asarray(X), check_labels(y)
    if rows.ndim != 2 or len(rows) != len(labels):
        raise InputError(
            f"X: expected shape ({len(labels)}, n_features), one row a label; found {rows.shape}. Give embeddings and labels of "
            "the same samples."
        )
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise InputError(
            f"X: {len(broken)} of {len(rows)} rows hold NaN or infinity, the first at index {broken[0]}: samples that could not "
            "be read? Leave them out."
        )
    return _Data(rows, labels, None if groups is None else check_groups(groups, len(labels)))


def _fit(
    name: str, data: _Data, inner: list[Fold] | None, random_state: int, *, n_jobs: int = 1
) -> tuple[BaseEstimator, dict[str, Any]]:
    """A head fitted on `data`, its parameters searched on the folds `inner` of it, and what the search chose."""
    chosen: dict[str, Any] = {}
    # Under a user's metadata routing a Pipeline would take no ``svm__groups``.
    with config_context(enable_metadata_routing=False):
        if inner is not None:
            # Calibration changes no prediction of an svm, by which it is searched: candidates do without.
            quick = {"calibration_folds": 0} if name == "svm" else {}
            search = GridSearchCV(
                make_head(name, random_state=random_state, **quick),
                param_grid(name, n_samples=len(data.rows)),
                scoring=search_scoring(name),
                cv=inner,
                refit=False,
                error_score="raise",
                n_jobs=n_jobs,
            )
            with joblib.parallel_config("threading"):
                chosen = search.fit(data.rows, data.labels).best_params_
        head = make_head(name, random_state=random_state).set_params(**chosen)
        head.fit(data.rows, data.labels, **group_parameters(name, data.groups))
    return head, chosen


def _in_threads(
    run: Callable[[tuple[int, int]], _T],
    tasks: Sequence[tuple[int, int]],
    n_jobs: int | None,
    progress: Progress | None,
) -> list[_T]:
    """`run` of each task. Threads, not processes: nothing is copied or started, and liblinear, libsvm, xgboost and BLAS
    let go of the interpreter's lock while they work."""
    results = []
    with threadpool_limits(limits=1, user_api="blas"):
        parallel = joblib.Parallel(n_jobs=_workers(n_jobs), require="sharedmem", return_as="generator")
        for result in parallel(joblib.delayed(run)(task) for task in tasks):
            results.append(result)
            if progress is not None:
                progress.update(1)
    return results


def _workers(n_jobs: int | None) -> int:
    return int(joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs))
