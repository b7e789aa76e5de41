"""Which samples run together, and how they become one array: images by their shape, texts by their number of tokens.

Owns the size of a run. Images of one shape are stacked. Texts are padded to the longest of the run with -1, so a run holds
texts of nearly one length, and its size is counted in tokens, padding included: a run of many short texts costs what one of few
long ones does.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def n_taken(self, lengths: Sequence[int]) -> int:
        """How many of the next samples a lane takes up at once, of their lengths."""
        ...

    def batches(self, inputs: Sequence[NDArray[Any]]) -> list[list[int]]:
        """Positions of the inputs that run together."""
        ...

    def stacked(self, inputs: Sequence[NDArray[Any]], *, fixed: bool) -> NDArray[Any]:
        """One array for a run; with ``fixed`` of one of few shapes, rows behind the inputs' own being of no meaning."""
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

    def n_taken(self, lengths: Sequence[int]) -> int:
        return min(len(lengths), max(_GROUP, self.size))

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
    """Texts of nearly one length, up to a number of tokens.

    Parameters
    ----------
    tokens : int
        Tokens a run, padding included; a longer text runs alone.
    step : int
        Lengths are padded to multiples of this.
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
        return self.n_taken(lengths) < len(lengths) or (self.single and bool(lengths))

    @property
    def smallest(self) -> bool:
        return self.single

    def halved(self) -> TokenBatching:
        half = self.tokens // 2
        return TokenBatching(half, step=self.step, length=self.length, single=half < self.step)

    def alone(self) -> TokenBatching:
        return TokenBatching(self.tokens, length=self.length, single=True)

    def n_taken(self, lengths: Sequence[int]) -> int:
        if self.single:
            return min(1, len(lengths))
        longest = n = 0
        for length in lengths:
            longest = max(longest, self._padded(length))
            if n and (n + 1) * longest > self.tokens:
                break
            n += 1
        return n

    def batches(self, inputs: Sequence[NDArray[Any]]) -> list[list[int]]:
        left, found = list(range(len(inputs))), []
        while left:
            n = self.n_taken([len(inputs[at]) for at in left])
            found.append(left[:n])
            left = left[n:]
        return found

    def stacked(self, inputs: Sequence[NDArray[Any]], *, fixed: bool) -> NDArray[Any]:
        length = self._padded(max(map(len, inputs)))
        n_rows = len(inputs)
        if fixed and not self.single:
            n_rows = max(n_rows, self.tokens // length)
        rows = np.full((n_rows, length), _PAD, dtype=np.int32)
        for row, ids in zip(rows, inputs, strict=False):
            row[: len(ids)] = ids
        rows[len(inputs) :] = rows[len(inputs) - 1]
        return rows

    def _padded(self, length: int) -> int:
        return self.length or -(-length // self.step) * self.step
