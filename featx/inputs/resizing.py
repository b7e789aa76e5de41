"""Pixels resized and cropped to what a network takes.

The invariant: pixel for pixel, resize and centre crop are those of the PIL-backed image processors of transformers 5.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from featx.backbones.preprocess import RESAMPLES, ImagePreprocess
from featx.errors import SampleError

__all__ = ["fit", "resize_and_crop", "resized_size"]

# PIL's own default limit (a quarter GiB of RGB), for what a resize would make of a very long, thin image.
_LARGEST_RESIZED_PX = 89_478_485


def fit(
    rgb: np.ndarray, preprocess: ImagePreprocess, *, name: str = "", index: int | None = None
) -> np.ndarray:
    """Resize and crop full-size pixels as `preprocess` says.

    Parameters
    ----------
    rgb : ndarray of shape (h, w, 3), uint8
        As :func:`featx.inputs.images.canonical` returns it.

    Returns
    -------
    pixels : ndarray of shape (h', w', 3), uint8

    Raises
    ------
    SampleError
        If keeping the aspect of a very long, thin image would take more than 89 megapixels.
    """
    target = resized_size(rgb.shape[0], rgb.shape[1], preprocess)
    if target in (None, rgb.shape[:2]) and preprocess.crop in (None, rgb.shape[:2]):
        return rgb
    return resize_and_crop(Image.fromarray(rgb, "RGB"), target, preprocess, name=name, index=index)


def resize_and_crop(
    image: Image.Image,
    target: tuple[int, int] | None,
    preprocess: ImagePreprocess,
    *,
    name: str,
    index: int | None,
) -> np.ndarray:
    """Resize an upright image to a given size, crop it as `preprocess` says, and give it three channels.

    Grey is resized as one channel: PIL treats channels alike, so the pixels are those of three equal ones.

    Parameters
    ----------
    image : PIL image of mode RGB or L
        Of the full size, or smaller where it was decoded so.
    target : (height, width) or None
        What to resize it to; None keeps its size.

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8

    Raises
    ------
    SampleError
        If `target` has more than 89 megapixels.
    """
    if target is not None and target != (image.height, image.width):
        if target[0] * target[1] > _LARGEST_RESIZED_PX:
            raise SampleError(
                f"{image.width} x {image.height} pixels would be resized to {target[1]:,} x {target[0]:,}, "
                f"more than {_LARGEST_RESIZED_PX:,} in all. Crop it first, or give size=(height, width).",
                index=index,
                name=name,
            )
        image = image.resize((target[1], target[0]), Image.Resampling(RESAMPLES.index(preprocess.resample)))
    if preprocess.crop is not None and preprocess.crop != (image.height, image.width):
        height, width = preprocess.crop
        # Floors also where the image is smaller, as transformers does; PIL fills the outside with zeros.
        top, left = (image.height - height) // 2, (image.width - width) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def resized_size(height: int, width: int, preprocess: ImagePreprocess) -> tuple[int, int] | None:
    """(height, width) after the resize, as transformers' ``get_resize_output_image_size`` rounds it."""
    size = preprocess.size
    if size is None or isinstance(size, tuple):
        return size
    short, long = sorted((height, width))
    longer = max(1, int(size * long / short))
    return (longer, size) if width <= height else (size, longer)
