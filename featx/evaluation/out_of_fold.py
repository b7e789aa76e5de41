"""Predictions by models that had not seen the sample: fitted fold by fold, searched, calibrated and given thresholds inside.

Invariant: whatever is chosen for a fold (parameters, calibration, threshold) is chosen on folds of its training part, which keep
the same units together. The test part of a fold is predicted once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.utils import _safe_indexing

from featx.errors import FeatxError, ParameterError
from featx.evaluation.answers import columns_of, labels_of, proba_of, scores_of, values_of
from featx.evaluation.folds import Fold, inner_folds
from featx.evaluation.outcomes import Outcomes, aggregate, concatenate
from featx.evaluation.searches import keeps_groups, searches_in
from featx.evaluation.thresholds import Threshold
from featx.view_head import group_takers

__all__ = ["CALIBRATIONS", "FoldFit", "Task", "fit_and_predict", "fitted_with", "predict_with"]

CALIBRATIONS = ("sigmoid", "isotonic")
"""Methods of scikit-learn's ``CalibratedClassifierCV``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is asked of every fold.

    Parameters
    ----------
    classes : ndarray, shape (k,), or None
        Sorted labels; None for a regression.
    positive : int
        Of two classes, the position of the one that thresholds are about.
    grid : mapping or None
        Searched inside each fold.
    scoring : str, callable or None
        What the search goes by.
    calibrate : "sigmoid", "isotonic" or None
    thresholds : tuple of Threshold
    how : str or None
        How predictions of a group become one; see :func:`featx.evaluation.outcomes.aggregate`.
    """

    classes: NDArray[Any] | None
    positive: int = 1
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]] | None = None
    scoring: Any = None
    calibrate: str | None = None
    thresholds: tuple[Threshold, ...] = ()
    how: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldFit:
    """What one fold's fit chose and took.

    Parameters
    ----------
    n_train, n_test : int
        Samples.
    fit_time_s : float
        Search, calibration and thresholds included.
    params : dict
        What the search chose; empty without one.
    thresholds : dict of str to float
        By name, for samples; for groups with ``(groups)`` behind it.
    """

    n_train: int
    n_test: int
    fit_time_s: float
    params: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)


def fit_and_predict(
    estimator: BaseEstimator,
    X: Any,
    y: NDArray[Any],
    fold: Fold,
    inner: Sequence[Fold],
    task: Task,
    *,
    number: int,
    units: NDArray[np.intp],
    groups: NDArray[np.intp] | None,
) -> tuple[Outcomes, Outcomes | None, FoldFit, Any]:
    """Fit on a fold's training part and predict its test part.

    Parameters
    ----------
    estimator : estimator
        Not fitted here; a clone is.
    X : indexable of n_samples
    y : ndarray, shape (n_samples,)
        Positions in ``task.classes``, or targets.
    fold : (train, test)
        Indices.
    inner : sequence of (train, test)
        Folds of the training part, as positions in it; empty where nothing is to be chosen. Without any no threshold is.
    task : Task
    number : int
        Of the fold.
    units : ndarray of int, shape (n_samples,)
        What folds keep together and the bootstrap draws.
    groups : ndarray of int, shape (n_samples,), or None
        What ``task.how`` makes one prediction of.

    Returns
    -------
    outcomes : Outcomes
        A row a sample of the test part.
    of_groups : Outcomes or None
        A row a group, where ``task.how`` is given.
    fit : FoldFit
    fitted : estimator
        Which predicted.
    """
    train, test = fold
    started_s = time.perf_counter()
    part, targets = _safe_indexing(X, train), y[train]
    labels = targets if task.classes is None else task.classes[targets]
    where = f"fold {number + 1}"
    model, params = _searched(estimator, part, labels, inner, task, units[train], where)
    chosen: dict[str, float] = {}
    chosen_of_groups: dict[str, float] = {}
    if task.thresholds and task.classes is not None and inner:
        unseen = _unseen(model, part, labels, targets, inner, task, units[train], where)
        chosen = _choose(unseen, task)
        if task.how is not None and groups is not None:
            pooled = aggregate(unseen, groups[train][unseen.samples], task.how, positive=task.positive)
            chosen_of_groups = _choose(pooled, task)
    fitted = fitted_with(_calibrated(model, inner, task), part, labels, units[train])
    took_s = time.perf_counter() - started_s
    outcomes = predict_with(fitted, _safe_indexing(X, test), y[test], task, where=where)
    outcomes = replace(
        outcomes, folds=np.full(len(test), number, dtype=np.intp), units=units[test], samples=test
    )
    of_groups = None
    if task.how is not None and groups is not None:
        pooled = aggregate(outcomes, groups[test], task.how, positive=task.positive)
        of_groups = _decided(pooled, chosen_of_groups, task)
    named = {**chosen, **{f"{name} (groups)": value for name, value in chosen_of_groups.items()}}
    fit = FoldFit(n_train=len(train), n_test=len(test), fit_time_s=took_s, params=params, thresholds=named)
    return _decided(outcomes, chosen, task), of_groups, fit, fitted


def fitted_with(model: Any, X: Any, y: NDArray[Any], units: NDArray[np.intp] | None) -> Any:
    """The model fitted; its support vector machines, and searches that divide by groups, told which rows belong together."""
    dividing = [path for path, search in searches_in(model) if keeps_groups(search)]
    routed = {} if units is None else {f"{path}groups": units for path in (*group_takers(model), *dividing)}
    with config_context(
        enable_metadata_routing=False
    ):  # under routing a Pipeline would take no ``svm__groups``
        return model.fit(X, y, **routed)


def _searched(
    estimator: BaseEstimator,
    part: Any,
    labels: NDArray[Any],
    inner: Sequence[Fold],
    task: Task,
    units: NDArray[np.intp],
    where: str,
) -> tuple[BaseEstimator, dict[str, Any]]:
    """An unfitted clone with the parameters that do best on the inner folds, and these.

    Raises
    ------
    ParameterError
        A candidate cannot be fitted or scored, or its score is NaN: a best one cannot be told then.
    """
    if task.grid is None:
        return clone(estimator), {}
    with config_context(enable_metadata_routing=False), joblib.parallel_config("threading"):
        search = GridSearchCV(
            clone(estimator),
            task.grid,
            scoring=task.scoring,
            cv=list(inner),
            refit=False,
            error_score="raise",
        )
        routed = {f"{path}groups": units for path in group_takers(estimator)}
        try:
            search.fit(part, labels, **routed)
        except FeatxError:
            raise
        except (TypeError, ValueError) as error:
            why = str(error).partition("\n")[0].rstrip(". ")
            raise ParameterError(
                f"param_grid: {where}: a candidate of the search cannot be fitted or scored: {why}. Give values that the "
                "estimator takes, and a scoring that these labels allow."
            ) from error
    scores = np.asarray(search.cv_results_["mean_test_score"])
    if np.isnan(scores).any():
        params = search.cv_results_["params"][int(np.isnan(scores).argmax())]
        raise ParameterError(
            f"scoring={task.scoring!r}: {where}: gives NaN for {params}; expected a number. Choose a scoring that is defined on "
            "every fold, or leave that candidate out."
        )
    return clone(estimator).set_params(**search.best_params_), dict(search.best_params_)


def _calibrated(model: Any, inner: Sequence[Fold], task: Task) -> Any:
    """An unfitted clone, its probabilities calibrated on folds of what it will be fitted on where that is asked for."""
    if task.calibrate is None:
        return clone(model)
    return CalibratedClassifierCV(clone(model), method=task.calibrate, cv=list(inner), ensemble=False)


def _unseen(
    model: Any,
    part: Any,
    labels: NDArray[Any],
    targets: NDArray[np.intp],
    inner: Sequence[Fold],
    task: Task,
    units: NDArray[np.intp],
    where: str,
) -> Outcomes:
    """Outcomes of the training part's samples by models of its inner folds; ``samples`` are positions in the part."""
    found = []
    for train, test in inner:
        own = inner_folds(labels[train], units[train]) if task.calibrate is not None else ()
        fitted = fitted_with(
            _calibrated(model, own, task), _safe_indexing(part, train), labels[train], units[train]
        )
        rows = predict_with(fitted, _safe_indexing(part, test), targets[test], task, where=where)
        # All as of one fold: thresholds are set over all of them, and a group's rows are in one of them anyway.
        found.append(replace(rows, units=units[test], samples=test))
    return concatenate(found)


