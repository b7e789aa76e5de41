"""What a network takes: the inputs that it is traced with, and those that it is compared on.

All are arrays, drawn from seeds. Shapes of comparison are never those of the trace, so that a size which tracing froze shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import PreprocessError
from featx.inputs.resizing import fit

__all__ = ["ImageInputs", "TextInputs"]

_BATCH, _TOKENS = "batch", "tokens"
_LUMA_601 = (0.299, 0.587, 0.114)  # of red, green and blue, as in a cut graph (ITU-R BT.601)
_LONGEST_COMPARED = 160  # beyond the windows of local attention that encoders have (128 in ModernBERT)

Arrays: TypeAlias = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Normalised pictures, (n, channels, height, width) float32.

    Parameters
    ----------
    preprocess : ImagePreprocess
        With an output size: the graph takes this size only.
    channels : int
        3, or 1 for grey.

    Raises
    ------
    PreprocessError
        The preprocessing makes pictures of no one size.
    """

    modality: ClassVar[str] = "image"
    names: ClassVar[tuple[str, ...]] = ("pixel_values",)
    axes: ClassVar[dict[int, str]] = {0: _BATCH}

    preprocess: ImagePreprocess
    channels: int = 3

    def __post_init__(self) -> None:
        if self.preprocess.output_size is None:
            raise PreprocessError(
                "the preprocessing makes pictures of no one size, and the graph is fixed to one: give an image size."
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.preprocess.output_size or (0, 0)

    def example(self) -> Arrays:
        """What the network is traced with."""
        return (self._drawn(2, seed=0),)

    def batches(self) -> dict[str, Arrays]:
        """What it is compared on, by name."""
        return {f"random, batch of {n}": (self._drawn(n, seed=n),) for n in (1, 3)}

    def of_picture(self, picture: NDArray[np.uint8]) -> Arrays:
        """featx's own way from a picture, uint8 RGB (h, w, 3) of any size, to a batch of one."""
        values = fit(picture, self.preprocess).astype(np.float32)
        if self.channels == 1:
            values = values @ np.array(_LUMA_601, np.float32)[:, None]
        elif self.preprocess.channel_order == "bgr":
            values = values[..., ::-1]
        mean = np.array(self.preprocess.mean[: self.channels], np.float32)
        std = np.array(self.preprocess.std[: self.channels], np.float32)
        values = (values * np.float32(self.preprocess.scale) - mean) / std
        return (np.ascontiguousarray(values.transpose(2, 0, 1)[None]),)  # (1, channels, h, w)

    def _drawn(self, n: int, *, seed: int) -> NDArray[np.float32]:
        shape = (n, self.channels, *self.size)
        return np.random.default_rng(seed).standard_normal(shape, np.float32)


@dataclass(frozen=True, slots=True)
class TextInputs:
    """Token ids and their mask, both (n, t) int64; the mask is 0 behind the end of a shorter row.

    Parameters
    ----------
    vocabulary : int
        Ids are below it.
    longest : int or None
        Tokens that the network has positions for; None where there is no limit.
    pad_id : int
        What stands behind the end of a row.
    end_id : int or None
        The last id of every row, where the network looks for one (CLIP).
    """

    modality: ClassVar[str] = "text"
    names: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    axes: ClassVar[dict[int, str]] = {0: _BATCH, 1: _TOKENS}

    vocabulary: int
    longest: int | None
    pad_id: int = 0
    end_id: int | None = None

    def example(self) -> Arrays:
        """What the network is traced with: two rows, one of them padded."""
        return self._drawn((7, 5), seed=0)

    def batches(self) -> dict[str, Arrays]:
        """What it is compared on, by name: one text, three of different lengths, and one of a single token."""
        most = min(self.longest or _LONGEST_COMPARED, _LONGEST_COMPARED)
        return {
            "random, batch of 1": self._drawn((5,), seed=1),
            "random, batch of 3, padded": self._drawn((most, max(most // 2, 1), 3), seed=3),
            "random, one token": self._drawn((1,), seed=4),
        }

    def padded(self, rows: Sequence[Sequence[int]]) -> Arrays:
        """Rows of ids as one batch."""
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.pad_id, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        return ids, mask

    def _drawn(self, lengths: Sequence[int], *, seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        # The id of padding inside a text would be a gap, and some networks count their positions by it (RoBERTa).
        end = [] if self.end_id is None else [self.end_id]
        usable = np.setdiff1d(np.arange(self.vocabulary), [self.pad_id, *end])
        rows = [[*rng.choice(usable, n - len(end)), *end] for n in lengths]
        return self.padded(rows)
