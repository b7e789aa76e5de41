"""Fixed batches freed where that can be shown to be right; operators that couple rows named."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from featx.backbones.graph import inspect_graph, load_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.surgery import cut_image_graph


def test_a_batch_of_one_in_a_reshape_is_freed(graphs: ModuleType) -> None:
    assert inspect_graph(graphs.zoo(batch=1)).fixed_batch is None


def test_a_class_token_for_one_row_is_repeated_for_each(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    tokens = net.op(
        "Reshape", net.conv(net.picture("input"), 8, 4, 4, pad=False), net.weight([1, 8, 16], np.int64)
    )
    tokens = net.op("Transpose", tokens, perm=[0, 2, 1])
    net.op("Concat", net.drawn(1, 1, 8), tokens, axis=1, out="embedding")
    model = net.model({"input": (1, 3, 16, 16)}, {"embedding": None})
    assert inspect_graph(model).fixed_batch is None


@pytest.mark.parametrize("target", [[1, -1, 8, 16], [-1, 8, 16], [8, 16], [1, 8, -1], [2, 4, 16]])
def test_heads_that_share_the_axis_of_the_batch_are_freed(target: list[int], graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    y = net.op("Reshape", net.conv(net.picture("input"), 8, 4, 4, pad=False), net.weight(target, np.int64))
    y = net.op("Softmax", y, axis=-1)
    net.op("Reshape", y, net.weight([1, 128], np.int64), out="embedding")
    assert inspect_graph(net.model({"input": (1, 3, 16, 16)}, {"embedding": None})).fixed_batch is None


def test_a_reshape_that_would_mix_rows_is_seen_though_its_shapes_fit(graphs: ModuleType) -> None:
    # With more rows than one, (8, n) read as (n, 8) hands each row the numbers of others.
    net = graphs.Net(opset=13)
    y = net.op("Transpose", net.flat(net.conv(net.picture("input"), 8, 3, 2)), perm=[1, 0])
    net.op("Reshape", y, net.weight([-1, 8], np.int64), out="embedding")
    assert inspect_graph(net.model({"input": (1, 3, 16, 16)}, {"embedding": None})).fixed_batch == 1


def test_a_batch_that_lies_inside_is_kept(graphs: ModuleType) -> None:
    # Features first: a constant shape cannot say which axis the rows went to.
    net = graphs.Net(opset=13)
    y = net.op("Transpose", net.flat(net.conv(net.picture("input"), 8, 3, 2)), perm=[1, 0])
    y = net.op("Reshape", y, net.weight([2, 4, 1], np.int64))
    net.op("Reshape", net.op("Transpose", y, perm=[2, 0, 1]), net.weight([1, 8], np.int64), out="embedding")
    assert inspect_graph(net.model({"input": (1, 3, 16, 16)}, {"embedding": None})).fixed_batch == 1


def test_a_kept_batch_is_the_cut_graphs_too(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    y = net.op("Transpose", net.flat(net.conv(net.picture("input"), 8, 3, 2)), perm=[1, 0])
    net.op("Reshape", y, net.weight([1, 8], np.int64), out="embedding")
    model = net.model({"input": (1, 3, 16, 16)}, {"embedding": None})
    info = inspect_graph(model)
    assert info.fixed_batch == 1
    preprocess = ImagePreprocess(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    cut = cut_image_graph(model, info, info.taps, poolings=["auto"], preprocess=preprocess)
    assert cut.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_an_open_batch_is_no_fixed_one(graphs: ModuleType) -> None:
    assert inspect_graph(graphs.resnet()).fixed_batch is None


def test_squeezenet_is_freed(weights: Path) -> None:
    model = load_graph(weights / "squeezenet1_1_fp16" / "model.onnx")
    assert inspect_graph(model).fixed_batch is None


@pytest.mark.parametrize(
    ("make", "op"),
    [
        ("batch_mean", "ReduceMean"),
        ("training_norm", "BatchNormalization"),
        ("resnet", None),
        ("encoder", None),
    ],
)
def test_operators_that_couple_rows_are_named(make: str, op: str | None, graphs: ModuleType) -> None:
    assert inspect_graph(getattr(graphs, make)()).coupled_by == op


def test_dynamic_quantisation_couples_rows(weights: Path) -> None:
    model: onnx.ModelProto = load_graph(weights / "mobilenet_v2_int8_dynamic" / "model.onnx")
    assert inspect_graph(model).coupled_by == "DynamicQuantizeLinear"


def test_static_quantisation_couples_none(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    scale, zero = net.weight(0.05), net.weight(0, np.uint8)
    y = net.conv_norm_relu(net.picture("input"), 8, 3, 2)
    y = net.op("DequantizeLinear", net.op("QuantizeLinear", y, scale, zero), scale, zero)
    net.gemm(net.flat(y), 8, 10, out="scores")
    info = inspect_graph(net.model({"input": ("n", 3, 16, 16)}, {"scores": None}))
    assert info.coupled_by is None
    assert info.taps[-1].channels == 8
