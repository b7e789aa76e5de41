"""Labels, targets, groups and parts: taken in every form that libraries have, or refused in words; a missing one is no value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from featx.errors import DatasetError
from featx.evaluation.columns import (
    check_groups,
    check_labels,
    check_length,
    check_parts,
    check_positions,
    check_target,
)


@pytest.mark.parametrize(
    "y",
    [
        ["ant", "bee"],
        ("ant", "bee"),
        np.array(["ant", "bee"], dtype=object),
        pd.Series(["ant", "bee"], index=[7, 9]),
        pl.Series(["ant", "bee"]),
        np.ma.MaskedArray(["ant", "bee"], [False, False]),
    ],
)
def test_labels_in_any_column_are_an_array_of_strings(y: Any) -> None:
    labels = check_labels(y)
    assert labels.tolist() == ["ant", "bee"]
    assert labels.dtype.kind in "UT"
    assert not isinstance(labels, np.ma.MaskedArray)


@pytest.mark.parametrize("groups", [["q", "p", "q"], [2, 1, 2], pd.Series(["q", "p", "q"], dtype="category")])
def test_groups_are_numbered_in_sorted_order(groups: Any) -> None:
    assert check_groups(groups, 3).tolist() == [1, 0, 1]


def test_groups_of_several_types_are_numbered_as_they_come() -> None:
    assert check_groups(["q", 1, "q", 2], 4).tolist() == [0, 1, 0, 2]


def test_what_is_masked_is_missing() -> None:
    mask = [False, True, False, False]
    with pytest.raises(DatasetError, match="labels: 1 of 4 are missing, the first at index 1"):
        check_labels(np.ma.MaskedArray(["a", "b", "a", "b"], mask))
    with pytest.raises(DatasetError, match="groups: 1 of 4 are missing, the first at index 1"):
        check_groups(np.ma.MaskedArray([1, 2, 1, 2], mask), 4)
    with pytest.raises(DatasetError, match="y: 1 of 4 are missing"):
        check_target(np.ma.MaskedArray([0.1, 0.2, 0.3, 0.4], mask))
    assert check_parts(np.ma.MaskedArray(["train", "test", "test", "train"], mask), 4)[1] == ""


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([b"ant", b"bee"], "labels: of type bytes, the first is b'ant'"),
        (np.array([b"ant", b"bee"]), "labels: of type bytes"),
        ([1j, 2j], "labels: of type complex"),
        ([{"a": 1}, {"b": 2}], "labels: of type dict"),
        (np.array([0, np.float32("nan")], dtype=object), "labels: 1 of 2 are missing"),
    ],
)
def test_labels_that_are_none_are_refused_in_words(y: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_labels(y)


def test_targets_whose_squares_overflow_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"as large as 1e\+300, whose squares overflow"):
        check_target([1.0, -1e300])
    assert check_target([1.0, -1e150]).tolist() == [1.0, -1e150]
    with pytest.raises(DatasetError, match="needs numbers"):
        check_target([1.0, 1j])


def test_groups_that_cannot_be_told_equal_are_refused() -> None:
    with pytest.raises(DatasetError, match="groups: expected names or numbers, found dict"):
        check_groups([{"a": 1}, {"a": 1}], 2)


@pytest.mark.parametrize(
    "split",
    [
        ["train", None, "test", ""],
        np.array(["train", float("nan"), "test", np.float32("nan")], dtype=object),
        pd.Series(["train", np.nan, "test", ""]),
        pd.Series(["train", pd.NA, "test", " "], dtype="string"),
        pl.Series(["train", None, "test", None]),
        ["train ", "  ", " test", ""],
    ],
)
def test_a_missing_part_is_none_and_blanks_belong_to_no_name(split: Any) -> None:
    assert check_parts(split, 4).tolist() == ["train", "", "test", ""]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (["train", "Train"], "the parts 'train' and 'Train', which differ in upper and lower case"),
        (["train"], "split: 1 for 2 samples"),
        ([["train"], ["test"]], r"split: expected shape \(n_samples,\)"),
    ],
)
def test_a_split_that_cannot_be_meant_is_refused(split: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_parts(split, 2)


@pytest.mark.parametrize("values", [(i for i in range(3)), "abc", 3, np.asarray(3)])
def test_what_has_no_length_is_refused_with_its_type(values: Any) -> None:
    with pytest.raises(DatasetError, match=f"expected a list or an array, .* found {type(values).__name__}"):
        check_length(values, 3, "y")


def test_labels_are_positions_in_what_a_model_knows() -> None:
    classes = np.asarray(["b", "a"])
    assert check_positions(["a", "b", "b"], classes).tolist() == [1, 0, 0]
    with pytest.raises(DatasetError, match="'c' did not occur in training, which knows 'b', 'a'"):
        check_positions(["a", "c"], classes)
    with pytest.raises(DatasetError, match="found dict"):
        check_positions([{"a": 1}], classes)
    with pytest.raises(DatasetError, match=r"expected shape \(n_samples,\)"):
        check_positions([["a"], ["b"]], classes)
    with pytest.raises(DatasetError, match="y: 1 of 2 are missing"):
        check_positions(["a", None], classes)
