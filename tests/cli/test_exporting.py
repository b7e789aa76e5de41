"""``featx backbones export``: what it prints, and how mistakes end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
transformers = pytest.importorskip("transformers", minversion="5.0")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ConvNeXt with its processor."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    config = transformers.ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], image_size=32)
    transformers.ConvNextModel(config).save_pretrained(folder)
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(folder)
    return folder


def test_a_checkpoint_becomes_a_backbone(featx: Any, checkpoint: Path, tmp_path: Path) -> None:
    ended = featx("backbones", "export", checkpoint, tmp_path / "out", "--name", "mine", "--opset", "18")
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("mine: ")
    assert "agrees with the original to" in lines[0]
    assert lines[-1] == f"Saved {tmp_path / 'out'}. Next: featx backbones show {tmp_path / 'out'}"
    shown = featx("backbones", "show", tmp_path / "out", "--json").json
    assert shown["producer"].endswith("opset 18")
    assert [tap["name"] for tap in shown["taps"]][-1] == "pooled"


def test_as_json(featx: Any, checkpoint: Path, tmp_path: Path) -> None:
    found = featx("backbones", "export", checkpoint, tmp_path / "out", "--size", "64", "--json").json
    assert found["folder"] == str(tmp_path / "out")
    assert found["taps"]["pooled"] == 20
    assert max(found["agreement"]["found"].values()) < 1e-4


def test_mistakes_end_in_one_line(
    refused: Callable[..., str],
    featx: Any,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "no such folder" in refused("backbones", "export", tmp_path / "nothing", out)
    assert "is for texts" in refused("backbones", "export", checkpoint, out, "--pooling", "mean")
    assert "needs timm" in refused("backbones", "export", "timm:resnet18", out)
    assert not out.exists()
    assert featx("backbones", "export", checkpoint, out).status == 0
    assert "--overwrite" in refused("backbones", "export", checkpoint, out)
    assert featx("backbones", "export", checkpoint, out, "--overwrite").status == 0
