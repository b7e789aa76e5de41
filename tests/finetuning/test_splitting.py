"""A backbone divided: what crosses, what is trained, and that both parts together are the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from featx.backbones.backbone import Backbone
from featx.backbones.golden import probe_among_others
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import GraphError, ParameterError
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import Split, split_backbone
from featx.testing import tiny_backbone
from featx.testing_texts import tiny_text_backbone

Run = Callable[..., list[Any]]


def pictures_of(size: int) -> ImagePreprocess:
    return ImagePreprocess(size=(size, size), crop=None, mean=(0.5,) * 3, std=(0.25,) * 3)


def opened(model: onnx.ModelProto, folder: Path, size: int) -> Backbone:
    onnx.save(model, folder / "net.onnx")
    return Backbone.open(folder / "net.onnx", preprocess=pictures_of(size))


def assert_parts_are_the_whole(run_onnx: Run, split: Split) -> None:
    """Frozen and trained part by ONNX Runtime, and the trained one by torch, against the backbone's own cut graph."""
    samples = probe_among_others(split.backbone)
    whole = split.backbone.cut([split.space])
    (expected,) = run_onnx(whole, {split.source: samples})
    assert split.prefix is not None
    onnx.checker.check_model(split.prefix)
    onnx.checker.check_model(split.suffix)
    crossing = run_onnx(split.prefix, {split.source: samples})
    given = {split.source: samples}
    for boundary, value in zip(split.boundary, crossing, strict=True):
        assert value.dtype == np.float32
        assert all(n in (None, m) for n, m in zip(boundary.row_shape, value.shape[1:], strict=True))
        given[boundary.name] = value
    names = [value.name for value in split.suffix.graph.input]
    module = GraphModule.of(split)
    assert list(module.input_names) == names
    assert tuple(name for name, _ in module.named_initialisers()) == split.trainable
    (by_torch,) = module(*(torch.from_numpy(given[name]) for name in names))
    (by_onnx,) = run_onnx(split.suffix, {name: given[name] for name in names})
    # float32 that is summed in another order, in networks of a few layers.
    for found in (by_torch.detach().numpy(), by_onnx):
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture
def residual(graphs: ModuleType, tmp_path: Path) -> Backbone:
    return opened(graphs.resnet(), tmp_path, 64)


def test_without_a_boundary_everything_is_trained_from_the_samples(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path / "net", size_px=32))
    split = split_backbone(backbone, backbone.space())
    assert (split.prefix, split.boundary, split.frozen) == (None, (), ())
    assert [value.name for value in split.suffix.graph.input] == ["pixels"]
    assert split.n_trainable == sum(p.numel() for p in GraphModule.of(split).parameters())
    assert split.n_trainable > 0


def test_at_a_stage_one_map_crosses(run_onnx: Run, residual: Backbone) -> None:
    for stage in ("stage1", "stage2"):
        split = split_backbone(residual, residual.space(), stage)
        assert [one.tensor for one in split.boundary] == [residual.tap(stage).tensor]
        assert split.boundary[0].row_shape[0] == residual.tap(stage).channels
        assert_parts_are_the_whole(run_onnx, split)


def test_trained_and_frozen_weights_are_all_weights(residual: Backbone) -> None:
    whole = split_backbone(residual, residual.space())
    part = split_backbone(residual, residual.space(), "stage2")
    assert set(part.trainable) | set(part.frozen) == set(whole.trainable)
    assert set(part.trainable).isdisjoint(part.frozen)
    assert part.n_trainable + part.n_frozen == whole.n_trainable


def test_inside_a_residual_block_both_branches_cross(run_onnx: Run, residual: Backbone) -> None:
    nodes = residual.graph().graph.node
    inner = next(
        node.output[0]
        for i, node in enumerate(nodes)
        if node.op_type == "Relu" and nodes[i + 1].op_type == "Conv" and i > 4
    )
    split = split_backbone(residual, residual.space(), inner)
    assert split.boundary[0].tensor == inner
    assert_parts_are_the_whole(run_onnx, split)


