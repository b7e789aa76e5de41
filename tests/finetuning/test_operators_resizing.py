"""Resize and Upsample against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from featx.errors import GraphError

Agrees = Callable[..., None]
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
# ONNX Runtime computes its coordinates in float32.
TOLERANCE = 1e-4


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(3, 4), (9, 10), (1, 13), (6, 7)])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_to_a_size(agrees: Agrees, size: tuple[int, int], mode: str, coordinates: str) -> None:
    agrees(
        "Resize",
        drawn(2, 3, 6, 7),
        None,
        None,
        np.asarray([2, 3, *size]),
        opset=19,
        tolerance=TOLERANCE,
        mode=mode,
        coordinate_transformation_mode=coordinates,
    )


@pytest.mark.parametrize("scales", [(2.0, 2.0), (0.5, 1.5), (1.7, 0.6)])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_by_a_scale(agrees: Agrees, scales: tuple[float, float], mode: str) -> None:
    given = np.asarray([1, 1, *scales], np.float32)
    agrees("Resize", drawn(1, 2, 6, 7), None, given, tolerance=TOLERANCE, mode=mode)
    agrees("Resize", drawn(1, 2, 6, 7), None, given[2:], tolerance=TOLERANCE, mode=mode, axes=[2, 3])


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_which_place_is_nearest(agrees: Agrees, nearest: str) -> None:
    scales = np.asarray([1, 1, 2.0, 0.5], np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest}
    agrees("Resize", drawn(1, 1, 5, 8), None, scales, **how)


def test_cubic_weights_of_other_libraries(agrees: Agrees) -> None:
    sizes = np.asarray([1, 1, 9, 5])
    how = {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}
    agrees("Resize", drawn(1, 1, 5, 8), None, None, sizes, tolerance=TOLERANCE, **how)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_operators(agrees: Agrees, mode: str) -> None:
    x, scales = drawn(1, 2, 4, 5), [1.0, 1.0, 2.0, 3.0]
    agrees("Upsample", x, opset=7, mode=mode, scales=scales)
    agrees("Upsample", x, np.asarray(scales, np.float32), opset=9, mode=mode)
    agrees("Resize", x, np.asarray(scales, np.float32), opset=10, mode=mode)


def test_antialiasing_is_refused(agrees: Agrees) -> None:
    with pytest.raises(GraphError, match="antialias"):
        agrees("Resize", drawn(1, 1, 4, 4), None, None, np.asarray([1, 1, 2, 2]), mode="linear", antialias=1)
