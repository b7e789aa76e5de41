"""What is compared: estimators by name, each with what is searched of it; checked before the first one is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import is_regressor

from featx.errors import ParameterError, did_you_mean
from featx.evaluation.asked import Asked
from featx.evaluation.estimators import Grid, check_estimator, check_grid, check_searched
from featx.evaluation.subjects import words_of
from featx.heads import make_head

__all__ = ["Compared", "compared"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One of several estimators.

    Parameters
    ----------
    name : str
        As the user says, or what it is.
    title : str or None
        As the user says.
    model : estimator
    grid : dict, list of dict or None
        Searched inside each training part.
    """

    name: str
    title: str | None
    model: Any
    grid: Grid | None


def compared(
    estimators: Mapping[str, Any] | Sequence[Any], param_grids: Mapping[str, Grid] | None, asked: Asked
) -> tuple[Compared, ...]:
    """Estimators with their names and grids, in their order.

    Parameters
    ----------
    estimators : dict of str to estimator, or sequence of estimators
    param_grids : dict of str to grid, or None
        By name. Whoever has none is searched by that of `asked`.
    asked : Asked

    Raises
    ------
    ParameterError
        None to compare, two of one name, a grid for none of them, or classifiers beside regressors.
    """
    if (
        isinstance(estimators, str | bytes)
        or not isinstance(estimators, Mapping | Sequence)
        or not estimators
    ):
        raise ParameterError("compare: expected estimators by name, or a list of them.")
    if asked.name is not None:
        raise ParameterError(
            f"compare: name={asked.name!r} would be that of all. Give a dict of names to estimators."
        )
    given = estimators.items() if isinstance(estimators, Mapping) else [(None, each) for each in estimators]
    named = []
    for title, estimator in given:
        model = make_head(estimator) if isinstance(estimator, str) else estimator
        check_estimator(model, prefit=asked.cv == "prefit")
        name = words_of(getattr(model, "best_estimator_", model)) if title is None else title
        named.append((name, title, model))
    names = [name for name, _, _ in named]
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ParameterError(f"compare: two are named {twice!r}. Give a dict of names to estimators.")
    unknown = [name for name in param_grids or () if name not in names]
    if unknown:
        raise ParameterError(
            f"param_grids: {unknown[0]!r} is none of the estimators; expected some of {', '.join(map(repr, names))}."
            f"{did_you_mean(str(unknown[0]), names)}"
        )
    kinds = [is_regressor(model) for _, _, model in named]
    if any(kinds) and not all(kinds):
        raise ParameterError(
            f"compare: {names[kinds.index(True)]!r} is a regressor and {names[kinds.index(False)]!r} a classifier, and no figure "
            "judges both. Compare those of one kind."
        )
    found = tuple(
        Compared(name=name, title=title, model=model, grid=(param_grids or {}).get(name, asked.param_grid))
        for name, title, model in named
    )
    for each in found:
        check_grid(each.model, each.grid)
    check_searched(asked.scoring, [each.grid for each in found])
    return found
