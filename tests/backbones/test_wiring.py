"""Dominators against their definition, and shapes that onnx's own inference cannot tell."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from featx.backbones.wiring import Wiring, wire


def random_graph(parents: list[list[int]]) -> onnx.ModelProto:
    """Tensor 0 is the input; tensor i + 1 is the sum of the tensors that parents[i] names."""
    nodes = [
        helper.make_node("Sum", [f"t{p % (i + 1)}" for p in taken], [f"t{i + 1}"])
        for i, taken in enumerate(parents)
    ]
    source = helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 4])
    last = helper.make_tensor_value_info(f"t{len(parents)}", TensorProto.FLOAT, None)
    return helper.make_model(
        helper.make_graph(nodes, "g", [source], [last]), opset_imports=[helper.make_opsetid("", 13)]
    )


def reaches_without(wiring: Wiring, tensor: str, blocked: str) -> bool:
    """Whether a path leads from the source to a tensor that avoids another."""
    waiting = [tensor] if tensor != blocked else []
    while waiting:
        at = waiting.pop()
        if at == wiring.source:
            return True
        node = wiring.made_by(at)
        assert node is not None
        waiting.extend(t for t in node.input if t != blocked)
    return False


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=3), min_size=1, max_size=10))
def test_a_dominator_is_on_every_path_and_no_later_one_is(parents: list[list[int]]) -> None:
    wiring = wire(random_graph(parents), "t0", {"t0": (1, 4)})
    for tensor, dominator in wiring.dominator.items():
        on_every_path = [
            t for t in wiring.depth if t not in (tensor, "t0") and not reaches_without(wiring, tensor, t)
        ]
        assert set(wiring.dominators(tensor)) == {"t0", tensor, *on_every_path}
        assert dominator == max(["t0", *on_every_path], key=lambda t: wiring.depth[t])


def test_nodes_out_of_order_are_put_in_order(graphs: ModuleType) -> None:
    model = graphs.resnet()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])
    wiring = wire(model, "input", {"input": (1, 3, 64, 64)})
    assert [n.output[0] for n in wiring.nodes if n.op_type == "Gemm"] == ["scores"]
    made = {"input"} | {t.name for t in model.graph.initializer}
    for node in wiring.nodes:
        assert made.issuperset(node.input)
        made.update(node.output)


def test_a_shape_from_arithmetic_that_inference_does_not_follow_is_evaluated(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    # As the TorchScript exporter writes ``token.expand(n, -1, -1)``: where the wish is -1, the size stays.
    rows = net.op("Gather", net.op("Shape", "input"), net.weight(np.asarray([0]), np.int64))
    wish = net.op("Concat", rows, net.weight([-1, -1], np.int64), axis=0)
    size = net.op(
        "ConstantOfShape",
        net.weight([3], np.int64),
        value=helper.make_tensor("v", TensorProto.INT64, [1], [1]),
    )
    is_open = net.op("Equal", wish, net.op("Mul", size, net.weight(-1, np.int64)))
    token = net.op("Expand", net.drawn(1, 1, 8), net.op("Where", is_open, size, wish), out="token")
    net.op(
        "Concat", token, net.op("Reshape", "input", net.weight([0, -1, 8], np.int64)), axis=1, out="tokens"
    )
    model = net.model({"input": ("n", 8, 4, 4)}, {"tokens": None})
    wiring = wire(model, "input", {"input": (5, 8, 4, 4)})
    assert wiring.shapes["token"] == (5, 1, 8)
    assert wiring.shapes["tokens"] == (5, 17, 8)
    assert not wiring.is_activation("token"), "it depends on the input's shape only"


def test_an_operator_that_onnx_does_not_know_leaves_what_the_file_declares(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.op("Relu", net.conv(net.picture("input"), 8, 3, 2))
    net.op("FusedSomething", y, out="mystery", domain="com.example")
    net.op("Relu", "mystery", out="last")
    model = net.model({"input": ("n", 3, 16, 16)}, {"last": ("n", 8, 8, 8)})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    wiring = wire(model, "input", {"input": (5, 3, 16, 16)})
    assert wiring.shapes[y] == (5, 8, 8, 8)
    assert wiring.shapes["last"] == (5, 8, 8, 8)
    assert "mystery" not in wiring.shapes
