"""Any container becomes one sequence of its values in its order; what could be read in two ways is refused in words."""

from __future__ import annotations

import array
from collections import UserList, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import InputError, SampleError
from featx.inputs.containers import Wanted, collect, is_missing_value, kept, n_masked, refuse_empty

VALUES = ["b", "a", "ü"]


def as_given(samples: Sequence[Any], keep_errors: bool) -> Sequence[Any]:
    assert isinstance(samples, list | tuple)
    return samples


WANTED = Wanted(kinds="strings", step='"texts", TextFeatures(...), "text"', check=as_given)


class Frame:
    """A one-column frame that is none of the libraries' own, such as cuDF's."""

    column_names = ("text",)

    def __getitem__(self, name: str) -> Any:
        return Column()


class Column:
    """A series that can do nothing but become an array."""

    def to_numpy(self) -> np.ndarray:
        return np.array(VALUES, dtype=object)


@pytest.mark.parametrize(
    "X",
    [
        VALUES,
        tuple(VALUES),
        deque(VALUES),
        UserList(VALUES),
        np.array(VALUES),
        np.array(VALUES, dtype=object),
        np.array(VALUES, dtype=object)[:, None],
        np.array(VALUES, dtype=np.dtypes.StringDType()),
        np.array(VALUES)[::-1][::-1],
        np.asfortranarray(np.array(VALUES)[:, None]),
        np.ma.array(VALUES),
        pd.Series(VALUES),
        pd.Series(VALUES, dtype=object),
        pd.Series(VALUES, dtype="category"),
        pd.Series(VALUES, index=["x", "x", "y"]),
        pd.Series(VALUES, index=["columns", "samples", "column_names"]),
        pd.Index(VALUES),
        pd.array(VALUES, dtype="string"),
        pd.DataFrame({"text": VALUES}),
        pd.DataFrame({("level", 0): VALUES}),
        pd.DataFrame({0: VALUES}, index=[2, 1, 0]),
        pl.Series(VALUES),
        pl.Series("t", VALUES, dtype=pl.Categorical),
        pl.DataFrame({"text": VALUES}),
        Frame(),
        Column(),
    ],
    ids=lambda X: f"{type(X).__module__.split('.')[0]}.{type(X).__name__}",
)
def test_containers_give_their_values_in_order(X: Any) -> None:
    found = collect(X, WANTED, False)
    assert list(found) == VALUES
    assert {type(value) for value in found} == {str}


def test_pyarrow_columns_and_tables_are_read() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    for X in (
        pyarrow.array(VALUES),
        pyarrow.chunked_array([VALUES[:1], VALUES[1:]]),
        pyarrow.table({"t": VALUES}),
    ):
        assert collect(X, WANTED, False) == VALUES


def test_lists_and_tuples_are_not_copied() -> None:
    for X in (VALUES, tuple(VALUES)):
        assert collect(X, WANTED, False) is X


@given(st.lists(st.one_of(st.none(), st.text(), st.floats(), st.binary(), st.booleans()), max_size=20))
def test_objects_stay_what_they_are(values: list[Any]) -> None:
    boxed = np.empty(len(values), dtype=object)
    boxed[:] = values
    for X in (boxed, boxed[:, None], pd.Series(boxed, dtype=object), deque(values)):
        found = collect(X, WANTED, False)
        assert all(a is b for a, b in zip(found, values, strict=True))


def test_missing_values_reach_the_check() -> None:
    for X, kind in (
        (pd.Series(["a", None], dtype="string"), type(pd.NA)),
        (pd.Series(["a", None], dtype=object), type(None)),
        (pl.Series(["a", None]), type(None)),
        (np.array(["a", np.nan], dtype=np.dtypes.StringDType(na_object=np.nan)), float),
    ):
        found = collect(X, WANTED, False)
        assert found[0] == "a"
        assert type(found[1]) is kind
        assert is_missing_value(found[1])


