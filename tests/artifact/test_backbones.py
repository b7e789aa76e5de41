"""Backbones copied into an artefact, left out of it, and found again by their digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline

import featx
from featx import Backbone, ImageFeatures, ImagePreprocess
from featx.artifact import describe
from featx.errors import (
    ArtifactError,
    BackboneNotFoundError,
    DigestMismatchError,
    ParameterError,
)
from featx.testing import tiny_backbone


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where backbones can be called by name."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setenv("FEATX_BACKBONES", str(folder))
    return folder


def with_external_data(folder: Path) -> Path:
    """A backbone with its weights in two files beside it, one of them in a folder."""
    tiny_backbone(folder, channels=(8, 32, 64))
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        where = "weights/last.bin" if tensor.name == "conv3.weight" else "model.data"
        onnx.external_data_helper.set_external_data(tensor, where)
        (folder / where).parent.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return folder


def test_a_loaded_pipeline_needs_nothing_but_its_folder(
    tiny: Path, pictures: NDArray[np.uint8], y: NDArray[np.str_], tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "tiny")
    features = ImageFeatures(tmp_path / "tiny", device="cpu", cache=None)
    model = make_pipeline(features, LogisticRegression()).fit(pictures, y)
    expected = model.predict_proba(pictures)
    featx.save(model, tmp_path / "model")
    shutil.rmtree(tmp_path / "tiny")
    shutil.move(tmp_path / "model", tmp_path / "elsewhere")
    again = featx.load(tmp_path / "elsewhere", cache=None)
    np.testing.assert_array_equal(again.predict_proba(pictures), expected)


def test_external_data_is_copied_with_the_graph(pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    features = ImageFeatures(with_external_data(tmp_path / "split"), device="cpu", cache=None).fit(pictures)
    featx.save(features, tmp_path / "model")
    listed = {record.path for record in describe(tmp_path / "model").files}
    assert {"backbones/split/model.data", "backbones/split/weights/last.bin"} <= listed
    expected = features.transform(pictures)
    shutil.rmtree(tmp_path / "split")
    np.testing.assert_array_equal(featx.load(tmp_path / "model", cache=None).transform(pictures), expected)


def test_a_bare_file_becomes_a_backbone_with_its_preprocessing(
    tiny: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    shutil.copy(tiny / "model.onnx", tmp_path / "net one.onnx")
    given = ImagePreprocess(size=(32, 32), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    features = ImageFeatures(tmp_path / "net one.onnx", preprocess=given, device="cpu", cache=None).fit(
        pictures
    )
    featx.save(features, tmp_path / "model")
    copied = Backbone.open(tmp_path / "model" / "backbones" / "net-one")
    assert copied.preprocess == given
    again = featx.load(tmp_path / "model", cache=None)
    np.testing.assert_array_equal(again.transform(pictures), features.transform(pictures))


def test_two_backbones_of_one_name_are_kept_apart(
    tiny: Path, other: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    both = FeatureUnion(
        [(name, ImageFeatures(f, device="cpu", cache=None)) for name, f in (("a", tiny), ("b", other))]
    )
    both.fit(pictures)
    featx.save(both, tmp_path / "model")
    assert [record.name for record in describe(tmp_path / "model").backbones] == ["tiny", "tiny-2"]
    again = featx.load(tmp_path / "model", cache=None)
    np.testing.assert_array_equal(again.transform(pictures), both.transform(pictures))


def test_one_backbone_with_two_preprocessings_is_copied_once(
    tiny: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    darker = ImagePreprocess(size=(32, 32), mean=(0.9, 0.9, 0.9), std=(0.5, 0.5, 0.5))
    opened = Backbone.open(tiny, preprocess=darker)
    union = FeatureUnion(
        [
            ("opened", ImageFeatures(opened, device="cpu", cache=None)),
            ("own", ImageFeatures(tiny, device="cpu", cache=None)),
            ("given", ImageFeatures(tiny, preprocess=darker.to_config(), device="cpu", cache=None)),
        ]
    )
    union.fit(pictures)
    featx.save(union, tmp_path / "model")
    assert [record.name for record in describe(tmp_path / "model").backbones] == ["tiny"]
    again = featx.load(tmp_path / "model", cache=None)
    np.testing.assert_array_equal(again.transform(pictures), union.transform(pictures))


def test_a_backbone_changed_since_fit_is_not_saved(
    tiny: Path, other: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "net")
    features = ImageFeatures(tmp_path / "net", device="cpu", cache=None).fit(pictures)
    shutil.copy(other / "model.onnx", tmp_path / "net" / "model.onnx")
    with pytest.raises(DigestMismatchError, match="changed since the pipeline was fitted"):
        featx.save(features, tmp_path / "model")
    shutil.rmtree(tmp_path / "net")
    with pytest.raises(BackboneNotFoundError):
        featx.save(features, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_preprocessing_changed_since_fit_is_saved_as_it_was(
    tiny: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "net")
    features = ImageFeatures(tmp_path / "net", device="cpu", cache=None).fit(pictures)
    expected = features.transform(pictures)
    config = json.loads((tmp_path / "net" / "preprocessor_config.json").read_text())
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(config | {"image_mean": [0, 0, 0]}))
    again = featx.load(featx.save(features, tmp_path / "model"), cache=None)
    np.testing.assert_array_equal(again.transform(pictures), expected)


@pytest.fixture
def by_reference(fitted: Callable[..., Any], tmp_path: Path) -> Path:
    return featx.save(fitted(), tmp_path / "model", backbone="reference")


def test_a_reference_is_found_among_installed_names(
    by_reference: Path,
    fitted: Callable[..., Any],
    tiny: Path,
    other: Path,
    installed: Path,
    pictures: NDArray[np.uint8],
) -> None:
    assert not (by_reference / "backbones").exists()
    shutil.copytree(other, installed / "tiny")  # the right name, another network
    shutil.copytree(tiny, installed / "renamed")
    (installed / "broken").mkdir()
    (installed / "broken" / "model.onnx").write_bytes(b"not a network")
    again = featx.load(by_reference, cache=None)
    assert again[0].backbone == "renamed"
    np.testing.assert_array_equal(again.predict_proba(pictures), fitted().predict_proba(pictures))


def test_a_reference_that_is_not_installed_says_what_to_pass(
    by_reference: Path, other: Path, installed: Path
) -> None:
    shutil.copytree(other, installed / "other")
    with pytest.raises(BackboneNotFoundError, match=r'tiny with digest [0-9a-f]{32}.*other.*backbone="'):
        featx.load(by_reference)


@pytest.mark.parametrize("form", ["folder", "text", "file", "opened", "mapping"])
def test_a_reference_is_taken_from_the_caller(
    form: str,
    by_reference: Path,
    fitted: Callable[..., Any],
    tiny: Path,
    pictures: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    shutil.copy(tiny / "model.onnx", tmp_path / "bare.onnx")  # without preprocessing beside it
    given: Any = {
        "folder": tiny,
        "text": str(tiny),
        "file": tmp_path / "bare.onnx",
        "opened": Backbone.open(tiny),
        "mapping": {"tiny": tiny},
    }[form]
    again = featx.load(by_reference, cache=None, backbone=given)
    np.testing.assert_array_equal(again.predict_proba(pictures), fitted().predict_proba(pictures))
    assert (again[0].preprocess is None) == (form != "file")


def test_another_backbone_than_the_saved_one_is_refused(by_reference: Path, tiny: Path, other: Path) -> None:
    digests = [Backbone.open(folder).digest for folder in (tiny, other)]
    with pytest.raises(DigestMismatchError, match="expected digest {}, found {}".format(*digests)):
        featx.load(by_reference, backbone=other)
    with pytest.raises(DigestMismatchError):
        featx.load(by_reference, backbone=Backbone.open(other))


def test_other_preprocessing_than_the_saved_one_is_not_taken_over(
    by_reference: Path, fitted: Callable[..., Any], tiny: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "darker")
    config = json.loads((tiny / "preprocessor_config.json").read_text())
    (tmp_path / "darker" / "preprocessor_config.json").write_text(
        json.dumps(config | {"image_mean": [0.9, 0.9, 0.9]})
    )
    again = featx.load(by_reference, cache=None, backbone=tmp_path / "darker")
    np.testing.assert_array_equal(again.predict_proba(pictures), fitted().predict_proba(pictures))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"resnet": "x"}, "'resnet' not in the artefact; it needs tiny"), (3, "got 3"), ({"tiny": 3}, "got 3")],
)
def test_a_backbone_of_the_wrong_form_is_refused(given: Any, message: str, by_reference: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        featx.load(by_reference, backbone=given)


def test_several_backbones_are_given_by_name(
    tiny: Path, other: Path, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    both = FeatureUnion(
        [(name, ImageFeatures(f, device="cpu", cache=None)) for name, f in (("a", tiny), ("b", other))]
    )
    featx.save(both.fit(pictures), tmp_path / "model", backbone="reference")
    with pytest.raises(ParameterError, match=r"needs 2 backbones \(tiny, tiny-2\); pass a dict"):
        featx.load(tmp_path / "model", backbone=tiny)
    again = featx.load(tmp_path / "model", cache=None, backbone={"tiny": tiny, "tiny-2": other})
    np.testing.assert_array_equal(again.transform(pictures), both.transform(pictures))


def test_other_rules_than_the_saved_ones_are_refused(
    fitted: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    featx.save(fitted(), tmp_path / "model")
    rules = featx.FeatureSpace.__init__.__kwdefaults__
    assert rules["rules"] == 1
    monkeypatch.setitem(rules, "rules", 2)
    monkeypatch.setattr("featx.artifact.estimators.RULES", 2)
    with pytest.raises(ArtifactError, match=r"rules: 1 became 2.*Install the version of featx"):
        featx.load(tmp_path / "model")
