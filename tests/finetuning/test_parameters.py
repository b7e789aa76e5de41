"""Which weights are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.finetuning.parameters import trained_weights


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def trained(
    nodes: list[NodeProto], weights: dict[str, Any], inputs: dict[str, int] | None = None
) -> set[str]:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, t, None) for n, t in (inputs or {"x": TensorProto.FLOAT}).items()],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return set(trained_weights(helper.make_model(graph), numpy_helper.to_array))


def node(op: str, taken: str, made: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, taken.split(), [made], **attributes)


@pytest.mark.parametrize(
    ("op", "shapes", "expected"),
    [
        ("Conv", [(4, 3, 3, 3), (4,)], {"w0", "w1"}),
        ("Gemm", [(4, 3), (3,)], {"w0", "w1"}),
        ("MatMul", [(4, 3)], {"w0"}),
        ("Add", [(4,)], {"w0"}),
        ("Add", [(1, 7, 4)], {"w0"}),
        ("Mul", [(4, 1, 1)], {"w0"}),
        ("Mul", [(1, 7, 4)], set()),
        ("PRelu", [(4, 1, 1)], {"w0"}),
        ("LayerNormalization", [(4,), (4,)], {"w0", "w1"}),
        ("BatchNormalization", [(4,), (4,), (4,), (4,)], {"w0", "w1"}),
        ("Sub", [(3, 1, 1)], set()),
        ("Div", [(3, 1, 1)], set()),
        ("Pow", [(4,)], set()),
        ("Max", [(4,)], set()),
    ],
)
def test_by_what_an_operator_does(op: str, shapes: list[tuple[int, ...]], expected: set[str]) -> None:
    weights = {f"w{i}": drawn(*shape) for i, shape in enumerate(shapes)}
    assert trained([node(op, " ".join(["x", *weights]), "y")], weights) == expected


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Div", "Pow"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_single_numbers_are_constants(op: str, shape: tuple[int, ...]) -> None:
    assert trained([node(op, "x w", "y")], {"w": drawn(*shape)}) == set()


def test_integers_and_what_featx_adds_are_no_weights() -> None:
    weights = {"featx/constant0": drawn(3, 1, 1), "n": np.asarray([1, 2, 3])}
    nodes = [node("Add", "x featx/constant0", "a"), node("Cast", "n", "f", to=1), node("Add", "a f", "y")]
    assert trained(nodes, weights) == set()


@pytest.mark.parametrize("off", [-100.0, -1e4, -np.inf, np.finfo(np.float32).min])
def test_masks_are_no_weights(off: float) -> None:
    mask = np.triu(np.full((5, 5), off, np.float32), 1)[None]
    mask[np.isnan(mask)] = 0
    assert trained([node("Add", "x m", "y")], {"m": mask}) == set()


def test_zeros_and_ones_of_a_fresh_layer_are_weights() -> None:
    assert trained([node("Add", "x b", "y")], {"b": np.zeros((1, 5, 4), np.float32)}) == {"b"}


def test_embeddings_class_tokens_and_positions_are_followed_to_where_they_are_used() -> None:
    weights = {
        "words": drawn(9, 4),
        "token": drawn(1, 1, 4),
        "places": drawn(8, 4),
        "n": np.asarray([2, 1, 4]),
        "i": np.arange(3),
    }
    nodes = [
        node("Gather", "words ids", "a"),
        node("Expand", "token n", "b"),
        node("Concat", "b a", "c", axis=1),
        node("Gather", "places i", "d"),
        node("Unsqueeze", "d i", "e"),
        node("Add", "c e", "y"),
    ]
    assert trained(nodes, weights, {"ids": TensorProto.INT64}) == {"words", "token", "places"}


def test_rotary_tables_are_constants() -> None:
    weights = {"cos": drawn(16, 4), "sin": drawn(16, 4), "frequencies": drawn(1, 4, 1), "q": drawn(4, 4)}
    nodes = [
        node("Gather", "cos ids", "a"),
        node("Gather", "sin ids", "b"),
        node("MatMul", "x q", "c"),
        node("Mul", "c a", "d"),
        node("Mul", "c b", "e"),
        node("Add", "d e", "f"),
        node("Cast", "ids", "g", to=1),
        node("MatMul", "frequencies g", "h"),
        node("Cos", "h", "i"),
        node("Mul", "f i", "y"),
    ]
    assert trained(nodes, weights, {"x": TensorProto.FLOAT, "ids": TensorProto.INT64}) == {"q"}


def test_what_only_has_its_shape_looked_at_is_not_trained() -> None:
    nodes = [node("Shape", "w", "s"), node("Reshape", "x s", "y")]
    assert trained(nodes, {"w": drawn(4, 3)}) == set()


def test_weights_in_constant_nodes_are_weights() -> None:
    value = numpy_helper.from_array(drawn(4, 3))
    nodes = [helper.make_node("Constant", [], ["w"], value=value), node("MatMul", "x w", "y")]
    assert trained(nodes, {}) == {"w"}
