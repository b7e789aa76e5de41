"""The folder appears whole or not at all, and takes the place of nothing but a backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import Backbone, ImageFeatures, ImagePreprocess, export_backbone
from featx.errors import BackboneNotFoundError, OutputError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
conversion = pytest.importorskip("featx.exporting.conversion")

PREPROCESS = ImagePreprocess(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )


def vectors(folder: Path) -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    return ImageFeatures(folder, cache=None).fit_transform(pictures)


def test_folders_above_it_are_made(tmp_path: Path) -> None:
    folder = export_backbone(network(), tmp_path / "a" / "b", preprocess=PREPROCESS)
    assert folder == tmp_path / "a" / "b"
    assert sorted(path.name for path in folder.iterdir()) == [
        "featx.json",
        "model.onnx",
        "preprocessor_config.json",
    ]


def test_a_backbone_is_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = export_backbone(network(), tmp_path / "out", preprocess=PREPROCESS)
    first = Backbone.open(folder).digest
    with pytest.raises(OutputError, match=r"a backbone is there.*overwrite=True"):
        export_backbone(network(1), folder, preprocess=PREPROCESS)
    assert Backbone.open(folder).digest == first
    export_backbone(network(1), folder, preprocess=PREPROCESS, overwrite=True)
    assert Backbone.open(folder).digest != first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_may_be_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert Backbone.open(export_backbone(network(), tmp_path / "out", preprocess=PREPROCESS)).card


def test_files_of_ones_own_beside_a_backbone_are_not_lost(tmp_path: Path) -> None:
    folder = export_backbone(network(), tmp_path / "out", preprocess=PREPROCESS)
    (folder / "results.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"would be lost: results\.csv"):
        export_backbone(network(1), folder, preprocess=PREPROCESS, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_never_replaced(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("three years")
    with pytest.raises(OutputError, match=r"no featx\.json.*Choose another"):
        export_backbone(network(), tmp_path / "out", preprocess=PREPROCESS, overwrite=overwrite)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="there is a file of that name"):
        export_backbone(network(), tmp_path / "file", preprocess=PREPROCESS, overwrite=overwrite)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "three years"


def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_backbone(network(), tmp_path / "out", preprocess=PREPROCESS)
    monkeypatch.chdir(folder)
    with pytest.raises(OutputError, match="current working folder"):
        export_backbone(network(), folder, preprocess=PREPROCESS, overwrite=True)
    assert (folder / "model.onnx").is_file()


def test_the_place_is_looked_at_before_the_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        export_backbone("no such source", tmp_path / "file")
    with pytest.raises(BackboneNotFoundError):
        export_backbone("no such source", tmp_path / "out")


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_backbone(network(), tmp_path / "out", preprocess=PREPROCESS)
    before = vectors(folder)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_backbone(network(1), folder, preprocess=PREPROCESS, overwrite=True)
    np.testing.assert_array_equal(vectors(folder), before)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_large_weights_lie_in_a_file_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export_backbone(network(), tmp_path / "whole", preprocess=PREPROCESS)
    monkeypatch.setattr(conversion, "_LARGEST_FILE_BYTES", 1000)
    parted = export_backbone(network(), tmp_path / "parted", preprocess=PREPROCESS)
    assert (parted / "model.onnx.data").stat().st_size >= 3 * 64 * 9 * 4
    assert (parted / "model.onnx").stat().st_size < (whole / "model.onnx").stat().st_size
    np.testing.assert_array_equal(vectors(parted), vectors(whole))
    assert json.loads((parted / "featx.json").read_text())["digest"] == Backbone.open(parted).digest
