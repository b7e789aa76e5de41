"""A search whose own folds part groups is told; one that divides by groups is told the groups."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, RandomizedSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.errors import LeakWarning
from featx.evaluation.evaluate import compare, evaluate
from featx.evaluation.searches import BLIND_SEARCH, keeps_groups, search_leaks, searches_in

FEW: dict[str, Any] = {"n_bootstrap": 100, "cv": 3}
GRID = {"C": [0.1, 1.0]}


def grouped() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 2
    return {"X": rng.normal(size=(90, 3)) + y[:, None], "y": y, "groups": np.arange(90) // 6}


def test_searches_are_found_where_they_stand() -> None:
    search = GridSearchCV(LogisticRegression(), GRID)
    assert searches_in(search) == [("", search)]
    assert searches_in(make_pipeline(StandardScaler(), search)) == [("gridsearchcv__", search)]
    for other in (LogisticRegression(), CalibratedClassifierCV(LogisticRegression()), StandardScaler()):
        assert searches_in(other) == []


def test_only_splitters_by_group_keep_groups() -> None:
    for cv, keeps in ((None, False), (3, False), (GroupKFold(3), True), (StratifiedGroupKFold(3), True)):
        assert keeps_groups(GridSearchCV(LogisticRegression(), GRID, cv=cv)) == keeps


@pytest.mark.parametrize("kind", [GridSearchCV, RandomizedSearchCV])
def test_a_search_that_knows_no_groups_is_told_where_there_are_some(kind: Any) -> None:
    search = kind(LogisticRegression(), GRID, cv=3, **({"n_iter": 2} if kind is RandomizedSearchCV else {}))
    with pytest.warns(LeakWarning, match=rf"{kind.__name__}\(cv=3\) chooses .* param_grid="):
        found = evaluate(search, **grouped(), **FEW)
    assert [leak.kind for leak in found.leaks] == [BLIND_SEARCH]
    assert search_leaks(search, grouped=False) == ()


def test_a_search_by_groups_gets_them_and_nothing_is_said() -> None:
    seen: list[int] = []

    class Watched(GroupKFold):
        def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
            seen.append(len(np.unique(groups)))
            return super().split(X, y, groups)

    search = GridSearchCV(LogisticRegression(), GRID, cv=Watched(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (search, make_pipeline(StandardScaler(), search)):
            found = evaluate(model, **grouped(), **FEW, at_specificity=None, at_sensitivity=None)
            assert found.leaks == ()
    assert seen == [10] * 6  # of 15 groups two thirds are trained on


def test_whichever_of_several_compared_is_told() -> None:
    models = {"plain": LogisticRegression(), "searched": GridSearchCV(LogisticRegression(), GRID, cv=3)}
    with pytest.warns(LeakWarning, match="knows? no groups"):
        found = compare(models, **grouped(), **FEW)
    assert [len(each.leaks) for each in found.evaluations] == [0, 1]
