"""Real backbones, and one of every family that the exporter knows: torch against ONNX Runtime, at every tap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from featx.backbones.backbone import Backbone
from featx.backbones.bert import build_encoder
from featx.backbones.golden import probe_alone, probe_among_others, spaces_of
from featx.backbones.preprocess import ImagePreprocess
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import split_backbone

Run = Callable[..., list[Any]]
Agree = Callable[..., None]

# Of the largest number, as the project asks for; float32 measured 1e-8 to 3e-5, float16 1e-4.
FLOAT32, FLOAT16 = 1e-4, 5e-3

PICTURES = ImagePreprocess(size=(224, 224), crop=None, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SKELETONS = ["resnet18", "resnet50", "efficientnet_b0", "vit_small_patch16_224"]
PICTURE_FAMILIES = [
    "resnet",
    "efficientnet",
    "mobilenet_v2",
    "convnext",
    "vit",
    "dinov2",
    "dinov2_with_registers",
    "clip",
]
TEXT_FAMILIES = ["bert", "distilbert", "roberta", "gpt2", "t5", "clip text"]


@pytest.fixture
def assert_agrees(run_onnx: Run) -> Callable[..., None]:
    """Every tap of a backbone, from its own samples to pooled vectors."""
    return partial(_assert_agrees, run_onnx)


def _assert_agrees(
    run_onnx: Run, backbone: Backbone, tolerance: float = FLOAT32, *, alone: bool = True
) -> None:
    cut = backbone.cut(spaces_of(backbone))
    external = backbone.external_data(cut)
    sample = probe_alone(backbone) if alone else probe_among_others(backbone)
    expected = run_onnx(cut, {cut.graph.input[0].name: sample}, external)
    with torch.no_grad():
        found = GraphModule(cut, external=external)(torch.from_numpy(sample))
    assert len(found) == len(expected) > 0
    for tap, one, other in zip(backbone.info.taps, found, expected, strict=True):
        apart = np.abs(one.numpy() - other).max() / np.abs(other).max()
        assert apart <= tolerance, f"{tap.name}: {apart}"


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet56_cifar10"])
def test_trained_networks_agree(assert_agrees: Agree, weights: Path, name: str) -> None:
    assert_agrees(Backbone.open(weights / name), alone=False)


def test_float16_of_an_old_opset_agrees(assert_agrees: Agree, weights: Path) -> None:
    assert_agrees(Backbone.open(weights / "squeezenet1_1_fp16"), FLOAT16)


def test_compact_agrees(assert_agrees: Agree) -> None:
    assert_agrees(Backbone.open("compact"), alone=False)


@pytest.mark.parametrize("name", SKELETONS)
def test_skeletons_agree(assert_agrees: Agree, filled: Callable[[str], Path], name: str) -> None:
    assert_agrees(Backbone.open(filled(name), preprocess=PICTURES))


def test_vgg_agrees_before_its_dense_layers(assert_agrees: Agree, weights: Path, tmp_path: Path) -> None:
    """They hold 120 million weights, half a minute of copying, and are Gemm and Relu, as in other tests."""
    model = onnx.load(weights / "skeletons" / "vgg16.onnx", load_external_data=False)
    end = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Reshape")
    del model.graph.node[end:]
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name=model.graph.node[-1].output[0]))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    read = {name for node in model.graph.node for name in node.input}
    rng = np.random.default_rng(0)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    for tensor in kept:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            shape = tuple(tensor.dims)
            # He-normal (He et al. 2015, eq. 10), as tools/fill_weights.py draws them
            drawn = rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
            tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)
    model.graph.ClearField("value_info")
    onnx.save(model, tmp_path / "vgg16.onnx")
    backbone = Backbone.open(tmp_path / "vgg16.onnx", preprocess=PICTURES)
    assert [tap.name for tap in backbone.info.taps][:5] == [f"stage{i}" for i in range(1, 6)]
    assert_agrees(backbone)


def test_minilm_as_featx_builds_it_agrees(assert_agrees: Agree, minilm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(
        minilm, tmp_path / "minilm", ignore=shutil.ignore_patterns("lock", "*.safetensors")
    )
    onnx.save(build_encoder(minilm), folder / "model.onnx")
    assert_agrees(Backbone.open(folder), alone=False)


def test_minilm_as_torch_exports_it_agrees(
    assert_agrees: Agree, families: object, minilm: Path, tmp_path: Path
) -> None:
    from featx import export_backbone

    # Two of its six layers: the other four are exported alike, in three times the time.
    folder = shutil.copytree(minilm, tmp_path / "minilm", ignore=shutil.ignore_patterns("lock"))
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    assert_agrees(Backbone.open(export_backbone(str(folder), tmp_path / "exported")), alone=False)


@pytest.mark.parametrize("family", [*PICTURE_FAMILIES, "yolos", *TEXT_FAMILIES])
def test_exported_families_agree_whole_and_split(
    run_onnx: Run, assert_agrees: Agree, tiny_family: Callable[[str], Path], family: str
) -> None:
    backbone = Backbone.open(tiny_family(family))
    assert_agrees(backbone, alone=False)
    samples = probe_among_others(backbone)
    space = spaces_of(backbone)[-1]
    whole = backbone.cut([space])
    (expected,) = run_onnx(whole, {whole.graph.input[0].name: samples})
    split = split_backbone(backbone, space, 0.7)
    assert split.prefix is not None
    given = dict(
        zip([b.name for b in split.boundary], run_onnx(split.prefix, {split.source: samples}), strict=True)
    )
    given[split.source] = samples
    module = GraphModule.of(split)
    (found,) = module(*(torch.from_numpy(given[name]) for name in module.input_names))
    assert np.abs(found.detach().numpy() - expected).max() <= FLOAT32 * np.abs(expected).max()
    found.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    # Where every tensor has to be on the module's own device, as on a GPU; on this one nothing is computed.
    module.to("meta")
    for _ in range(2):
        (elsewhere,) = module(*(torch.from_numpy(given[name]).to("meta") for name in module.input_names))
        assert elsewhere.device.type == "meta"
        assert elsewhere.shape == found.shape
