"""Convolution, pooling and padding, against ONNX Runtime: tables of what exporters write, and drawn combinations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featx.errors import GraphError

Agrees = Callable[..., None]


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("seed", range(24))
def test_drawn_convolutions(agrees: Agrees, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 3))
    kernel, strides, dilations = (rng.integers(1, 4, n).tolist() for _ in range(3))
    groups = int(rng.choice([1, 2, 4]))
    weight = drawn(4 * int(rng.integers(1, 3)), 4 // groups, *kernel, seed=seed)
    bias = [drawn(len(weight), seed=1)] if rng.integers(2) else []
    how: dict[str, Any] = {"pads": rng.integers(0, 3, 2 * n).tolist()}
    if rng.integers(3) == 0 and max(dilations) == 1:
        how = {"auto_pad": str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))}
    x = drawn(2, 4, *rng.integers(9, 13, n), seed=seed + 100)
    agrees("Conv", x, weight, *bias, strides=strides, dilations=dilations, group=groups, **how)


def test_convolution_in_three_dimensions(agrees: Agrees) -> None:
    agrees("Conv", drawn(1, 2, 5, 6, 7), drawn(3, 2, 3, 3, 3, seed=1), pads=[1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 3], "pads": [0, 1, 1, 0]},
        {"strides": [2, 2], "output_shape": [9, 9]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"dilations": [2, 1]},
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(agrees: Agrees, how: dict[str, Any], groups: int) -> None:
    weight = drawn(4, 3, 3, 3, seed=1)
    agrees("ConvTranspose", drawn(2, 4, 4, 4), weight, drawn(3 * groups, seed=2), group=groups, **how)


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_drawn_pools(agrees: Agrees, op: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 3))
    kernel = rng.integers(2, 5, n)
    pads = [*rng.integers(0, kernel), *rng.integers(0, kernel)]
    how: dict[str, Any] = {"pads": [int(p) for p in pads]} if seed % 4 else {"auto_pad": "SAME_UPPER"}
    if op == "AveragePool":
        how["count_include_pad"] = seed % 2
    agrees(
        op,
        drawn(2, 3, *rng.integers(7, 12, n), seed=seed),
        kernel_shape=kernel.tolist(),
        strides=rng.integers(1, 4, n).tolist(),
        **how,
    )


@pytest.mark.parametrize("size", [6, 7, 8, 9])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
def test_pools_that_round_up(agrees: Agrees, size: int, pads: list[int]) -> None:
    how: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "ceil_mode": 1}
    agrees("MaxPool", drawn(1, 2, size, size), **how)
    agrees("AveragePool", drawn(1, 2, size, size), **how)


def test_windows_with_gaps(agrees: Agrees) -> None:
    agrees("MaxPool", drawn(1, 2, 9, 9), kernel_shape=[2, 3], dilations=[2, 2], pads=[1, 0, 0, 1])


def test_places_of_the_largest_are_refused(agrees: Agrees) -> None:
    with pytest.raises(GraphError, match="not supported"):
        agrees("MaxPool", drawn(1, 2, 9, 9), kernel_shape=[2, 2], n_outputs=2)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 2, 0, 0, 3, 0], [0, 1, 0, 0, 0, 1, 0, 0]])
def test_pads(agrees: Agrees, mode: str, pads: list[int]) -> None:
    agrees("Pad", drawn(2, 3, 4, 5), np.asarray(pads), opset=19, mode=mode)


def test_pads_by_attribute_with_a_value_and_on_some_axes(agrees: Agrees) -> None:
    x = drawn(2, 3, 4)
    agrees("Pad", x, opset=10, pads=[0, 1, 2, 0, 0, 1], value=2.5)
    agrees("Pad", x, np.asarray([0, 1, 2, 0, 0, 1]), np.asarray(2.5, np.float32))
    agrees("Pad", x, np.asarray([1, 2]), None, np.asarray([-1]))
    agrees("Pad", x, np.asarray([0, 0, -1, 0, 0, -2]))
