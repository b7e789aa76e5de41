"""Rows at the frozen boundary: computed once, the same from a store and from a file."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import ImageFeatures, TextFeatures
from featx.errors import OutputError
from featx.finetuning import open_frozen, split_backbone
from featx.finetuning.frozen import boundary_shapes, boundary_spaces
from featx.finetuning.material import CachedRows, Texts
from featx.finetuning.preparing import materials
from featx.finetuning.rows import FileRows, StoredRows, many_rows
from featx.inference.devices import Device
from featx.testing import counted_rows, tiny_backbone
from featx.testing_texts import tiny_text_backbone

NOTHING = np.empty(0, dtype=np.intp)


@pytest.fixture
def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (20, 40, 36, 3), dtype=np.uint8))


def prepared(features, samples):  # type: ignore[no-untyped-def]  # a shorthand of these tests
    features.fit(None)
    split = split_backbone(features.backbone_, features.spaces_[0], FREEZE[features.modality])
    keys = features.content_keys(samples)
    return split, materials(
        features, samples, split, keys, augment=None, seed=0, validation=NOTHING, verbose=False
    )[0]


FREEZE = {"image": "stage1", "text": "layer1"}


def test_pictures_leave_rows_in_the_store_once_and_they_are_those_of_the_frozen_part(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    features = ImageFeatures(str(tiny_backbone(tmp_path / "b")), cache=tmp_path / "store")
    with counted_rows() as rows:
        split, material = prepared(features, pictures)
        assert rows.n >= len(pictures)
    assert isinstance(material, CachedRows)
    assert isinstance(material.rows, StoredRows)
    with counted_rows() as rows:
        _, again = prepared(features, pictures[::-1])
    assert rows.n == 0
    session = open_frozen(split, Device("cpu"))
    with (
        ImageFeatures(str(tmp_path / "b"))
        .fit(None)
        .plans_of([features.backbone_.preprocess])[0]
        .source.open(pictures, 1) as reader
    ):
        pixels = np.stack([reader.network_input(i, *reader.read_again(i)) for i in (3, 7)])
    expected = session.run(pixels)[0]
    found = [sample["boundary_0"] for sample in material.take([3, 7], 1)]
    # float32 kernels that sum in another order for another batch
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)
    np.testing.assert_array_equal(np.stack(found), [s["boundary_0"] for s in again.take([16, 12], 2)])


def test_without_a_store_a_file_holds_the_same_rows(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    reference = str(tiny_backbone(tmp_path / "b"))
    _, stored = prepared(ImageFeatures(reference, cache=tmp_path / "store"), pictures)
    _, filed = prepared(ImageFeatures(reference, cache=None), pictures)
    assert isinstance(filed, CachedRows)
    assert isinstance(filed.rows, FileRows)
    order = [5, 0, 19]
    for a, b in zip(stored.take(order, 1), filed.take(order, 1), strict=True):
        np.testing.assert_allclose(a["boundary_0"], b["boundary_0"], atol=1e-5)


def test_rows_that_the_store_let_go_of_are_computed_again(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    features = ImageFeatures(str(tiny_backbone(tmp_path / "b")), cache=tmp_path / "store")
    split, material = prepared(features, pictures)
    before = material.take([4, 2], 1)
    from featx import EmbeddingStore

    for space in boundary_spaces(split):
        EmbeddingStore(tmp_path / "store").forget(space.id)
    after = material.take([4, 2], 1)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a["boundary_0"], b["boundary_0"], atol=1e-5)


def test_a_full_disk_is_said_with_what_is_kept_there_and_how_much(
    tmp_path: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = ImageFeatures(str(tiny_backbone(tmp_path / "b")), cache=None)
    written = []

    def write(file: Any, rows: Any) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(rows)

    monkeypatch.setattr("featx.finetuning.rows._write", write)
    with pytest.raises(OutputError, match="No space left on device") as raised:
        prepared(features, pictures)
    split = split_backbone(features.backbone_, features.spaces_[0], "stage1")
    (shape,) = boundary_shapes(split) or ()
    n_mib = 4 * len(pictures) * int(np.prod(shape)) / 2**20
    assert f"of 20 samples is kept there while the rest is trained, about {n_mib:,.0f} MiB" in str(
        raised.value
    )
    assert "TMPDIR" in str(raised.value)


def test_rows_of_texts_end_where_the_text_ends(tmp_path: Path) -> None:
    texts = ["abc", "a longer one of these", "b", "abc", "x y z 0 1 2"]
    features = TextFeatures(str(tiny_text_backbone(tmp_path / "b")), cache=None)
    features.fit(None)
    split = split_backbone(features.backbone_, features.spaces_[0], 0.4)
    keys = features.content_keys(texts)
    material, _ = materials(
        features, texts, split, keys, augment=None, seed=0, validation=NOTHING, verbose=False
    )
    assert isinstance(material, Texts)
    session = open_frozen(split, Device("cpu"))
    for sample in material.take(range(5), 1):
        alone = session.run(np.asarray(sample["tokens"])[None])[0][0]
        np.testing.assert_allclose(sample["boundary_0"], alone, atol=1e-5)
    lengths = [len(sample["tokens"]) for sample in material.take(range(5), 1)]
    assert lengths == material.lengths.tolist()
    assert len(set(lengths)) > 2


def test_shapes_at_the_boundary_are_known_where_pictures_have_one_size(tmp_path: Path) -> None:
    features = ImageFeatures(str(tiny_backbone(tmp_path / "b", size_px=32))).fit(None)
    split = split_backbone(features.backbone_, features.spaces_[0], "stage1")
    shapes = boundary_shapes(split)
    assert shapes is not None
    session = open_frozen(split, Device("cpu"))
    assert session.run(np.zeros((2, 32, 32, 3), np.uint8))[0].shape[1:] == shapes[0]


def test_a_great_deal_of_rows_is_said_in_words(tmp_path: Path) -> None:
    features = ImageFeatures(str(tiny_backbone(tmp_path / "b"))).fit(None)
    split = split_backbone(features.backbone_, features.spaces_[0], "stage1")
    assert many_rows(split, [(64, 56, 56)], 1_000) is None
    words = many_rows(split, [(64, 56, 56)], 100_000)
    assert words is not None
    assert "75 GiB for 100,000 samples" in words
