"""Labels, targets, groups and parts as they are given, checked for everything that evaluates.

Invariant: what is missing, in whatever form libraries have for it, is never taken for a value. Masked arrays keep their mask.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import type_of_target

from featx.errors import DatasetError

__all__ = [
    "check_groups",
    "check_labels",
    "check_length",
    "check_parts",
    "check_positions",
    "check_target",
]

_LARGEST_TARGET = 1e150  # the squares of larger numbers, and sums of them, overflow


def check_length(values: Any, n_samples: int, what: str) -> None:
    """Refuse what is not one value a sample, without looking at the values.

    Raises
    ------
    DatasetError
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
        raise DatasetError(
            f"{what}: expected a list or an array, one a sample; found {type(values).__name__}. list(...) makes one of what can "
            "only be gone through once."
        )
    if len(values) != n_samples:
        raise DatasetError(f"{what}: {len(values)} labels for {n_samples} samples. Give one a sample.")


def check_labels(y: ArrayLike | Sequence[Any]) -> NDArray[Any]:
    """Labels as an array of shape (n_samples,), of strings where they were objects.

    Raises
    ------
    DatasetError
        Empty, not one label a sample, missing (None, NaN, blank, masked), of mixed types, no strings or whole numbers, or of one
        class only.
    """
    labels = _column(y, "labels")
    values = [value.item() if isinstance(value, np.generic) else value for value in labels.tolist()]
    kinds = {type(value).__name__ for value in values}
    if len(kinds) > 1:
        raise DatasetError(
            f"labels: of several types ({', '.join(sorted(kinds))}). Make them all strings, or all whole numbers."
        )
    if not isinstance(values[0], str | bool | int | float):
        raise DatasetError(
            f"labels: of type {kinds.pop()}, the first is {values[0]!r}. Give strings or whole numbers; bytes become strings by "
            "decode()."
        )
    if labels.dtype == object:
        labels = np.asarray(labels.tolist())
    if type_of_target(labels) not in ("binary", "multiclass"):
        raise DatasetError(
            f"labels: numbers like {labels[0]} do not name classes. Give strings or whole numbers, or cut them into ranges."
        )
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DatasetError(
            f"labels: all {len(labels)} are {str(classes[0])!r}, and a classifier needs 2 classes. Add samples of another."
        )
    return labels


def check_positions(y: ArrayLike | Sequence[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Labels as positions in the classes of a finished model, shape (n_samples,).

    Raises
    ------
    DatasetError
        Missing, or a label that the model does not know.
    """
    known = {label: i for i, label in enumerate(classes.tolist())}
    labels = _column(y, "y").tolist()
    odd = next((label for label in labels if not isinstance(label, Hashable)), None)
    if odd is not None:
        raise DatasetError(
            f"y: expected a label a sample, found {type(odd).__name__}. Give strings or numbers."
        )
    unknown = sorted({repr(label) for label in labels if label not in known})
    if unknown:
        raise DatasetError(
            f"y: {', '.join(unknown[:5])} did not occur in training, which knows {', '.join(map(repr, list(known)[:10]))}. Leave "
            "their samples out."
        )
    return np.asarray([known[label] for label in labels], dtype=np.intp)


def check_target(y: ArrayLike | Sequence[Any]) -> NDArray[np.float64]:
    """The target of a regression as float64, shape (n_samples,).

    Raises
    ------
    DatasetError
        Empty, missing, no numbers, not finite, or so large that their squares are not.
    """
    values = _column(y, "y")
    try:
        target = np.asarray(values.tolist(), dtype=np.float64)
    except (TypeError, ValueError):
        raise DatasetError(
            "y: a regressor needs numbers, and these are none. Use a classifier for labels."
        ) from None
    if not np.isfinite(target).all():
        raise DatasetError(
            f"y: {int((~np.isfinite(target)).sum())} of {len(target)} are infinite. Leave those samples out."
        )
    largest = float(np.abs(target).max())
    if largest > _LARGEST_TARGET:
        raise DatasetError(
            f"y: holds numbers as large as {largest:.3g}, whose squares overflow; expected at most {_LARGEST_TARGET:g}. "
            "Give them in a larger unit."
        )
    return target


def check_groups(groups: ArrayLike | Sequence[Any], n_samples: int) -> NDArray[np.intp]:
    """Groups as whole numbers from 0, of shape (n_samples,).

    Raises
    ------
    DatasetError
        Not one group a sample, missing (None, NaN, blank, masked), or no names.
    """
    values = _column(groups, "groups")
    if len(values) != n_samples:
        raise DatasetError(f"groups: {len(values)} for {n_samples} labels. Give one group a sample.")
    names = values.tolist()
    try:
        distinct = sorted(
            set(names)
        )  # in this order the folds are those that scikit-learn makes of the names themselves
    except TypeError:  # names of several types have no order, which does no harm
        try:
            distinct = list(dict.fromkeys(names))
        except TypeError:
            kinds = ", ".join(sorted({type(name).__name__ for name in names}))
            raise DatasetError(
                f"groups: expected names or numbers, found {kinds}, which cannot be told equal. Give strings."
            ) from None
    numbers = {name: i for i, name in enumerate(distinct)}
    return np.asarray([numbers[name] for name in names], dtype=np.intp)


def check_parts(split: ArrayLike | Sequence[Any], n_samples: int) -> NDArray[np.str_]:
    """The part of a split that each sample is in, shape (n_samples,); ``""`` where it is in none, or that is missing.

    Blanks around a name are not part of it.

    Raises
    ------
    DatasetError
        Not one a sample, or two parts whose names differ in nothing but upper and lower case.
    """
    array = _flat(split, "split")
    if len(array) != n_samples:
        raise DatasetError(
            f'split: {len(array)} for {n_samples} samples. Give one a sample, "" where it is not used.'
        )
    parts = ["" if _is_missing(value) else str(value).strip() for value in array.tolist()]
    by_fold: dict[str, str] = {}
    for part in parts:
        other = by_fold.setdefault(part.casefold(), part)
        if other != part:
            raise DatasetError(
                f"split: has the parts {other!r} and {part!r}, which differ in upper and lower case alone. Write them alike."
            )
    return np.asarray(parts, dtype=np.str_)


def _column(values: ArrayLike | Sequence[Any], what: str) -> NDArray[Any]:
    array = _flat(values, what)
    if not len(array):
        raise DatasetError(f"{what}: there are none. Give at least two samples of each of two classes.")
    missing = [i for i, value in enumerate(array.tolist()) if _is_missing(value)]
    if missing:
        raise DatasetError(
            f"{what}: {len(missing)} of {len(array)} are missing, the first at index {missing[0]}. Fill them in, or leave those "
            "samples out."
        )
    return array


def _flat(values: ArrayLike | Sequence[Any], what: str) -> NDArray[Any]:
    """The values as an array of shape (n,); masked ones as None."""
    if isinstance(values, np.ma.MaskedArray):
        array = values.data
        if np.ma.is_masked(values):
            array = array.astype(object)
            array[np.ma.getmaskarray(values)] = None
    else:
        # A list of strings and NaN would become strings, "nan" among them: lists are looked at as they are.
        array = np.asarray(values) if hasattr(values, "dtype") else np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise DatasetError(
            f"{what}: expected shape (n_samples,), found {array.shape}. Give one a sample, in a flat list."
        )
    return array


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return True
    # pandas' NA and NaT compare with nothing; pandas itself need not be here.
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, str) and not value.strip())
