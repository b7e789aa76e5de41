"""``featx backbones``: what is here by name, and what a graph offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featx.testing import tiny_backbone


def test_list_shows_the_users_own(featx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_backbone(tmp_path / "mine" / "cells")
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "mine"))
    ended = featx("backbones", "list")
    assert ended.status == 0
    assert str(tmp_path / "mine" / "cells") in ended.out
    assert featx("backbones", "list", "--json").json["cells"] == str(tmp_path / "mine" / "cells")


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


def test_a_graph_without_preprocessing_can_be_looked_at(featx: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes((tiny / "model.onnx").read_bytes())
    found = featx("backbones", "show", tmp_path / "net.onnx", "--json").json
    assert found["preprocess"] is None
    assert len(found["taps"]) == 3


def test_terms_of_a_card_are_shown(featx: Any, tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net")
    (folder / "featx.json").write_text('{"licence": "MIT", "terms": "research only"}', encoding="utf-8")
    assert "MIT. research only." in featx("backbones", "show", folder).out


def test_rows_that_depend_on_their_batch_are_told(featx: Any, weights: Path) -> None:
    assert "computed one at a time" in featx("backbones", "show", weights / "mobilenet_v2_int8_dynamic").out
