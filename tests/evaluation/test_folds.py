"""Folds: a partition, classes on both sides, groups on one; or an error that says why not and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from featx.errors import DatasetError, ParameterError
from featx.evaluation.folds import make_folds, most_folds, regression_folds

# Three folds exist, but StratifiedGroupKFold misses them with random_state=0 and finds them with 1.
AWKWARD_LABELS = [0, 2, 0, 0, 2, 2, 1, 0, 0, 2, 0, 2, 1, 2, 0, 1, 0]
AWKWARD_GROUPS = [4, 6, 3, 6, 0, 4, 2, 0, 4, 3, 0, 2, 6, 0, 6, 7, 0]


def some_labels(n: int = 90) -> np.ndarray:
    return np.random.default_rng(0).choice(["ant", "bee", "wasp"], n, p=[0.6, 0.3, 0.1])


def same_folds(found: Any, expected: Any) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(np.array_equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


def test_without_groups_the_folds_are_scikit_learns() -> None:
    y = some_labels()
    expected = StratifiedKFold(4, shuffle=True, random_state=3).split(y, y)
    assert same_folds(make_folds(y, n_splits=4, random_state=3), expected)


def test_with_groups_the_folds_are_scikit_learns() -> None:
    y = some_labels()
    groups = np.array([f"patient {i}" for i in np.random.default_rng(1).integers(0, 40, len(y))])
    expected = StratifiedGroupKFold(3, shuffle=True, random_state=0).split(y, y, groups)
    assert same_folds(make_folds(y, groups, n_splits=3), expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_folds_part_the_samples_and_keep_classes_and_groups(data: st.DataObject) -> None:
    n = data.draw(st.integers(6, 40))
    y = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    groups = data.draw(st.none() | st.lists(st.integers(0, 15), min_size=n, max_size=n))
    n_splits = data.draw(st.integers(2, 5))
    try:
        folds = make_folds(y, groups, n_splits=n_splits)
    except DatasetError:
        if groups is None:  # the only excuses: one class, or too few samples of one
            assert len(set(y)) == 1 or min(y.count(c) for c in set(y)) < n_splits
        return
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(n))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(n))
        assert {y[i] for i in train} == {y[i] for i in test} == set(y)
        if groups is not None:
            assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_another_seed_is_tried_where_the_first_leaves_a_fold_without_a_class() -> None:
    first = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    y = np.array(AWKWARD_LABELS)
    assert any(len(np.unique(y[test])) < 3 for _, test in first.split(y, y, AWKWARD_GROUPS))
    assert all(len(np.unique(y[test])) == 3 for _, test in make_folds(y, AWKWARD_GROUPS, n_splits=3))


def test_the_seed_decides_the_folds() -> None:
    y = some_labels()
    assert same_folds(make_folds(y), make_folds(y))
    assert not same_folds(make_folds(y), make_folds(y, random_state=1))


def test_the_rarest_class_bounds_the_number_of_folds() -> None:
    y = ["a"] * 9 + ["b"] * 4
    assert most_folds(y) == 4
    assert most_folds(y, [0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 2, 2]) == 2
    assert len(make_folds(y, n_splits=4)) == 4


@pytest.mark.parametrize(
    ("y", "groups", "n_splits", "message"),
    [
        (["ant"] * 10, None, 5, "all 10 are 'ant', and a classifier needs 2 classes"),
        (["ant"] * 10 + ["bee"] * 3, None, 5, "class 'bee' has 3 samples, and 5 folds need 5. Use cv=3"),
        (["ant"] * 10 + ["bee"], None, 5, "class 'bee' has 1 sample, and .* Leave that class out"),
        (["ant", "bee"] * 5, [0, 0, 1, 1, 2, 2, 2, 2, 2, 2], 5, "class 'ant' has 3 groups, .* Use cv=3"),
        (
            ["ant", "bee"] * 5,
            ["p"] * 10,
            2,
            "class 'ant' has 1 group, .* Leave that class out, or add groups",
        ),
        # Each class lies in two of three groups: whichever group is alone in a fold lacks one.
        (
            list("aabbcc"),
            list("xyxzyz"),
            2,
            "in none of 20 divisions into 2 folds .* 3 groups holds 2 of 6 samples",
        ),
        ([], None, 2, "labels: there are none"),
        (["ant", None] * 5, None, 2, "labels: 5 of 10 are missing, the first at index 1"),
        (["ant", float("nan")] * 5, None, 2, "labels: 5 of 10 are missing"),
        (["ant", "bee", " "] * 3, None, 2, "labels: 3 of 9 are missing, the first at index 2"),
        (np.array([1.0, 0.0, np.nan]), None, 2, "labels: 1 of 3 are missing"),
        (pd.Series(["ant", pd.NA, "bee"], dtype="string"), None, 2, "labels: 1 of 3 are missing"),
        (pl.Series(["ant", None, "bee"]), None, 2, "labels: 1 of 3 are missing"),
        (np.array(["ant", 3], dtype=object), None, 2, r"several types \(int, str\)"),
        (np.linspace(0, 1, 20), None, 2, "numbers like 0.0 do not name classes"),
        ([["ant"], ["bee"]], None, 2, r"labels: expected shape \(n_samples,\), found \(2, 1\)"),
        (["ant", "bee"] * 5, [1, 2], 2, "groups: 2 for 10 labels"),
        (["ant", "bee"] * 2, ["p", "p", None, "q"], 2, "groups: 1 of 4 are missing, the first at index 2"),
    ],
)
def test_what_cannot_be_divided_says_why(y: Any, groups: Any, n_splits: int, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_folds(y, groups, n_splits=n_splits)


@pytest.mark.parametrize("n_splits", [1, 0, -1, 2.5, True, "5"])
def test_a_number_of_folds_that_is_none_is_refused(n_splits: Any) -> None:
    with pytest.raises(ParameterError, match="expected a whole number of folds, at least 2"):
        make_folds(["a", "b"] * 5, n_splits=n_splits)


@pytest.mark.parametrize("seed", [-1, None, 2**32, 1.5, "a", True])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    for make in (make_folds, regression_folds):
        with pytest.raises(
            ParameterError, match=r"random_state=.*: expected a whole number, 0 to 4294967295"
        ):
            make([0, 1] * 5, n_splits=2, random_state=seed)


def test_the_last_seed_is_one_also_where_further_ones_are_tried() -> None:
    """The division by the seed itself leaves a fold without a class, so that the seed after the last one is asked for."""
    y, groups = [1, 0, 1, 0, 1, 2, 2, 2, 1, 1], [3, 4, 1, 5, 3, 0, 1, 5, 3, 4]
    folds = make_folds(y, groups, n_splits=2, random_state=2**32 - 1)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(10))
