"""Small grey pictures of images, read again where they lie.

What cannot be read here has no picture, and that is no error: whoever computed its vector has said so already, or the image
may stay where it is and only its digest came along.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError
from featx.inference.reading import Reader
from featx.inputs.samples import DigestSample
from featx.progress import Progress

__all__ = ["thumbnails"]

_PLAIN = ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1))
_LUMA = np.asarray(
    [0.299, 0.587, 0.114], dtype=np.float32
)  # ITU-R BT.601, as JPEG and PIL weigh the channels


def thumbnails(
    samples: Sequence[Any],
    side_px: int,
    *,
    preprocess: ImagePreprocess | None = None,
    n_threads: int = 2,
    progress: Progress | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Grey pictures, squeezed to a square.

    Parameters
    ----------
    samples : sequence of n
        From :func:`featx.inputs.samples.as_samples`.
    side_px : int
    preprocess : ImagePreprocess, optional
        What decides how samples become pixels; size, crop and filter are those of the thumbnails. JPEGs are decoded at the
        smallest scale that is twice as large as needed.
    n_threads : int
    progress : Progress, optional
        Told of each sample.

    Returns
    -------
    pictures : ndarray of uint8, shape (n, side_px, side_px)
        Zeros where there is none.
    read : ndarray of bool, shape (n,)
        Whether there is one.
    """
    fitted = replace(
        preprocess or _PLAIN,
        size=(side_px, side_px),
        crop=None,
        resample="bilinear",
        decode="draft",
        view=None,
    )
    pictures = np.zeros((len(samples), side_px, side_px), dtype=np.uint8)
    read = np.zeros(len(samples), dtype=np.bool_)

    with Reader(samples, fitted, n_threads) as reader, ThreadPoolExecutor(n_threads, "featx-thumb") as pool:

        def make(index: int) -> None:
            if not isinstance(samples[index], DigestSample | SampleError):
                try:
                    rgb = reader.network_input(index, *reader.read_again(index))
                except SampleError:
                    rgb = None
                if rgb is not None:
                    pictures[index] = (rgb @ _LUMA + 0.5).astype(np.uint8)
                    read[index] = True
            if progress is not None:
                progress.update(1)

        for _ in pool.map(make, range(len(samples)), chunksize=1):
            pass
    return pictures, read
