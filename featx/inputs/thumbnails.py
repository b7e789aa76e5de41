"""Small pictures of samples, for pages that people read.

Owns the way from an image source to a JPEG without metadata. What cannot be shown is None and no error: a page without one of its
pictures is still a page.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import FeatxError
from featx.inputs.images import canonical, decode

__all__ = ["thumbnail"]

_AS_IT_IS = ImagePreprocess(size=None, crop=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
_QUALITY = 82  # of 95: at 128 px a file of about 4 KB, and nothing that shows


def thumbnail(sample: Any, *, size_px: int = 128) -> bytes | None:
    """A small JPEG of an image.

    Parameters
    ----------
    sample : path, bytes, PIL image or uint8 ndarray
        As :func:`featx.inputs.samples.as_samples` gives it. Upright by its EXIF orientation, alpha on white.
    size_px : int
        The longer edge at most; smaller images keep their size.

    Returns
    -------
    bytes or None
        RGB, without EXIF, colour profile or comment. None where the pixels are not there (a digest, a file that is gone) or are
        no 8-bit image.
    """
    try:
        if isinstance(sample, str):
            with open(sample, "rb") as file:
                pixels = decode(file.read(), _AS_IT_IS)
        elif isinstance(sample, bytes):
            pixels = decode(sample, _AS_IT_IS)
        else:
            pixels = canonical(sample, _AS_IT_IS)
    except (FeatxError, OSError):
        return None
    image = Image.fromarray(pixels, "RGB")  # of plain pixels: nothing of the file's metadata comes along
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
