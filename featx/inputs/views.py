"""The pixels of a view: a picture that fits the network, varied as its own draw says.

One affine transform with one bilinear interpolation, then flips, then one table of tones. Views are made of pictures that were
resized and cropped for the network already: that is where Keras makes them, and a view then costs the same whatever the size
of the file. The margin that a centre crop cut off is therefore not seen again by a view that moves; `fill_mode` says what is.

Draws do not depend on one another or on which ranges are open, so two settings that share a range share its draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.backbones.augment import Augment, View
from featx.store.digest import digest_json

__all__ = ["augmented"]

# ITU-R 601-2, by which PIL and torchvision turn colour into grey.
_LUMA = np.asarray([0.299, 0.587, 0.114])
_MARGIN_PX = 2
"""Beyond the outermost pixel that is looked at: bilinear interpolation takes its neighbour too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """What happens to one picture in one view."""

    rotation_deg: float
    right: float  # of the shift: a share of the width, or pixels, as the range has it
    down: float
    zoom_x: float
    zoom_y: float
    shear_deg: float
    mirrored: bool
    upside_down: bool
    brightness: float
    contrast: float


def augmented(pixels: NDArray[np.uint8], view: View, key: bytes) -> NDArray[np.uint8]:
    """A view of a picture.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
        RGB, of the size that the network takes. Not changed.
    view : View
    key : bytes
        Content digest of the sample, which with the view's seed and number decides the draw.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
        `pixels` itself where nothing happens.

    Notes
    -----
    The draw is the same on every machine. Pixels are rounded from 32-bit floats: where a value lies halfway between two levels,
    processors may differ by one.
    """
    augment, draw = view.augment, _draw(view, key)
    if augment.moves:
        pixels = _moved(pixels, augment, draw)
    if draw.mirrored:
        pixels = pixels[:, ::-1]
    if draw.upside_down:
        pixels = pixels[::-1]
    if draw.brightness != 1 or draw.contrast != 1:
        pixels = _toned(pixels, draw)
    return np.ascontiguousarray(pixels)


def _draw(view: View, key: bytes) -> _Draw:
    """Ten numbers from Philox under the digest of sample, seed and view: a cipher of counters, the same everywhere."""
    seed = digest_json({"sample": key.hex(), "seed": view.seed, "view": view.number})
    raw = np.random.Philox(key=int(seed, 16)).random_raw(10)
    u = [int(number >> 11) * 2.0**-53 for number in raw.tolist()]  # [0, 1), with all the bits of a float
    of = view.augment
    zoom = of.zoom_range if isinstance(of.zoom_range, tuple) else (1.0, 1.0)
    return _Draw(
        rotation_deg=of.rotation_range * (2 * u[0] - 1),
        right=of.width_shift_range * (2 * u[1] - 1),
        down=of.height_shift_range * (2 * u[2] - 1),
        zoom_x=_between(zoom, u[3]),
        zoom_y=_between(zoom, u[4]),
        shear_deg=of.shear_range * (2 * u[5] - 1),
        mirrored=of.horizontal_flip and u[6] < 0.5,
        upside_down=of.vertical_flip and u[7] < 0.5,
        brightness=_between(of.brightness_range, u[8]),
        contrast=_between(of.contrast_range, u[9]),
    )


def _between(factors: tuple[float, float] | None, u: float) -> float:
    return 1.0 if factors is None else factors[0] + (factors[1] - factors[0]) * u


