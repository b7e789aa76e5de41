"""Operators that torch lacks are named."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from onnx import helper

from featx.backbones.backbone import Backbone
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import GraphError
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import split_backbone
from featx.finetuning.support import refuse_unsupported, unsupported

NODES = [
    helper.make_node("Relu", ["x"], ["a"]),
    helper.make_node("Gelu", ["a"], ["b"], domain="com.microsoft"),
    helper.make_node("Gelu", ["b"], ["c"]),
    helper.make_node("Det", ["c"], ["d"]),
    helper.make_node("Det", ["d"], ["e"]),
]


def test_operators_are_counted_with_their_domain() -> None:
    assert unsupported(NODES) == {"com.microsoft.Gelu": 1, "Det": 2}


def test_the_first_tensor_and_the_advice_are_in_the_message() -> None:
    with pytest.raises(
        GraphError, match=r"com\.microsoft\.Gelu, Det \(2 nodes\) in torch; the first makes 'b'\. Do this\."
    ):
        refuse_unsupported(NODES, lambda: "Do this.")
    refuse_unsupported(NODES[:1])


def test_a_quantised_network_is_refused_by_its_operators(weights: Path) -> None:
    backbone = Backbone.open(weights / "mobilenet_v2_int8_dynamic")
    with pytest.raises(GraphError, match=r"ConvInteger.*No tap leaves them out and something to train\."):
        GraphModule.of(split_backbone(backbone, backbone.space()))


def test_a_tap_is_not_named_where_nothing_is_left_to_train_behind_it(
    graphs: ModuleType, tmp_path: Path
) -> None:
    net = graphs.Net(opset=18)
    y = net.conv_norm_relu(net.conv_norm_relu(net.picture("input"), 6, 3, 2), 8, 3, 2)
    y = net.op("LpPool", y, kernel_shape=[1, 1])
    net.channels[y] = 8
    net.op("Flatten", net.op("GlobalAveragePool", y), out="embedding")
    path = tmp_path / "model.onnx"
    path.write_bytes(net.model({"input": ("n", 3, 32, 32)}, {"embedding": None}).SerializeToString())
    given = ImagePreprocess(size=(32, 32), crop=None, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    backbone = Backbone.open(path, preprocess=given)
    assert backbone.space().tap == "pooled"
    assert "stage1" in [
        tap.name for tap in backbone.info.taps
    ]  # which lies behind the operator, as no weight does
    with pytest.raises(GraphError, match=r"LpPool in torch.*No tap leaves them out and something to train\."):
        GraphModule.of(split_backbone(backbone, backbone.space()))
