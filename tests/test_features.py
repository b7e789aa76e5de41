"""``ImageFeatures`` as scikit-learn and a user meet it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from featx import Backbone, EmbeddingStore, ImageFeatures, ImagePreprocess
from featx.errors import (
    BackboneNotFoundError,
    DeviceError,
    FeatxWarning,
    InputError,
    ParameterError,
    PreprocessError,
    SampleError,
    SpaceMismatchError,
    StoreFormatError,
    StoreNotWritableError,
    UnreadableSampleError,
)
from featx.inference.devices import why_not_cuda
from featx.testing import FeaturesConformance, counted_rows, tiny_backbone


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "other", seed=1)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """30 distinct PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(7)
    paths = [str(folder / f"{i:02}.png") for i in range(30)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)
    _age(paths)
    return paths


def _age(paths: list[str]) -> None:
    """Files changed in the last two seconds are not remembered; make these look older (ctime stays, as it must)."""
    for path in paths:
        os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.fixture
def features(tiny: Path, tmp_path: Path) -> ImageFeatures:
    return ImageFeatures(str(tiny), device="cpu", cache=str(tmp_path / "cache"))


class TestConformanceOnPaths(FeaturesConformance):
    @pytest.fixture
    def samples(self, pictures: list[str]) -> list[str]:
        return pictures

    @pytest.fixture
    def taps(self) -> list[object]:
        return ["pooled", "relu2", ["relu1", "pooled"]]

    @pytest.fixture
    def features(self, tiny: Path, tmp_path: Path) -> ImageFeatures:
        return ImageFeatures(str(tiny), device="cpu", cache=str(tmp_path / "cache"))


def test_paths_bytes_arrays_and_pil_of_one_picture_agree(
    features: ImageFeatures, pictures: list[str]
) -> None:
    path = pictures[0]
    image = Image.open(path)
    forms = [path, Path(path), Path(path).read_bytes(), image, np.asarray(image)]
    vectors = features.fit_transform(forms)
    np.testing.assert_array_equal(vectors, np.repeat(vectors[:1], len(forms), axis=0))


def test_encoded_bytes_and_the_file_share_one_vector(features: ImageFeatures, pictures: list[str]) -> None:
    features.fit_transform(pictures)
    with counted_rows() as rows:
        features.transform([Path(p).read_bytes() for p in pictures])
    assert rows.n == 0


def test_stack_series_frame_and_object_column_are_taken(features: ImageFeatures, pictures: list[str]) -> None:
    expected = features.fit_transform(pictures)
    column = np.asarray(pictures, dtype=object)[:, None]
    for X in (
        pd.Series(pictures),
        pd.DataFrame({"file": pictures}),
        column,
        np.asarray(pictures),
        tuple(pictures),
    ):
        np.testing.assert_array_equal(features.transform(X), expected)
    stack = np.stack([np.asarray(Image.open(p)) for p in pictures])
    np.testing.assert_array_equal(features.transform(stack), expected)


def test_a_bare_string_is_refused(features: ImageFeatures, pictures: list[str]) -> None:
    with pytest.raises(InputError, match="list"):
        features.fit(None).transform(pictures[0])


def test_transform_before_fit_raises(features: ImageFeatures) -> None:
    with pytest.raises(NotFittedError):
        features.transform(["a.png"])


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"device": "gpu"}, ParameterError),
        ({"tap": []}, ParameterError),
        ({"tap": ["pooled", "pooled"]}, ParameterError),
        ({"on_error": "ignore"}, ParameterError),
        ({"batch_size": 0}, ParameterError),
        ({"n_workers": 1.5}, ParameterError),
        ({"pooling": "median"}, ParameterError),
        ({"precision": "float64"}, ParameterError),
        ({"cache": 3}, ParameterError),
        ({"backbone": "no-such-backbone"}, BackboneNotFoundError),
    ],
)
def test_wrong_parameters_raise_on_fit(
    features: ImageFeatures, parameters: dict[str, object], error: type[Exception]
) -> None:
    features.set_params(**parameters)
    with pytest.raises(error):
        features.fit(None)


