"""One image source -> the uint8 RGB pixels that a network takes.

Owns featx's pixel rules: every source meets the same definition, in this order.

1. Encoded bytes are decoded; of an animation or a multi-page file, the first frame unless another is named.
   EXIF orientation is applied, also to a PIL image that carries one. Values of more than 8 bits, and what DICOM,
   NIfTI and MGZ files hold, become 8-bit grey through a window.
2. Palettes are resolved; alpha, in whichever form, is composited on ``preprocess.background``; CMYK becomes
   RGB as PIL converts it (JPEG's inverted CMYK, as Adobe writes it, is read as such); grey and 1-bit fill
   three channels.
3. Resize and centre crop, pixel for pixel those of the PIL-backed image processors of transformers 5. A picture
   whose file says that its pixels are oblong is resized as if they were square.

Refuses what has no single picture in 8 bits: without a window 16-bit and float pixels. No message quotes what a file
holds. Never loosens PIL's guards against truncated files and decompression bombs, and changes no PIL setting.
"""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx.backbones.preprocess import RESAMPLES, ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inputs.frames import Frame
from featx.inputs.medical import is_medical, read_medical
from featx.inputs.refusals import (
    NEEDS_WINDOW,
    NO_DEEP_COLOUR,
    array_problem,
    depth_problem,
    looks_like,
    tiff_type,
)
from featx.inputs.values import Values, linear, pixels_of, refuse_no_number

__all__ = ["FORMATS", "canonical", "count_pages", "decode", "fit", "write_png"]

# Not PIL's whole list: EPS would start Ghostscript, and formats without a signature accept any bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

_REMOVE = 'Remove it, or pass on_error="nan".'
# PIL's own default limit (a quarter GiB of RGB), for what a resize would make of a very long, thin image.
_LARGEST_RESIZED_PX = 89_478_485

# EXIF orientation (TIFF tag 0x0112, value 1 to 8) -> what makes the image upright; 5 to 8 swap the edges.
_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 0x0106  # of TIFF; 0 is WhiteIsZero, which PIL minds in 8 bits only
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
        raise UnreadableSampleError(f"empty file (0 bytes). {_REMOVE}", index=index, name=name)
    if is_medical(data):
        try:
            values = read_medical(data, frame)
            grey_or_rgb = Image.fromarray(pixels_of(values, preprocess.window))
        except SampleError as error:
            raise type(error)(error.message, index=index, name=name) from error.__cause__
        height, width = values.square_size
        square = _resized_size(height, width, preprocess) or (height, width)
        return _fitted(grey_or_rgb, square, preprocess, name=name, index=index)
    _ignore_pil_warnings()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            if frame is not None:
                _seek(opened, frame)
            _refuse_bomb(opened.size)
            problem = depth_problem(opened, data)
            if problem is not None:
                opened.load()
                return fit(_shown(opened, problem, preprocess), preprocess, name=name, index=index)
            target = _draft(opened, preprocess) if preprocess.decode == "draft" else None
            opened.load()
            image = _plain(opened, preprocess)
    except SampleError as error:
        raise type(error)(error.message, index=index, name=name) from error.__cause__
    except MemoryError:
        raise
    except Exception as error:
        # PIL's decoders raise whatever their parsing meets: OSError, SyntaxError, ValueError, struct.error
        raise UnreadableSampleError(
            f"not a readable image ({_reason(error, data)}). {_REMOVE}", index=index, name=name
        ) from error
    if target is None:
        target = _resized_size(image.height, image.width, preprocess)
    return _fitted(image, target, preprocess, name=name, index=index)


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
            return np.asarray(_plain(Image.fromarray(source, "RGBA"), preprocess))
        grey = source.reshape(source.shape[:2])
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)  # (h, w, 3)
    if not isinstance(source, Image.Image):
        raise SampleError(
            f"expected a path, bytes, a PIL image or a uint8 array, found {type(source).__name__}.",
            index=index,
            name=name,
        )
    problem = depth_problem(source, b"")
    _ignore_pil_warnings()
    try:
        # The same lazily opened image may stand twice in X, and loading moves its file's position.
        with _LOADING[id(source) % len(_LOADING)]:
            source.load()
        if problem is not None:
            return _shown(source, problem, preprocess)
        image = _plain(source, preprocess)
    except SampleError as error:
        raise type(error)(error.message, index=index, name=name) from error.__cause__
    except MemoryError:
        raise
    except Exception as error:  # whatever PIL's decoders raise, as in decode
        raise UnreadableSampleError(
            f"not a readable image ({_reason(error, b'')}). {_REMOVE}", index=index, name=name
        ) from error
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def fit(
    rgb: np.ndarray, preprocess: ImagePreprocess, *, name: str = "", index: int | None = None
) -> np.ndarray:
    """Resize and crop full-size pixels as `preprocess` says.

    Parameters
    ----------
    rgb : ndarray of shape (h, w, 3), uint8
        As :func:`canonical` returns it.

    Returns
    -------
    pixels : ndarray of shape (h', w', 3), uint8

    Raises
    ------
    SampleError
        If keeping the aspect of a very long, thin image would take more than 89 megapixels.
    """
    target = _resized_size(rgb.shape[0], rgb.shape[1], preprocess)
    if target in (None, rgb.shape[:2]) and preprocess.crop in (None, rgb.shape[:2]):
        return rgb
    return _fitted(Image.fromarray(rgb, "RGB"), target, preprocess, name=name, index=index)


