"""``check``: what is right is said to be, what is wrong is found, and one does not hide the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from featx.backbones import checking
from featx.backbones.backbone import Backbone
from featx.backbones.checking import BackboneCheck, check
from featx.backbones.feature_space import RULES
from featx.backbones.golden import golden_vectors, open_session, probe_alone, probe_among_others
from featx.errors import BackboneNotFoundError, DeviceError
from featx.inference.devices import Device
from featx.inference.runtime import Session
from featx.testing import tiny_backbone


def by_name(reference: Any) -> dict[str, BackboneCheck]:
    return {one.name: one for one in check(reference)}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A small network with a card as a pull writes it."""
    folder = tiny_backbone(tmp_path / "net")
    write_card(folder)
    return folder


def write_card(folder: Path, **changes: Any) -> None:
    backbone = Backbone.open(folder)
    card = {"digest": backbone.digest, "golden": golden_vectors(backbone), **changes}
    (folder / "featx.json").write_text(json.dumps(card), encoding="utf-8")


def test_a_sound_backbone_passes_every_check(net: Path) -> None:
    found = check(net)
    assert [one.name for one in found] == ["digest", "graph", "preprocess", "taps", "rows", "cuda", "golden"]
    assert {one.status for one in found if one.name != "cuda"} == {"ok"}
    assert by_name(net)["cuda"].status in ("ok", "note")
    assert by_name(net)["taps"].detail == "stage1 12, stage2 16, pooled 16"


def test_the_bundled_backbone_passes() -> None:
    assert {one.status for one in check("compact")} <= {"ok", "note"}


def test_without_a_card_the_digest_is_only_told(tmp_path: Path) -> None:
    found = by_name(tiny_backbone(tmp_path / "net"))
    assert found["digest"].status == "note"
    assert Backbone.open(tmp_path / "net").digest in found["digest"].detail
    assert found["golden"].status == "note"


def test_other_weights_than_the_cards_are_found(net: Path, tmp_path: Path) -> None:
    other = tiny_backbone(tmp_path / "other", seed=1)
    shutil.copyfile(other / "model.onnx", net / "model.onnx")
    found = by_name(net)
    assert found["digest"].status == "problem"
    assert "expected digest" in found["digest"].detail


def test_vectors_that_changed_are_found(net: Path) -> None:
    backbone = Backbone.open(net)
    golden = golden_vectors(backbone)
    golden["taps"]["pooled"]["values"][2] += 0.01 * golden["taps"]["pooled"]["largest"]
    write_card(net, golden=golden)
    found = by_name(net)["golden"]
    assert found.status == "problem"
    assert found.detail.startswith("pooled: differs by 0.01 of its largest number, expected at most 0.001")
    assert "stage" not in found.detail


