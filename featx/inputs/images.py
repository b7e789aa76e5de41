"""One image source -> the uint8 RGB pixels that a network takes.

Owns the order in which featx's pixel rules meet every source:

1. Encoded bytes are decoded, as :mod:`featx.inputs.pil_guards` lets PIL do it, or :mod:`featx.inputs.medical`; of an animation or
   a multi-page file, the first frame unless another is named.
2. What was decoded, also a PIL image or an array, becomes upright 8-bit RGB or grey, see :mod:`featx.inputs.modes`. Values of
   more than 8 bits, and what DICOM, NIfTI and MGZ files hold, become grey through a window.
3. That is resized and cropped to what the network takes, see :mod:`featx.inputs.resizing`. A picture whose file says that its
   pixels are oblong is resized as if they were square. Grey fills three channels.

Refuses what has no single picture in 8 bits: without a window 16-bit and float pixels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inputs.frames import Frame
from featx.inputs.medical import is_medical, read_medical
from featx.inputs.modes import orientation, plain_image, windowed_pixels
from featx.inputs.pil_guards import (
    FORMATS,
    REMOVE,
    as_unreadable,
    ignore_pil_warnings,
    loading_lock,
    refuse_bomb,
)
from featx.inputs.refusals import array_problem, depth_problem
from featx.inputs.resizing import fit, resize_and_crop, resized_size
from featx.inputs.values import Values, pixels_of, refuse_no_number

__all__ = ["canonical", "count_pages", "decode", "write_png"]


def decode(
    data: bytes,
    preprocess: ImagePreprocess,
    *,
    frame: Frame | None = None,
    name: str = "",
    index: int | None = None,
) -> np.ndarray:
    """Decode an encoded image and fit it to the network.

    Parameters
    ----------
    data : bytes
        A JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000 or AVIF file; or DICOM, NIfTI or MGZ.
    preprocess : ImagePreprocess
        With ``decode="draft"`` a JPEG is decoded at the smallest DCT scale (1/8, 1/4, 1/2) that keeps at
        least twice the size it is resized to; other formats are always exact.
    frame : Frame, optional
        Which picture of a file with several, see :mod:`featx.inputs.frames`.
    name, index
        The sample as errors name it, and its position in X.

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8
        RGB, read-only; (h, w) is ``preprocess.output_size`` where that is set.

    Raises
    ------
    UnreadableSampleError
        If the data is empty, truncated, corrupt, too large (PIL's guard), or not an image.
    SampleError
        If the pixels have more than 8 bits and there is no window for them, no value of theirs is a finite number, or there is no
        such frame.
    MissingExtraError
        If it takes a package of the extra ``medical`` that is not installed.
    """
    if not data:
        raise UnreadableSampleError(f"empty file (0 bytes). {REMOVE}", index=index, name=name)
    if is_medical(data):
        try:
            values = read_medical(data, frame)
            grey_or_rgb = Image.fromarray(pixels_of(values, preprocess.window))
        except SampleError as error:
            raise type(error)(error.message, index=index, name=name) from error.__cause__
        height, width = values.square_size
        square = resized_size(height, width, preprocess) or (height, width)
        return resize_and_crop(grey_or_rgb, square, preprocess, name=name, index=index)
    ignore_pil_warnings()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if frame is not None:
                _seek(opened, frame)
            refuse_bomb(opened.size)
            problem = depth_problem(opened, data)
            if problem is not None:
                opened.load()
                return fit(windowed_pixels(opened, problem, preprocess), preprocess, name=name, index=index)
            target = _draft(opened, preprocess) if preprocess.decode == "draft" else None
            opened.load()
            image = plain_image(opened, preprocess)
    except SampleError as error:
        raise type(error)(error.message, index=index, name=name) from error.__cause__
    except MemoryError:
        raise
    except Exception as error:  # whatever PIL's decoders raise
        raise as_unreadable(error, data, name=name, index=index) from error
    if target is None:
        target = resized_size(image.height, image.width, preprocess)
    return resize_and_crop(image, target, preprocess, name=name, index=index)


def canonical(
    source: Any, preprocess: ImagePreprocess, *, name: str = "", index: int | None = None
) -> np.ndarray:
    """The full-size RGB pixels of a PIL image or an array: what is digested, before any resize.

    Parameters
    ----------
    source : PIL image, or uint8 ndarray of shape (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA
        With a window in `preprocess` also grey values of any integer or float type.

    Returns
    -------
    pixels : C-contiguous ndarray of shape (h, w, 3), uint8
        RGB; the array given where it already is that.

    Raises
    ------
    SampleError
        If the type, shape or dtype is another, the pixels have more than 8 bits, or no value of theirs is a finite number.
    UnreadableSampleError
        If a PIL image that was opened but not loaded turns out to be unreadable.
    """
    if isinstance(source, np.ndarray):
        problem = array_problem(source, windowed=preprocess.window is not None)
        if problem is not None:
            raise SampleError(problem, index=index, name=name)
        if source.dtype != np.uint8:
            try:
                values = refuse_no_number(Values(stored=source.reshape(source.shape[:2])))
            except SampleError as error:
                raise SampleError(error.message, index=index, name=name) from None
            source = pixels_of(values, preprocess.window)
        if source.ndim == 3 and source.shape[2] == 3:
            return np.ascontiguousarray(source)
        if source.ndim == 3 and source.shape[2] == 4:
            return np.asarray(plain_image(Image.fromarray(source, "RGBA"), preprocess))
        grey = source.reshape(source.shape[:2])
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)  # (h, w, 3)
    if not isinstance(source, Image.Image):
        raise SampleError(
            f"expected a path, bytes, a PIL image or a uint8 array, found {type(source).__name__}.",
            index=index,
            name=name,
        )
    problem = depth_problem(source, b"")
    ignore_pil_warnings()
    try:
        with loading_lock(source):
            source.load()
        if problem is not None:
            return windowed_pixels(source, problem, preprocess)
        image = plain_image(source, preprocess)
    except SampleError as error:
        raise type(error)(error.message, index=index, name=name) from error.__cause__
    except MemoryError:
        raise
    except Exception as error:  # whatever PIL's decoders raise
        raise as_unreadable(error, b"", name=name, index=index) from error
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def count_pages(data: bytes) -> int:
    """How many pictures an encoded image holds: pages of a TIFF, frames of an animation.

    Raises
    ------
    UnreadableSampleError
        It is no image.
    """
    ignore_pil_warnings()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return int(getattr(opened, "n_frames", 1))
    except Exception as error:  # whatever PIL's decoders raise
        raise as_unreadable(error, data) from error


def _seek(image: Image.Image, frame: Frame) -> None:
    """Go to a page of a file with several, that is not loaded yet."""
    n_frames = getattr(image, "n_frames", 1)
    if frame.axis != "frame" or frame.volume:
        raise SampleError(
            f"#{frame}: this is no volume. Of pictures with several pages one is named #frame=0."
        )
    if frame.index >= n_frames:
        raise SampleError(f"#{frame}: there is none, it has {n_frames} frame(s), counted from 0.")
    image.seek(frame.index)


def _draft(image: Image.Image, preprocess: ImagePreprocess) -> tuple[int, int] | None:
    """Let a JPEG that is not loaded yet decode smaller; the (height, width) to resize it to, None if exact.

    The target comes from the full size, as that of the smaller one is rounded. It stands upright, and the
    file may lie on its side.
    """
    if image.format not in ("JPEG", "MPO"):
        return None
    sideways = orientation(image) >= 5
    height, width = (image.width, image.height) if sideways else (image.height, image.width)
    target = resized_size(height, width, preprocess)
    if target is None:
        return None
    image.draft(None, (2 * target[0], 2 * target[1]) if sideways else (2 * target[1], 2 * target[0]))
    return target


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write pixels as a PNG file.

    Parameters
    ----------
    path : path
    pixels : ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey or RGB.
    """
    Image.fromarray(pixels).save(path, format="PNG")
