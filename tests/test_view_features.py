"""Vectors of views: each (picture, view) computed once, whatever the source, the order and the company of a picture."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone

import featx
from featx import Augment, EmbeddingStore, ImageFeatures
from featx.backbones.augment import View
from featx.errors import ParameterError, SampleError, UnreadableSampleError
from featx.inference.reading import ImageSource
from featx.inputs import images
from featx.inputs.resizing import fit
from featx.inputs.views import _draw, augmented
from featx.store.digest import digest_array, digest_bytes
from featx.testing import counted_rows, tiny_backbone
from featx.view_features import extract_views

FLIPS = Augment(horizontal_flip=True, rotation_range=20, brightness_range=(0.7, 1.3))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """24 pictures, (24, 36, 40, 3)."""
    rng = np.random.default_rng(7)
    blobs = rng.integers(0, 256, (24, 9, 10, 3), dtype=np.uint8)
    return blobs.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def paths(pictures: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    names = [str(folder / f"{i:02}.png") for i in range(len(pictures))]
    for name, pixels in zip(names, pictures, strict=True):
        Image.fromarray(pixels).save(name)
    return names


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "store")


@pytest.fixture
def features(tiny: Path, store: EmbeddingStore) -> ImageFeatures:
    return ImageFeatures(str(tiny), device="cpu", cache=store)


@pytest.fixture
def n_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures decoded so far."""
    counted = [0]
    plain = images.decode

    def decode(*given: Any, **named: Any) -> Any:
        counted[0] += 1
        return plain(*given, **named)

    monkeypatch.setattr("featx.inference.reading.decode", decode)
    return counted


def views(n: int) -> list[View]:
    return [View(FLIPS, number) for number in range(1, n + 1)]


def test_each_picture_and_view_meets_the_network_once(
    features: ImageFeatures, paths: list[str], n_decoded: list[int]
) -> None:
    features.fit(None)
    with counted_rows() as rows:
        clean, first = extract_views(features, paths, views(3))
        assert rows.n == 4 * 24
        _, again = extract_views(features, paths, views(3))
        assert rows.n == 4 * 24
        _, more = extract_views(features, paths[:10], views(4))
        assert rows.n == 4 * 24 + 10
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(more[:, :4], first[:10])
    np.testing.assert_array_equal(first[:, 0], clean.vectors)
    assert n_decoded[0] == 24 + 24 + 10  # as they are, then once for all views


def test_vectors_of_a_view_are_those_of_its_pixels(
    features: ImageFeatures, pictures: NDArray[np.uint8]
) -> None:
    features.fit(None)
    _, found = extract_views(features, pictures, views(2))
    fitted = [fit(rgb, features.backbone_.pixels()) for rgb in pictures]
    for column, view in enumerate(views(2), 1):
        made = [augmented(p, view, digest_array(rgb)) for p, rgb in zip(fitted, pictures, strict=True)]
        # The network resizes nothing that has its size already; batches of another size move float32 sums.
        np.testing.assert_allclose(found[:, column], features.transform(made), rtol=1e-4, atol=1e-5)


def test_paths_bytes_and_pictures_of_one_content_have_the_same_views(
    features: ImageFeatures, paths: list[str], pictures: NDArray[np.uint8]
) -> None:
    features.fit(None)
    read = [Path(path).read_bytes() for path in paths]
    with counted_rows() as rows:
        _, of_paths = extract_views(features, paths, views(2))
        n_rows = rows.n
        _, of_bytes = extract_views(features, read, views(2))
        assert rows.n == n_rows
        opened = [Image.open(io.BytesIO(data)) for data in read]
        _, of_pictures = extract_views(features, opened, views(2))
        _, of_arrays = extract_views(features, list(pictures), views(2))
        assert rows.n == 2 * n_rows
    np.testing.assert_array_equal(of_paths, of_bytes)
    np.testing.assert_array_equal(of_pictures, of_arrays)


def test_frames_of_a_medical_file_are_pictures_with_views_of_their_own(
    features: ImageFeatures, data: Path
) -> None:
    pytest.importorskip("nibabel")
    volume = data / "dicom_nifti_samples" / "nib_example4d.nii.gz"
    slices = [f"{volume}#axial=10,volume=0", f"{volume}#axial=10,volume=1"]
    features.set_params(window=featx.Window.percentiles()).fit(None)
    clean, found = extract_views(features, slices, views(2))
    own = features.backbone_.pixels()
    for i, path in enumerate(slices):
        with ImageSource(own).open([path], 1) as reader:
            content, key = reader.read_again(0)
            rgb = reader.network_input(0, content, key)
        assert key == clean.keys[i].tobytes()
        made = [augmented(rgb, view, key) for view in views(2)]
        np.testing.assert_allclose(
            found[i, 1:], clone(features).set_params(window=None).fit_transform(made), rtol=1e-4, atol=1e-5
        )
    draws = [_draw(views(1)[0], key.tobytes()) for key in clean.keys]
    assert draws[0] != draws[1]


