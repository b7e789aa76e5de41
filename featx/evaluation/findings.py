"""What is there twice or on both sides, and what folds keep together because of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.leaks import (
    GROUP_ACROSS_SPLIT,
    TRAIN,
    Leak,
    content_groups,
    copies_of,
    copy_leaks,
    group_leaks,
    mixed_groups,
    worded,
    words_of_pair,
)
from featx.evaluation.near_copies import NearCopies, fold_units, near_copies
from featx.evaluation.near_leaks import left_apart, near_copy_leaks
from featx.evaluation.overlap import TRAINED_ON, overlap_leaks, trained_on, trains_here
from featx.evaluation.subjects import Subject
from featx.store.digest import Keys

__all__ = ["Findings", "find_leaks"]

_MENDED = ("copy across groups", "near-copy across groups")
_TOGETHER = ": kept together in folds."


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
    noted : tuple of Leak
        What flatters nothing and is worth a look: groups whose samples do not all have one label.
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
    noted: tuple[Leak, ...]
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


def find_leaks(
    subject: Subject, *, finished: bool = False, training_keys: Keys | None = None, verbose: bool
) -> Findings:
    """Look for groups, copies and near-copies that are where they should not be.

    Parameters
    ----------
    subject : Subject
    finished : bool
        Whether a finished model is judged: then the part ``train`` of a split is compared with the others where the model was
        trained on some of it, or where nobody knows.
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
    trained = None
    if training_keys is not None and subject.keys is not None:
        trained = trained_on(subject.keys, training_keys, subject.split)
    split = subject.split
    if finished and not trains_here(trained, split):
        split = None
    known: dict[str, Any] = {
        "names": subject.names,
        "labels": None if subject.classes is None else subject.classes[subject.y],
        "groups": subject.group_names,
        "split": split,
    }
    leaks: tuple[Leak, ...] = ()
    if subject.group_names is not None and split is not None:
        leaks += group_leaks(subject.group_names, split)
    if subject.keys is not None:
        leaks += copy_leaks(subject.keys, **known)
    if near is not None:
        leaks += near_copy_leaks(near.pairs, near.clusters, keys=subject.keys, **known)
        leaks += left_apart(near.pairs, units, names=subject.names)
    n_units = len(np.unique(units))
    return Findings(
        given_units=given,
        units=units,
        given_words=noun,
        words=noun if n_units == len(np.unique(given)) else f"{noun}, those with copies of each other as one",
        leaks=leaks,
        kept=tuple(_kept(subject, near, leaks)) if subject.split is None else (),
        noted=_noted(subject),
        looked_for=(*((TRAINED_ON,) if trained is not None else ()), *_looked_for(subject, split)),
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
        labels=None if subject.classes is None else subject.y,
        preprocess=subject.preprocess,
        verbose=verbose,
    )


def _kept(subject: Subject, near: NearCopies | None, leaks: tuple[Leak, ...]) -> Iterable[Leak]:
    """What units of copies keep on one side of a fold, in words."""
    if subject.groups is not None:
        for leak in leaks:
            if leak.kind in _MENDED:
                found, mended = (
                    f"{words.partition(': a fold may test')[0]}: kept together in folds."
                    for words in (leak.message, leak.anonymous)
                )
                yield replace(leak, message=found, anonymous=mended)
        return
    copies = None if subject.keys is None else content_groups(subject.keys)
    if copies is not None:
        units, first, counts = np.unique(copies, return_index=True, return_counts=True)
        twice = units[counts > 1][np.argsort(first[counts > 1])].tolist()
        found_twice = copies_of(copies, twice, np.arange(len(copies)))
        occurs = "1 sample occurs" if len(twice) == 1 else f"{len(twice)} samples occur"
        yield worded(
            "copy",
            f"{occurs} more than once",
            _TOGETHER,
            [words_of_pair(each[:2], subject.names) for each in found_twice],
            samples=found_twice,
        )
    if near is not None and len(near) > near.n_apart:
        tied = near.pairs[near.clusters[near.pairs[:, 0]] == near.clusters[near.pairs[:, 1]]]
        yield worded(
            "near-copy",
            "1 pair of near-copies" if len(tied) == 1 else f"{len(tied)} pairs of near-copies",
            _TOGETHER,
            [words_of_pair(pair, subject.names) for pair in tied],
            samples=tied.tolist(),
        )


def _noted(subject: Subject) -> tuple[Leak, ...]:
    if subject.group_names is None or subject.classes is None:
        return ()
    found = mixed_groups(subject.group_names, subject.classes[subject.y], names=subject.names)
    return () if found is None else (found,)


def _looked_for(subject: Subject, split: NDArray[Any] | None) -> Iterable[str]:
    """Kinds of findings that are possible; `split` is None where no part of it was learned from."""
    copies, near = subject.keys is not None, subject.keys is not None and subject.modality is not None
    grouped, labelled = subject.groups is not None, subject.classes is not None
    # A finding across a split takes a part that was learned from, and another one.
    across = split is not None and len({TRAIN, *split.tolist()} - {""}) > 1 and TRAIN in split.tolist()
    for kind, possible in (
        (GROUP_ACROSS_SPLIT, grouped and across),
        ("copy across split", copies and across),
        ("copy across groups", copies and grouped),
        ("copy with another label", copies and labelled),
        ("near-copy across split", near and across),
        ("near-copy across groups", near and grouped),
        ("near-copy with another label", near and labelled),
    ):
        if possible:
            yield kind