def test_texts_cross_as_tokens_of_the_layer_and_the_ids_themselves(run_onnx: Run, tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path / "text", width=16))
    split = split_backbone(backbone, backbone.space(), "start")
    assert [value.name for value in split.suffix.graph.input] == ["boundary_0", "tokens"]
    assert split.boundary[0].row_shape == (None, 16)
    assert {"words", "places"} <= set(split.frozen)
    assert set(split.trainable) >= {"query", "key", "value"}
    assert_parts_are_the_whole(run_onnx, split)


@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_layers_of_a_vision_transformer(
    run_onnx: Run, graphs: ModuleType, tmp_path: Path, layer: str
) -> None:
    backbone = opened(graphs.encoder(), tmp_path, 32)
    split = split_backbone(backbone, backbone.space(), layer)
    assert len(split.boundary) == 1
    assert [value.name for value in split.suffix.graph.input] == ["boundary_0"]
    assert_parts_are_the_whole(run_onnx, split)


def test_shapes_of_what_stays_behind_are_computed_from_what_crosses(
    run_onnx: Run, graphs: ModuleType, tmp_path: Path
) -> None:
    net = graphs.Net(opset=18)
    first = net.conv_norm_relu(net.picture("input"), 6, 3, 2)
    middle = net.conv_norm_relu(first, 8, 3, 2)
    last = net.conv_norm_relu(middle, 6, 3, 1)
    flat = net.op("Flatten", net.op("GlobalAveragePool", last), axis=1)
    # The first map's batch and channels, looked up where only the second map has crossed.
    shape = net.op("Shape", first, start=0, end=2)
    vector = net.op("Reshape", flat, shape)
    net.gemm(vector, 6, 5, out="embedding")
    backbone = opened(net.model({"input": ("n", 3, 16, 16)}, {"embedding": None}), tmp_path, 16)
    split = split_backbone(backbone, backbone.space(), middle)
    assert [one.tensor for one in split.boundary] == [middle]
    assert sum(node.op_type == "Shape" for node in split.suffix.graph.node) == 1
    assert_parts_are_the_whole(run_onnx, split)


def test_a_weight_of_both_sides_is_frozen(run_onnx: Run, graphs: ModuleType, tmp_path: Path) -> None:
    net = graphs.Net(opset=18)
    net.picture("input")
    kernel = net.drawn(3, 3, 3, 3)
    for i, taken in enumerate(("input", "map0")):
        net.op("Relu", net.op("Conv", taken, kernel, pads=[1] * 4, strides=[2, 2]), out=f"map{i}")
    net.channels["map1"] = 3
    net.gemm(net.flat("map1"), 3, 4, out="embedding")
    backbone = opened(net.model({"input": ("n", 3, 16, 16)}, {"embedding": None}), tmp_path, 16)
    split = split_backbone(backbone, backbone.space(), "map0")
    assert kernel in split.frozen
    assert kernel not in split.trainable
    assert_parts_are_the_whole(run_onnx, split)


@pytest.mark.parametrize("share", [0.45, 0.6, 0.85])
def test_a_share_is_never_exceeded(run_onnx: Run, residual: Backbone, share: float) -> None:
    split = split_backbone(residual, residual.space(), share)
    assert 0 < split.n_trainable <= share * (split.n_trainable + split.n_frozen)
    assert len(split.boundary) == 1
    assert_parts_are_the_whole(run_onnx, split)


def test_a_larger_share_trains_no_less(residual: Backbone) -> None:
    found = [split_backbone(residual, residual.space(), share / 10).n_trainable for share in range(5, 11)]
    assert found == sorted(found)
    assert found[-1] == split_backbone(residual, residual.space()).n_trainable


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan"), True])
def test_what_is_no_share_is_refused(residual: Backbone, share: Any) -> None:
    with pytest.raises(ParameterError, match="share of the weights"):
        split_backbone(residual, residual.space(), share)


