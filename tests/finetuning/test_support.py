"""Operators that torch lacks are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from featx.backbones.backbone import Backbone
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
    with pytest.raises(GraphError, match="ConvInteger"):
        GraphModule.of(split_backbone(backbone, backbone.space()))