def test_whether_errors_are_kept_reaches_the_check() -> None:
    told = []
    wanted = Wanted(kinds="strings", step="", check=lambda samples, keep: told.append(keep) or samples)
    for keep in (True, False):
        collect(["a"], wanted, keep)
        collect(np.array(["a"]), wanted, keep)
        collect(pd.Series(["a"]), wanted, keep)
    assert told == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("X", "says"),
    [
        (iter(VALUES), r"list_iterator.*give list\(X\) of strings"),
        ((value for value in VALUES), r"generator.*list\(X\)"),
        (set(VALUES), r"set.*list\(X\)"),
        ({"a": 1}, r"dict.*list\(X\)"),
        (pl.LazyFrame({"t": VALUES}), r"X\.collect\(\)"),
        (pd.DataFrame({"a": VALUES, "b": VALUES}), r"2 columns \(a, b\).*TextFeatures\(\.\.\.\)"),
        (pd.DataFrame([VALUES, VALUES], columns=["a", "a", "b"]), r"3 columns \(a, a, b\)"),
        (pd.DataFrame(index=[0, 1]), r"0 columns \(none\)"),
        (pl.DataFrame({"a": VALUES, "b": VALUES}), r"2 columns \(a, b\)"),
        (np.array([VALUES, VALUES], dtype=object), r"3 columns \(0, 1, 2\)"),
        (np.empty((2, 0), dtype=object), r"0 columns"),
        (np.array("text"), r"shape \(\): expected \(n,\) or \(n, 1\) of strings"),
        (np.empty((1, 1, 1), dtype=object), r"shape \(1, 1, 1\)"),
        (np.zeros(3), r"float64 array of shape \(3,\)"),
        (np.array([b"a"]), r"fixed-width bytes.*char\.decode\(X"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), r"datetime64\[D\] array"),
        (np.ma.array(VALUES, mask=[0, 1, 0]), r"1 masked entries.*X\.compressed\(\)"),
        (3, r"X is a int: expected a list, array, Series or one-column frame of strings"),
        (None, "X is a NoneType"),
        (object(), "X is a object"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_single_column_is_refused_in_words(X: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        collect(X, WANTED, False)


def test_a_data_set_is_answered_with_its_samples() -> None:
    class Bunch:
        samples = VALUES

    with pytest.raises(InputError, match=r"Give its samples: X\.samples\."):
        collect(Bunch(), WANTED, False)


def test_other_sequences_are_read_value_by_value() -> None:
    assert collect(array.array("i", [3, 1]), WANTED, False) == [3, 1]
    assert collect(range(2), WANTED, False) == [0, 1]


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        (None, True),
        (float("nan"), True),
        (np.float32("nan"), True),
        (np.float16("nan"), True),
        (pd.NA, True),
        (pd.NaT, True),
        ("", False),
        ("nan", False),
        (0.0, False),
        (np.float64(1), False),
        (float("inf"), False),
        (0, False),
        (b"", False),
        ([], False),
    ],
)
def test_what_counts_as_missing(value: Any, missing: bool) -> None:
    assert is_missing_value(value) is missing


def test_masked_entries_are_counted() -> None:
    assert n_masked(np.ma.array([1, 2, 3], mask=[1, 0, 1])) == 2
    assert n_masked(np.ma.array([1, 2])) == 0
    assert n_masked(np.array([1, 2])) == 0


def test_no_samples_are_refused() -> None:
    for X in ([], (), np.empty(0)):
        with pytest.raises(InputError, match="X is empty"):
            refuse_empty(X)
    refuse_empty([None])


def test_errors_are_kept_in_their_places_or_raised() -> None:
    def check(value: Any, index: int) -> Any:
        if value is None:
            raise SampleError("missing.", index=index)
        return value

    assert kept(check, "a", 0, False) == "a"
    error = kept(check, None, 4, True)
    assert isinstance(error, SampleError)
    assert error.index == 4
    with pytest.raises(SampleError, match="missing"):
        kept(check, None, 4, False)


def test_mistakes_of_a_check_are_not_swallowed() -> None:
    def check(value: Any, index: int) -> Any:
        raise KeyError(value)

    with pytest.raises(KeyError):
        kept(check, "a", 0, True)