def test_a_share_too_small_says_which_is_not(residual: Backbone) -> None:
    with pytest.raises(ParameterError, match=r"smallest part that can be trained holds 0\.\d+"):
        split_backbone(residual, residual.space(), 1e-6)


def test_boundaries_that_leave_nothing_are_refused(residual: Backbone) -> None:
    last = [tap.name for tap in residual.info.taps][-2]
    with pytest.raises(ParameterError, match="can be trained"):
        split_backbone(residual, residual.space(), last)
    with pytest.raises(ParameterError, match="not before tap 'stage1'"):
        split_backbone(residual, residual.space("stage1"), "stage2")
    with pytest.raises(GraphError, match="Did you mean 'stage2'"):
        split_backbone(residual, residual.space(), "stag2")


def test_a_boundary_is_found_where_its_name_is_one_of_featx_own(
    run_onnx: Run, graphs: ModuleType, tmp_path: Path
) -> None:
    net = graphs.Net(opset=18)
    first = net.conv_norm_relu(net.picture("input"), 6, 3, 2)
    net.nodes[-1].output[0] = "embedding_0"  # what the cut graph calls its output
    net.channels["embedding_0"] = net.channels[first]
    net.gemm(net.flat(net.conv_norm_relu("embedding_0", 4, 3, 2)), 4, 3, out="vector")
    backbone = opened(net.model({"input": ("n", 3, 16, 16)}, {"vector": None}), tmp_path, 16)
    split = split_backbone(backbone, backbone.space("vector"), "embedding_0")
    assert_parts_are_the_whole(run_onnx, split)


def test_an_operator_that_torch_lacks_is_named_with_what_works(graphs: ModuleType, tmp_path: Path) -> None:
    net = graphs.Net(opset=18)
    y = net.conv_norm_relu(net.conv_norm_relu(net.picture("input"), 6, 3, 2), 6, 3, 2)
    y = net.op("LpPool", net.conv_norm_relu(y, 8, 3, 2), kernel_shape=[1, 1])
    net.channels[y] = 8
    y = net.conv_norm_relu(y, 8, 3, 2)
    net.gemm(net.flat(y), 8, 5, out="embedding")
    backbone = opened(net.model({"input": ("n", 3, 64, 64)}, {"embedding": None}), tmp_path, 64)
    taps = [tap.name for tap in backbone.info.taps]
    with pytest.raises(
        GraphError, match=r"LpPool in torch.*Taps below it that can be trained: stage1\b"
    ) as caught:
        GraphModule.of(split_backbone(backbone, backbone.space()))
    assert "pooled" not in str(caught.value).partition("Or freeze")[0].partition("Taps below")[2]
    behind = str(caught.value).partition("up to ")[2].rstrip(".").split(" or ")
    assert behind
    assert set(behind) < set(taps)
    GraphModule.of(split_backbone(backbone, backbone.space(), behind[0]))  # as the message says
    GraphModule.of(split_backbone(backbone, backbone.space("stage1")))


def test_half_precision_maps_cross_as_float32(run_onnx: Run, weights: Path) -> None:
    backbone = Backbone.open(weights / "squeezenet1_1_fp16")
    split = split_backbone(backbone, backbone.space(), "stage2")
    assert split.prefix is not None
    assert split.prefix.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert (
        helper.np_dtype_to_tensor_dtype(np.dtype("float32"))
        == split.suffix.graph.input[0].type.tensor_type.elem_type
    )
    sample = probe_among_others(backbone)[:1]
    (maps,) = run_onnx(split.prefix, {"pixels": sample})
    (whole,) = run_onnx(backbone.cut([split.space]), {"pixels": sample})
    (found,) = GraphModule.of(split)(torch.from_numpy(maps))
    # Each of its results is rounded to 11 bits where torch keeps 24.
    assert np.abs(found.detach().numpy() - whole).max() <= 5e-3 * np.abs(whole).max()
