"""Shapes, selections and joins, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

Agrees = Callable[..., None]


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.asarray(values, np.int64)


@pytest.mark.parametrize("target", [(6, 4), (0, -1), (-1, 0, 2), (0, 0, 2, 2)])
def test_reshape(agrees: Agrees, target: tuple[int, ...]) -> None:
    agrees("Reshape", drawn(2, 3, 4) if target != (-1, 0, 2) else drawn(4, 3, 2), ints(*target))


def test_a_zero_may_be_meant(agrees: Agrees) -> None:
    agrees("Reshape", drawn(0, 3), ints(3, 0), allowzero=1)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(agrees: Agrees, axis: int) -> None:
    agrees("Flatten", drawn(2, 3, 4), axis=axis)


def test_transpose(agrees: Agrees) -> None:
    agrees("Transpose", drawn(2, 3, 4))
    agrees("Transpose", drawn(2, 3, 4), perm=[1, 2, 0])


@pytest.mark.parametrize("opset", [11, 13])
def test_axes_of_one_come_and_go(agrees: Agrees, opset: int) -> None:
    for op, x, axes in (("Squeeze", drawn(1, 3, 1), [0, -1]), ("Unsqueeze", drawn(3, 4), [-1, 0])):
        by_input = [ints(*axes)] if opset >= 13 else []
        agrees(op, x, *by_input, opset=opset, **({} if by_input else {"axes": axes}))
    agrees("Squeeze", drawn(1, 3, 1), opset=opset)


def test_concat(agrees: Agrees) -> None:
    agrees("Concat", drawn(2, 3), drawn(2, 1, seed=1), drawn(2, 2, seed=2), axis=-1)


def test_split(agrees: Agrees) -> None:
    x = drawn(2, 7)
    agrees("Split", drawn(2, 6), opset=11, axis=1, n_outputs=3)
    agrees("Split", x, opset=11, axis=1, n_outputs=2, split=[3, 4])
    agrees("Split", x, ints(1, 2, 4), axis=-1, n_outputs=3)
    agrees("Split", x, axis=1, n_outputs=3, num_outputs=3)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), (1,), (1,)),
        ((-3,), (2**62,), (2,), (1,)),
        ((0, 1), (2**62, -1), (1, 2), (2, 3)),
        ((-1,), (-(2**62),), (2,), (-1,)),
        ((4, 3), (0, -(2**62)), (2, 1), (-2, -1)),
        ((9,), (12,), (2,), (1,)),
    ],
)
def test_slices(agrees: Agrees, starts: Any, ends: Any, axes: Any, steps: Any) -> None:
    agrees("Slice", drawn(2, 4, 5), ints(*starts), ints(*ends), ints(*axes), ints(*steps))


def test_slices_by_attribute_and_without_axes(agrees: Agrees) -> None:
    agrees("Slice", drawn(3, 4, 5), opset=9, starts=[1, -2], ends=[3, 100], axes=[0, 2])
    agrees("Slice", drawn(3, 4, 5), ints(1, 1), ints(3, -1))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("at", [0, -1, [1, 0, -1], [[0, 1], [1, -2]]])
def test_gather(agrees: Agrees, axis: int, at: Any) -> None:
    agrees("Gather", drawn(3, 4, 5), np.asarray(at, np.int64), axis=axis)


def test_rows_of_a_table(agrees: Agrees) -> None:
    agrees("Gather", drawn(5, 3), np.asarray([[0, -1, 4]], np.int32))


def test_gather_elements_and_points(agrees: Agrees) -> None:
    agrees("GatherElements", drawn(3, 4), np.asarray([[0, -1], [2, 3]]), axis=1)
    agrees("GatherND", drawn(2, 3, 4), np.asarray([[0, 1], [1, -1]]))
    agrees("GatherND", drawn(2, 3, 4), np.asarray([[1], [2]]), batch_dims=1)
    agrees("GatherND", drawn(2, 3, 4), np.asarray([[[1, 0]], [[2, -1]]]), batch_dims=1)


def test_scatter(agrees: Agrees) -> None:
    agrees("ScatterND", drawn(4, 3), np.asarray([[1], [-1]]), drawn(2, 3, seed=1))
    agrees("ScatterElements", drawn(3, 3), np.asarray([[0, -1]]), drawn(1, 2, seed=1), axis=1)


def test_shapes_and_sizes(agrees: Agrees) -> None:
    agrees("Shape", drawn(2, 3, 4))
    agrees("Shape", drawn(2, 3, 4), start=1, end=-1)
    agrees("Size", drawn(2, 3, 4))


def test_expand_and_tile(agrees: Agrees) -> None:
    agrees("Expand", drawn(3, 1), ints(2, 1, 4))
    agrees("Tile", drawn(2, 3), ints(2, 3))


def test_range(agrees: Agrees) -> None:
    for bounds in ((2, 9, 3), (5, 0, -2), (0, 0, 1)):
        agrees("Range", *(np.asarray(b, np.int64) for b in bounds))
    agrees("Range", *(np.asarray(b, np.float32) for b in (0.0, 1.0, 0.3)))


def test_filled_and_constant(agrees: Agrees) -> None:
    agrees("ConstantOfShape", ints(2, 3))
    agrees("ConstantOfShape", ints(2, 0), value=numpy_helper.from_array(ints(7)))


def test_depth_and_space(agrees: Agrees) -> None:
    for mode in ("DCR", "CRD"):
        agrees("DepthToSpace", drawn(2, 8, 2, 3), blocksize=2, mode=mode)
    agrees("SpaceToDepth", drawn(2, 3, 4, 6), blocksize=2)


@pytest.mark.parametrize("upper", [0, 1])
def test_triangles(agrees: Agrees, upper: int) -> None:
    agrees("Trilu", drawn(2, 3, 4), upper=upper)
    agrees("Trilu", drawn(2, 3, 4), np.asarray(-1), upper=upper)


@pytest.mark.parametrize("how", [{}, {"largest": 0}, {"axis": 0}])
def test_largest(agrees: Agrees, how: dict[str, int]) -> None:
    agrees("TopK", drawn(4, 5), ints(2), n_outputs=2, **how)


@pytest.mark.parametrize("axis", [-1, 0])
def test_one_hot(agrees: Agrees, axis: int) -> None:
    agrees("OneHot", ints(0, 2, -1, 5), ints(4), np.asarray([0.5, 2.0], np.float32), axis=axis)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums(agrees: Agrees, exclusive: int, reverse: int) -> None:
    agrees("CumSum", drawn(2, 4), np.asarray(1), exclusive=exclusive, reverse=reverse)


def test_places_that_are_not_zero(agrees: Agrees) -> None:
    agrees("NonZero", np.asarray([[1.0, 0.0], [0.0, 2.0]], np.float32))
