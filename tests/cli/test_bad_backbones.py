"""Backbones that cannot be used: which file, what is wrong with it, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import featx as library
from featx.errors import (
    BackboneNotFoundError,
    DigestMismatchError,
    FeatxError,
    GraphError,
    PreprocessError,
)
from featx.testing import tiny_backbone

Refused = Callable[..., str]


def test_an_unknown_backbone_suggests_a_close_one(
    both: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_backbone(tmp_path / "backbones" / "resnet50")
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "backbones"))
    line = both(
        ["train", photos, "-b", "resnet-50"],
        lambda: library.train(photos, backbone="resnet-50"),
        BackboneNotFoundError,
        builtin=FileNotFoundError,
    )
    assert "Did you mean 'resnet50'?" in line


def spoil_text(folder: Path) -> None:
    (folder / "model.onnx").write_text("<html>404</html>", encoding="utf-8")


def spoil_truncated(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


def spoil_external(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (folder / "weights.bin").unlink()


def spoil_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def spoil_preprocessing_json(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{", encoding="utf-8")


def spoil_card(folder: Path) -> None:
    (folder / "featx.json").write_text('{"digest": "00112233445566778899aabbccddeeff"}', encoding="utf-8")


BACKBONES: dict[str, tuple[Callable[[Path], None], type[FeatxError], str]] = {
    "not ONNX": (spoil_text, GraphError, "expected an ONNX model, found"),
    "truncated": (spoil_truncated, GraphError, "truncated or damaged"),
    "external data gone": (spoil_external, BackboneNotFoundError, "weights.bin: missing"),
    "no preprocessing": (spoil_preprocessing, PreprocessError, "no preprocessor_config.json beside it"),
    "broken preprocessing": (spoil_preprocessing_json, PreprocessError, "preprocessor_config.json"),
    "another digest": (
        spoil_card,
        DigestMismatchError,
        "expected digest 00112233445566778899aabbccddeeff, found",
    ),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_backbone_that_cannot_be_used(both: Any, photos: Path, tmp_path: Path, kind: str) -> None:
    spoil, error, says = BACKBONES[kind]
    folder = tiny_backbone(tmp_path / "net")
    spoil(folder)
    line = both(["train", photos, "-b", folder], lambda: library.train(photos, backbone=folder), error)
    assert str(folder) in line
    assert says in line


def test_without_preprocessing_the_command_line_names_its_option(
    refused: Refused, photos: Path, tmp_path: Path
) -> None:
    folder = tiny_backbone(tmp_path / "net")
    spoil_preprocessing(folder)
    assert refused("train", photos, "-b", folder).endswith("or give one with --preprocess FILE.")
    with pytest.raises(PreprocessError, match=r"mean, std .* for each of the network's channels"):
        library.ImageFeatures(folder).fit(None)
