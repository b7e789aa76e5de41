"""Pulling: a folder under a short name, whole or not there, that opens without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from featx.backbones import pulling
from featx.backbones.backbone import Backbone
from featx.backbones.pulling import pull
from featx.backbones.sources import installed_names, locate
from featx.errors import (
    BackboneNotFoundError,
    GraphError,
    HubUnreachableError,
    OutputError,
    ParameterError,
)
from featx.features import ImageFeatures
from featx.testing import tiny_backbone

ROOT = Path(__file__).resolve().parents[2]


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "backbones"


@pytest.fixture
def published(hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]) -> Any:
    """What the name ``resnet18`` is fetched from, in the layout of transformers.js."""
    files = {
        "onnx/model.onnx": tiny_files["model.onnx"],
        "onnx/model_quantized.onnx": b"q" * 5000,
        "preprocessor_config.json": tiny_files["preprocessor_config.json"],
        "config.json": b"{}",
    }
    hub.repositories["Xenova/resnet-18"] = fake_hub.Repository(files)
    return hub


def out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and no download cache that could stand in for it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "another-cache"))


def test_a_pulled_name_opens_without_a_network(
    published: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackboneNotFoundError, match="Run: featx backbones pull resnet18"):
        locate("resnet18")
    assert pull("resnet18") == home / "resnet18"
    out_of_reach(monkeypatch, tmp_path)
    assert installed_names()["resnet18"] == home / "resnet18"
    pixels = [np.full((32, 32, 3), 9, np.uint8)]
    assert ImageFeatures("resnet18", cache=None).fit_transform(pixels).shape == (1, 16)


def test_the_card_says_source_revision_licence_and_digest(
    published: Any, fake_hub: ModuleType, home: Path
) -> None:
    pull("resnet18")
    card = json.loads((home / "resnet18" / "featx.json").read_text(encoding="utf-8"))
    backbone = Backbone.open("resnet18")
    assert card["digest"] == backbone.digest
    assert card["source"] == "hub:Xenova/resnet-18"
    assert card["revision"] == fake_hub.commit_of(published.repositories["Xenova/resnet-18"].files)
    assert card["licence"] == "Apache-2.0"
    assert card["name"] == "resnet18"
    assert set(card["golden"]["taps"]) == {"stage1", "stage2", "pooled"}
    assert backbone.terms == "Apache-2.0."


def test_the_folder_holds_the_one_variant_and_nothing_else(published: Any, home: Path) -> None:
    pull("resnet18")
    assert sorted(read_files(home / "resnet18")) == [
        "config.json",
        "featx.json",
        "onnx/model.onnx",
        "preprocessor_config.json",
    ]
    assert [p for p in (home / "resnet18").rglob("*") if p.is_symlink()] == []
    assert os.listdir(home) == ["resnet18"], "something of the making was left"


def test_a_second_pull_fetches_nothing(published: Any) -> None:
    pull("resnet18")
    before = published.n_calls
    assert pull("resnet18") == pull("resnet18")
    assert published.n_calls == before


def test_a_pulled_copy_may_be_changed_without_harm_to_the_download_cache(published: Any, home: Path) -> None:
    pull("resnet18")
    (home / "resnet18" / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    assert locate("hub:Xenova/resnet-18").folder == home / "resnet18"
    shutil.rmtree(home / "resnet18")
    assert Backbone.open("hub:Xenova/resnet-18").pixels().output_size == (32, 32)


def test_a_damaged_copy_is_fetched_again(published: Any, home: Path, tiny_files: dict[str, bytes]) -> None:
    pull("resnet18")
    model = home / "resnet18" / "onnx" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(GraphError, match="truncated or damaged"):
        Backbone.open("resnet18")
    pull("resnet18")
    assert model.read_bytes() == tiny_files["model.onnx"]
    assert os.listdir(home) == ["resnet18"]


def test_a_forced_pull_follows_a_branch_that_moved(published: Any, home: Path, tmp_path: Path) -> None:
    pull("resnet18")
    first = Backbone.open("resnet18").digest
    other = read_files(tiny_backbone(tmp_path / "other", seed=1))
    published.repositories["Xenova/resnet-18"].files["onnx/model.onnx"] = other["model.onnx"]
    pull("resnet18")
    assert Backbone.open("resnet18").digest == first
    pull("resnet18", force=True)
    assert Backbone.open("resnet18").digest != first
    assert os.listdir(home) == ["resnet18"]


def test_somebody_elses_folder_is_not_replaced(published: Any, home: Path) -> None:
    tiny_backbone(home / "resnet18", seed=5)
    own = Backbone.open("resnet18").digest
    with pytest.raises(OutputError, match="exists, and is not hub:Xenova/resnet-18"):
        pull("resnet18")
    assert Backbone.open("resnet18").digest == own
    pull("resnet18", force=True)
    assert Backbone.open("resnet18").digest != own


def test_what_is_no_backbone_is_never_replaced(published: Any, tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(OutputError, match="there is a file of that name"):
        pull("resnet18", folder=documents / "letter.txt", force=True)
    with pytest.raises(OutputError, match="exists, and is no backbone"):
        pull("resnet18", folder=documents, force=True)
    tiny_backbone(documents)
    for card in (None, "{}"):
        if card is not None:
            (documents / "featx.json").write_text(card, encoding="utf-8")
        with pytest.raises(OutputError, match=r"would be lost: letter\.txt"):
            pull("resnet18", folder=documents, force=True)
    assert (documents / "letter.txt").read_text(encoding="utf-8") == "dear"
    assert published.n_calls == 0


def test_a_folder_of_ones_choice_works_wherever_it_is_copied(
    published: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = pull("hub:Xenova/resnet-18", folder=tmp_path / "usb" / "net")
    assert out == tmp_path / "usb" / "net"
    assert not home.exists()
    out_of_reach(monkeypatch, tmp_path)
    moved = shutil.copytree(out, tmp_path / "elsewhere")
    shutil.rmtree(out)
    assert Backbone.open(moved).card["source"] == "hub:Xenova/resnet-18"


def test_an_empty_folder_may_be_given(published: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (pull("resnet18", folder=tmp_path / "empty") / "featx.json").is_file()


def test_a_repository_is_pulled_under_its_own_name(
    published: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = locate("hub:Xenova/resnet-18").revision
    assert pull("hub:Xenova/resnet-18") == home / "resnet-18"
    out_of_reach(monkeypatch, tmp_path)
    assert locate("resnet-18").folder == home / "resnet-18"
    assert locate("hub:Xenova/resnet-18").folder == home / "resnet-18"
    assert locate(f"hub:Xenova/resnet-18@{commit}").folder == home / "resnet-18"
    with pytest.raises(HubUnreachableError):
        locate("hub:Xenova/resnet-18@v2")


def test_a_name_of_the_catalogue_is_not_taken_by_another_repository(
    hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes], home: Path
) -> None:
    hub.repositories["somebody/resnet18"] = fake_hub.Repository(tiny_files)
    with pytest.raises(ParameterError, match="'resnet18' is a name of featx's own"):
        pull("hub:somebody/resnet18")
    assert (pull("hub:somebody/resnet18", folder=home / "mine") / "model.onnx").is_file()


def test_external_data_comes_along(
    hub: Any,
    fake_hub: ModuleType,
    tiny_files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = onnx.load_from_string(tiny_files["model.onnx"])
    folder = tmp_path / "external"
    folder.mkdir()
    onnx.save(graph, folder / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    files = {f"onnx/{name}": content for name, content in read_files(folder).items()}
    files["preprocessor_config.json"] = tiny_files["preprocessor_config.json"]
    hub.repositories["owner/large"] = fake_hub.Repository(files, licence="mit")
    out = pull("hub:owner/large")
    assert (out / "onnx" / "w.bin").is_file()
    assert Backbone.open(out).terms == "mit."
    out_of_reach(monkeypatch, tmp_path)
    pixels = [np.full((32, 32, 3), 9, np.uint8)]
    assert np.isfinite(ImageFeatures("large", cache=None).fit_transform(pixels)).all()


def test_what_is_there_already_needs_no_pull(hub: Any, home: Path) -> None:
    assert pull("compact") == locate("compact").folder
    tiny_backbone(home / "mine")
    assert pull("mine") == home / "mine"
    assert hub.n_calls == 0


def test_a_checkpoint_is_exported_and_an_unknown_name_is_answered(hub: Any) -> None:
    with pytest.raises(BackboneNotFoundError, match="Run: featx backbones export hf:google/efficientnet-b0"):
        pull("efficientnet_b0")
    with pytest.raises(
        BackboneNotFoundError, match=r"Did you mean 'resnet18'.*Pull knows resnet18, resnet50, .*minilm"
    ):
        pull("resnet-18")


@pytest.mark.parametrize("reference", ["timm:resnet18", "torchvision:resnet18", "hf:owner/name"])
def test_a_network_of_torchs_is_exported_and_not_pulled(reference: str, hub: Any) -> None:
    with pytest.raises(BackboneNotFoundError, match=f"featx backbones export {reference} FOLDER"):
        pull(reference)
    assert hub.n_calls == 0


def test_a_graph_that_cannot_be_used_is_not_put_in_place(
    hub: Any, fake_hub: ModuleType, home: Path, tiny_files: dict[str, bytes]
) -> None:
    hub.repositories["owner/broken"] = fake_hub.Repository({**tiny_files, "model.onnx": b"<html>" * 1000})
    with pytest.raises(GraphError, match="found a web page"):
        pull("hub:owner/broken")
    assert list(home.iterdir()) == []


def test_an_interrupted_pull_leaves_nothing(
    published: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featx.backbones.pulling._write_card", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull("resnet18")
    assert list(home.iterdir()) == []


def test_what_a_killed_pull_left_is_swept_by_a_later_one(published: Any, home: Path) -> None:
    old, young = home / ".resnet18.aaaa.partial", home / ".resnet18.bbbb.partial"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    pull("resnet18")
    assert not old.exists()
    assert young.exists(), "another process may be at it"


def test_processes_that_pull_together_agree(published: Any, home: Path) -> None:
    code = "from featx.backbones.pulling import pull; print(pull('resnet18'))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(3)
    ]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    assert [status for _, status in ended] == [0, 0, 0], ended
    assert os.listdir(home) == ["resnet18"]
    assert Backbone.open("resnet18").digest


def test_another_process_that_was_quicker_is_left_alone(
    published: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card = pulling._write_card

    def write_and_be_late(place: Path, *details: Any) -> None:
        write_card(place, *details)
        shutil.copytree(place, home / "resnet18")
        (home / "resnet18" / "of-the-other").touch()

    monkeypatch.setattr(pulling, "_write_card", write_and_be_late)
    assert (pull("resnet18") / "of-the-other").is_file()
    assert os.listdir(home) == ["resnet18"]


def test_a_link_in_the_place_is_replaced_and_not_followed(published: Any, home: Path, tmp_path: Path) -> None:
    tiny_backbone(tmp_path / "linked")
    home.mkdir()
    try:
        (home / "resnet18").symlink_to(tmp_path / "linked", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    pull("resnet18", force=True)
    assert not (home / "resnet18").is_symlink()
    assert sorted(os.listdir(tmp_path / "linked")) == ["model.onnx", "preprocessor_config.json"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(published: Any, home: Path) -> None:
    home.mkdir()
    home.chmod(0o500)
    with pytest.raises(OutputError, match="FEATX_BACKBONES names another home"):
        pull("resnet18")


def test_a_home_that_is_a_file(published: Any, home: Path) -> None:
    home.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        pull("resnet18")


def test_a_hub_out_of_reach_says_so(hub: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachableError, match="the hub does not answer") as raised:
        pull("resnet18")
    for words in ("HTTPS_PROXY", "HF_ENDPOINT", "on a machine that reaches the hub", "copy it here"):
        assert words in str(raised.value)
    assert list(home.iterdir()) == []


def test_a_published_card_is_kept_where_it_says_more(
    hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]
) -> None:
    card = {"description": "cells", "quality": {"accuracy": 0.9}, "terms": "research only"}
    files = {**tiny_files, "featx.json": json.dumps(card).encode()}
    hub.repositories["owner/cells"] = fake_hub.Repository(files, licence="mit")
    kept = json.loads((pull("hub:owner/cells") / "featx.json").read_text(encoding="utf-8"))
    assert kept["quality"] == {"accuracy": 0.9}
    assert kept["source"] == "hub:owner/cells"
    assert Backbone.open("cells").terms == "mit. research only."
