"""What featx does not take for 8-bit pixels, and what it calls it.

Pure functions that return the reason as words, or None. Pixels of more than 8 bits have no single picture in
8 bits: a CT slice is another image in a lung window than in a bone window. Without a window they are refused rather
than cut, also those that PIL would cut without a word.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["NEEDS_WINDOW", "NO_DEEP_COLOUR", "array_problem", "depth_problem", "looks_like", "tiff_type"]

NEEDS_WINDOW = (
    "a window is needed to show it in 8 bits, and featx does not guess one: window=featx.Window(center, width), or "
    "window=featx.Window.percentiles()"
)
NO_DEEP_COLOUR = "no window applies to colour and alpha of more than 8 bits. Give it 8 bits a channel"
_TO_8_BITS = "(np.clip((a - low) / (high - low), 0, 1) * 255).astype(np.uint8)"

# TIFF 6.0: bits of each channel; of each whether it is unsigned (1), signed (2) or float (3).
_BITS_TAG, _SAMPLE_FORMAT_TAG = 0x0102, 0x0153
_DEEP_RAWMODE = re.compile(r"^(?!BGR).*;(12|16)[A-Z]*$")  # BGR;16 is BMP's 5-6-5, which is not deep


def depth_problem(image: Any, data: bytes) -> str | None:
    """What to call the pixels of a PIL image where they have more than 8 bits, or None.

    To be asked before the image is loaded: PIL reads 16-bit colour as mode RGB and drops the lower bits while
    loading; only the decoder's arguments tell, and of a TIFF its tags: where each channel lies apart, PIL takes the bytes of
    16 bits for neighbours. `data` is the file, where it is at hand.
    """
    bits, signed = tiff_type(image)
    if image.mode == "F":
        return "float pixels"
    if image.mode.startswith("I"):
        return f"16-bit or deeper pixels (PIL mode {image.mode})"
    if bits > 8:
        return f"{bits}-bit pixels ({image.format}, {image.mode})"
    if signed:
        return "signed 8-bit pixels"
    for codec, _, _, arguments in getattr(image, "tile", ()):
        first, *rest = arguments if isinstance(arguments, tuple) else (arguments,)
        if isinstance(first, str) and _DEEP_RAWMODE.match(first):
            return f"16-bit pixels ({image.format}, {first})"
        if codec in ("ppm", "ppm_plain") and rest and rest[-1] > 255:
            return f"16-bit pixels (PPM with a maximum of {rest[-1]})"
    if image.format == "JPEG2000":
        # ISO/IEC 15444-1, A.5.1: the first component's depth less one, 42 bytes into the codestream
        at = data.find(b"\xff\x4f\xff\x51")
        if 0 <= at < len(data) - 42 and (data[at + 42] & 0x7F) + 1 > 8:
            return f"{(data[at + 42] & 0x7F) + 1}-bit pixels (JPEG 2000)"
    return None


def tiff_type(image: Any) -> tuple[int, bool]:
    """Bits of a channel of a TIFF, and whether they are those of signed numbers; (0, False) of other images.

    PIL does not tell in all cases: it reads signed 8 bits as mode L, unsigned 32 bits as its signed mode I.
    """
    tags = getattr(image, "tag_v2", None)
    if not tags:
        return 0, False
    return int(max(tags.get(_BITS_TAG, (1,)))), 2 in tags.get(_SAMPLE_FORMAT_TAG, (1,))


def array_problem(array: np.ndarray, *, windowed: bool = False) -> str | None:
    """Why an array is not uint8 of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), and what to do.

    With a window, grey values of any integer or float type are no problem.
    """
    if array.dtype == bool:
        return "a boolean array: give array.astype(np.uint8) * 255."
    if array.dtype != np.uint8:
        if array.dtype.kind not in "iuf":
            return f"a {array.dtype} array: expected whole numbers or floats."
        if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,)):
            return f"a {array.dtype} array of shape {array.shape}: {NO_DEEP_COLOUR}: {_TO_8_BITS}."
        if not windowed:
            return f"a {array.dtype} array: {NEEDS_WINDOW} (values from 0 to 1: Window(0.5, 1))."
    if array.size == 0:
        return f"an array without pixels, shape {array.shape}."
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
        return None
    first = array.ndim == 3 and array.shape[0] in (1, 3)
    hint = " Channels come last: array.transpose(1, 2, 0)." if first else ""
    return f"an array of shape {array.shape}: expected (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).{hint}"


def looks_like(data: bytes) -> str:
    """What a file that is no image may be, from its first bytes, which are not quoted: they may be a patient's."""
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data[4:8] == b"ftyp":
        return "an HEIF image or a video"
    if data[:4] == b"%PDF":
        return "a PDF"
    if data[:2] == b"\x1f\x8b":
        return "a gzip file"
    return "no known image format"
