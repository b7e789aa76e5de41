"""Values of more than 8 bits -> 8-bit pixels, through a window.

Owns the one definition of a picture of measured values, whichever file they come from: values, the way from what is stored to
them, what the file itself says of black and white, and how large its pixels are. Pure functions of arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.window import Window
from featx.errors import SampleError

__all__ = ["Values", "linear", "pixels_of", "refuse_no_number"]

Share = Callable[[NDArray[Any]], NDArray[Any]]
"""From values to shares of white, 0 to 1 once clipped."""

_REMOVE = 'Remove it, or pass on_error="nan".'
_MOST_OBLONG = 20.0
"""Edges of a pixel differ by less; a header that says more is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """What a file holds of one picture.

    Parameters
    ----------
    stored : ndarray of shape (h, w), integers or floats; or (h, w, 3), uint8 RGB
        Colour is a picture already: no window applies.
    slope, intercept : float
        A value is ``stored * slope + intercept``.
    own : callable, optional
        What the file says of black and white: from values to shares of white.
    inverted : bool
        Low values are white (MONOCHROME1; WhiteIsZero in TIFF).
    padding : (low, high), optional
        Stored values that are no measurement.
    spacing : (float, float)
        Height and width of a pixel, in any unit; (1, 1) where not known.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    own: Share | None = None
    inverted: bool = False
    padding: tuple[float, float] | None = None
    spacing: tuple[float, float] = (1.0, 1.0)

    @property
    def square_size(self) -> tuple[int, int]:
        """(height, width) of the picture with square pixels, the finer edge kept."""
        height, width = self.stored.shape[:2]
        ratio = self.spacing[0] / self.spacing[1] if all(edge > 0 for edge in self.spacing) else 1.0
        if not 1 / _MOST_OBLONG < ratio < _MOST_OBLONG or abs(ratio - 1) < 0.01:  # NaN fails the first
            return height, width
        return (round(height * ratio), width) if ratio > 1 else (height, max(1, round(width / ratio)))


def linear(low: float, high: float) -> Share:
    """Black up to `low`, white from `high` on; where they are equal, a step."""
    if high <= low:
        return lambda values: (values > low).astype(np.float64)
    return lambda values: (values - low) / (high - low)


def pixels_of(values: Values, window: Window | None) -> NDArray[np.uint8]:
    """8-bit pixels of a picture of values.

    Parameters
    ----------
    values : Values
    window : Window or None
        None takes what the file itself says.

    Returns
    -------
    ndarray of uint8, shape (h, w) or (h, w, 3)
        Values that are not finite are black.

    Raises
    ------
    SampleError
        There is no window, and the file has none of its own; says what its values span.
    """
    if values.stored.ndim == 3:
        return values.stored
    share = values.own if window is None else _share(values, window)
    if share is None:
        raise SampleError(
            f"{_kind(values)} from {_span(values)}, and no window of its own to show them in 8 bits. Say which values become "
            "black and white: window=featx.Window(center, width), or window=featx.Window.percentiles()."
        )
    stored = values.stored
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        # A table of every possible value: the same numbers, several times faster than arithmetic on each pixel.
        native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
        codes = np.arange(1 << 8 * native.dtype.itemsize, dtype=f"u{native.dtype.itemsize}")
        table = _levels(values, share, codes.view(native.dtype))
        return table[native.view(codes.dtype)]
    return _levels(values, share, stored)


def refuse_no_number(values: Values) -> Values:
    """The same values, of a picture that stands alone: without one measurement it would be black, and nobody would know why.

    Slices of volumes are not asked: at their ends there may be nothing to measure.

    Raises
    ------
    SampleError
        No value is a finite number, or the slope and intercept make infinite ones of them.
    """
    stored = values.stored
    finite = stored[np.isfinite(stored)] if stored.dtype.kind == "f" else stored
    if not finite.size:
        raise SampleError(f"not one of its values is a finite number. {_REMOVE}")
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.array([finite.min(), finite.max()], np.float64) * values.slope + values.intercept
    if not np.isfinite(ends).all():
        raise SampleError(
            f"its rescale slope and intercept make no finite numbers of what is stored. {_REMOVE}"
        )
    return values


def _levels(values: Values, share: Share, stored: NDArray[Any]) -> NDArray[np.uint8]:
    # A table also lists values that the picture has not.
    with np.errstate(over="ignore", invalid="ignore"):
        measured = stored.astype(np.float64) * values.slope + values.intercept
    finite = np.isfinite(measured)
    white = np.clip(share(np.where(finite, measured, 0.0)), 0.0, 1.0)
    if values.inverted:
        white = 1.0 - white
    return (np.where(finite, white, 0.0) * 255 + 0.5).astype(np.uint8)


def _share(values: Values, window: Window) -> Share:
    if window.center is not None and window.width is not None:
        return linear(window.center - window.width / 2, window.center + window.width / 2)
    measurements = _measurements(values)
    if window.low is None or window.high is None or not measurements.size:
        return linear(0.0, 0.0)
    at = (window.low, window.high) if values.slope > 0 else (100 - window.low, 100 - window.high)
    low, high = np.percentile(measurements, at) * values.slope + values.intercept
    return linear(float(low), float(high))


def _measurements(values: Values) -> NDArray[Any]:
    """The stored values that are measurements, (n,)."""
    stored = values.stored.reshape(-1)
    if stored.dtype.kind == "f":
        stored = stored[np.isfinite(stored)]
    if values.padding is not None:
        low, high = values.padding
        stored = stored[(stored < low) | (stored > high)]
    return stored


def _span(values: Values) -> str:
    measurements = _measurements(values)
    if not measurements.size:
        return "none to none (every one is padding or not finite)"
    ends = [float(end) * values.slope + values.intercept for end in (measurements.min(), measurements.max())]
    return f"{min(ends):g} to {max(ends):g}"


def _kind(values: Values) -> str:
    dtype = values.stored.dtype
    return "holds values" if dtype.kind == "f" else f"holds {8 * dtype.itemsize}-bit values"
