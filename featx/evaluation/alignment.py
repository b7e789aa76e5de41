"""How well one small grey picture lies on another: stretched, moved and mirrored onto it, then compared in its details.

Two different cells, slices or tables look alike as a whole: at 16 x 16 pixels neighbours of other patients correlate at up to
0.99. Their edges do not lie at the same places. So pictures are first aligned (Lucas and Kanade 1981, "An iterative image
registration technique with an application to stereo vision", in the form of Gauss-Newton steps, coarse to fine) by a stretch
and a shift in each direction, with a gain and an offset for the brightness; what is compared then is what a blur takes away.

Not seen, because it is no stretch, shift or mirroring: turned and sheared pictures, and parts of less than about two thirds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["COARSE_PX", "SIDE_PX", "Agreement", "coarse", "compare"]

SIDE_PX = 48
"""Side of the pictures compared."""

COARSE_PX = 16
"""Side of the pictures that are looked at first."""

_ALIKE = 0.4  # correlation of coarse pictures as they lie; 0.55 and more after a crop of 5 % at each edge
_ALIGNED = 0.8  # ... and once they are aligned; 0.83 and more
_HINTED = 0.15  # correlation of details as coarse pictures place them, 0.2 to 1; most photographs end here
_OVERLAP = 0.4  # share of the picture that both show
_FLAT = 0.5  # grey levels; a picture with less detail is a blank one, and all blank pictures agree
_DETAILS = 0.9  # measured by benchmarks/near_copies.py: other cells and slices that lay nearest reached 0.9, and whole 0.956
_WHOLE = 0.96
_DETAILS_OF_FAINT = 0.7
_NOISE = 1.5  # grey levels; what JPEG at quality 50 leaves of a faint picture, while other pictures differed by 1.8 and more
_LARGEST_STEP = 0.08  # in halves of a side; a step further than the details are wide goes astray
_STRETCH = (0.7, 1.4)
_SHIFT = (-0.3, 0.3)

Grey: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreement:
    """How well the second picture of each pair lies on the first.

    Parameters
    ----------
    details : ndarray of float32, shape (n,)
        Correlation of what a blur takes away, -1 to 1; 0 where the pictures could not be laid on each other, or one is blank.
    whole : ndarray of float32, shape (n,)
        Correlation of the pictures, -1 to 1.
    residual : ndarray of float32, shape (n,)
        Root mean square of the differences in grey levels, once brightness and contrast are adjusted.
    """

    details: Grey
    whole: Grey
    residual: Grey

    @property
    def copies(self) -> NDArray[np.bool_]:
        """Pairs that are one picture: the same details; of a faint picture no other differences than compression makes."""
        same = (self.details >= _DETAILS) & (self.whole >= _WHOLE)
        return same | ((self.details >= _DETAILS_OF_FAINT) & (self.residual <= _NOISE))


def compare(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Agreement:
    """Lay the second picture of each pair on the first, as it is and mirrored, and compare the better of the two.

    Parameters
    ----------
    first, second : ndarray of uint8, shape (n, 48, 48)
        Grey pictures, squeezed to a square. A few hundred pairs at a time stay near the cores.
    """
    found = _unlike(len(first))
    one, other = coarse(first), coarse(second)
    for flip in (1, -1):
        turned = other[:, :, ::flip]
        among, placed = _placed(one, turned)
        if len(among):
            laid = _laid_on(
                first[among].astype(np.float32), second[among][:, :, ::flip].astype(np.float32), placed
            )
            better = laid.details > found.details[among]
            for ours, theirs in zip(_fields(found), _fields(laid), strict=True):
                ours[among[better]] = theirs[better]
    return found


def coarse(pictures: NDArray[np.uint8] | Grey) -> Grey:
    """Blurred pictures of shape (n, 16, 16)."""
    return _blur(_shrink(pictures.astype(np.float32, copy=False), COARSE_PX), 1.0)


def _placed(one: Grey, other: Grey) -> tuple[NDArray[np.intp], Grey]:
    """Which pairs of coarse pictures can be laid on each other, and how."""
    among = np.flatnonzero(_correlation(one, other) >= _ALIKE)
    one, other = one[among], other[among]
    placed = _align(one, other, _start(len(among)), n_steps=8)
    on, shown = _warp(other, placed)
    fit = (_correlation(one, on, shown) >= _ALIGNED) & (_share(shown) >= _OVERLAP)
    return among[fit], placed[fit]


def _laid_on(one: Grey, other: Grey, placed: Grey) -> Agreement:
    """Compare pictures that lie on each other but for a pixel or two."""
    found = _unlike(len(one))
    one, other = _blur(one, 0.7), _blur(other, 0.7)
    details, other_details = one - _blur(one, 2.5), other - _blur(other, 2.5)
    on, shown = _warp(other_details, placed)
    blank = (details.std(axis=(1, 2)) < _FLAT) | (other_details.std(axis=(1, 2)) < _FLAT)
    among = np.flatnonzero(~blank & (_correlation(details, on, shown) >= _HINTED))
    one, other = one[among], other[among]
    placed = _align(one, other, placed[among], n_steps=5)
    on, shown = _warp(other, placed)
    whole = _correlation(one, on, shown)
    agreed = _correlation(details[among], _warp(other_details[among], placed)[0], shown)
    spread = np.sqrt(_squares(one, shown) / np.maximum(shown.sum(axis=(1, 2)), 1))
    found.details[among] = np.where(_share(shown) >= _OVERLAP, agreed, 0)
    found.whole[among] = whole
    found.residual[among] = spread * np.sqrt(np.maximum(1 - whole**2, 0))
    return found


def _share(shown: Grey) -> Grey:
    return shown.mean(axis=(1, 2))


def _unlike(n: int) -> Agreement:
    return Agreement(
        details=np.zeros(n, dtype=np.float32),
        whole=np.zeros(n, dtype=np.float32),
        residual=np.full(n, np.inf, dtype=np.float32),
    )


def _fields(agreement: Agreement) -> tuple[Grey, Grey, Grey]:
    return agreement.details, agreement.whole, agreement.residual


def _start(n: int) -> Grey:
    """Stretch and shift along a row, stretch and shift along a column, shape (n, 4): the picture as it lies."""
    return np.tile(np.asarray([1, 0, 1, 0], dtype=np.float32), (n, 1))


def _align(one: Grey, other: Grey, placed: Grey, *, n_steps: int) -> Grey:
    """Gauss-Newton steps from ``placed`` towards the place at which ``other`` is ``one`` up to gain and offset."""
    n, side = len(one), one.shape[1]
    along = _centres(side)
    slope_y, slope_x = np.gradient(other, axis=(1, 2))
    slope_x, slope_y = slope_x * (side / 2), slope_y * (side / 2)  # per half side
    target = one.reshape(n, side * side, 1)
    for _ in range(n_steps):
        rows, columns, shown = _view(placed, side)
        moved = rows @ other @ columns
        dx, dy = rows @ slope_x @ columns, rows @ slope_y @ columns
        parts = (dx * along, dx, dy * along[:, np.newaxis], dy, moved, np.ones_like(moved))
        jacobian = np.stack([part * shown for part in parts], axis=-1).reshape(n, side * side, 6)
        transposed = jacobian.transpose(0, 2, 1)
        normal, right = transposed @ jacobian, transposed @ target  # (n, 6, 6), (n, 6, 1)
        diagonal = np.arange(6)
        normal[:, diagonal, diagonal] *= 1.001  # a picture of stripes leaves a direction open
        normal[:, diagonal, diagonal] += 1e-3
        solved = np.linalg.solve(normal, right)[:, :, 0]
        gain = solved[:, 4:5]
        step = np.where(np.abs(gain) > 0.2, solved[:, :4] / np.where(np.abs(gain) > 0.2, gain, 1), 0)
        placed = placed + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP).astype(np.float32)
        placed[:, 0::2] = np.clip(placed[:, 0::2], *_STRETCH)
        placed[:, 1::2] = np.clip(placed[:, 1::2], *_SHIFT)
    return placed


def _warp(pictures: Grey, placed: Grey) -> tuple[Grey, Grey]:
    """Pictures as placed, and 1 where they show anything."""
    rows, columns, shown = _view(placed, pictures.shape[1])
    return np.matmul(np.matmul(rows, pictures), columns), shown


def _view(placed: Grey, side: int) -> tuple[Grey, Grey, Grey]:
    """Bilinear interpolation as a product from the left and one from the right, and what lies inside, each (n, side, side)."""
    along = _centres(side)
    x = placed[:, 0:1] * along + placed[:, 1:2]  # (n, side), -1 to 1
    y = placed[:, 2:3] * along + placed[:, 3:4]
    shown = (np.abs(y) <= 1)[:, :, np.newaxis] & (np.abs(x) <= 1)[:, np.newaxis, :]
    return _interpolation(y, side), _interpolation(x, side).transpose(0, 2, 1), shown.astype(np.float32)


def _interpolation(at: Grey, side: int) -> Grey:
    pixel = np.clip((at + 1) * (side / 2) - 0.5, 0, side - 1)
    return np.maximum(0, 1 - np.abs(pixel[:, :, np.newaxis] - np.arange(side, dtype=np.float32)))


def _centres(side: int) -> Grey:
    return ((np.arange(side) + 0.5) * (2 / side) - 1).astype(np.float32)


def _correlation(one: Grey, other: Grey, shown: Grey | None = None) -> Grey:
    """Of each pair, over what is shown."""
    weight = np.ones_like(one) if shown is None else shown
    product = (_centred(one, weight) * _centred(other, weight)).sum(axis=(1, 2))
    return product / np.sqrt(np.maximum(_squares(one, weight) * _squares(other, weight), 1e-6))


def _squares(pictures: Grey, weight: Grey) -> Grey:
    return (_centred(pictures, weight) ** 2).sum(axis=(1, 2))


def _centred(pictures: Grey, weight: Grey) -> Grey:
    total = np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1)
    return (pictures - (pictures * weight).sum(axis=(1, 2), keepdims=True) / total) * weight


def _shrink(pictures: Grey, side: int) -> Grey:
    """Means of square blocks."""
    n, block = len(pictures), pictures.shape[1] // side
    return pictures.reshape(n, side, block, side, block).mean(axis=(2, 4))


def _blur(pictures: Grey, sigma_px: float) -> Grey:
    kernel = _blur_matrix(pictures.shape[1], sigma_px)
    return np.matmul(np.matmul(kernel, pictures), kernel.T)


@cache
def _blur_matrix(side: int, sigma_px: float) -> Grey:
    """A Gaussian blur of a row as a matrix (side, side); the border's pixel goes on outside."""
    reach = int(3 * sigma_px + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma_px**2))
    matrix = np.zeros((side, side))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        np.add.at(matrix, (np.arange(side), np.clip(np.arange(side) + offset, 0, side - 1)), weight)
    return matrix.astype(np.float32)
