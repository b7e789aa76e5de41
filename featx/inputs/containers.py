"""X turned into one sequence of values, in X's order, whatever container scikit-learn, pandas, polars or pyarrow hand over.

Knows nothing of what the values are: each is given to a check, which returns the sample that it is or raises. What could be read
in two ways is refused with the way to say it. pandas and polars are not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import InputError, SampleError

__all__ = ["Wanted", "collect", "is_missing_value", "kept", "n_masked", "refuse_empty"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller takes for samples.

    Parameters
    ----------
    kinds : str
        In words, for messages: ``"paths, bytes, PIL images or uint8 arrays"``.
    step : str
        The estimator and a column of it, for the advice on frames of several columns.
    check : callable
        A list or tuple of values, and whether errors are kept, to the sequence of samples.
    """

    kinds: str
    step: str
    check: Callable[[Sequence[Any], bool], Sequence[Any]]


def collect(X: Any, wanted: Wanted, keep_errors: bool) -> Sequence[Any]:
    """The samples of a container that is no numeric array and no single sample.

    Raises
    ------
    InputError
        If X is an iterator or a lazy frame, has several columns or masked entries, or is no container.
    SampleError
        From the check.
    """
    if isinstance(X, np.ndarray):
        return _from_array(X, wanted, keep_errors)
    if isinstance(X, Sequence):
        return wanted.check(X if isinstance(X, list | tuple) else list(X), keep_errors)
    if isinstance(X, Iterator | Set | Mapping):
        raise InputError(
            f"X is a {type(X).__name__}, which cannot be read twice in one order: give list(X) of {wanted.kinds}."
        )
    if type(X).__name__ == "LazyFrame":  # asking it for its columns would already compute
        raise InputError("X is a LazyFrame, which holds no samples yet: give X.collect().")
    columns = _columns(X)
    if columns is not None:
        if len(columns) != 1:
            raise _several_columns(columns, wanted)
        return _from_series(X[columns[0]], wanted, keep_errors)
    if hasattr(X, "to_numpy"):
        return _from_series(X, wanted, keep_errors)
    hint = " Give its samples: X.samples." if hasattr(X, "samples") else ""
    raise InputError(
        f"X is a {type(X).__name__}: expected a list, array, Series or one-column frame of {wanted.kinds}.{hint}"
    )


def refuse_empty(samples: Sequence[Any]) -> None:
    """Raise InputError where there is no sample."""
    if len(samples) == 0:
        raise InputError("X is empty: expected at least one sample.")


def kept(check: Callable[[Any, int], Any], value: Any, index: int, keep_errors: bool) -> Any:
    """What a check returns, or the error that it raises where errors are kept."""
    try:
        return check(value, index)
    except SampleError as error:
        if not keep_errors:
            raise
        return error


def n_masked(array: np.ndarray) -> int:
    """Masked entries of an array; 0 of one that is not a masked array."""
    return int(np.ma.count_masked(array)) if isinstance(array, np.ma.MaskedArray) else 0


def is_missing_value(value: Any) -> bool:
    """None, NaN of any float type, pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _from_array(array: np.ndarray, wanted: Wanted, keep_errors: bool) -> Sequence[Any]:
    masked = n_masked(array)
    if masked:
        raise InputError(
            f"X is a masked array with {masked:,} masked entries: give X.compressed() to drop them, or None in their places."
        )
    array = np.ma.getdata(array)
    if array.dtype.kind == "S":
        raise InputError(
            'X is an array of fixed-width bytes: for strings give numpy.char.decode(X, "utf-8"); for encoded images, a list.'
        )
    if array.dtype.kind not in "OUT":  # T is numpy's StringDType
        raise InputError(
            f"X is a {array.dtype} array of shape {array.shape}: expected a list, array, Series or one-column frame of "
            f"{wanted.kinds}."
        )
    if array.ndim == 2 and array.shape[1] != 1:
        raise _several_columns(range(array.shape[1]), wanted)
    if array.ndim not in (1, 2):
        raise InputError(
            f"X is an array of objects of shape {array.shape}: expected (n,) or (n, 1) of {wanted.kinds}."
        )
    return wanted.check(array.ravel().tolist(), keep_errors)


def _from_series(series: Any, wanted: Wanted, keep_errors: bool) -> Sequence[Any]:
    # pandas says tolist, polars to_list, pyarrow to_pylist
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(series, method):
            return wanted.check(getattr(series, method)(), keep_errors)
    return _from_array(np.asarray(series.to_numpy()), wanted, keep_errors)


def _columns(X: Any) -> list[Any] | None:
    """Column names of a pandas, polars or pyarrow frame; None where X is none."""
    names = getattr(X, "column_names", None)
    if names is None:
        names = getattr(X, "columns", None)
    # A pandas Series has its labels as attributes, and one of them may be "columns".
    return None if names is None or callable(names) or isinstance(names, str) else list(names)


def _several_columns(columns: Sequence[Any] | Any, wanted: Wanted) -> InputError:
    names = ", ".join(map(str, columns)) or "none"
    return InputError(
        f"X has {len(columns)} columns ({names}), expected one column of samples. To use one beside others: "
        f'ColumnTransformer([({wanted.step}), ("table", "passthrough", [...])]).'
    )
