"""Where the head begins: classifiers of every spelling, embedding models, and graphs that leave it to the user."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnx
import pytest

from featx.backbones.graph import Tap, find_tap, inspect_graph
from featx.errors import GraphError


def pooled(model: onnx.ModelProto) -> Tap:
    return find_tap(inspect_graph(model), model, "pooled")


@pytest.mark.parametrize(
    ("output", "width", "channels"),
    [
        ("logits", 64, 20),  # the name says so
        ("class_probs", 128, 20),
        ("output", 1000, 20),  # no embedding is 1000 wide
        ("output", 10, 20),
        ("495", 21841, 20),
        ("output", 512, 512),  # a face embedding
        ("image_embeds", 100, 100),  # the name says so
        ("features", 30, 30),
    ],
)
def test_name_and_width_tell_a_classifier_from_a_projection(
    output: str, width: int, channels: int, graphs: ModuleType
) -> None:
    assert pooled(graphs.projection(output, width)).channels == channels


@pytest.mark.parametrize("scores", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_scores_behind_a_dense_layer_make_it_a_head(scores: str, graphs: ModuleType) -> None:
    assert pooled(graphs.projection("output", 512, scores=scores)).channels == 20


def test_a_network_without_a_head_ends_in_its_embedding(graphs: ModuleType) -> None:
    tap = pooled(graphs.resnet(n_classes=None, output="vector"))
    assert (tap.tensor, tap.kind, tap.channels) == ("vector", "vector", 20)


def test_a_network_that_ends_in_a_map_is_pooled_there(graphs: ModuleType) -> None:
    net = graphs.Net()
    net.op("Relu", net.conv(net.conv_norm_relu(net.picture("input"), 8, 3, 2), 12, 3, 2), out="map")
    tap = pooled(net.model({"input": ("n", 3, 32, 32)}, {"map": None}))
    assert (tap.tensor, tap.kind, tap.channels, tap.resolution) == ("map", "map", 12, (8, 8))


@pytest.mark.parametrize("dropout", [False, True])
def test_a_convolution_to_the_classes_before_pooling_is_a_head(dropout: bool, graphs: ModuleType) -> None:
    net = graphs.Net(opset=9)
    y = net.op("Relu", net.conv(net.conv_norm_relu(net.picture("input"), 8, 3, 2), 12, 3), out="last_map")
    y = net.op("Dropout", y, n_outputs=2, ratio=0.5) if dropout else y
    y = net.op("Relu", net.conv(y, 10))
    net.op("Softmax", net.op("GlobalAveragePool", y), out="softmax_1")
    tap = pooled(net.model({"input": (1, 3, 32, 32)}, {"softmax_1": None}))
    assert (tap.tensor, tap.kind, tap.channels) == ("last_map", "map", 12)


def test_a_convolution_to_the_classes_after_pooling_is_a_head(graphs: ModuleType) -> None:
    net = graphs.Net(opset=9)
    y = net.op("GlobalAveragePool", net.conv_norm_relu(net.picture("input"), 12, 3, 2), out="average")
    net.channels["average"] = 12
    net.op("Flatten", net.conv(y, 10), axis=1, out="scores")
    tap = pooled(net.model({"input": ("n", 3, 32, 32)}, {"scores": None}))
    assert (tap.tensor, tap.kind, tap.channels) == ("average", "vector", 12)


def test_a_head_of_several_dense_layers_is_cut_before_the_last(graphs: ModuleType) -> None:
    tap = pooled(graphs.plain_stack())
    assert (tap.kind, tap.channels) == ("vector", 32)


def test_logits_beside_hidden_states_are_a_classifier(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.op("Relu", net.conv(net.picture("input"), 8, 3, 2), out="last_hidden_state")
    net.gemm(net.flat(y), 8, 10, out="logits")
    tap = pooled(net.model({"input": ("n", 3, 16, 16)}, {"logits": None, "last_hidden_state": None}))
    assert (tap.kind, tap.channels) == ("vector", 8)


def test_a_pooler_with_tanh_is_passed_over_for_the_hidden_state(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.op("Relu", net.conv(net.picture("input"), 8, 3, 2), out="last_hidden_state")
    net.op("Tanh", net.gemm(net.flat(y), 8, 8), out="pooler_output")
    model = net.model({"input": ("n", 3, 16, 16)}, {"last_hidden_state": None, "pooler_output": None})
    assert pooled(model).tensor == "last_hidden_state"


def test_a_detector_lists_its_outputs_and_taps(graphs: ModuleType) -> None:
    model = graphs.detector()
    info = inspect_graph(model)
    assert [tap.name for tap in info.taps] == ["stage1"]
    with pytest.raises(
        GraphError, match=r"boxes \(n, 4, 8, 8\), confidence \(n, 3, 8, 8\).*Taps of this graph: stage1"
    ):
        find_tap(info, model, "pooled")


def test_boxes_alone_are_no_tokens(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.conv(net.conv_norm_relu(net.picture("input"), 8, 3, 2), 6)
    net.op("Reshape", y, net.weight([0, 6, -1], np.int64), out="output0")
    model = net.model({"input": ("n", 3, 32, 32)}, {"output0": None})
    with pytest.raises(GraphError, match="does not end in one vector"):
        find_tap(inspect_graph(model), model, "pooled")


def test_scores_that_no_dense_layer_makes_are_left_to_the_user(graphs: ModuleType) -> None:
    # The mean of two heads, as DeiT with distillation ends.
    net = graphs.Net()
    vector = net.flat(net.conv_norm_relu(net.picture("input"), 8, 3, 2))
    total = net.op("Add", net.gemm(vector, 8, 10), net.gemm(vector, 8, 10))
    net.op("Div", total, net.weight(2.0), out="scores")
    model = net.model({"input": ("n", 3, 16, 16)}, {"scores": None})
    with pytest.raises(GraphError, match=r"scores \(n, 10\)"):
        pooled(model)
    assert find_tap(inspect_graph(model), model, vector).channels == 8


def test_a_statically_quantised_head_takes_the_dequantised_vector(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)

    def quantised(x: str) -> str:
        scale, zero = net.weight(0.05), net.weight(128, np.uint8)
        y = net.op("DequantizeLinear", net.op("QuantizeLinear", x, scale, zero), scale, zero)
        net.channels[y] = net.channels[x]
        return y

    y = quantised(net.conv_norm_relu(quantised(net.picture("input")), 8, 3))
    last = quantised(net.conv_norm_relu(y, 12, 3, 2))
    vector = quantised(net.flat(last))
    product = quantised(net.op("MatMul", vector, net.drawn(12, 10)))
    net.op("Identity", quantised(net.op("Add", product, net.weight(np.zeros(10)))), out="output")
    info = inspect_graph(net.model({"input": ("n", 3, 16, 16)}, {"output": None}))
    assert [(tap.name, tap.tensor) for tap in info.taps] == [
        ("stage1", y),
        ("stage2", last),
        ("pooled", vector),
    ]


def test_an_8_bit_tensor_says_how_to_quantise_instead(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    scale, zero, weight_zero = net.weight(0.05), net.weight(0, np.uint8), net.weight(0, np.int8)
    eight_bit = net.op("QuantizeLinear", net.picture("input"), scale, zero)
    weight = net.weight(net.rng.integers(-9, 9, (8, 3, 3, 3)), np.int8)
    y = net.op("QLinearConv", eight_bit, scale, zero, weight, scale, weight_zero, scale, zero)
    net.op("GlobalAveragePool", net.op("DequantizeLinear", y, scale, zero), out="embedding")
    model = net.model({"input": ("n", 3, 16, 16)}, {"embedding": None})
    info = inspect_graph(model)
    assert find_tap(info, model, "pooled").channels == 8
    with pytest.raises(GraphError, match="quantise it in the QDQ format"):
        find_tap(info, model, y)


def test_an_unknown_tap_lists_the_known_ones(graphs: ModuleType) -> None:
    model = graphs.resnet()
    with pytest.raises(GraphError, match=r"'stage9'.*stage1, stage2, stage3, stage4, pooled"):
        find_tap(inspect_graph(model), model, "stage9")


def test_a_weight_is_no_tap(graphs: ModuleType) -> None:
    model = graphs.resnet()
    with pytest.raises(GraphError, match="cannot become one float vector a sample"):
        find_tap(inspect_graph(model), model, "w0")
