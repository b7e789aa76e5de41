"""Which samples run together, and how they become one array: images by their shape, texts by their number of tokens.

Owns the size of a run. Images of one shape are stacked. So are texts of one length, rounded up to a step and filled with -1: a
text's row is then computed in the same shape whatever its neighbours are, and with a step of 1 no token is padding. A run's size
is counted in tokens: one of many short texts costs what one of few long ones does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batching", "ImageBatching", "TokenBatching"]

_GROUP = 8
"""Images that a lane of a CPU decodes in a row before it runs them: what decoding and inference each keep in the processor's
caches is then exchanged less often. Measured at 4 % more images per second than one by one, and no more beyond 8."""

_PAD = -1


class Batching(Protocol):
    """How inputs are put together; immutable."""

    @property
    def capacity(self) -> int:
        """Size of a full run, in units of a job's length."""
        ...

    def is_full(self, lengths: Sequence[int]) -> bool:
        """Whether samples of these lengths fill a run."""
        ...

    @property
    def smallest(self) -> bool:
        """Whether a run holds one sample only, and cannot be made smaller."""
        ...

    def halved(self) -> Batching:
        """The same with runs of half the size, after the device ran out of memory."""
        ...

    def alone(self) -> Batching:
        """The same with one sample a run, unpadded: for networks whose rows depend on each other."""
        ...

    def n_taken(self, lengths: Sequence[int], *, share: int) -> int:
        """How many of the next samples, of these lengths, a lane takes up; with ``share`` all lanes would end together."""
        ...

    def batches(self, inputs: Sequence[NDArray[Any]]) -> list[list[int]]:
        """Positions of the inputs that run together."""
        ...

    def stacked(self, inputs: Sequence[NDArray[Any]], *, fixed: bool) -> NDArray[Any]:
        """One array for a run; with ``fixed`` of one of few shapes, where rows behind the inputs' own may be of no meaning."""
        ...


class ImageBatching:
    """Images of one shape, up to a number of them.

    Parameters
    ----------
    size : int
        Images a run.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def capacity(self) -> int:
        return self.size

    def is_full(self, lengths: Sequence[int]) -> bool:
        return len(lengths) >= self.size

    @property
    def smallest(self) -> bool:
        return self.size == 1

    def halved(self) -> ImageBatching:
        return ImageBatching(max(1, self.size // 2))

    def alone(self) -> ImageBatching:
        return ImageBatching(1)

    def n_taken(self, lengths: Sequence[int], *, share: int) -> int:
        return min(len(lengths), share, max(_GROUP, self.size))

    def batches(self, inputs: Sequence[NDArray[Any]]) -> list[list[int]]:
        shapes: dict[tuple[int, ...], list[int]] = {}
        for at, image in enumerate(inputs):
            shapes.setdefault(image.shape, []).append(at)
        return [
            group[start : start + self.size]
            for group in shapes.values()
            for start in range(0, len(group), self.size)
        ]

    def stacked(self, inputs: Sequence[NDArray[Any]], *, fixed: bool) -> NDArray[Any]:
        rows = [*inputs, *[inputs[-1]] * (self.size - len(inputs))] if fixed else inputs
        return rows[0][None] if len(rows) == 1 else np.stack(rows)


class TokenBatching:
    """Texts of one length, up to a number of tokens.

    Parameters
    ----------
    tokens : int
        Tokens a run, padding included; a longer text runs alone.
    step : int
        Lengths are rounded up to multiples of this.
    length : int or None
        The length that the graph insists on.
    single : bool
        One text a run.
    """

    def __init__(
        self, tokens: int, *, step: int = 1, length: int | None = None, single: bool = False
    ) -> None:
        self.tokens = tokens
        self.step = step
        self.length = length
        self.single = single

    @property
    def capacity(self) -> int:
        return self.tokens

    def is_full(self, lengths: Sequence[int]) -> bool:
        return self._n_alike(lengths) < len(lengths) or (self.single and bool(lengths))

    @property
    def smallest(self) -> bool:
        return self.single

    def halved(self) -> TokenBatching:
        half = self.tokens // 2
        return TokenBatching(half, step=self.step, length=self.length, single=self.single or half < self.step)

    def alone(self) -> TokenBatching:
        return TokenBatching(self.tokens, length=self.length, single=True)

    def n_taken(self, lengths: Sequence[int], *, share: int) -> int:
        # Whatever the share: runs that hung on which lane comes first would give other bits each time.
        return self._n_alike(lengths)

    def _n_alike(self, lengths: Sequence[int]) -> int:
        if self.single:
            return min(1, len(lengths))
        first = self._padded(lengths[0]) if lengths else 1
        room = max(1, self.tokens // first)
        same = takewhile(lambda length: self._padded(length) == first, islice(lengths, room))
        return sum(1 for _ in same)

    def batches(self, inputs: Sequence[NDArray[Any]]) -> list[list[int]]:
        lengths = [len(ids) for ids in inputs]
        found, start = [], 0
        while start < len(lengths):
            n = self._n_alike(lengths[start:])
            found.append(list(range(start, start + n)))
            start += n
        return found

    def stacked(self, inputs: Sequence[NDArray[Any]], *, fixed: bool) -> NDArray[Any]:
        length = max(self._padded(len(ids)) for ids in inputs)
        # Never filled with further rows: lengths by steps are few shapes already, and windows of texts hold many lengths, so
        # that the last run of each, made full, would be most of the work.
        rows = np.full((len(inputs), length), _PAD, dtype=np.int32)
        for row, ids in zip(rows, inputs, strict=True):
            row[: len(ids)] = ids
        return rows

    def _padded(self, length: int) -> int:
        # A text without tokens is refused by its reader, and counts as one until then.
        return self.length or -(-max(1, length) // self.step) * self.step
