"""Where encoder layers end, and which tokens stand for no patch."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnx
import pytest

from featx.backbones.graph import inspect_graph, wire_graph
from featx.backbones.layers import count_prefix_tokens


def test_pre_norm_layers_end_in_the_sum_after_the_mlp(graphs: ModuleType) -> None:
    model = graphs.encoder(n_layers=3)
    layers = [tap for tap in inspect_graph(model).taps if tap.name.startswith("layer")]
    assert [tap.name for tap in layers] == ["layer1", "layer2", "layer3"]
    sums = [n.output[0] for n in model.graph.node if n.op_type == "Add"]
    residual = [t for t in sums if _is_residual(model, t)]
    assert [tap.tensor for tap in layers] == residual[1::2]
    assert {(tap.kind, tap.channels) for tap in layers} == {("tokens", 16)}


def test_post_norm_layers_end_in_the_norm_behind_the_sum(graphs: ModuleType) -> None:
    model = graphs.encoder(post_norm=True, n_layers=3)
    norms = [n.output[0] for n in model.graph.node if n.op_type == "LayerNormalization"]
    layers = [tap.tensor for tap in inspect_graph(model).taps if tap.name.startswith("layer")]
    assert layers == norms[1::2]


@pytest.mark.parametrize(("n_registers", "expected"), [(0, 1), (4, 5)])
def test_class_token_and_registers_are_counted(n_registers: int, expected: int, graphs: ModuleType) -> None:
    info = inspect_graph(graphs.encoder(n_registers=n_registers))
    assert {tap.n_prefix_tokens for tap in info.taps if tap.kind == "tokens"} == {expected}


@pytest.mark.parametrize(("first", "expected"), [(0, 2), (1, 1), (2, 0)])
@pytest.mark.parametrize("opset", [9, 18])
def test_tokens_that_a_slice_cuts_off_are_none_of_the_prefix(
    first: int, expected: int, opset: int, graphs: ModuleType
) -> None:
    net = graphs.Net(opset=opset)
    patches = net.op("Conv", "input", net.drawn(16, 3, 8, 8), strides=[8, 8], kernel_shape=[8, 8])
    patches = net.op("Reshape", patches, net.weight([1, 16, -1], np.int64))
    patches = net.op("Transpose", patches, perm=[0, 2, 1])  # (1, 16 patches, 16)
    tokens = net.op("Concat", net.drawn(1, 2, 16), patches, axis=1)
    if opset == 9:
        net.op("Slice", tokens, out="kept", starts=[first, 0], ends=[99, 99], axes=[1, 2])
    else:
        net.op(
            "Slice", tokens, *(net.weight(v, np.int64) for v in ([0, first], [99, 99], [2, -2])), out="kept"
        )
    model = net.model({"input": (1, 3, 32, 32)}, {"kept": None})
    assert count_prefix_tokens(wire_graph(model), "kept") == expected


def test_the_patch_embedding_is_no_stage(graphs: ModuleType) -> None:
    names = [tap.name for tap in inspect_graph(graphs.encoder(n_layers=2)).taps]
    assert names == ["layer1", "layer2", "pooled"]


def test_a_convolutional_network_has_no_layers(graphs: ModuleType) -> None:
    names = [tap.name for tap in inspect_graph(graphs.inverted_bottlenecks()).taps]
    assert not [name for name in names if name.startswith("layer")]


def _weights(model: onnx.ModelProto) -> set[str]:
    return {t.name for t in model.graph.initializer}


def _is_residual(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether both terms of a sum are computed, so that it adds no bias."""
    node = next(n for n in model.graph.node if tensor in n.output)
    return _weights(model).isdisjoint(node.input)
