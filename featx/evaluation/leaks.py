"""Leaks between what a head learns from and what it is judged on, found before anybody believes the figures.

Owns the four that can be seen without looking at an image: a group on both sides of a split, a copy of a sample on both sides, a
copy in another group, and a copy with another label. A copy is a sample with the same content digest. Nothing is removed here:
a leak is reported, with its number and an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.store.digest import Keys

__all__ = ["TRAIN", "Leak", "content_groups", "copy_leaks", "group_leaks"]

TRAIN = "train"
"""The part of a split that heads are compared and fitted on; every other named part is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One way in which figures may flatter.

    Parameters
    ----------
    kind : {"group across split", "copy across split", "copy across groups", "copy with another label"}
        What was found.
    n : int
        How many groups, or distinct samples.
    message : str
        The finding with an example, and what to do.
    """

    kind: str
    n: int
    message: str

    def __str__(self) -> str:
        return self.message


def content_groups(keys: Keys) -> NDArray[np.intp] | None:
    """A number for each distinct sample, so that folds can keep copies together.

    Parameters
    ----------
    keys : ndarray of uint8, shape (n, 16)
        Content digests.

    Returns
    -------
    ndarray of int, shape (n,), or None
        Counted from 0 in order of appearance; None where no sample occurs twice.
    """
    numbers: dict[bytes, int] = {}
    codes = np.asarray([numbers.setdefault(key.tobytes(), len(numbers)) for key in keys], dtype=np.intp)
    return None if len(numbers) == len(codes) else codes


def group_leaks(groups: ArrayLike, split: ArrayLike) -> tuple[Leak, ...]:
    """Groups that are in the training part and in a held-out one.

    Parameters
    ----------
    groups, split : array-like of shape (n,)
        "" in ``split`` is a sample in no part.

    Returns
    -------
    tuple of Leak
        At most one a held-out part.
    """
    of, parts = np.asarray(groups), np.asarray(split)
    leaks = []
    for part in _held_out(parts):
        both = sorted(set(of[parts == TRAIN].tolist()) & set(of[parts == part].tolist()), key=str)
        if both:
            leaks.append(
                Leak(
                    kind="group across split",
                    n=len(both),
                    message=f"{_count(len(both), 'group')} in both {TRAIN} and {part}, for example {both[0]!r}: the scores on "
                    f"{part} are not those of unseen groups. Split by group, or pass ignore_split=True.",
                )
            )
    return tuple(leaks)


def copy_leaks(
    keys: Keys,
    *,
    names: Sequence[str],
    labels: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    split: ArrayLike | None = None,
) -> tuple[Leak, ...]:
    """Copies of a sample that are where they should not be.

    Parameters
    ----------
    keys : ndarray of uint8, shape (n, 16)
        Content digests.
    names : sequence of str
        For messages.
    labels, groups, split : array-like of shape (n,), optional
        What is known of the samples. Copies across groups are looked for in the training part, where folds are made.

    Returns
    -------
    tuple of Leak
        Of each kind at most one, and a held-out part.
    """
    copies = content_groups(keys)
    if copies is None:
        return ()
    everything = np.arange(len(copies))
    parts = np.full(len(copies), TRAIN) if split is None else np.asarray(split)
    leaks = []
    for part in _held_out(parts):
        pairs = _parted(copies, parts, np.flatnonzero((parts == TRAIN) | (parts == part)))
        if pairs:
            leaks.append(
                Leak(
                    kind="copy across split",
                    n=len(pairs),
                    message=f"{_count(len(pairs), 'sample')} in both {TRAIN} and {part}, for example {_example(pairs, names)}: "
                    f"the scores on {part} count what was learned. Remove the copies.",
                )
            )
    if groups is not None:
        of = np.asarray(groups)
        pairs = _parted(copies, of, np.flatnonzero(parts == TRAIN))
        if pairs:
            leaks.append(
                Leak(
                    kind="copy across groups",
                    n=len(pairs),
                    message=f"{_count(len(pairs), 'sample')} in several groups, for example {_example(pairs, names, of)}: a fold "
                    "may test what it learned. Remove the copies, or give them one group.",
                )
            )
    if labels is not None:
        known = np.asarray(labels)
        pairs = _parted(copies, known, everything)
        if pairs:
            leaks.append(
                Leak(
                    kind="copy with another label",
                    n=len(pairs),
                    message=f"{_count(len(pairs), 'sample', 'there with different labels')}, for example "
                    f"{_example(pairs, names, known)}. Correct the label, or remove the copy.",
                )
            )
    return tuple(leaks)


def _held_out(parts: NDArray[Any]) -> list[str]:
    return sorted(set(parts.tolist()) - {TRAIN, ""})


def _parted(
    units: NDArray[np.intp], values: NDArray[Any], among: NDArray[np.intp]
) -> dict[int, tuple[int, int]]:
    """Units whose samples have more than one value: the first sample of each, and its first of another value."""
    of, value = units.tolist(), values.tolist()
    first: dict[int, int] = {}
    found: dict[int, tuple[int, int]] = {}
    for i in among.tolist():
        earlier = first.setdefault(of[i], i)
        if value[earlier] != value[i]:
            found.setdefault(of[i], (earlier, i))
    return found


def _example(
    pairs: dict[int, tuple[int, int]], names: Sequence[str], values: NDArray[Any] | None = None
) -> str:
    pair = next(iter(pairs.values()))
    words = [names[i] if values is None else f"{names[i]} ({str(values[i])!r})" for i in pair]
    return " and ".join(words)


def _count(n: int, noun: str, tail: str = "") -> str:
    return f"1 {noun} is {tail}".rstrip() if n == 1 else f"{n} {noun}s are {tail}".rstrip()