def test_changed_pixels_are_found_by_golden_vectors(net: Path) -> None:
    config = json.loads((net / "preprocessor_config.json").read_text(encoding="utf-8"))
    config["image_mean"] = [0.4, 0.4, 0.4]
    (net / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    found = by_name(net)
    assert found["digest"].status == "ok", "the weights are the same"
    assert found["golden"].status == "problem"


def test_golden_vectors_of_other_rules_are_not_compared(net: Path) -> None:
    write_card(net, golden={"rules": RULES + 1, "taps": {}})
    found = by_name(net)["golden"]
    assert (found.status, f"rules {RULES + 1}" in found.detail) == ("note", True)


@pytest.mark.parametrize(
    "golden",
    [
        {"rules": RULES},
        {"rules": RULES, "taps": []},
        {"rules": RULES, "taps": {"pooled": {"pooling": "none"}}},
    ],
)
def test_golden_vectors_that_cannot_be_read_are_a_finding(net: Path, golden: dict[str, Any]) -> None:
    write_card(net, golden=golden)
    found = by_name(net)["golden"]
    assert (found.status, "not readable" in found.detail) == ("problem", True)


def test_a_tap_that_a_card_names_and_the_graph_lacks(net: Path) -> None:
    golden = golden_vectors(Backbone.open(net))
    golden["taps"]["stage9"] = golden["taps"].pop("stage1")
    write_card(net, golden=golden)
    assert by_name(net)["golden"].status == "problem"
    assert "stage9" in by_name(net)["golden"].detail


def test_a_width_that_the_card_gives_otherwise(net: Path) -> None:
    write_card(net, taps={"pooled": 17})
    found = by_name(net)["taps"]
    assert (found.status, found.detail) == ("problem", "pooled: 16 features, the card says 17")


def spoil(folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_a_network_of_nan_is_found(tmp_path: Path) -> None:
    def nan(model: onnx.ModelProto) -> None:
        bias = next(tensor for tensor in model.graph.initializer if tensor.name == "conv2.bias")
        bias.CopyFrom(numpy_helper.from_array(np.full(12, np.nan, np.float32), "conv2.bias"))

    found = by_name(spoil(tiny_backbone(tmp_path / "net"), nan))
    assert found["taps"].status == "problem"
    assert "stage1: NaN or infinity for an ordinary sample" in found["taps"].detail
    assert found["rows"].status == "note", "the other checks go on"


def test_rows_that_change_each_other_are_told(tmp_path: Path) -> None:
    def couple(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "GlobalAveragePool")
        mean = helper.make_node("ReduceMean", [node.input[0]], ["over_batch"], axes=[0], keepdims=1)
        minus = helper.make_node("Sub", [node.input[0], "over_batch"], ["centred"])
        node.input[0] = "centred"
        at = list(model.graph.node).index(node)
        model.graph.node.insert(at, minus)
        model.graph.node.insert(at, mean)

    found = by_name(spoil(tiny_backbone(tmp_path / "net"), couple))["rows"]
    assert found.status == "note"
    assert "featx computes one at a time" in found.detail


def test_a_fixed_batch_is_told(tmp_path: Path) -> None:
    found = by_name(tiny_backbone(tmp_path / "net", batch=1))
    assert found["taps"].status == "ok"
    assert found["rows"].status in ("ok", "note")


def test_int8_rows_that_depend_on_their_batch_are_told(weights: Path) -> None:
    found = by_name(weights / "mobilenet_v2_int8_dynamic")
    assert (found["taps"].status, found["rows"].status) == ("ok", "note")
    assert "DynamicQuantizeLinear" in found["rows"].detail


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1_fp16", "resnet56_cifar10"])
def test_real_backbones_pass(weights: Path, name: str) -> None:
    assert {one.status for one in check(weights / name)} <= {"ok", "note"}


@pytest.mark.parametrize(("shift", "status"), [(1e-5, "ok"), (1e-2, "problem"), (np.nan, "problem")])
def test_a_second_device_is_held_to_the_first(
    net: Path, monkeypatch: pytest.MonkeyPatch, shift: float, status: str
) -> None:
    class Elsewhere:
        """A device that computes what the CPU does, and a little more."""

        def __init__(self, session: Session) -> None:
            self.session = session

        def run(self, batch: Any) -> list[Any]:
            return [rows + shift * np.abs(rows).max() for rows in self.session.run(batch)]

    def open_anywhere(backbone: Backbone, spaces: Any, device: Device) -> Any:
        session = open_session(backbone, spaces, Device("cpu"))
        return session if device.kind == "cpu" else Elsewhere(session)

    monkeypatch.setattr(checking, "why_not_cuda", lambda: None)
    monkeypatch.setattr(checking, "open_session", open_anywhere)
    assert by_name(net)["cuda"].status == status


def test_a_device_that_does_not_compute_is_told(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(backbone: Backbone, spaces: Any, device: Device) -> Any:
        if device.kind == "cuda":
            raise DeviceError("cuda: its libraries are missing.")
        return open_session(backbone, spaces, device)

    monkeypatch.setattr(checking, "why_not_cuda", lambda: None)
    monkeypatch.setattr(checking, "open_session", refuse)
    found = by_name(net)["cuda"]
    assert (found.status, found.detail) == ("note", "not compared: cuda: its libraries are missing.")


def test_without_preprocessing_what_can_be_looked_at_is(net: Path) -> None:
    (net / "preprocessor_config.json").unlink()
    found = check(net)
    assert [one.name for one in found] == ["digest", "graph", "preprocess"]
    assert found[-1].status == "note"


def test_a_broken_graph_is_a_finding(net: Path) -> None:
    (net / "model.onnx").write_bytes((net / "model.onnx").read_bytes()[:-100])
    assert [(one.name, one.status) for one in check(net)] == [("digest", "problem")]


def test_nothing_to_examine_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BackboneNotFoundError):
        check(tmp_path / "nothing")


def test_the_fixed_picture_is_the_same_everywhere(net: Path) -> None:
    """The numbers of a card are of this picture: it may never change."""
    picture = probe_alone(Backbone.open(net))
    assert (picture.shape, picture.dtype) == ((1, 32, 32, 3), np.uint8)
    assert picture[0, 0, :3].tolist() == [[0, 60, 120], [3, 63, 123], [6, 66, 126]]
    assert picture[0, 31, 31].tolist() == [52, 112, 172]
    assert int(picture.sum()) == 411_472
    crowd = probe_among_others(Backbone.open(net))
    assert np.array_equal(crowd[:1], picture)
    assert len(crowd) > 2


def test_golden_vectors_are_the_vectors_of_the_estimator(net: Path) -> None:
    from featx.features import ImageFeatures

    backbone = Backbone.open(net)
    picture = probe_alone(backbone)[0]
    expected = ImageFeatures(net, cache=None, tap=["stage1", "pooled"]).fit_transform([picture])[0]
    golden = golden_vectors(backbone)["taps"]
    # Six digits are kept.
    assert np.allclose(golden["stage1"]["values"], expected[:8], rtol=1e-5, atol=1e-7)
    assert np.allclose(golden["pooled"]["values"], expected[12:20], rtol=1e-5, atol=1e-7)
