"""Resize and Upsample: every axis by itself, as a product with a matrix of interpolation weights.

A matrix an axis covers every mode and coordinate rule in one place, and torch differentiates it. It is (new size, old size),
small beside the map. The rules are ONNX's, Resize-19, "coordinate_transformation_mode"; cubic weights are Keys 1981, eq. 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.finetuning.nodes import Build, Compute, Node

__all__ = ["RESIZING"]

_Coordinates = Callable[[NDArray[np.float64], float, int, int], NDArray[np.float64]]


def _half_pixel_symmetric(x: NDArray[np.float64], scale: float, old: int, new: int) -> NDArray[np.float64]:
    adjustment = new / (scale * old)
    return old / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5


_COORDINATES: dict[str, _Coordinates] = {
    "half_pixel": lambda x, scale, old, new: (x + 0.5) / scale - 0.5,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": lambda x, scale, old, new: (x + 0.5) / scale - 0.5 if new > 1 else 0 * x,
    "align_corners": lambda x, scale, old, new: x * (old - 1) / (new - 1) if new > 1 else 0 * x,
    "asymmetric": lambda x, scale, old, new: x / scale,
}
_NEAREST: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_POLICIES = ("stretch",)


def _resize(node: Node) -> Compute:
    mode = node.get("mode", "nearest")
    rules = (
        mode,
        node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric"),
        node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor"),
        float(node.get("cubic_coeff_a", -0.75)),
        bool(node.get("exclude_outside", 0)),
    )
    if mode not in ("nearest", "linear", "cubic") or rules[1] not in _COORDINATES:
        raise node.refuse(f"{mode!r} interpolation with {rules[1]!r} coordinates is not supported.")
    if node.get("antialias", 0) or node.get("keep_aspect_ratio_policy", "stretch") not in _POLICIES:
        raise node.refuse("resizing with antialias or a fixed aspect ratio is not supported.")

    def resized(x: Tensor, *given: Tensor | None) -> Tensor:
        # The inputs are (scales) in opset 10 and Upsample, else (roi, scales, sizes).
        scales, sizes = (given[0], None) if node.opset < 11 else (*given[1:3], None, None)[:2]
        axes = [axis % x.ndim for axis in node.get("axes") or range(x.ndim)]
        return _resized(x, axes, _numbers(scales), _numbers(sizes), rules)

    return resized


def _upsample(node: Node) -> Compute:
    mode, named = node.get("mode", "nearest"), node.get("scales")
    rules = (mode, "asymmetric", "floor", -0.75, False)
    if mode not in ("nearest", "linear"):
        raise node.refuse(f"{mode!r} interpolation is not supported.")
    return lambda x, scales=None: _resized(x, range(x.ndim), named or _numbers(scales), [], rules)


def _numbers(tensor: Tensor | None) -> list[Any]:
    return [] if tensor is None else tensor.tolist()


def _resized(x: Tensor, axes: Any, scales: list[float], sizes: list[int], rules: tuple[Any, ...]) -> Tensor:
    for i, axis in enumerate(axes):
        old = x.shape[axis]
        new = int(sizes[i]) if sizes else math.floor(old * scales[i])
        scale = new / old if sizes else scales[i]
        if new == old and scale == 1:
            continue
        matrix = torch.from_numpy(_matrix(old, new, scale, *rules)).to(x.device, x.dtype)
        x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)
    return x


@lru_cache(maxsize=32)
def _matrix(
    old: int, new: int, scale: float, mode: str, coordinates: str, nearest: str, a: float, exclude: bool
) -> NDArray[np.float64]:
    """Weights (new, old) of one axis."""
    at = _COORDINATES[coordinates](np.arange(new, dtype=np.float64), scale, old, new)
    if mode == "nearest":
        places, weights = _NEAREST[nearest](at)[:, None], np.ones((new, 1))
    else:
        left = np.floor(at)
        offsets = np.arange(2) if mode == "linear" else np.arange(-1, 3)
        places = left[:, None] + offsets
        distance = np.abs(at[:, None] - places)
        weights = np.maximum(1 - distance, 0) if mode == "linear" else _cubic(distance, a)
        if exclude:
            weights = np.where((places >= 0) & (places < old), weights, 0)
            weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((new, old))
    rows = np.broadcast_to(np.arange(new)[:, None], places.shape)
    np.add.at(matrix, (rows, np.clip(places, 0, old - 1).astype(np.int64)), weights)
    return matrix


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


RESIZING: dict[str, Build] = {"Resize": _resize, "Upsample": _upsample}
"""Operator to the function that builds its computation."""
