"""Which samples a finished model was trained on, what is said of them, and what the parts of the data are called for it.

The invariant: samples are called new only where the content of each was compared with the model's training samples. Exact copies
are found, by their content digests; what was cropped, resized, encoded or written anew is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.leaks import TRAIN, Leak, worded
from featx.store.digest import Keys, digest_text

__all__ = ["NOTHING_NEW", "TRAINED_ON", "overlap_leaks", "part_names", "trained_on", "trains_here"]

TRAINED_ON = "sample in training"
"""Kind of the leak: some samples judged are among those that the model was trained on."""

NOTHING_NEW = "nothing but training samples"
"""Kind of the leak: all samples judged are."""


def trained_on(keys: Keys, training_keys: Keys, split: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """Which samples are among those that a model was trained on.

    Empty texts are not counted, as in :func:`featx.evaluation.leaks.copy_leaks`, unless all others of their part are.

    Parameters
    ----------
    keys : ndarray of uint8, shape (n, 16)
        Content digests of the samples.
    training_keys : ndarray of uint8, shape (m, 16)
        Of the model's training samples.
    split : ndarray of str, shape (n,), optional

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    known, nothing = {key.tobytes() for key in training_keys}, digest_text("")
    listed = [key.tobytes() for key in keys]
    found = np.asarray([key in known for key in listed], dtype=np.bool_)
    empty = np.asarray([key == nothing for key in listed], dtype=np.bool_)
    parts = np.full(len(keys), "") if split is None else split
    for part in set(parts[found & empty].tolist()):
        mine = parts == part
        if not (mine & ~empty).any() or not found[mine & ~empty].all():
            found[mine & empty] = False
    return found


def overlap_leaks(
    trained: NDArray[np.bool_],
    units: NDArray[np.intp],
    *,
    names: Sequence[str],
    split: NDArray[Any] | None = None,
) -> tuple[Leak, ...]:
    """The samples that a finished model was trained on, in words.

    Parameters
    ----------
    trained : ndarray of bool, shape (n,)
    units : ndarray of int, shape (n,)
        What counts as one: with a training sample all of its unit is nothing new.
    names : sequence of str
        For messages.
    split : ndarray of str, shape (n,), optional
        Parts are judged one by one; "" is a sample not judged.

    Returns
    -------
    tuple of Leak
        At most one a part. ``n`` counts samples.
    """
    parts = np.full(len(trained), "all") if split is None else split
    near = np.isin(units, units[trained])
    leaks = []
    for part in sorted(set(parts.tolist()) - {""}):
        mine = parts == part
        of_part = "" if split is None else f" of {part}"
        found = np.flatnonzero(mine & trained)
        n, n_all, n_tied = len(found), int(mine.sum()), int((mine & near & ~trained).sum())
        if not n:
            continue
        if n == n_all:
            kind = NOTHING_NEW
            known = f"the model was trained on every one of these {n_all} samples{of_part}"
            advice = (
                ": the figures tell how well it remembers them, and nothing of what it is worth. Judge it on other "
                "samples."
            )
        else:
            kind = TRAINED_ON
            known = f"the model was trained on {n} of these {n_all} samples{of_part}"
            tied = (
                f" {n_tied} more {'belong' if n_tied > 1 else 'belongs'} with one of them." if n_tied else ""
            )
            left = n_all - n - n_tied
            rest = f"the {left} others, which are" if left > 1 else "the other one, which is"
            what = (
                f"Quote the figures of {rest} given apart."
                if left
                else "None is left to judge it by: take other samples."
            )
            advice = f": figures that count them flatter.{tied} {what}"
        positions = found.tolist()
        examples = [names[i] for i in positions]
        leaks.append(worded(kind, known, advice, examples, samples=[(i,) for i in positions]))
    return tuple(leaks)


def trains_here(trained: NDArray[np.bool_] | None, split: NDArray[Any] | None) -> bool:
    """Whether the part ``train`` of a split is what a finished model was trained on, as far as that is known.

    Parameters
    ----------
    trained : ndarray of bool, shape (n,), or None
        Which samples the model was trained on; None where that is not known.
    split : ndarray of str, shape (n,), or None
    """
    if split is None:
        return False
    mine = split == TRAIN
    return bool(mine.any() if trained is None else (mine & trained).any())


def part_names(
    part: str | None, *, n_samples: int, n_trained: int | None, some_new: bool, n_tied: int = 0
) -> tuple[str, str | None]:
    """What a part of the data is called that a finished model is judged on.

    Parameters
    ----------
    part : str or None
        Its name in the split; None where there is none.
    n_samples : int
        Its samples.
    n_trained : int or None
        Those that the model was trained on; None where that is not known.
    some_new : bool
        Whether a unit is left that holds none of these.
    n_tied : int
        Samples that are not among these and belong with one of them, as near-copies do.

    Returns
    -------
    whole, new : str, str or None
        All of it, and what the model was not trained on, where that is a part of it.

    Examples
    --------
    >>> part_names(None, n_samples=9, n_trained=0, some_new=True)
    ('new samples', None)
    >>> part_names("val", n_samples=9, n_trained=4, some_new=True)
    ('val, as given', 'val, only samples the model has not been trained on')
    >>> part_names("val", n_samples=9, n_trained=0, some_new=True, n_tied=2)
    ('val, as given', 'val, only what training has not seen')
    """
    prefix = "" if part is None else f"{part}, "
    if n_trained is None:
        return part or "as given", None
    if n_trained == 0 and n_tied and some_new:
        return f"{prefix}as given", f"{prefix}only what training has not seen"
    if n_trained == 0 and not n_tied:
        return part or "new samples", None
    if n_trained == n_samples:
        return f"{prefix}only samples the model was trained on", None
    if not some_new:
        return f"{prefix}as given, nothing of it new to the model", None
    return f"{prefix}as given", f"{prefix}only samples the model has not been trained on"
