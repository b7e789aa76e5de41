"""Near-copies that are where they should not be, in words: on both sides of a split, in another group, or with another label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.evaluation.leaks import (
    TRAIN,
    Leak,
    content_groups,
    held_out_parts,
    worded,
    words_of_pair,
)
from featx.store.digest import Keys

__all__ = ["in_training", "left_apart", "near_copy_leaks"]


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
    for part in held_out_parts(parts):
        of_part = np.flatnonzero(nearly & (parts == part))
        if len(of_part):
            has = "sample of {} has a near-copy" if len(of_part) == 1 else "samples of {} have near-copies"
            found = _beside_training(pairs, units, parts, of_part)
            leaks.append(
                worded(
                    "near-copy across split",
                    f"{len(of_part)} {has.format(part)} in {TRAIN}",
                    f": the scores on {part} count what was learned. Look at them, and remove the copies.",
                    [words_of_pair(pair, names) for pair in found],
                    samples=found,
                )
            )
    trained = pairs[(parts[pairs] == TRAIN).all(axis=1)]
    if groups is not None:
        of = np.asarray(groups)
        across = trained[of[trained[:, 0]] != of[trained[:, 1]]]
        if len(across):
            leaks.append(
                worded(
                    "near-copy across groups",
                    _pairs(len(across), "in different groups"),
                    ": a fold may test what it learned. Look at them; remove the copies, or give them one group.",
                    [words_of_pair(pair, names, of) for pair in across],
                    samples=across.tolist(),
                )
            )
    if labels is not None:
        known = np.asarray(labels)
        unlike = pairs[known[pairs[:, 0]] != known[pairs[:, 1]]]
        if len(unlike):
            leaks.append(
                worded(
                    "near-copy with another label",
                    _pairs(len(unlike), "there with different labels"),
                    ". Look at them, and correct the label or remove the copy.",
                    [words_of_pair(pair, names, known) for pair in unlike],
                    samples=unlike.tolist(),
                    labels=known,
                )
            )
    return tuple(leaks)


def left_apart(pairs: NDArray[np.intp], units: NDArray[np.intp], *, names: Sequence[str]) -> tuple[Leak, ...]:
    """Near-copies that folds do not keep together: joined to the groups they are in, they would be too many.

    Parameters
    ----------
    pairs : ndarray of int, shape (p, 2)
    units : ndarray of int, shape (n,)
        What folds keep together.
    names : sequence of str
        For messages.
    """
    apart = pairs[units[pairs[:, 0]] != units[pairs[:, 1]]]
    if not len(apart):
        return ()
    form = "1 pair of near-copies is" if len(apart) == 1 else f"{len(apart)} pairs of near-copies are"
    return (
        worded(
            "near-copies in chains",
            f"{form} in chains too large to keep on one side of a fold",
            ": a fold may test what it learned. Give groups that say what belongs together.",
            [words_of_pair(pair, names) for pair in apart],
            samples=apart.tolist(),
        ),
    )


def _beside_training(
    pairs: NDArray[np.intp], units: NDArray[np.intp], parts: NDArray[Any], of_part: NDArray[np.intp]
) -> list[tuple[int, int]]:
    """Each held-out sample behind one of training: its surest near-copy there, or else one that a chain of them ties to it.

    Those that have a near-copy of their own come first, the surest pair first.
    """
    wanted = dict.fromkeys(of_part.tolist(), -1)
    direct: list[tuple[int, int]] = []
    trained = parts == TRAIN
    for i, j in pairs.tolist():
        for learned, held_out in ((i, j), (j, i)):
            if trained[learned] and wanted.get(held_out) == -1:
                wanted[held_out] = learned
                direct.append((learned, held_out))
    chained = [held_out for held_out, learned in wanted.items() if learned == -1]
    first = dict(zip(*(each.tolist() for each in np.unique(units[trained], return_index=True)), strict=True))
    where = np.flatnonzero(trained)
    return direct + [(int(where[first[int(units[i])]]), i) for i in chained]


def _pairs(n: int, tail: str) -> str:
    return f"1 pair of near-copies is {tail}" if n == 1 else f"{n} pairs of near-copies are {tail}"
