"""PIL images of every mode as upright 8-bit pixels, RGB or grey.

Owns featx's rules of orientation and colour: EXIF orientation is applied; palettes are resolved; alpha, in whichever form, is
composited on ``preprocess.background``; CMYK becomes RGB as PIL converts it (JPEG's inverted CMYK, as Adobe writes it, is read as
such); 1-bit becomes grey; grey of more than 8 bits goes through a window. Deep colour is refused.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError
from featx.inputs.refusals import NEEDS_WINDOW, NO_DEEP_COLOUR, tiff_type
from featx.inputs.values import Values, linear, pixels_of, refuse_no_number

__all__ = ["orientation", "plain_image", "windowed_pixels"]

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


def plain_image(image: Image.Image, preprocess: ImagePreprocess) -> Image.Image:
    """A loaded image of any mode, upright, as mode RGB, or L where it is grey."""
    method = _UPRIGHT.get(orientation(image))  # after loading: PIL turns TIFFs itself and clears the tag
    if method is not None:
        image = image.transpose(method)
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*preprocess.background, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    if image.mode in ("RGB", "L"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def windowed_pixels(image: Image.Image, problem: str, preprocess: ImagePreprocess) -> np.ndarray:
    """A loaded image whose values are no 8-bit picture, through the window, upright; uint8 (h, w, 3).

    Parameters
    ----------
    problem : str
        What :func:`featx.inputs.refusals.depth_problem` says of it.

    Raises
    ------
    SampleError
        If it has several channels, there is no window for it, or no value is a finite number.
    """
    bits, signed = tiff_type(image)
    small = image.mode == "L" and signed
    if not small and image.mode != "F" and not image.mode.startswith("I"):
        raise SampleError(f"{problem}: {NO_DEEP_COLOUR}.")
    if not small and preprocess.window is None:
        raise SampleError(f"{problem}: {NEEDS_WINDOW}.")
    method = _UPRIGHT.get(orientation(image))
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


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the metadata is corrupt."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # metadata never makes pixels unreadable, and PIL's parser raises many types
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1