def predict_with(fitted: Any, X: Any, y: NDArray[Any], task: Task, *, where: str = "") -> Outcomes:
    """Outcomes of a model that is fitted already, as one fold; a unit a sample.

    Parameters
    ----------
    fitted : estimator
    X : indexable of n_samples
    y : ndarray, shape (n_samples,)
        Positions in ``task.classes``, or targets.
    task : Task
    where : str
        Which fit it is, for messages.

    Raises
    ------
    ParameterError
        The model does not answer as a classifier or regressor does; see :mod:`featx.evaluation.answers`.
    """
    n = len(y)
    blank = np.zeros(n, dtype=np.intp)
    if task.classes is None:
        values = values_of(fitted, X, n, where)
        return Outcomes(truth=y, predicted=values, folds=blank, units=np.arange(n), samples=np.arange(n))
    columns = columns_of(fitted, task.classes, where)
    proba = scores = None
    if hasattr(fitted, "predict_proba"):
        proba = np.zeros((n, len(task.classes)))
        proba[:, columns] = proba_of(fitted, X, n, len(columns), where)
        scores = proba
    elif hasattr(fitted, "decision_function"):
        given = scores_of(fitted, X, n, len(columns), where)
        if given is not None:
            scores = np.full((n, len(task.classes)), -np.inf)
            scores[:, columns] = given
    return Outcomes(
        truth=y,
        predicted=labels_of(fitted, X, n, task.classes, where),
        folds=blank,
        units=np.arange(n),
        samples=np.arange(n),
        classes=task.classes,
        scores=scores,
        proba=proba,
    )


def _choose(unseen: Outcomes, task: Task) -> dict[str, float]:
    if unseen.scores is None:
        return {}
    scores, positive = unseen.scores[:, task.positive], unseen.truth == task.positive
    return {threshold.name: threshold.choose(scores, positive) for threshold in task.thresholds}


def _decided(outcomes: Outcomes, thresholds: dict[str, float], task: Task) -> Outcomes:
    if not thresholds or outcomes.scores is None:
        return outcomes
    scores = outcomes.scores[:, task.positive]
    return replace(outcomes, decisions={name: scores >= at for name, at in thresholds.items()})
