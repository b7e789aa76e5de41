"""Rows at the frozen boundary, computed once: what a training reads instead of samples.

Pictures that are all of one size leave rows of one size. They are kept in the embedding store, in a feature space of their own,
so that folds, grid points and restarts read what the first fit computed, by the same loop and under the same promises as any
vector. Texts differ in length and would be a row a token, a hundred look-ups for each; computing them takes less than an epoch of
training, so their rows lie in a file of the fit, mapped into memory. So do those of pictures without a store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.errors import OutputError
from featx.finetuning.ahead import ahead
from featx.finetuning.frozen import boundary_spaces, flattened, open_frozen
from featx.finetuning.scratch import ScratchFolder
from featx.finetuning.splitting import Split
from featx.inference.batching import Batching
from featx.inference.extract import extract
from featx.inference.plan import Plan
from featx.inference.runtime import Session, session_pool
from featx.store.digest import Keys

__all__ = ["FileRows", "Row", "Rows", "StoredRows", "many_rows"]

_BLOCK_BYTES = 64 << 20
"""Of rows that are looked at together while they are computed."""

_MANY_BYTES = 20 << 30

Row = tuple[NDArray[np.float32], ...]
"""Of one sample: what crosses the boundary, one array a tensor."""


class Rows(Protocol):
    """Rows of samples, read as they are needed."""

    def take(self, indices: Sequence[int]) -> list[Row]:
        """Those of some samples, in that order."""
        ...


def many_rows(split: Split, shapes: Sequence[tuple[int, ...]], n_samples: int) -> str | None:
    """Words on rows that take a great deal of room; None where they do not.

    Parameters
    ----------
    split : Split
    shapes : sequence of tuple of int
        From :func:`featx.finetuning.frozen.boundary_shapes`.
    n_samples : int
    """
    n_bytes = 4 * n_samples * sum(int(np.prod(shape)) for shape in shapes)
    if n_bytes <= _MANY_BYTES:
        return None
    return (
        f"the frozen part leaves {n_bytes / 2**30:,.0f} GiB for {n_samples:,} samples (at {split.boundary[0].tensor}), which are "
        "kept on disk. Freeze until a later tap, or until an earlier one where maps are smaller, if that is too much."
    )


class StoredRows:
    """Rows in an embedding store.

    Parameters
    ----------
    samples : sequence
    plan : Plan
        Of the backbone's vectors; its source, store and device are used.
    split : Split
    shapes : sequence of tuple of int
        Of a sample's part of each tensor.
    keys : ndarray of uint8, shape (n, 16)
        Content digests of the samples.
    """

    def __init__(
        self,
        samples: Sequence[Any],
        plan: Plan,
        split: Split,
        shapes: Sequence[tuple[int, ...]],
        keys: Keys,
    ) -> None:
        spaces = tuple(boundary_spaces(split))

        def session() -> Session:
            key = ("frozen", tuple(space.id for space in spaces), plan.device)
            return session_pool().get(key, lambda: open_frozen(flattened(split), plan.device))

        widths = tuple(int(np.prod(shape)) for shape in shapes)
        self._plan = replace(plan, spaces=spaces, widths=widths, session=session)
        self._samples, self._shapes, self._keys = samples, list(shapes), keys

    def compute(self, indices: NDArray[np.intp], advance: Callable[[int], None]) -> bool:
        """See to it that the store holds these samples' rows; whether it does, as nobody may be able to write to it.

        Raises
        ------
        SampleError, DeviceError, StoreError
        """
        block = max(1, _BLOCK_BYTES // (4 * sum(self._plan.widths)))
        for at in range(0, len(indices), block):
            part = indices[at : at + block]
            extract([self._samples[i] for i in part.tolist()], self._plan, advance=advance)
            self._let_go()
        return all(found.all() for _, found in self._get(indices[:block]))

    def take(self, indices: Sequence[int]) -> list[Row]:
        """Those of some samples; what was pruned meanwhile is computed again."""
        wanted = np.asarray(indices, dtype=np.intp)
        parts = self._get(wanted)
        if all(found.all() for _, found in parts):
            columns = [rows for rows, _ in parts]
        else:
            vectors = extract([self._samples[i] for i in wanted.tolist()], self._plan).vectors
            columns = np.split(vectors, np.cumsum(self._plan.widths)[:-1], axis=1)
        maps = [rows.reshape(-1, *shape) for rows, shape in zip(columns, self._shapes, strict=True)]
        return list(zip(*maps, strict=True))

    def _get(self, indices: NDArray[np.intp]) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
        assert self._plan.store is not None
        return [self._plan.store.get(space.id, self._keys[indices]) for space in self._plan.spaces]

    def _let_go(self) -> None:
        assert self._plan.store is not None
        for space in self._plan.spaces:
            self._plan.store.let_go(space.id)


class FileRows:
    """Rows of any shapes in a file of their own, gone with the object.

    Parameters
    ----------
    n_samples : int
    """

    def __init__(self, n_samples: int) -> None:
        self._folder = ScratchFolder("featx-rows-")
        self._places: list[tuple[tuple[int, tuple[int, ...]], ...]] = [()] * n_samples
        self._numbers: NDArray[np.float32] = np.empty(0, dtype=np.float32)

    def compute(
        self,
        batches: Sequence[Sequence[int]],
        inputs: Callable[[int], NDArray[Any]],
        batching: Batching,
        session: Session,
        *,
        n_threads: int,
        advance: Callable[[int], None],
    ) -> None:
        """Compute rows and write them.

        Parameters
        ----------
        batches : sequence of sequence of int
            Samples taken up together; those of one size among them run together.
        inputs : callable
            A sample's position to what the network takes of it.
        batching : Batching
        session : Session
            Of the frozen part.
        n_threads : int
            Runs beside each other.
        advance : callable
            Told how many more samples are done.

        Raises
        ------
        OutputError
            The disk is full.
        """

        def run(batch: Sequence[int]) -> list[Row]:
            given = [inputs(i) for i in batch]
            rows: list[Row] = [()] * len(given)
            for places in batching.batches(given):
                made = session.run(batching.stacked([given[at] for at in places], fixed=False))
                for row, at in enumerate(places):
                    rows[at] = _own(made, row, given[at])
            return rows

        path, n, n_done = self._folder.path / "rows.f32", 0, 0
        n_rows = sum(map(len, batches))
        # Without a buffer, so that a full disk is met by the write that says how far it came.
        with open(path, "wb", buffering=0) as file:
            for batch, rows in zip(batches, ahead(run, batches, n_threads=n_threads), strict=True):
                for i, row in zip(batch, rows, strict=True):
                    self._places[i] = _places(row, n)
                    n += sum(array.size for array in row)
                n_done += len(batch)
                try:
                    _write(file, rows)
                except OSError as error:
                    raise OutputError(_no_room(path, error, 4 * n * n_rows // n_done, n_rows)) from error
                advance(len(batch))
        if n:
            self._numbers = np.memmap(path, dtype="<f4", mode="r", shape=(n,))

    def take(self, indices: Sequence[int]) -> list[Row]:
        """Those of some samples, views into the file."""
        return [
            tuple(
                self._numbers[at : at + int(np.prod(shape))].reshape(shape) for at, shape in self._places[i]
            )
            for i in indices
        ]


def _places(row: Row, start: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Where each array of a row begins, in numbers, and its shape."""
    starts = accumulate((array.size for array in row), initial=start)
    return tuple((at, array.shape) for at, array in zip(starts, row, strict=False))


def _write(file: FileIO, rows: Sequence[Row]) -> None:
    for row in rows:
        for array in row:
            left = np.ascontiguousarray(array, dtype="<f4").reshape(-1).view(np.uint8).data
            while left:
                left = left[file.write(left) :]  # a disk that gets full takes a part first


def _no_room(path: Path, error: OSError, n_bytes: int, n_samples: int) -> str:
    return (
        f"{path.parent}: cannot be written ({error.strerror or error}). What the frozen part makes of {n_samples:,} samples is "
        f"kept there while the rest is trained, about {n_bytes / 2**20:,.0f} MiB. Make room; or set the environment variable "
        "TMPDIR (on Windows TEMP) to a folder on another disk; or freeze until a tap that leaves less, or nothing. Pictures of "
        "one size are kept in the cache instead, where there is one."
    )


def _own(made: Sequence[NDArray[np.float32]], row: int, given: NDArray[Any]) -> Row:
    """One sample's part of a run; of a text up to its end, as what lies behind that means nothing."""
    if given.ndim == 1:
        return tuple(array[row, : len(given)] for array in made)
    return tuple(array[row] for array in made)
