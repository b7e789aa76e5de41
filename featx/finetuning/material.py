"""What a step of training is fed: for some samples the inputs of the trained part, from rows at the boundary or from the samples.

Owns how samples that differ in size run together: texts are filled up to the longest of their batch, pictures run by their shape.
Views of pictures are made anew in every epoch, by threads that decode ahead of the training, and go through the frozen part then;
without views what lies before the boundary has been computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.backbones.augment import View
from featx.finetuning.rows import Rows
from featx.finetuning.splitting import Split
from featx.inference.batching import Batching
from featx.inference.reading import ImageSource
from featx.inference.runtime import Session

__all__ = ["CachedRows", "LivePixels", "Material", "Run", "Texts", "runs_of"]

Sample = Mapping[str, NDArray[Any]]
"""One sample by the names of the trained part's inputs, without the batch's axis."""


class Material(Protocol):
    """The samples of a training."""

    @property
    def n_threads(self) -> int:
        """How many threads to take batches on, ahead of their use."""
        ...

    @property
    def lengths(self) -> NDArray[np.intp] | None:
        """Tokens of each text; None of pictures."""
        ...

    def take(self, indices: Sequence[int], epoch: int) -> list[Sample]:
        """Some samples, as an epoch sees them; in epoch 0 as they are."""
        ...


@dataclass(frozen=True, slots=True)
class CachedRows:
    """Pictures by what crosses the boundary.

    Parameters
    ----------
    rows : Rows
    names : tuple of str
        Of the tensors that cross.
    """

    rows: Rows
    names: tuple[str, ...]
    n_threads: int = 1
    lengths: None = None

    def take(self, indices: Sequence[int], epoch: int) -> list[Sample]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows.take(indices)]


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Token ids, and what crosses the boundary where something is frozen.

    Parameters
    ----------
    ids : sequence of ndarray of int32, shape (t,)
    rows : Rows or None
    names : tuple of str
        Of the tensors that cross.
    """

    ids: Sequence[NDArray[np.int32]]
    rows: Rows | None
    names: tuple[str, ...]
    n_threads: int = 1

    @property
    def lengths(self) -> NDArray[np.intp]:
        return np.asarray([len(ids) for ids in self.ids], dtype=np.intp)

    def take(self, indices: Sequence[int], epoch: int) -> list[Sample]:
        rows = [()] * len(indices) if self.rows is None else self.rows.take(indices)
        return [
            {"tokens": self.ids[i], **dict(zip(self.names, row, strict=True))}
            for i, row in zip(indices, rows, strict=True)
        ]


class LivePixels:
    """Pictures read, decoded and varied as they are needed.

    Parameters
    ----------
    samples : sequence
    source : ImageSource
        Of pictures as they are.
    split : Split
    view_of : callable
        From an epoch to the view that it sees; None for the picture as it is.
    session : callable or None
        Opens the frozen part, where there is one.
    batching : Batching
        What runs together in it.
    n_threads : int
    """

    lengths = None

    def __init__(
        self,
        samples: Sequence[Any],
        source: ImageSource,
        split: Split,
        *,
        view_of: Callable[[int], View | None],
        session: Session | None,
        batching: Batching,
        n_threads: int,
    ) -> None:
        self.n_threads = n_threads
        self._samples, self._source, self._split = samples, source, split
        self._view_of, self._session, self._batching = view_of, session, batching

    def take(self, indices: Sequence[int], epoch: int) -> list[Sample]:
        """Some samples, as an epoch sees them.

        Raises
        ------
        SampleError
            One cannot be read any more.
        """
        preprocess = replace(self._source.preprocess, view=self._view_of(epoch))
        with replace(self._source, preprocess=preprocess).open(self._samples, 1) as reader:
            pixels = [reader.network_input(i, *reader.read_again(i)) for i in indices]
        made: list[dict[str, NDArray[Any]]] = [{self._split.source: each} for each in pixels]
        if self._session is not None:
            for batch in self._batching.batches(pixels):
                stacked = self._batching.stacked([pixels[at] for at in batch], fixed=False)
                for one, array in zip(self._split.boundary, self._session.run(stacked), strict=True):
                    for row, at in enumerate(batch):
                        made[at][one.name] = array[row]
        return list(made)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Samples that run together.

    Parameters
    ----------
    places : ndarray of int
        Where in the batch they stand.
    inputs : tuple of ndarray
        One for each input of the trained part, a row a sample.
    """

    places: NDArray[np.intp]
    inputs: tuple[NDArray[Any], ...]


def runs_of(
    samples: Sequence[Sample], names: Sequence[str], batching: Batching, *, fixed_batch: int | None = None
) -> list[Run]:
    """A batch as arrays.

    Parameters
    ----------
    samples : sequence of Sample
    names : sequence of str
        Inputs of the trained part, in their order.
    batching : Batching
        Fills texts up.
    fixed_batch : int, optional
        Rows that the graph insists on: each sample then runs alone, repeated so often.

    Examples
    --------
    >>> from featx.inference.batching import ImageBatching
    >>> maps = [{"boundary_0": np.zeros((8, edge, edge))} for edge in (4, 5, 4)]
    >>> [run.places.tolist() for run in runs_of(maps, ["boundary_0"], ImageBatching(8))]
    [[0, 2], [1]]
    """
    if fixed_batch is not None:
        return [
            Run(np.asarray([at]), tuple(np.repeat(sample[name][None], fixed_batch, axis=0) for name in names))
            for at, sample in enumerate(samples)
        ]
    if "tokens" in samples[0]:
        tokens = batching.stacked([sample["tokens"] for sample in samples], fixed=False)
        filled = tuple(
            tokens
            if name == "tokens"
            else _filled([np.asarray(sample[name]) for sample in samples], tokens.shape[1])
            for name in names
        )
        return [Run(np.arange(len(samples)), filled)]
    groups: dict[Any, list[int]] = {}
    for at, sample in enumerate(samples):
        groups.setdefault(tuple(sample[name].shape for name in names), []).append(at)
    return [
        Run(np.asarray(places), tuple(np.stack([samples[at][name] for at in places]) for name in names))
        for places in groups.values()
    ]


def _filled(rows: Sequence[NDArray[Any]], length: int) -> NDArray[Any]:
    """(n, length, ...) of arrays (t, ...), zeros behind their ends."""
    filled = np.zeros((len(rows), length, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in zip(filled, rows, strict=True):
        place[: len(row)] = row
    return filled
