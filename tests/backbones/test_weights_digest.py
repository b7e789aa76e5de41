"""Weights are known by every byte of the model file and of the files beside it."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest

from featx import EmbeddingStore
from featx.backbones import weights_digest as room
from featx.backbones.weights_digest import weights_digest
from featx.errors import BackboneNotFoundError
from featx.store.digest import digest_file
from featx.store.files import FileDigests
from featx.testing import tiny_backbone

UNKNOWN = FileDigests(None)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_backbone(tmp_path / "net") / "model.onnx"


def with_external(model: Path, folder: Path, location: str) -> Path:
    """The same graph with its weights in a file of that name."""
    folder.mkdir()
    onnx.save(
        onnx.load(model),
        folder / "model.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )
    return folder / "model.onnx"


def test_of_one_file_it_is_the_digest_of_that_file(model: Path) -> None:
    assert weights_digest(model, UNKNOWN) == digest_file(model).hex()


def test_weights_beside_the_graph_count(model: Path, tmp_path: Path) -> None:
    graph = with_external(model, tmp_path / "external", "weights.bin")
    before = weights_digest(graph, UNKNOWN)
    assert before != digest_file(graph).hex()
    weights = graph.parent / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights_digest(graph, UNKNOWN) != before
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights_digest(graph, UNKNOWN) == before


def test_the_folder_does_not_count(model: Path, tmp_path: Path) -> None:
    one, other = (with_external(model, tmp_path / name, "weights.bin") for name in ("one", "other"))
    assert weights_digest(one, UNKNOWN) == weights_digest(other, UNKNOWN)


def test_weights_that_are_missing_are_named(model: Path, tmp_path: Path) -> None:
    graph = with_external(model, tmp_path / "external", "weights.bin")
    (graph.parent / "weights.bin").unlink()
    with pytest.raises(BackboneNotFoundError, match=r"weights\.bin: missing, and the model needs it"):
        weights_digest(graph, UNKNOWN)


def test_a_file_that_is_remembered_is_not_read_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_ns = os.stat(model).st_ctime_ns
    monkeypatch.setattr("time.time_ns", lambda: changed_ns + 3_000_000_000)  # none just changed is remembered
    files = FileDigests(EmbeddingStore(tmp_path / "store"))
    first = weights_digest(model, files)
    read: list[Path] = []
    monkeypatch.setattr(room, "digest_file", read.append)
    assert weights_digest(model, files) == first
    assert read == []
