"""Products, norms, softmax and reductions, against ONNX Runtime."""

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


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("bias", [None, (4,), (1, 4), (2, 1), ()])
def test_gemm(agrees: Agrees, turned: tuple[int, int], bias: tuple[int, ...] | None) -> None:
    left = drawn(*((3, 2) if turned[0] else (2, 3)))
    right = drawn(*((4, 3) if turned[1] else (3, 4)), seed=1)
    rest = [] if bias is None else [np.asarray(drawn(*bias, seed=2))]
    agrees("Gemm", left, right, *rest, transA=turned[0], transB=turned[1])
    agrees("Gemm", left, right, *rest, transA=turned[0], transB=turned[1], alpha=0.5, beta=2.0)


@pytest.mark.parametrize(
    ("left", "right"), [((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 3)), ((4,), (4, 2)), ((3, 4), (4,))]
)
def test_matmul(agrees: Agrees, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    agrees("MatMul", drawn(*left), drawn(*right, seed=1))


def test_einsum(agrees: Agrees) -> None:
    agrees("Einsum", drawn(2, 3, 4), drawn(2, 5, 4, seed=1), equation="bqd, bkd -> bqk")
    agrees("Einsum", drawn(2, 3, 4), equation="...ij->...ji")


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_softmax_before_and_after_opset_13(agrees: Agrees, op: str, opset: int, axis: int | None) -> None:
    agrees(op, drawn(2, 3, 4), opset=opset, **({} if axis is None else {"axis": axis}))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("biased", [True, False])
def test_layer_norm(agrees: Agrees, axis: int, biased: bool) -> None:
    shape = (2, 3, 4)[axis:]
    rest = [drawn(*shape, seed=2)] if biased else []
    agrees("LayerNormalization", drawn(2, 3, 4), drawn(*shape, seed=1), *rest, axis=axis, epsilon=1e-3)


@pytest.mark.parametrize("opset", [9, 15])
def test_batch_norm_with_its_own_statistics(agrees: Agrees, opset: int) -> None:
    rest = [drawn(3, seed=i) for i in range(3)]
    agrees(
        "BatchNormalization",
        drawn(2, 3, 4, 5),
        *rest,
        np.abs(drawn(3, seed=4)) + 0.1,
        opset=opset,
        epsilon=1e-3,
    )


def test_batch_norm_that_trains_is_refused(agrees: Agrees) -> None:
    rest = [drawn(3, seed=i) for i in range(3)]
    with pytest.raises(GraphError, match="evaluation mode"):
        agrees(
            "BatchNormalization",
            drawn(2, 3, 4),
            *rest,
            np.ones(3, np.float32),
            opset=15,
            n_outputs=3,
            training_mode=1,
        )


def test_instance_and_group_norm(agrees: Agrees) -> None:
    agrees("InstanceNormalization", drawn(2, 4, 3, 5), drawn(4, seed=1), drawn(4, seed=2), epsilon=1e-3)
    agrees("GroupNormalization", drawn(2, 4, 3), drawn(2, seed=1), drawn(2, seed=2), num_groups=2)
    agrees("GroupNormalization", drawn(2, 4, 3), drawn(4, seed=1), drawn(4, seed=2), num_groups=2, opset=21)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_norm(agrees: Agrees, p: int) -> None:
    agrees("LpNormalization", drawn(3, 4), axis=1, p=p)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response(agrees: Agrees, size: int) -> None:
    agrees("LRN", drawn(2, 7, 3, 3), size=size, alpha=0.3, beta=0.6, bias=1.5)


REDUCTIONS = ["L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axes", [[0], [1, -1], None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_by_attribute_and_by_input(agrees: Agrees, name: str, axes: Any, keepdims: int) -> None:
    x = drawn(2, 3, 4)
    named = {} if axes is None else {"axes": axes}
    agrees(f"Reduce{name}", x, opset=12, keepdims=keepdims, **named)
    given = [] if axes is None else [np.asarray(axes, np.int64)]
    agrees(f"Reduce{name}", x, *given, keepdims=keepdims)


def test_a_logarithm_of_a_sum(agrees: Agrees) -> None:
    agrees("ReduceLogSum", np.abs(drawn(2, 3)) + 1, np.asarray([1]))


def test_without_axes_a_reduction_may_do_nothing(agrees: Agrees) -> None:
    agrees("ReduceSum", drawn(2, 3), np.asarray([], np.int64), noop_with_empty_axes=1)


def test_integers_are_reduced_as_integers(agrees: Agrees) -> None:
    agrees("ReduceSum", np.asarray([[1, 2], [3, 4]]), np.asarray([1]))
    agrees("ReduceMax", np.asarray([[1, 2], [3, 4]]), np.asarray([0]))


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_places_of_the_largest(agrees: Agrees, op: str, last: int) -> None:
    x = np.asarray([[3, 1, 3, 1], [0, 0, 5, 5]], np.float32)
    agrees(op, x, axis=1, keepdims=0, select_last_index=last)
    agrees(op, x, axis=0, select_last_index=last)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5)])
def test_global_pools(agrees: Agrees, op: str, shape: tuple[int, ...]) -> None:
    agrees(op, drawn(*shape))
