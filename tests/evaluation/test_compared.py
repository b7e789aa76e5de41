"""Estimators that are compared have names of their own, grids that somebody is searched by, and one kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from featx.errors import ParameterError
from featx.evaluation.asked import Asked
from featx.evaluation.compared import compared
from featx.evaluation.evaluate import compare

ONE, TWO = LogisticRegression(), LogisticRegression(C=2)


def test_each_has_its_name_and_its_grid() -> None:
    found = compared({"one": ONE, "two": TWO}, {"two": {"C": [1.0]}}, Asked(param_grid={"tol": [1e-4]}))
    assert [(each.name, each.title, each.grid) for each in found] == [
        ("one", "one", {"tol": [1e-4]}),
        ("two", "two", {"C": [1.0]}),
    ]
    unnamed = compared([ONE, "svm"], {"LogisticRegression": {"C": [1.0]}}, Asked())
    assert (unnamed[0].title, unnamed[0].grid) == (None, {"C": [1.0]})


@pytest.mark.parametrize(
    ("estimators", "grids", "match"),
    [
        ({"one": ONE}, {"onee": {"C": [1.0]}}, "'onee' is none of the estimators; .* Did you mean 'one'"),
        (
            [ONE],
            {"one": {"C": [1.0]}},
            "'one' is none of the estimators; expected some of 'LogisticRegression'",
        ),
        ({"one": ONE}, {"one": {"c": [1.0]}}, "no parameter 'c'"),
        ([ONE, TWO], None, "two are named 'LogisticRegression'"),
        ({"one": ONE, "two": Ridge()}, None, "'two' is a regressor and 'one' a classifier"),
        ({"one": LogisticRegression}, None, "is a class"),
        ({}, None, "expected estimators by name"),
        ("svm", None, "expected estimators by name"),
        (ONE, None, "expected estimators by name"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_fitted(
    estimators: Any, grids: Any, match: str
) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(ParameterError, match=match):
        compare(estimators, X, ["a", "b"] * 20, param_grids=grids, n_bootstrap=100)


def test_one_name_for_all_is_refused() -> None:
    with pytest.raises(ParameterError, match="name='x' would be that of all"):
        compare([ONE], np.zeros((4, 1)), ["a", "b"] * 2, name="x")