def test_order_and_company_do_not_change_a_view(features: ImageFeatures, paths: list[str]) -> None:
    features.set_params(cache=None, n_workers=3).fit(None)
    _, forward = extract_views(features, paths, views(2))
    _, backward = extract_views(features, paths[5:15][::-1], views(2))
    np.testing.assert_allclose(backward, forward[5:15][::-1], rtol=1e-4, atol=1e-5)  # batches of another size


def test_views_go_on_in_blocks_where_pictures_are_many(
    features: ImageFeatures, paths: list[str], monkeypatch: pytest.MonkeyPatch, n_decoded: list[int]
) -> None:
    features.fit(None)
    _, whole = extract_views(features, paths, views(2))
    monkeypatch.setattr("featx.view_features.FITTED_BYTES", 3 * 32 * 32 * 7)
    monkeypatch.setattr("featx.view_features._SMALLEST_BLOCK", 1)
    features.set_params(cache=None)
    n_decoded[0] = 0
    _, in_blocks = extract_views(features, paths, views(2))
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-4, atol=1e-5)
    assert n_decoded[0] == 2 * 24


def test_clean_pictures_keep_the_space_they_had(features: ImageFeatures, paths: list[str]) -> None:
    before = features.fit_transform(paths)
    assert "view" not in features.spaces_[0].to_dict()["preprocess"]
    with counted_rows() as rows:
        clean, _ = extract_views(features, paths, [])
        assert rows.n == 0
    np.testing.assert_array_equal(clean.vectors, before)


def test_digests_are_served_where_views_are_stored_and_refused_elsewhere(
    features: ImageFeatures, paths: list[str]
) -> None:
    features.fit(None)
    _, found = extract_views(features, paths, views(2))
    digests = [f"digest:{digest_bytes(Path(path).read_bytes()).hex()}" for path in paths]
    np.testing.assert_array_equal(extract_views(features, digests, views(2))[1], found)
    with pytest.raises(SampleError, match="holds no vector for this digest"):
        extract_views(features, digests, views(3))


def test_an_unreadable_picture_is_a_row_of_nan_and_costs_no_other(
    features: ImageFeatures, paths: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    mixed = [*paths[:2], str(broken), *paths[2:4]]
    with pytest.raises(UnreadableSampleError, match=r"broken.png \(index 2\)"):
        extract_views(features.fit(None), mixed, views(2))
    features.set_params(on_error="nan").fit(None)
    clean, found = extract_views(features, mixed, views(2))
    assert list(clean.errors) == [2]
    assert np.isnan(found[:, :, 0]).all(axis=1).tolist() == [False, False, True, False, False]


def test_an_error_in_a_view_names_the_position_in_x(
    features: ImageFeatures, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    features.set_params(cache=None).fit(None)
    monkeypatch.setattr("featx.view_features.FITTED_BYTES", 3 * 32 * 32 * 5)
    monkeypatch.setattr("featx.view_features._SMALLEST_BLOCK", 1)
    key = digest_bytes(Path(paths[17]).read_bytes())

    def failing(pixels: Any, view: Any, of: bytes) -> Any:
        if of == key:
            raise SampleError("is not what it was")
        return pixels

    monkeypatch.setattr("featx.inference.reading.augmented", failing)
    with pytest.raises(SampleError, match=r"17.png \(index 17\): is not what it was"):
        extract_views(features, paths, views(1))


def test_a_view_asked_for_in_a_preprocessing_is_that_view(features: ImageFeatures, paths: list[str]) -> None:
    own = features.fit(None).backbone_.pixels()
    _, found = extract_views(features, paths, views(2))
    with counted_rows() as rows:
        other = clone(features).set_params(preprocess=dataclasses.replace(own, view=views(2)[1]))
        np.testing.assert_array_equal(other.fit_transform(paths), found[:, 2])
        assert rows.n == 0
    with pytest.raises(ParameterError, match="names a view already"):
        extract_views(other, paths, views(1))