def _moved(pixels: NDArray[np.uint8], augment: Augment, draw: _Draw) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    matrix = _matrix(augment, draw, height, width)
    corners = np.asarray([[y, x, 1.0] for y in (0, height - 1) for x in (0, width - 1)])
    seen = corners @ matrix[:2].T  # (4, 2): rows and columns of the picture that the corners show
    first = np.minimum(np.floor(seen.min(axis=0)), 0).astype(int) - _MARGIN_PX
    last = np.maximum(np.ceil(seen.max(axis=0)), (height - 1, width - 1)).astype(int) + _MARGIN_PX
    wide = _surrounded(pixels, augment, (first[0], last[0]), (first[1], last[1]))
    # PIL maps a pixel's centre, (x + 1/2, y + 1/2), to a place in the source, in which centres lie at halves too.
    (a, b, c), (d, e, f) = matrix[1, [1, 0, 2]], matrix[0, [1, 0, 2]]
    half = (
        a,
        b,
        c - first[1] + 0.5 * (1 - a - b),
        d,
        e,
        f - first[0] + 0.5 * (1 - d - e),
    )
    out = np.empty_like(pixels)
    grey = np.array_equal(pixels[:, :, 0], pixels[:, :, 1]) and np.array_equal(
        pixels[:, :, 0], pixels[:, :, 2]
    )
    for channel in range(1 if grey else 3):
        # In floats: PIL cuts off what is behind the point of an 8-bit result, which darkens a picture by half a level.
        plane = Image.fromarray(wide[:, :, channel].astype(np.float32))
        found = plane.transform((width, height), Image.Transform.AFFINE, half, Image.Resampling.BILINEAR)
        out[:, :, channel] = np.rint(np.asarray(found))
    if grey:
        out[:, :, 1:] = out[:, :, :1]
    return out


def _matrix(augment: Augment, draw: _Draw, height: int, width: int) -> NDArray[np.float64]:
    """From (row, column, 1) of the view to (row, column, 1) of the picture: Keras' ``apply_affine_transform``."""
    theta, shear = math.radians(draw.rotation_deg), math.radians(draw.shear_deg)
    down = draw.down * (height if augment.height_shift_range < 1 else 1)
    right = draw.right * (width if augment.width_shift_range < 1 else 1)
    cos, sin = math.cos(theta), math.sin(theta)
    turn = np.asarray([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    # A picture never leaves its frame by more than its own size: beyond that there is nothing new to see.
    move = np.eye(3)
    move[:2, 2] = max(-height, min(height, down)), max(-width, min(width, right))
    slant = np.asarray([[1, -math.sin(shear), 0], [0, math.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([draw.zoom_x, draw.zoom_y, 1])  # Keras' names: its x is the row
    centre, back = np.eye(3), np.eye(3)
    centre[:2, 2] = (height - 1) / 2, (width - 1) / 2
    back[:2, 2] = -centre[:2, 2]
    return np.asarray(centre @ turn @ move @ slant @ zoom @ back)


def _surrounded(
    pixels: NDArray[np.uint8], augment: Augment, rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.uint8]:
    """The picture with what lies around it, from the first to the last row and column, both included."""
    height, width = pixels.shape[:2]
    y, x = np.arange(rows[0], rows[1] + 1), np.arange(columns[0], columns[1] + 1)
    if augment.fill_mode == "constant":
        wide = np.full((len(y), len(x), 3), round(augment.cval), dtype=np.uint8)
        wide[-rows[0] : height - rows[0], -columns[0] : width - columns[0]] = pixels
        return wide
    mode = augment.fill_mode
    return pixels.take(_folded(y, height, mode), axis=0).take(_folded(x, width, mode), axis=1)


def _folded(positions: NDArray[np.intp], size: int, mode: str) -> NDArray[np.intp]:
    """Positions outside of a line of `size` pixels, as those inside that stand for them."""
    if mode == "nearest":
        return positions.clip(0, size - 1)
    if mode == "wrap":
        return positions % size
    there_and_back = positions % (2 * size)
    return np.minimum(there_and_back, 2 * size - 1 - there_and_back)


def _toned(pixels: NDArray[np.uint8], draw: _Draw) -> NDArray[np.uint8]:
    levels = (np.arange(256) * draw.brightness).clip(0, 255)
    if draw.contrast != 1:
        of_columns = pixels.sum(
            axis=0, dtype=np.uint64
        )  # (w, 3): whole numbers, so that the order of adding is no matter
        grey = float(of_columns.sum(axis=0) @ _LUMA) / (pixels.size // 3) * draw.brightness
        levels = (grey + (levels - grey) * draw.contrast).clip(0, 255)
    return np.rint(levels).astype(np.uint8).take(pixels)
