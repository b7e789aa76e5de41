"""``featx backbones``: what there is, what is here, what is fetched, and what a graph offers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from featx.testing import tiny_backbone


@pytest.fixture
def published(hub: Any, fake_hub: ModuleType, tiny: Path) -> Any:
    """What the name ``resnet18`` is fetched from."""
    files = {f"onnx/{name}": content for name, content in _files(tiny).items() if name == "model.onnx"}
    files |= {name: content for name, content in _files(tiny).items() if name != "model.onnx"}
    hub.repositories["Xenova/resnet-18"] = fake_hub.Repository(files)
    return hub


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- list ---


def test_list_shows_the_catalogue_and_the_users_own(
    featx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_backbone(tmp_path / "mine" / "cells")
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "mine"))
    ended = featx("backbones", "list")
    assert ended.status == 0
    lines = {line.split()[0]: line.split() for line in ended.out.splitlines()}
    assert lines["cells"][1:] == ["here", str(tmp_path / "mine" / "cells")]
    assert lines["compact"][1:3] == ["here", "image"]
    assert lines["resnet50"][1:4] == ["pull", "image", "2048"]
    assert lines["efficientnet_b0"][1:3] == ["export", "image"]
    assert lines["minilm"][-1] == "hub:sentence-transformers/all-MiniLM-L6-v2"
    assert list(lines)[:2] == ["name", "compact"]


def test_list_as_json_has_sources_and_folders(
    featx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_backbone(tmp_path / "mine" / "cells")
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "mine"))
    rows = {row["name"]: row for row in featx("backbones", "list", "--json").json}
    assert rows["cells"]["folder"] == str(tmp_path / "mine" / "cells")
    assert rows["minilm"]["folder"] is None
    assert rows["minilm"]["source"].endswith("#model.safetensors")
    assert rows["resnet18"]["n_features"] == 512
    here = {row["name"] for row in featx("backbones", "list", "--here", "--json").json}
    assert {"cells", "compact"} <= here
    assert "minilm" not in here


def test_a_long_source_gives_way_on_a_narrow_terminal(featx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.cli.output._is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, featx("backbones", "list").out.splitlines())) <= 100


# --- pull ---


def test_pull_says_what_it_does_and_where_it_is(featx: Any, published: Any, tmp_path: Path) -> None:
    ended = featx("backbones", "pull", "resnet18")
    assert ended.status == 0
    assert ended.out.startswith(f"resnet18: {tmp_path / 'backbones' / 'resnet18'}, digest ")
    assert "Terms of use: Apache-2.0." in ended.out
    assert ended.err.splitlines() == [
        "featx: hub:Xenova/resnet-18: fetching onnx/model.onnx and 1 more, 0.0 MB"
    ]
    again = featx("backbones", "pull", "resnet18")
    assert again.out == ended.out
    assert again.err == f"featx: resnet18: already in {tmp_path / 'backbones' / 'resnet18'}\n"
    rows = {row["name"]: row for row in featx("backbones", "list", "--json").json}
    assert rows["resnet18"]["folder"] == str(tmp_path / "backbones" / "resnet18")


def test_pull_as_json(featx: Any, published: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    facts = featx("backbones", "pull", "hub:Xenova/resnet-18", "--to", out, "--json").json
    assert facts["folder"] == str(out)
    assert facts["source"] == "hub:Xenova/resnet-18"
    assert len(facts["revision"]) == 40


def test_a_folder_that_is_taken_is_refused_in_the_words_of_options(
    refused: Any, published: Any, tmp_path: Path
) -> None:
    tiny_backbone(tmp_path / "backbones" / "resnet18", seed=3)
    line = refused("backbones", "pull", "resnet18")
    assert line.endswith("Choose another folder (--to FOLDER), or pass --force to replace it.")


def test_what_has_to_be_exported_names_the_command(refused: Any, hub: Any) -> None:
    line = refused("backbones", "pull", "efficientnet_b0")
    assert "Run: featx backbones export hf:google/efficientnet-b0 " in line


def test_without_a_network_one_line_says_so(refused: Any, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the hub does not answer" in refused("backbones", "pull", "hub:owner/net")


def test_progress_is_told_only_while_the_command_runs(featx: Any, published: Any) -> None:
    import logging

    featx("backbones", "pull", "resnet18")
    log = logging.getLogger("featx")
    assert log.handlers == []
    assert log.level == logging.NOTSET


# --- check ---


def test_check_of_a_sound_backbone(featx: Any, published: Any) -> None:
    featx("backbones", "pull", "resnet18")
    ended = featx("backbones", "check", "resnet18")
    assert (ended.status, ended.err) == (0, "")
    statuses = {line.split()[0]: line.split()[1] for line in ended.out.splitlines()}
    assert statuses["digest"] == statuses["golden"] == statuses["rows"] == "ok"


def test_check_ends_with_1_where_something_is_wrong(featx: Any, tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net")
    (folder / "featx.json").write_text('{"taps": {"pooled": 7}}', encoding="utf-8")
    ended = featx("backbones", "check", folder, "--json")
    assert ended.status == 1
    found = {one["name"]: one for one in ended.json}
    assert found["taps"]["status"] == "problem"
    assert found["graph"]["status"] == "ok"
    assert featx("backbones", "check", folder).status == 1


def test_check_of_nothing_is_a_mistake(refused: Any) -> None:
    assert "no such backbone" in refused("backbones", "check", "nothing-of-the-kind")


# --- show ---


def test_show_describes_input_preprocessing_and_taps(featx: Any, tiny: Path) -> None:
    ended = featx("backbones", "show", tiny)
    assert (ended.status, ended.err) == (0, "")
    for words in (
        "pixel_values float32 nchw 32 x 32 px, any batch",
        "any batch",
        "size [32, 32]",
        "mean [0.5",
    ):
        assert words in ended.out
    lines = ended.out.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("tap "))) :]
    assert [row.split()[0] for row in table[1:]] == ["stage1", "stage2", "pooled"]
    assert [line for line in lines if len(line) > 80 and not line.startswith("file")] == []


def test_show_as_json(featx: Any, tiny: Path) -> None:
    found = featx("backbones", "show", tiny, "--json").json
    assert found["name"] == "tiny"
    assert found["preprocess"]["size"] == [32, 32]
    assert {tap["name"]: tap["channels"] for tap in found["taps"]} == {
        "stage1": 12,
        "stage2": 16,
        "pooled": 16,
    }


def test_show_names_source_and_revision_of_what_came_from_a_hub(featx: Any, published: Any) -> None:
    ended = featx("backbones", "show", "hub:Xenova/resnet-18")
    facts = dict(line.split(maxsplit=1) for line in ended.out.splitlines() if " " in line.strip())
    assert facts["source"] == "hub:Xenova/resnet-18"
    assert len(facts["revision"]) == 40
    assert ended.err.startswith("featx: hub:Xenova/resnet-18: fetching ")


def test_a_graph_without_preprocessing_can_be_looked_at(featx: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes((tiny / "model.onnx").read_bytes())
    found = featx("backbones", "show", tmp_path / "net.onnx", "--json").json
    assert found["preprocess"] is None
    assert len(found["taps"]) == 3


def test_terms_of_a_card_are_shown(featx: Any, tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net")
    (folder / "featx.json").write_text(
        json.dumps({"licence": "MIT", "terms": "research only"}), encoding="utf-8"
    )
    assert "MIT. research only." in featx("backbones", "show", folder).out


def test_rows_that_depend_on_their_batch_are_told(featx: Any, weights: Path) -> None:
    assert "computed one at a time" in featx("backbones", "show", weights / "mobilenet_v2_int8_dynamic").out


def test_the_list_loads_no_graph_library() -> None:
    code = (
        "import sys; from featx.cli import main; main(['backbones', 'list']);"
        "print(sorted({'onnx', 'numpy', 'onnxruntime', 'huggingface_hub', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
