"""Digests without vectors are those that vectors are stored under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx import EmbeddingStore, ImageFeatures, TextFeatures
from featx.errors import SampleError, UnreadableSampleError
from featx.inference import reading
from featx.inputs.samples import DigestSample
from featx.testing import counted_rows, tiny_backbone
from featx.testing_texts import tiny_text_backbone


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Six pictures, as many pages of one GIF."""
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (30, 28, 3), dtype=np.uint8)) for _ in range(6)]
    for i, page in enumerate(pages):
        page.save(tmp_path / f"{i}.png")
    pages[0].save(tmp_path / "pages.gif", save_all=True, append_images=pages[1:])
    return [*(str(tmp_path / f"{i}.png") for i in range(6)), f"{tmp_path / 'pages.gif'}#frame=2"]


def images_of_every_kind(files: list[str]) -> list[Any]:
    array = np.random.default_rng(1).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    glass = Image.fromarray(np.dstack([array, array[..., 0]]), mode="RGBA")
    return [*files, Path(files[0]).read_bytes(), array, array[..., 0], glass, DigestSample(bytes(range(16)))]


@pytest.mark.parametrize("cached", [True, False])
def test_of_images_of_every_kind(tiny: Path, files: list[str], cached: bool, tmp_path: Path) -> None:
    cache = EmbeddingStore(tmp_path / "store") if cached else None
    features = ImageFeatures(tiny, cache=cache, device="cpu", on_error="nan").fit(None)
    samples = images_of_every_kind(files)
    with counted_rows() as rows:
        keys = features.content_keys(samples)
    assert rows.n == 0
    np.testing.assert_array_equal(keys, features.extract(samples).keys)
    assert len(np.unique(keys, axis=0)) == len(samples) - 1  # the bytes of the first file are that file
    np.testing.assert_array_equal(keys[len(files)], keys[0])


def test_of_texts(tmp_path: Path) -> None:
    features = TextFeatures(tiny_text_backbone(tmp_path / "net"), cache=None, device="cpu").fit(None)
    texts = ["a text", "", "a text", "digest:" + "0f" * 16, "\ud800"]
    keys = features.content_keys(texts)
    np.testing.assert_array_equal(keys[0], keys[2])
    assert keys[3].tobytes() == b"\x0f" * 16
    known = [0, 1, 2, 4]  # the digest's vector is nowhere
    np.testing.assert_array_equal(keys[known], features.extract([texts[i] for i in known]).keys)


def test_files_that_are_remembered_are_not_read(
    tiny: Path, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = ImageFeatures(tiny, cache=tmp_path / "store", device="cpu").fit(None)
    monkeypatch.setattr("featx.store.files._RECENT_NS", 0)  # what was written just now is remembered too
    expected = features.extract(files).keys

    def fail(*args: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(reading.Reader, "_content", fail)
    np.testing.assert_array_equal(features.content_keys(files), expected)


def test_what_cannot_be_read_is_an_error_or_zeros(tiny: Path, files: list[str], tmp_path: Path) -> None:
    samples = [files[0], str(tmp_path / "gone.png"), str(tmp_path), files[1]]
    strict = ImageFeatures(tiny, cache=None, device="cpu").fit(None)
    with pytest.raises(UnreadableSampleError, match=r"gone\.png \(index 1\): no such file"):
        strict.content_keys(samples)
    with pytest.raises(SampleError, match="missing"):
        strict.content_keys([files[0], None])
    lenient = ImageFeatures(tiny, cache=None, device="cpu", on_error="nan").fit(None)
    keys = lenient.content_keys([*samples, None])
    assert keys.any(axis=1).tolist() == [True, False, False, True, False]
