"""Small pictures of samples, for pages that people read.

Owns the way from an image source to a JPEG without metadata. What cannot be shown is None and no error: a page without one of its
pictures is still a page.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.errors import FeatxError, SampleError, UnreadableSampleError
from featx.inputs.frames import parse_frame
from featx.inputs.images import canonical, decode

__all__ = ["thumbnail"]

_AS_IT_IS = ImagePreprocess(size=None, crop=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
_STRETCHED = replace(_AS_IT_IS, window=Window.percentiles())
_QUALITY = 82  # of 95: at 128 px a file of about 4 KB, and nothing that shows


def thumbnail(sample: Any, *, size_px: int = 128) -> bytes | None:
    """A small JPEG of an image.

    Parameters
    ----------
    sample : path, bytes, PIL image or uint8 ndarray
        As :func:`featx.inputs.samples.as_samples` gives it. Upright by its EXIF orientation, alpha on white. Values of more than
        8 bits are shown as their file says, or else from their 1st to their 99th percentile: to be looked at, not measured.
    size_px : int
        The longer edge at most; smaller images keep their size.

    Returns
    -------
    bytes or None
        RGB, without EXIF, colour profile or comment. None where the pixels are not there (a digest, a file that is gone) or are
        no image.
    """
    try:
        pixels = _pixels(sample)
    except (FeatxError, OSError):
        return None
    image = Image.fromarray(pixels, "RGB")  # of plain pixels: nothing of the file's metadata comes along
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()


def _pixels(sample: Any) -> NDArray[np.uint8]:
    if not isinstance(sample, str | bytes):
        return canonical(sample, _STRETCHED)
    frame = None
    if isinstance(sample, str):
        path, frame = parse_frame(sample)
        with open(path, "rb") as file:
            sample = file.read()
    try:
        return decode(sample, _AS_IT_IS, frame=frame)
    except UnreadableSampleError:
        raise
    except SampleError:  # for want of a window, as a rule
        return decode(sample, _STRETCHED, frame=frame)
