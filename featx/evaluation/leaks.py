"""Leaks between what a head learns from and what it is judged on, found before anybody believes the figures.

Owns what is said of them: a group on both sides of a split, and a copy on both sides, in another group, or with another label. A
copy is a sample with the same content digest; near-copies are found in ``near_copies.py``. Nothing is removed here: a leak is
reported, with its number and an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.store.digest import Keys, digest_text

__all__ = ["TRAIN", "Leak", "content_groups", "copy_leaks", "group_leaks", "in_training", "near_copy_leaks"]

TRAIN = "train"
"""The part of a split that heads are compared and fitted on; every other named part is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One way in which figures may flatter.

    Parameters
    ----------
    kind : str
        "group across split"; "copy" or "near-copy", and "across split", "across groups" or "with another label".
    n : int
        How many groups, distinct samples, or pairs of near-copies; of near-copies across a split, held-out samples.
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

    Empty texts are no copies of each other here: there is nothing in them that could be learned or mislabelled.

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
    empty = np.flatnonzero((np.asarray(keys) == np.frombuffer(digest_text(""), dtype=np.uint8)).all(axis=1))
    copies[empty] = len(copies) + np.arange(len(empty))
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


def in_training(split: ArrayLike, units: NDArray[np.intp], pairs: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which held-out samples are in the training part too, as they are or nearly so.

    Parameters
    ----------
    split : array-like of shape (n,)
    units : ndarray of int, shape (n,)
        Samples with one number are copies or near-copies of each other.
    pairs : ndarray of int, shape (p, 2)
        Near-copies, also those whose units were kept apart.

    Returns
    -------
    ndarray of bool, shape (n,)
        False in the training part itself.
    """
    trained = np.asarray(split) == TRAIN
    seen = np.isin(units, units[trained])
    for one, other in ((0, 1), (1, 0)):
        seen[pairs[trained[pairs[:, one]], other]] = True
    return seen & ~trained


def near_copy_leaks(
    pairs: NDArray[np.intp],
    units: NDArray[np.intp],
    *,
    names: Sequence[str],
    keys: Keys | None = None,
    labels: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    split: ArrayLike | None = None,
) -> tuple[Leak, ...]:
    """Near-copies that are where they should not be.

    Parameters
    ----------
    pairs : ndarray of int, shape (p, 2)
        Positions of near-copies, the surest first; an example is the first that is a finding.
    units : ndarray of int, shape (n,)
        Samples with one number are copies or near-copies of each other.
    names : sequence of str
        For messages.
    keys : ndarray of uint8, shape (n, 16), optional
        Content digests. Held-out samples of which exact copies are in training are not counted here: :func:`copy_leaks` does.
    labels, groups, split : array-like of shape (n,), optional
        As in :func:`copy_leaks`.

    Returns
    -------
    tuple of Leak
        Of each kind at most one, and a held-out part.
    """
    if not len(pairs):
        return ()
    n = len(units)
    parts = np.full(n, TRAIN) if split is None else np.asarray(split)
    contents = None if keys is None else content_groups(keys)
    leaks = []
    nearly = in_training(parts, units, pairs)
    if contents is not None:
        nearly &= ~np.isin(contents, contents[parts == TRAIN])
    for part in _held_out(parts):
        of_part = np.flatnonzero(nearly & (parts == part))
        if len(of_part):
            i, j = _nearest_example(pairs, units, parts, of_part)
            n_found = len(of_part)
            has = (
                f"sample of {part} has a near-copy" if n_found == 1 else f"samples of {part} have near-copies"
            )
            leaks.append(
                Leak(
                    kind="near-copy across split",
                    n=n_found,
                    message=f"{n_found} {has} in {TRAIN}, for example {names[i]} and {names[j]}: the scores on {part} count "
                    "what was learned. Look at them, and remove the copies.",
                )
            )
    trained = pairs[(parts[pairs] == TRAIN).all(axis=1)]
    if groups is not None:
        of = np.asarray(groups)
        found = trained[of[trained[:, 0]] != of[trained[:, 1]]]
        if len(found):
            leaks.append(
                Leak(
                    kind="near-copy across groups",
                    n=len(found),
                    message=f"{_pairs(len(found), 'in different groups')}, for example {_words_of_pair(found[0], names, of)}: a "
                    "fold may test what it learned. Look at them; remove the copies, or give them one group.",
                )
            )
    if labels is not None:
        known = np.asarray(labels)
        found = pairs[known[pairs[:, 0]] != known[pairs[:, 1]]]
        if len(found):
            leaks.append(
                Leak(
                    kind="near-copy with another label",
                    n=len(found),
                    message=f"{_pairs(len(found), 'there with different labels')}, for example "
                    f"{_words_of_pair(found[0], names, known)}. Look at them, and correct the label or remove the copy.",
                )
            )
    return tuple(leaks)


def _nearest_example(
    pairs: NDArray[np.intp], units: NDArray[np.intp], parts: NDArray[Any], of_part: NDArray[np.intp]
) -> tuple[int, int]:
    """A held-out sample and one of training: a pair of near-copies, or else two that a chain of them ties."""
    for one, other in ((0, 1), (1, 0)):
        direct = pairs[np.isin(pairs[:, one], of_part) & (parts[pairs[:, other]] == TRAIN)]
        if len(direct):
            return int(direct[0, other]), int(direct[0, one])
    held_out = int(of_part[0])
    return int(np.flatnonzero((units == units[held_out]) & (parts == TRAIN))[0]), held_out


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
    return _words_of_pair(next(iter(pairs.values())), names, values)


def _words_of_pair(
    pair: Sequence[int] | NDArray[np.intp], names: Sequence[str], values: NDArray[Any] | None = None
) -> str:
    return " and ".join(names[i] if values is None else f"{names[i]} ({str(values[i])!r})" for i in pair)


def _pairs(n: int, tail: str) -> str:
    return f"1 pair of near-copies is {tail}" if n == 1 else f"{n} pairs of near-copies are {tail}"


def _count(n: int, noun: str, tail: str = "") -> str:
    return f"1 {noun} is {tail}".rstrip() if n == 1 else f"{n} {noun}s are {tail}".rstrip()
