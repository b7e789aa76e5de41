"""Searches that bring folds of their own: which of them keep groups together, and what is said of the others."""

from __future__ import annotations

from typing import Any

from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)
from sklearn.pipeline import Pipeline

from featx.evaluation.leaks import Leak

__all__ = ["BLIND_SEARCH", "keeps_groups", "search_leaks", "searches_in"]

BLIND_SEARCH = "search that knows no groups"
"""Kind of the leak."""

_GROUPED = (GroupKFold, GroupShuffleSplit, LeaveOneGroupOut, LeavePGroupsOut, StratifiedGroupKFold)


def searches_in(estimator: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Searches with folds of their own, an estimator itself or a step of a Pipeline, each behind the path of its parameters."""
    if isinstance(estimator, Pipeline):
        return [found for name, step in estimator.steps for found in searches_in(step, f"{prefix}{name}__")]
    # As GridSearchCV and RandomizedSearchCV are, and those of other packages that follow them.
    is_search = all(hasattr(estimator, name) for name in ("estimator", "cv", "refit"))
    return [(prefix, estimator)] if is_search else []


def keeps_groups(search: Any) -> bool:
    """Whether a search divides by groups, where it is told them."""
    return isinstance(search.cv, _GROUPED)


def search_leaks(estimator: Any, *, grouped: bool) -> tuple[Leak, ...]:
    """Searches whose own folds part groups, in words.

    They flatter no figure here, which is of samples that the search did not see; but what they choose is what remembers groups.

    Parameters
    ----------
    estimator : estimator
        What is fitted in each fold.
    grouped : bool
        Whether the data have groups.
    """
    blind = [search for _, search in searches_in(estimator) if not keeps_groups(search)] if grouped else []
    if not blind:
        return ()
    message = (
        f"{type(blind[0]).__name__}(cv={blind[0].cv!r}) chooses parameters on folds that know no groups, and so by what "
        "recognises them: the choice may be a bad one for new groups. Leave it out and pass its grid as param_grid=..., which is "
        "searched on folds that keep groups together, or give it cv=StratifiedGroupKFold(3)."
    )
    return (Leak(kind=BLIND_SEARCH, n=len(blind), message=message, anonymous=message),)
