"""Trained weights in a copy of the graph: what changes, what does not, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from featx.backbones.backbone import Backbone
from featx.backbones.checking import check
from featx.backbones.golden import spaces_of
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import ConversionError, DigestMismatchError, GraphError, OutputError, ParameterError
from featx.features import ImageFeatures
from featx.finetuning.frozen import open_frozen
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import Split, split_backbone
from featx.finetuning.weights import read_weight, weight_protos
from featx.finetuning.writing import write_back
from featx.inference.devices import Device
from featx.testing import tiny_backbone
from featx.testing_texts import tiny_text_backbone


def trained(backbone: Backbone, boundary: str | None = None) -> tuple[GraphModule, Split]:
    """A module whose every weight was moved by a twentieth of its spread."""
    split = split_backbone(backbone, spaces_of(backbone)[-1], boundary)
    module = GraphModule.of(split)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * parameter.std() * torch.randn_like(parameter))
    return module, split


def numbers(backbone: Backbone) -> dict[str, Any]:
    graph = backbone.graph()
    external = backbone.external_data(graph)
    return {name: read_weight(proto, external) for name, proto in weight_protos(graph).items()}


def assert_written(backbone: Backbone, module: GraphModule, split: Split, folder: Path) -> Backbone:
    written = Backbone.open(folder)
    old, new = numbers(backbone), numbers(written)
    assert list(old) == list(new)
    for name in old:
        assert old[name].dtype == new[name].dtype
        if name in split.trainable:
            assert not np.array_equal(old[name], new[name])
        else:
            np.testing.assert_array_equal(old[name], new[name])
    for name, values in module.arrays().items():
        step = {"float16": 2**-11, "float32": 0}[str(new[name].dtype)]
        assert np.abs(new[name] - values).max() <= step * np.abs(values).max()
    assert [str(node) for node in written.graph().graph.node] == [
        str(node) for node in backbone.graph().graph.node
    ]
    assert written.info.taps == backbone.info.taps
    assert written.preprocess == backbone.preprocess
    assert written.digest != backbone.digest
    for space in spaces_of(backbone):
        assert written.space(space.tap, space.pooling).id != space.id
    return written


def test_of_a_whole_network_only_the_trained_weights_change(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path / "net", size_px=32))
    module, split = trained(backbone)
    folder = write_back(module, split, tmp_path / "tuned", card={"data": "drawn", "digest": "forged"})
    written = assert_written(backbone, module, split, folder)
    card = json.loads((folder / "featx.json").read_text(encoding="utf-8"))
    assert card["digest"] == written.digest
    assert card["data"] == "drawn"
    assert card["finetuned"]["from"] == {"name": "net", "digest": backbone.digest}
    assert card["agreement"]["found"] <= 1e-4
    assert {found.status for found in check(folder)} <= {"ok", "note"}
    assert next(found.status for found in check(folder) if found.name == "golden") == "ok"


def test_a_network_that_learned_gives_what_it_learned_as_features(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path / "net", size_px=32))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = torch.from_numpy((pictures[..., 0].mean(axis=(1, 2)) > 127).astype(np.int64))
    split = split_backbone(backbone, backbone.space(), "stage1")
    module = GraphModule.of(split)
    frozen = tuple(torch.from_numpy(one) for one in open_frozen(split, Device("cpu")).run(pictures))
    torch.manual_seed(0)
    head = torch.nn.Linear(backbone.n_features(split.space), 2)
    optimiser = torch.optim.AdamW([*module.parameters(), *head.parameters()], lr=3e-2)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(head(module(*frozen)[0]), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    folder = write_back(module, split, tmp_path / "tuned")
    vectors = ImageFeatures(str(folder), cache=None).fit_transform(list(pictures))
    with torch.no_grad():
        expected = module(*frozen)[0].numpy()
    # float32 that is summed in another order, in a network of a few layers
    np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.abs(expected).max())


def test_behind_a_boundary_the_frozen_weights_stay(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path / "net", size_px=32))
    module, split = trained(backbone, "stage1")
    assert split.frozen
    assert_written(backbone, module, split, write_back(module, split, tmp_path / "tuned"))
    sample = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    (maps,) = open_frozen(split, Device("cpu")).run(sample)
    assert maps.shape[0] == 3
    assert maps.shape[1:] == split.boundary[0].row_shape


def test_texts_take_their_tokenizer_along(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path / "text", normalize=True))
    module, split = trained(backbone)
    folder = write_back(module, split, tmp_path / "tuned")
    assert_written(backbone, module, split, folder)
    assert (folder / "tokenizer.json").read_bytes() == (backbone.folder / "tokenizer.json").read_bytes()
    assert (folder / "1_Pooling" / "config.json").is_file()


def test_what_a_user_set_for_texts_stays_out_of_the_folder(tmp_path: Path) -> None:
    opened = Backbone.open(tiny_text_backbone(tmp_path / "text"))
    asked = Backbone.open(opened, preprocess=replace(opened.text(), normalize=True, max_length=9))
    module, split = trained(asked)
    assert Backbone.open(write_back(module, split, tmp_path / "tuned")).preprocess == opened.preprocess


def test_float16_is_written_back_as_float16(weights: Path, tmp_path: Path) -> None:
    backbone = Backbone.open(weights / "squeezenet1_1_fp16")
    module, split = trained(backbone, "stage2")
    written = assert_written(backbone, module, split, write_back(module, split, tmp_path / "tuned"))
    assert {t.data_type for t in written.graph().graph.initializer} == {TensorProto.FLOAT16}


def test_bfloat16_is_written_back_as_bfloat16(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net", size_px=32)
    model = onnx.load(folder / "model.onnx")
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4:
            bits = (numpy_helper.to_array(tensor).view(np.uint32) >> 16).astype("<u2")
            casts.append(
                onnx.helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT)
            )
            tensor.CopyFrom(
                TensorProto(
                    name=f"{tensor.name}.half",
                    data_type=TensorProto.BFLOAT16,
                    dims=tensor.dims,
                    raw_data=bits.tobytes(),
                )
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, folder / "model.onnx")
    backbone = Backbone.open(folder)
    module, split = trained(backbone)
    assert any(name.endswith(".half") for name in split.trainable)
    written = Backbone.open(write_back(module, split, tmp_path / "tuned"))
    kinds = {t.name: t.data_type for t in written.graph().graph.initializer}
    assert kinds == {t.name: t.data_type for t in backbone.graph().graph.initializer}
    name = next(name for name in split.trainable if name.endswith(".half"))
    exact = module.arrays()[name]
    assert 0 < np.abs(numbers(written)[name] - exact).max() <= 2**-8 * np.abs(exact).max()


def test_external_weights_are_written_in_their_own_files(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net", size_px=32)
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    backbone = Backbone.open(folder)
    module, split = trained(backbone, "stage1")
    tuned = write_back(module, split, tmp_path / "tuned")
    assert_written(backbone, module, split, tuned)
    assert (tuned / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert (tuned / "weights.bin").stat().st_size == (folder / "weights.bin").stat().st_size


def test_a_preprocessing_that_was_given_is_written(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net", size_px=32)
    given = ImagePreprocess(size=(32, 32), crop=None, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    backbone = Backbone.open(folder / "model.onnx", preprocess=given)
    module, split = trained(backbone)
    assert Backbone.open(write_back(module, split, tmp_path / "tuned")).preprocess == given


def test_licences_go_along_and_a_hub_reference_does_not_lead_here(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net", size_px=32)
    (folder / "LICENSE").write_text("as is", encoding="utf-8")
    card = {"licence": "MIT", "source": "hub:somebody/net", "revision": "0" * 40, "quality": {"top1": 0.9}}
    (folder / "featx.json").write_text(json.dumps(card), encoding="utf-8")
    module, split = trained(Backbone.open(folder))
    tuned = write_back(module, split, tmp_path / "tuned", name="mine")
    written = json.loads((tuned / "featx.json").read_text(encoding="utf-8"))
    assert (tuned / "LICENSE").read_text(encoding="utf-8") == "as is"
    assert written["name"] == "mine"
    assert written["licence"] == "MIT"
    assert written["finetuned"]["from"]["source"] == "hub:somebody/net"
    assert written["source"] == "fine-tuned from net"
    assert "quality" not in written
    assert "revision" not in written


@pytest.mark.parametrize("outside", [False, True])
def test_a_network_that_no_training_changed_is_a_copy_and_its_card_says_so(
    tmp_path: Path, outside: bool
) -> None:
    folder = tiny_backbone(tmp_path / "net", size_px=32)
    if outside:
        model = onnx.load(folder / "model.onnx")
        onnx.save(
            model,
            folder / "model.onnx",
            save_as_external_data=True,
            location="model.onnx.data",
            size_threshold=0,
        )
    backbone = Backbone.open(folder)
    split = split_backbone(backbone, spaces_of(backbone)[-1], "stage1")
    tuned = write_back(GraphModule.of(split), split, tmp_path / "tuned", card={"tuning": {"best_epoch": 0}})
    written = Backbone.open(tuned)
    assert written.digest == backbone.digest
    assert (tuned / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    card = written.card
    assert "finetuned" not in card
    assert card["copied"]["from"]["digest"] == backbone.digest
    assert card["source"] == "copied from net"
    (note,) = card["notes"]
    assert note.startswith("Its weights are those of net, unchanged")
    assert card["tuning"] == {"best_epoch": 0}


def test_a_diverged_network_is_not_written(tmp_path: Path) -> None:
    module, split = trained(Backbone.open(tiny_backbone(tmp_path / "net", size_px=32)))
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    with pytest.raises(GraphError, match="diverged"):
        write_back(module, split, tmp_path / "tuned")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["net"]


def test_a_module_of_another_split_is_not_written(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path / "net", size_px=32))
    module, _ = trained(backbone)
    _, split = trained(backbone, "stage1")
    with pytest.raises(ParameterError, match="another split"):
        write_back(module, split, tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


def test_a_graph_that_does_not_compute_what_the_module_does_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, split = trained(Backbone.open(tiny_backbone(tmp_path / "net", size_px=32)))
    arrays = module.arrays()
    monkeypatch.setattr(GraphModule, "arrays", lambda self: {name: 1.1 * a for name, a in arrays.items()})
    with pytest.raises(ConversionError, match="differs from the trained module by"):
        write_back(module, split, tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


def test_a_file_that_changed_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net", size_px=32)
    module, split = trained(Backbone.open(folder))
    shutil.copyfile(
        tiny_backbone(tmp_path / "other", size_px=32, seed=1) / "model.onnx", folder / "model.onnx"
    )
    with pytest.raises(DigestMismatchError, match="changed since"):
        write_back(module, split, tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


def test_only_a_backbone_is_replaced_and_only_when_asked(tmp_path: Path) -> None:
    module, split = trained(Backbone.open(tiny_backbone(tmp_path / "net", size_px=32)))
    tuned = write_back(module, split, tmp_path / "tuned")
    with pytest.raises(OutputError, match="overwrite=True"):
        write_back(module, split, tuned)
    assert write_back(module, split, tuned, overwrite=True) == tuned
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError):
        write_back(module, split, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
