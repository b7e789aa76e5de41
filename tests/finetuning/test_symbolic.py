"""Shapes as numbers times the batch and the tokens of a text."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import onnx
import pytest
from onnx import helper

from featx.backbones.backbone import Backbone
from featx.backbones.preprocess import ImagePreprocess
from featx.finetuning.symbolic import Dim, shape_nodes, symbolic_shapes
from featx.testing_texts import tiny_text_backbone

ROWS, TOKENS = Dim(1, by_rows=True), Dim(1, by_tokens=True)


def test_texts_grow_with_rows_and_tokens(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path / "text", width=16))
    shapes = symbolic_shapes(backbone.cut([backbone.space()]), "tokens")
    assert shapes.dims["tokens"] == (ROWS, TOKENS)
    assert shapes.dims["start"] == (ROWS, TOKENS, Dim(16))
    assert shapes.dims["raw"] == (ROWS, TOKENS, TOKENS)
    assert shapes.row_shape("start") == (None, 16)
    assert shapes.row_size("start") == 16
    assert shapes.row_size("query") is None


def test_of_pictures_of_any_size_only_the_channels_are_known(graphs: ModuleType, tmp_path: Path) -> None:
    net = graphs.Net(opset=18)
    last = net.conv_norm_relu(net.picture("input"), 6, 3, 2)
    net.gemm(net.flat(last), 6, 4, out="embedding")
    onnx.save(net.model({"input": ("n", 3, "h", "w")}, {"embedding": None}), tmp_path / "net.onnx")
    free = ImagePreprocess(size=None, crop=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    backbone = Backbone.open(tmp_path / "net.onnx", preprocess=free)
    shapes = symbolic_shapes(backbone.cut([backbone.space()]), "pixels")
    assert shapes.dims[last] == (ROWS, Dim(6), None, None)
    assert shapes.row_shape(last) == (6, None, None)


@pytest.mark.parametrize(
    ("how", "factors"), [({}, [1, 1, 16]), ({"start": 1}, [1, 16]), ({"end": -1}, [1, 1])]
)
def test_a_shape_is_said_by_that_of_another_tensor(
    tmp_path: Path, how: dict[str, int], factors: list[int]
) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path / "text", width=16))
    shapes = symbolic_shapes(backbone.cut([backbone.space()]), "tokens")
    node = helper.make_node("Shape", ["start"], ["s"], **how)
    made = shape_nodes(node, shapes, "tokens", prefix="p")
    assert made is not None
    assert [one.input[0] for one in made if one.op_type == "Shape"] == ["tokens"]
    constants = [one for one in made if one.output[0].startswith("p/factor") and one.op_type == "Constant"]
    assert [int(onnx.numpy_helper.to_array(one.attribute[0].t)[0]) for one in constants] == factors


def test_a_shape_that_cannot_be_said_is_not(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path / "text", width=16))
    shapes = symbolic_shapes(backbone.cut([backbone.space()]), "tokens")
    assert shape_nodes(helper.make_node("Shape", ["start"], ["s"]), shapes, "embedding_0", prefix="p") is None
    assert shape_nodes(helper.make_node("Size", ["start"], ["s"]), shapes, "tokens", prefix="p") is None
