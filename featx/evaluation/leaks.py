"""Leaks between what a head learns from and what it is judged on, found before anybody believes the figures.

Owns what is said of them: a group on both sides of a split, and a copy on both sides, in another group, or with another label. A
copy is a sample with the same content digest; near-copies have ``near_leaks.py``. Nothing is removed here: a leak is reported,
with its number, some examples, and where all of its samples stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.store.digest import Keys, digest_text

__all__ = [
    "GROUP_ACROSS_SPLIT",
    "MIXED_GROUPS",
    "TRAIN",
    "Leak",
    "content_groups",
    "copies_of",
    "copy_leaks",
    "group_leaks",
    "held_out_parts",
    "mixed_groups",
    "numbered",
    "worded",
    "words_of_pair",
]

TRAIN = "train"
"""The part of a split that heads are compared and fitted on; every other named part is held out."""

GROUP_ACROSS_SPLIT = "group across split"
"""Kind of the leak that can be told before inference."""

MIXED_GROUPS = "group with several labels"
"""Kind of a finding that flatters nothing: some data are made so, in others a label is wrong."""

_SHOWN = 3  # examples that a message lists


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
        The finding with up to three examples, which name samples and groups, and what to do.
    anonymous : str
        The same without the examples; empty where there is none.
    samples : tuple of tuple of int
        Positions among the samples looked at, `n` tuples: all copies of a sample, the two of a pair of near-copies, a held-out
        sample behind its near-copy in training, of a group one sample on each side.
    labels : tuple of tuple of str
        Of kinds that are about labels, the label of each of ``samples``.
    """

    kind: str
    n: int
    message: str
    anonymous: str = ""
    samples: tuple[tuple[int, ...], ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        return self.message

    def to_dict(
        self,
        *,
        rows: Sequence[int] | NDArray[np.intp] | None = None,
        places: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Plain values; nothing that names a sample or a group unless names are given.

        Parameters
        ----------
        rows : sequence of int, optional
            The row of each position in the data as they were given; None takes positions for rows.
        places : sequence of str, optional
            Where a table lists each position's sample.
        names : sequence of str, optional
            Of the samples, by position. With them the message goes along.

        Returns
        -------
        dict
            ``kind``, ``n`` and ``rows``; and, where known, ``labels``, ``places``, ``names`` and ``message``.
        """

        def each(values: Any) -> list[list[Any]]:
            return [[values[i] for i in found] for found in self.samples]

        plain: dict[str, Any] = {"kind": self.kind, "n": self.n}
        plain["rows"] = [[i if rows is None else int(rows[i]) for i in found] for found in self.samples]
        if self.labels:
            plain["labels"] = [list(found) for found in self.labels]
        if places is not None:
            plain["places"] = each(places)
        if names is not None:
            plain |= {"names": each(names), "message": self.message}
        return plain

    def at(self, positions: Sequence[int] | NDArray[np.intp]) -> Leak:
        """The leak as one of other data, in which the samples looked at have these positions."""
        moved = tuple(tuple(int(positions[i]) for i in found) for found in self.samples)
        return replace(self, samples=moved)


def worded(
    kind: str,
    found: str,
    advice: str,
    examples: Sequence[str],
    *,
    samples: Iterable[Sequence[int]],
    labels: NDArray[Any] | None = None,
    n: int | None = None,
) -> Leak:
    """A leak with its message, in which the first examples stand between what was found and what to do.

    Parameters
    ----------
    kind, found : str
    advice : str
        With the mark that it begins with: ``": the scores ..."`` or ``". Correct ..."``.
    examples : sequence of str
        Of which the first three are shown.
    samples : iterable of sequences of int
        See :class:`Leak`.
    labels : ndarray of shape (n_samples,), optional
        For kinds that are about labels.
    n : int, optional
        None counts ``samples``.
    """
    positions = tuple(tuple(int(i) for i in each) for each in samples)
    return Leak(
        kind=kind,
        n=len(positions) if n is None else n,
        message=f"{found}, for example {'; '.join(examples[:_SHOWN])}{advice}",
        anonymous=f"{found}{advice}",
        samples=positions,
        labels=() if labels is None else tuple(tuple(str(labels[i]) for i in each) for each in positions),
    )


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
    for part in held_out_parts(parts):
        first = {name: _firsts(of, parts == name) for name in (TRAIN, part)}
        both = sorted(set(first[TRAIN]) & set(first[part]), key=str)
        if both:
            leaks.append(
                worded(
                    GROUP_ACROSS_SPLIT,
                    f"{numbered(len(both), 'group')} in both {TRAIN} and {part}",
                    f": the scores on {part} are not those of unseen groups. Split by group, or pass ignore_split=True.",
                    [repr(group) for group in both],
                    samples=[(first[TRAIN][group], first[part][group]) for group in both],
                )
            )
    return tuple(leaks)


def mixed_groups(groups: ArrayLike, labels: ArrayLike, *, names: Sequence[str]) -> Leak | None:
    """Groups whose samples do not all have one label; None where every group has.

    Slices of a patient with two diagnoses are likely a mistake; cells cut from one picture are not. So this is said, and is no
    warning.

    Parameters
    ----------
    groups, labels : array-like of shape (n,)
    names : sequence of str
        For messages.
    """
    of, known = np.asarray(groups), np.asarray(labels)
    codes = np.unique(of, return_inverse=True)[1].reshape(-1)
    pairs = _parted(codes, known, np.arange(len(codes)))
    if not pairs:
        return None
    holds = "1 group holds" if len(pairs) == 1 else f"{len(pairs)} groups hold"
    return worded(
        MIXED_GROUPS,
        f"{holds} samples of several labels",
        ". Correct the labels, where a group should have one.",
        [f"{str(of[i])!r}: {words_of_pair((i, j), names, known)}" for i, j in pairs.values()],
        samples=list(pairs.values()),
        labels=known,
    )


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
    for part in held_out_parts(parts):
        among = np.flatnonzero((parts == TRAIN) | (parts == part))
        pairs = _parted(copies, parts, among)
        if pairs:
            leaks.append(
                worded(
                    "copy across split",
                    f"{numbered(len(pairs), 'sample')} in both {TRAIN} and {part}",
                    f": the scores on {part} count what was learned. Remove the copies.",
                    [words_of_pair(pair, names) for pair in pairs.values()],
                    samples=copies_of(copies, pairs, among),
                )
            )
    if groups is not None:
        of, among = np.asarray(groups), np.flatnonzero(parts == TRAIN)
        pairs = _parted(copies, of, among)
        if pairs:
            leaks.append(
                worded(
                    "copy across groups",
                    f"{numbered(len(pairs), 'sample')} in several groups",
                    ": a fold may test what it learned. Remove the copies, or give them one group.",
                    [words_of_pair(pair, names, of) for pair in pairs.values()],
                    samples=copies_of(copies, pairs, among),
                )
            )
    if labels is not None:
        known = np.asarray(labels)
        pairs = _parted(copies, known, everything)
        if pairs:
            leaks.append(
                worded(
                    "copy with another label",
                    numbered(len(pairs), "sample", "there with different labels"),
                    ". Correct the label, or remove the copy.",
                    [words_of_pair(pair, names, known) for pair in pairs.values()],
                    samples=copies_of(copies, pairs, everything),
                    labels=known,
                )
            )
    return tuple(leaks)


def copies_of(
    units: NDArray[np.intp], wanted: Iterable[int], among: NDArray[np.intp]
) -> list[tuple[int, ...]]:
    """All positions of each unit that is wanted, of those `among` which are looked at."""
    found: dict[int, list[int]] = {unit: [] for unit in wanted}
    for i in among.tolist():
        if (unit := int(units[i])) in found:
            found[unit].append(i)
    return [tuple(positions) for positions in found.values()]


def held_out_parts(parts: NDArray[Any]) -> list[str]:
    """The held-out parts of a split."""
    return sorted(set(parts.tolist()) - {TRAIN, ""})


def words_of_pair(
    pair: Sequence[int] | NDArray[np.intp], names: Sequence[str], values: NDArray[Any] | None = None
) -> str:
    """``"a.png ('p1') and b.png ('p2')"``: two samples and, where given, their groups or labels."""
    return " and ".join(names[i] if values is None else f"{names[i]} ({str(values[i])!r})" for i in pair)


def numbered(n: int, noun: str, tail: str = "") -> str:
    """``"1 group is"``, ``"2 groups are"``, and what else there is to say.

    Examples
    --------
    >>> numbered(2, "sample", "there with different labels")
    '2 samples are there with different labels'
    """
    return f"1 {noun} is {tail}".rstrip() if n == 1 else f"{n} {noun}s are {tail}".rstrip()


def _firsts(of: NDArray[Any], mine: NDArray[np.bool_]) -> dict[Any, int]:
    """Where each group first stands among some samples."""
    found: dict[Any, int] = {}
    for i in np.flatnonzero(mine).tolist():
        found.setdefault(of[i].item() if hasattr(of[i], "item") else of[i], i)
    return found


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