def test_unreadable_sample_raises_with_index_and_path_and_keeps_the_rest(
    features: ImageFeatures, pictures: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "scan_017.png"
    broken.write_bytes(Path(pictures[0]).read_bytes()[:900])
    with pytest.raises(UnreadableSampleError, match=r"scan_017\.png.*index 20") as caught:
        features.fit(None).transform([*pictures[:20], str(broken), *pictures[20:]])
    assert isinstance(caught.value, OSError)
    with counted_rows() as rows:
        features.set_params(on_error="nan").transform(pictures)
    assert rows.n < len(pictures)


def test_on_error_nan_gives_rows_of_nan_and_one_warning(
    features: ImageFeatures, pictures: list[str], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    X = [pictures[0], str(tmp_path / "missing.png"), str(empty), pictures[1], str(tmp_path)]
    features.set_params(on_error="nan").fit(None)
    with pytest.warns(FeatxWarning, match=r"3 sample\(s\)") as caught:
        vectors = features.transform(X)
    assert len(caught) == 1
    assert np.isnan(vectors[[1, 2, 4]]).all()
    assert np.isfinite(vectors[[0, 3]]).all()


def test_missing_samples_are_unreadable_samples(features: ImageFeatures, pictures: list[str]) -> None:
    X = [pictures[0], None, float("nan"), "", "https://example.org/a.png", np.zeros((4, 4, 3)), 7]
    with pytest.raises(SampleError, match=r"sample 1 \(index 1\): the sample is missing"):
        features.fit(None).transform(X)
    features.set_params(on_error="nan")
    with pytest.warns(FeatxWarning, match=r"6 sample\(s\)") as caught:
        vectors = features.transform(np.asarray([*X, pictures[1]], dtype=object)[:, None])
    assert caught[0].filename == __file__
    assert np.isfinite(vectors).all(axis=1).tolist() == [True, *[False] * 6, True]


def test_missing_files_are_reported_before_any_inference(
    features: ImageFeatures, pictures: list[str]
) -> None:
    with counted_rows() as rows, pytest.raises(SampleError, match="no such file"):
        features.fit(None).transform([*pictures, "/nowhere/x.png"])
    assert rows.n == 0


def test_failed_samples_are_not_stored(features: ImageFeatures, pictures: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    features.set_params(on_error="nan").fit(None)
    with pytest.warns(FeatxWarning):
        features.transform([str(broken), *pictures])
    store = EmbeddingStore(features.cache)
    assert next(s.n_rows for s in store.spaces() if s.id == features.spaces_[0].id) == len(pictures)


def test_a_file_changed_under_its_name_gets_its_own_vector(
    features: ImageFeatures, pictures: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "changing.png"
    shutil.copy(pictures[0], path)
    first = features.fit_transform([str(path)])
    before = path.stat()
    shutil.copy(pictures[1], path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    np.testing.assert_array_equal(features.transform([str(path)]), features.transform([pictures[1]]))
    assert not np.array_equal(features.transform([str(path)]), first)


def test_several_taps_come_from_one_run_and_fill_each_space(
    features: ImageFeatures, pictures: list[str]
) -> None:
    with counted_rows() as rows:
        both = clone(features).set_params(tap=["relu2", "pooled"]).fit_transform(pictures)
    assert rows.n == len(pictures)
    with counted_rows() as rows:
        one = clone(features).set_params(tap="relu2").fit_transform(pictures)
    assert rows.n == 0
    np.testing.assert_array_equal(both[:, : one.shape[1]], one)


def test_batch_and_workers_do_not_change_the_space(features: ImageFeatures, pictures: list[str]) -> None:
    plain = clone(features).set_params(cache=None).fit_transform(pictures)
    for parameters in ({"batch_size": 7}, {"batch_size": 64, "n_workers": 1}, {"n_workers": 3}):
        vectors = clone(features).set_params(cache=None, **parameters).fit_transform(pictures)
        # float32 kernels sum in another order for another batch; 1e-5 of the largest value covers it.
        np.testing.assert_allclose(vectors, plain, atol=1e-5 * np.abs(plain).max())


def test_fitted_transformer_refuses_another_backbone(
    features: ImageFeatures, pictures: list[str], other: Path
) -> None:
    features.fit(None)
    with pytest.raises(SpaceMismatchError, match="backbone_digest"):
        features.set_params(backbone=str(other)).transform(pictures)


def test_weights_changed_in_place_are_refused(
    tiny: Path, tmp_path: Path, other: Path, pictures: list[str]
) -> None:
    home = tmp_path / "mine"
    shutil.copytree(tiny, home)
    features = ImageFeatures(home, cache=tmp_path / "cache").fit(None)
    shutil.copy(other / "model.onnx", home / "model.onnx")
    with pytest.raises(SpaceMismatchError):
        features.transform(pictures)


def test_bare_onnx_without_preprocessing_lists_the_fields(
    tiny: Path, tmp_path: Path, pictures: list[str]
) -> None:
    bare = tmp_path / "net.onnx"
    shutil.copy(tiny / "model.onnx", bare)
    with pytest.raises(PreprocessError, match="mean"):
        ImageFeatures(bare, cache=None).fit(None)
    given = ImagePreprocess(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    vectors = ImageFeatures(bare, preprocess=given, cache=None).fit_transform(pictures)
    np.testing.assert_array_equal(vectors, ImageFeatures(tiny, cache=None).fit_transform(pictures))


def test_backbone_object_and_its_folder_are_one_space(
    tiny: Path, pictures: list[str], tmp_path: Path
) -> None:
    by_path = ImageFeatures(tiny, cache=tmp_path / "c").fit(None)
    by_object = ImageFeatures(Backbone.open(tiny), cache=tmp_path / "c").fit(None)
    assert by_path.spaces_ == by_object.spaces_


def test_digest_samples_are_served_from_the_store(features: ImageFeatures, pictures: list[str]) -> None:
    extraction = features.fit(None).extract(pictures)
    digests = [f"digest:{bytes(key).hex()}" for key in extraction.keys]
    np.testing.assert_array_equal(features.transform(digests), extraction.vectors)
    with pytest.raises(SampleError, match="holds no vector"):
        features.transform([f"digest:{'0' * 31}1"])


def test_grid_search_over_backbones_in_two_processes(
    features: ImageFeatures, pictures: list[str], tiny: Path, other: Path
) -> None:
    pipeline = Pipeline([("features", features), ("head", LogisticRegression())])
    y = np.arange(len(pictures)) % 2
    search = GridSearchCV(
        pipeline, {"features__backbone": [str(tiny), str(other)]}, cv=3, n_jobs=2, error_score="raise"
    )
    search.fit(pictures, y)
    stored = [s.n_rows for s in EmbeddingStore(features.cache).spaces() if "space" in (s.description or {})]
    assert stored == [len(pictures), len(pictures)]


@pytest.mark.skipif(
    not Path("/sys/kernel").exists(), reason="needs a folder that even root cannot write: /sys"
)
def test_explicit_cache_that_cannot_be_written_raises_and_the_default_warns_once(
    tiny: Path, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreNotWritableError, match="/sys/featx"):
        ImageFeatures(tiny, cache="/sys/featx").fit_transform(pictures)
    monkeypatch.setenv("FEATX_CACHE", "/sys/featx")
    with pytest.warns(FeatxWarning, match="without storing") as caught:
        vectors = ImageFeatures(tiny).fit_transform(pictures)
    assert len(caught) == 1
    np.testing.assert_array_equal(vectors, ImageFeatures(tiny, cache=None).fit_transform(pictures))


def test_a_cache_folder_that_is_something_else_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(StoreFormatError, match="thesis"):
        ImageFeatures(tiny, cache=tmp_path / "thesis").fit(None)


@pytest.mark.skipif(why_not_cuda() is None, reason="CUDA works here")
def test_cuda_without_cuda_raises_and_says_why(features: ImageFeatures, pictures: list[str]) -> None:
    with pytest.raises(DeviceError, match="doctor"):
        features.set_params(device="cuda").fit(None).transform(pictures)


def test_verbose_shows_progress_on_standard_error(
    features: ImageFeatures, pictures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    features.set_params(verbose=True).fit_transform(pictures)
    captured = capsys.readouterr()
    assert "embedding" in captured.err
    assert captured.out == ""
