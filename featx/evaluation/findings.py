"""What is there twice or on both sides, and what folds keep together because of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.leaks import Leak, content_groups, copy_leaks, group_leaks, near_copy_leaks
from featx.evaluation.near_copies import NearCopies, fold_units, near_copies
from featx.evaluation.overlap import TRAINED_ON, overlap_leaks, trained_on
from featx.evaluation.subjects import Subject
from featx.store.digest import Keys

__all__ = ["Findings", "find_leaks"]

_MENDED = ("copy across groups", "near-copy across groups")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What stays together, and what leaks.

    Parameters
    ----------
    given_units, units : ndarray of int, shape (n,)
        What folds keep together: as the data say (groups, else samples), and with copies joined to it. Counted from 0.
    given_words, words : str
        What a unit is, in words.
    leaks : tuple of Leak
        As the data are, without what the model knows.
    kept : tuple of Leak
        What folds by `units` do away with: copies and near-copies that they keep together.
    looked_for : tuple of str
        Kinds of leaks that the data allow to look for.
    trained : ndarray of bool, shape (n,), or None
        Which samples a finished model was trained on; None where that is not known.
    given_overlap, overlap : tuple of Leak
        These in words, with the rest of their units.
    """

    given_units: NDArray[np.intp]
    units: NDArray[np.intp]
    given_words: str
    words: str
    leaks: tuple[Leak, ...]
    kept: tuple[Leak, ...]
    looked_for: tuple[str, ...]
    trained: NDArray[np.bool_] | None = None
    given_overlap: tuple[Leak, ...] = ()
    overlap: tuple[Leak, ...] = ()

    def under(self, on_leak: str) -> Findings:
        """What is left to report where copies are kept together (``"group"``), or are not; what the model knows first."""
        if on_leak == "group":
            left = tuple(leak for leak in self.leaks if leak.kind not in _MENDED)
            return replace(self, leaks=self.overlap + left)
        leaks = self.given_overlap + self.leaks
        return replace(self, units=self.given_units, words=self.given_words, leaks=leaks, kept=())


def find_leaks(subject: Subject, *, training_keys: Keys | None = None, verbose: bool) -> Findings:
    """Look for groups, copies and near-copies that are where they should not be.

    Parameters
    ----------
    subject : Subject
    training_keys : ndarray of uint8, shape (m, 16), optional
        Content digests of the samples that a finished model was trained on: first of all it is said which these are.
    verbose : bool
        Show progress.
    """
    n = len(subject.y)
    given = np.arange(n) if subject.groups is None else subject.groups
    noun = "groups" if subject.groups is not None else "samples"
    near = _near(subject, verbose)
    units = fold_units(subject.groups, subject.keys, near, n) if subject.keys is not None else given
    labels = subject.y if subject.classes is None else subject.classes[subject.y]
    known: dict[str, Any] = {
        "names": subject.names,
        "labels": labels if subject.classes is not None else None,
        "groups": subject.groups,
        "split": subject.split,
    }
    leaks: tuple[Leak, ...] = ()
    trained = None
    if training_keys is not None and subject.keys is not None:
        trained = trained_on(subject.keys, training_keys, subject.split)
    if subject.groups is not None and subject.split is not None:
        leaks += group_leaks(subject.groups, subject.split)
    if subject.keys is not None:
        leaks += copy_leaks(subject.keys, **known)
    if near is not None:
        leaks += near_copy_leaks(near.pairs, near.clusters, keys=subject.keys, **known)
    n_units = len(np.unique(units))
    return Findings(
        given_units=given,
        units=units,
        given_words=noun,
        words=noun if n_units == len(np.unique(given)) else f"{noun}, those with copies of each other as one",
        leaks=leaks + _left_apart(near, units),
        kept=tuple(_kept(subject, near, leaks)) if subject.split is None else (),
        looked_for=(*((TRAINED_ON,) if trained is not None else ()), *_looked_for(subject)),
        trained=trained,
        given_overlap=_overlap(subject, trained, given),
        overlap=_overlap(subject, trained, units),
    )


def _overlap(
    subject: Subject, trained: NDArray[np.bool_] | None, units: NDArray[np.intp]
) -> tuple[Leak, ...]:
    if trained is None:
        return ()
    return overlap_leaks(trained, units, names=subject.names, split=subject.split)


def _near(subject: Subject, verbose: bool) -> NearCopies | None:
    if subject.modality is None or subject.keys is None:
        return None
    return near_copies(
        subject.vectors,
        subject.samples,
        modality=subject.modality,
        keys=subject.keys,
        groups=subject.groups,
        preprocess=subject.preprocess,
        verbose=verbose,
    )


def _kept(subject: Subject, near: NearCopies | None, leaks: tuple[Leak, ...]) -> Iterable[Leak]:
    """What units of copies keep on one side of a fold, in words."""
    if subject.groups is not None:
        for leak in leaks:
            if leak.kind in _MENDED:
                found, _, _ = leak.message.partition(": a fold may test")
                yield replace(leak, message=f"{found}: kept together in folds.")
        return
    copies = None if subject.keys is None else content_groups(subject.keys)
    if copies is not None:
        _, first, counts = np.unique(copies, return_index=True, return_counts=True)
        twice = first[counts > 1]
        other = int(np.flatnonzero(copies == copies[twice[0]])[1])
        yield Leak(
            kind="copy",
            n=len(twice),
            message=f"{len(twice)} sample(s) occur more than once, for example {subject.names[twice[0]]} and "
            f"{subject.names[other]}: kept together in folds.",
        )
    if near is not None and len(near) > near.n_apart:
        tied = near.pairs[near.clusters[near.pairs[:, 0]] == near.clusters[near.pairs[:, 1]]]
        yield Leak(
            kind="near-copy",
            n=len(tied),
            message=f"{len(tied)} pair(s) of near-copies, for example {subject.names[tied[0, 0]]} and "
            f"{subject.names[tied[0, 1]]}: kept together in folds.",
        )


def _left_apart(near: NearCopies | None, units: NDArray[np.intp]) -> tuple[Leak, ...]:
    """Near-copies that folds do not keep together: joined to the groups they are in, they would be too many."""
    n_apart = 0 if near is None else int((units[near.pairs[:, 0]] != units[near.pairs[:, 1]]).sum())
    if not n_apart:
        return ()
    return (
        Leak(
            kind="near-copies in chains",
            n=n_apart,
            message=f"{n_apart} pair(s) of near-copies form chains too large to keep on one side of a fold, and are apart: "
            "a fold may test what it learned. Give groups that say what belongs together.",
        ),
    )


def _looked_for(subject: Subject) -> Iterable[str]:
    copies, near = subject.keys is not None, subject.keys is not None and subject.modality is not None
    grouped, split, labelled = (
        subject.groups is not None,
        subject.split is not None,
        subject.classes is not None,
    )
    for kind, possible in (
        ("group across split", grouped and split),
        ("copy across split", copies and split),
        ("copy across groups", copies and grouped),
        ("copy with another label", copies and labelled),
        ("near-copy across split", near and split),
        ("near-copy across groups", near and grouped),
        ("near-copy with another label", near and labelled),
    ):
        if possible:
            yield kind
