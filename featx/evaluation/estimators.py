"""Which estimators can be evaluated, and what of them can be searched: refused before anything is embedded or fitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer_names
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from featx.errors import ParameterError, did_you_mean

__all__ = ["Grid", "check_estimator", "check_grid", "check_scoring", "check_searched", "grids_of"]

Grid: TypeAlias = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]
"""Values to try by the names of parameters, or several such, each searched by itself; as for ``GridSearchCV``."""

_NO_PREDICTORS = {
    "clusterer": "groups samples and knows no labels",
    "outlier_detector": "tells odd samples from the others and knows no labels",
    "density_estimator": "says how likely samples are and knows no labels",
}


def check_estimator(estimator: Any, *, prefit: bool) -> None:
    """Refuse what is no classifier or regressor, or where that is asked for no fitted one.

    Raises
    ------
    ParameterError
    """
    if isinstance(estimator, type):
        raise ParameterError(
            f"estimator: {estimator.__name__} is a class; expected an estimator. Give one: {estimator.__name__}()."
        )
    name = type(estimator).__name__
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict"):
        raise ParameterError(
            f"estimator: expected a classifier or regressor, or a Pipeline that ends in one; found {name}."
        )
    needed = ("__sklearn_tags__",) if prefit else ("__sklearn_tags__", "get_params", "set_params")
    missing = [each for each in needed if not hasattr(estimator, each)]
    if missing:
        raise ParameterError(
            f"estimator: {name} has no {missing[0]}, and so is none of scikit-learn's kind. Derive it from ClassifierMixin (or "
            "RegressorMixin) and BaseEstimator, in this order."
        )
    why = _NO_PREDICTORS.get(get_tags(estimator).estimator_type or "")
    if why is not None:
        raise ParameterError(f"estimator: expected a classifier or regressor; {name} {why}.")
    if prefit and not _is_fitted(estimator):
        raise ParameterError(
            f'estimator: cv="prefit" judges a fitted estimator, and this {name} is not. Fit it, or leave cv="prefit" out.'
        )


def _is_fitted(estimator: Any) -> bool:
    if not is_regressor(estimator):
        return hasattr(estimator, "classes_")
    if not type(estimator).__module__.startswith(("sklearn.", "featx.")):
        return True  # others need not follow the convention by which scikit-learn tells
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def grids_of(grid: Grid | None) -> list[Mapping[str, Sequence[Any]]]:
    """A grid as a list of those that are searched each by itself."""
    if grid is None:
        return []
    return [grid] if isinstance(grid, Mapping) else list(grid)


def check_grid(estimator: Any, grid: Any) -> None:
    """Refuse what is no grid, names parameters that the estimator does not have, or gives no values for one.

    Raises
    ------
    ParameterError
    """
    if grid is None:
        return
    listed = [grid] if isinstance(grid, Mapping) else grid
    is_list = isinstance(listed, Sequence) and not isinstance(listed, str | bytes)
    if not is_list or not all(isinstance(each, Mapping) for each in listed) or not len(listed):
        raise ParameterError(
            f"param_grid={grid!r}: expected a dict of parameters' names to lists of values, or a list of such dicts."
        )
    known = estimator.get_params(deep=True)
    for each in listed:
        for key, values in each.items():
            # Parameters of a step that is itself searched are those of its candidates, not of the one given.
            inside = isinstance(key, str) and any(key.startswith(f"{other}__") for other in each)
            if key not in known and not inside:
                raise ParameterError(
                    f"param_grid: {type(estimator).__name__} has no parameter {key!r}; expected some of "
                    f"{', '.join(sorted(known)[:20])}{', ...' if len(known) > 20 else ''}.{did_you_mean(str(key), known)}"
                )
            if (
                isinstance(values, str | bytes)
                or not isinstance(values, Sequence | np.ndarray)
                or not len(values)
            ):
                raise ParameterError(
                    f"param_grid: {key}={values!r}: expected a list of values to try, at least one."
                )


def check_scoring(scoring: Any) -> None:
    """Refuse what a search cannot go by.

    Raises
    ------
    ParameterError
    """
    if scoring is None or callable(scoring):
        return
    if not isinstance(scoring, str):
        raise ParameterError(
            f"scoring={scoring!r}: expected one name of a scorer or a callable; a search goes by one figure."
        )
    names = get_scorer_names()
    if scoring not in names:
        raise ParameterError(
            f"scoring={scoring!r}: expected the name of a scorer (sklearn.metrics.get_scorer_names()) or a callable."
            f"{did_you_mean(scoring, names)}"
        )


def check_searched(scoring: Any, grids: Iterable[Any]) -> None:
    """Refuse a scoring where there is nothing to search by it.

    Raises
    ------
    ParameterError
    """
    if scoring is not None and all(grid is None for grid in grids):
        raise ParameterError(
            f"scoring={scoring!r}: is what param_grid is searched by, and there is none. Give one, or leave scoring out: "
            "every figure is computed."
        )
