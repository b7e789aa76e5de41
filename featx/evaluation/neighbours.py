"""The nearest samples of every sample, by matrix products over blocks: exact, and in bounded memory.

Vectors of a ReLU network all point the same way: cosines of different pictures lie at 0.65 to 0.98. So directions in which all
samples differ alike are taken out first: centred, turned into principal axes, each divided by its spread. Then copies come
first more often than in any other space that was tried (cosine as it is, centred, principal axes, divided by the root of the
spread).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.progress import Progress

__all__ = ["Similarity", "finite_rows", "nearest_pairs", "unit_rows", "whiten"]

Similarity: TypeAlias = Callable[[slice, slice], NDArray[np.float32]]
"""Similarities of some rows to some others, (r, c); a new array at each call."""

_BLOCK = 2048  # rows and columns of a block: 16 MB of similarities
_MOST_FITTED = 8192  # rows that axes are fitted on; more change nothing
_SMALLEST = 1e-4  # of the largest spread; axes below it are rounding


def whiten(
    vectors: NDArray[np.float32], n_components: int = 256, *, random_state: int = 0
) -> NDArray[np.float32]:
    """Rows of length 1 whose products tell copies from what is merely alike.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        Rows with a NaN become zero, similar to nothing.
    n_components : int
        Principal axes kept at most; never more than half the samples, since in as many dimensions as samples all are equally
        far.

    Returns
    -------
    ndarray of float32, shape (n, k)
    """
    whole = finite_rows(vectors)
    known = np.flatnonzero(whole)
    k = min(n_components, vectors.shape[1], len(known) // 2)
    if k < 1:
        return np.zeros((len(vectors), 1), dtype=np.float32)
    if len(known) > _MOST_FITTED:
        known = np.sort(np.random.default_rng(random_state).choice(known, _MOST_FITTED, replace=False))
    mean = vectors[known].mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = vectors[known] - mean
    spreads, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(known))  # ascending
    kept = np.flatnonzero(spreads > spreads[-1] * _SMALLEST**2)[-k:]
    if not len(kept) or spreads[-1] <= 0:
        return np.zeros((len(vectors), 1), dtype=np.float32)
    turned = (axes[:, kept] / np.sqrt(spreads[kept])).astype(np.float32)  # (d, k)
    out = np.zeros((len(vectors), len(kept)), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        out[rows] = np.where(whole[rows, np.newaxis], vectors[rows] - mean, 0) @ turned
    out[~whole] = 0
    return unit_rows(out)


def finite_rows(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows hold numbers only, shape (n,)."""
    found = np.zeros(len(vectors), dtype=np.bool_)
    for start in range(0, len(vectors), _BLOCK):
        found[start : start + _BLOCK] = np.isfinite(vectors[start : start + _BLOCK]).all(axis=1)
    return found


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their lengths; zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def nearest_pairs(
    similarity: Similarity,
    apart: NDArray[np.intp],
    k: int,
    at_least: float,
    *,
    progress: Progress | None = None,
) -> NDArray[np.intp]:
    """Pairs of which one is among the `k` nearest of the other.

    Parameters
    ----------
    similarity : callable
        Of a slice of samples to another.
    apart : ndarray of int, shape (n,)
        Samples of one number are no pair, and take no place among the nearest.
    k : int
    at_least : float
        Similarity below which nothing is a pair.
    progress : Progress, optional
        Told of each sample.

    Returns
    -------
    pairs : ndarray of int, shape (p, 2)
        ``i < j``, each once, in ascending order.
    """
    n = len(apart)
    blocks = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    found = [np.zeros((0, 2), dtype=np.intp)]
    for at, rows in enumerate(blocks):
        best = _Best(rows, k, at_least)
        # The block's own samples first: data lie in order, so bounds are high before the others come.
        for columns in [blocks[at], *blocks[:at], *blocks[at + 1 :]]:
            best.add(similarity(rows, columns), columns, apart)
        found.append(best.pairs())
        if progress is not None:
            progress.update(rows.stop - rows.start)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


class _Best:
    """The `k` nearest of a block of rows so far."""

    def __init__(self, rows: slice, k: int, at_least: float) -> None:
        self._rows = rows
        size = rows.stop - rows.start
        self._values = np.full((size, k), at_least, dtype=np.float32)
        self._columns = np.full((size, k), -1, dtype=np.intp)

    def add(self, block: NDArray[np.float32], columns: slice, apart: NDArray[np.intp]) -> None:
        """Take what is nearer than the farthest kept."""
        k = self._values.shape[1]
        if columns == self._rows:  # many are above the bound here: one pass over them all
            block[apart[self._rows, np.newaxis] == apart[np.newaxis, columns]] = -np.inf
            taken = np.argpartition(-block, min(k, block.shape[1]) - 1, axis=1)[:, :k]
            row = np.repeat(np.arange(len(block)), taken.shape[1])
            column = taken.ravel()
            near = block[row, column] > self._values[row, -1]
        else:
            row, column = np.divmod(np.flatnonzero(block > self._values[:, -1:]), block.shape[1])
            near = apart[self._rows.start + row] != apart[columns.start + column]
        row, column = row[near], column[near]
        if not len(row):
            return
        value = block[row, column]
        order = np.lexsort((-value, row))
        row, column, value = row[order], column[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)  # among the row's new ones
        new = place < k
        changed, at = np.unique(row[new], return_inverse=True)
        values = np.full((len(changed), 2 * k), -np.inf, dtype=np.float32)
        names = np.full((len(changed), 2 * k), -1, dtype=np.intp)
        values[:, :k], names[:, :k] = self._values[changed], self._columns[changed]
        values[at, k + place[new]] = value[new]
        names[at, k + place[new]] = columns.start + column[new]
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        self._values[changed] = np.take_along_axis(values, order, axis=1)
        self._columns[changed] = np.take_along_axis(names, order, axis=1)

    def pairs(self) -> NDArray[np.intp]:
        """What was found, (row, column) each."""
        row, place = np.nonzero(self._columns >= 0)
        return np.column_stack([row + self._rows.start, self._columns[row, place]])