def count_pages(data: bytes) -> int:
    """How many pictures an encoded image holds: pages of a TIFF, frames of an animation.

    Raises
    ------
    UnreadableSampleError
        It is no image.
    """
    _ignore_pil_warnings()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return int(getattr(opened, "n_frames", 1))
    except Exception as error:  # whatever PIL's decoders raise, as in decode
        raise UnreadableSampleError(f"not a readable image ({_reason(error, data)}). {_REMOVE}") from error


def _shown(image: Image.Image, problem: str, preprocess: ImagePreprocess) -> np.ndarray:
    """A loaded image of values through the window, upright; uint8 (h, w, 3)."""
    bits, signed = tiff_type(image)
    small = image.mode == "L" and signed
    if not small and image.mode != "F" and not image.mode.startswith("I"):
        raise SampleError(f"{problem}: {NO_DEEP_COLOUR}.")
    if not small and preprocess.window is None:
        raise SampleError(f"{problem}: {NEEDS_WINDOW}.")
    method = _UPRIGHT.get(_orientation(image))
    stored = np.asarray(image if method is None else image.transpose(method))
    if small:  # PIL has no modes for these two; the bits are right
        stored = stored.view(np.int8)
    elif image.mode == "I" and bits == 32 and not signed:
        stored = stored.view(np.uint32)
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0
    # Signed 8 bits are a picture as they stand, as they are in DICOM: from the least that they hold to the most.
    values = Values(stored=stored, own=linear(-128, 127) if small else None, inverted=white_is_zero)
    grey = pixels_of(refuse_no_number(values), preprocess.window)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


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


def _new_locks() -> tuple[threading.Lock, ...]:
    return tuple(threading.Lock() for _ in range(64))


_LOADING = _new_locks()


def _forget_after_fork() -> None:
    """In a forked child: a lock that a thread of the parent held would never be free again."""
    global _LOADING
    _LOADING = _new_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def _fitted(
    image: Image.Image,
    target: tuple[int, int] | None,
    preprocess: ImagePreprocess,
    *,
    name: str,
    index: int | None,
) -> np.ndarray:
    """Resize an upright image of mode RGB or L to `target` (height, width), crop, and give three channels.

    Grey is resized as one channel: PIL treats channels alike, so the pixels are those of three equal ones.
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


def _resized_size(height: int, width: int, preprocess: ImagePreprocess) -> tuple[int, int] | None:
    """(height, width) after the resize, as transformers' ``get_resize_output_image_size`` rounds it."""
    size = preprocess.size
    if size is None or isinstance(size, tuple):
        return size
    short, long = sorted((height, width))
    longer = max(1, int(size * long / short))
    return (longer, size) if width <= height else (size, longer)


def _draft(image: Image.Image, preprocess: ImagePreprocess) -> tuple[int, int] | None:
    """Let a JPEG that is not loaded yet decode smaller; the (height, width) to resize it to, None if exact.

    The target comes from the full size, as that of the smaller one is rounded. It stands upright, and the
    file may lie on its side.
    """
    if image.format not in ("JPEG", "MPO"):
        return None
    sideways = _orientation(image) >= 5
    height, width = (image.width, image.height) if sideways else (image.height, image.width)
    target = _resized_size(height, width, preprocess)
    if target is None:
        return None
    image.draft(None, (2 * target[0], 2 * target[1]) if sideways else (2 * target[1], 2 * target[0]))
    return target


def _plain(image: Image.Image, preprocess: ImagePreprocess) -> Image.Image:
    """A loaded image of any mode, upright, as mode RGB, or L where it is grey."""
    method = _UPRIGHT.get(_orientation(image))  # after loading: PIL turns TIFFs itself and clears the tag
    if method is not None:
        image = image.transpose(method)
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*preprocess.background, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    if image.mode in ("RGB", "L"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the metadata is corrupt."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # metadata never makes pixels unreadable, and PIL's parser raises many types
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _refuse_bomb(size: tuple[int, int]) -> None:
    """Refuse what PIL only warns of: sizes between its limit and twice its limit."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise Image.DecompressionBombError(f"{size[0]:,} x {size[1]:,}")


def _reason(error: Exception, data: bytes) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"a decompression bomb by PIL's guard of {Image.MAX_IMAGE_PIXELS:,} pixels: {error}; "
            "a large image that you trust can be made smaller first"
        )
    if isinstance(error, Image.UnidentifiedImageError):
        return f"{looks_like(data)}; featx reads {', '.join(FORMATS)}, DICOM, NIfTI, MGZ"
    if "truncated" in str(error).lower():
        return f"truncated after {len(data):,} bytes" if data else "truncated"
    words = re.sub(
        r"""b?['"].*['"]""", "...", str(error), flags=re.DOTALL
    )  # where PIL quotes bytes of the file
    return f"{type(error).__name__}: {words}"


# (action, message, category, module, line) as in warnings.filters: PIL's modules, UserWarning only.
_PIL_FILTER = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)


def _ignore_pil_warnings() -> None:
    """Keep PIL's remarks on odd metadata from the user, and from failing a decode under ``-W error``.

    ``warnings.catch_warnings`` is not safe in threads: one filter for PIL's modules is put first and stays.
    """
    filters = warnings.filters
    if not filters or filters[0] != _PIL_FILTER:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write pixels as a PNG file.

    Parameters
    ----------
    path : path
    pixels : ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey or RGB.
    """
    Image.fromarray(pixels).save(path, format="PNG")
