"""What ``FineTuneClassifier`` refuses, in featx's words, and what its validation part keeps together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

import featx
from featx import FineTuneClassifier, ImageFeatures
from featx.errors import ArtifactError, DatasetError, OutputError, ParameterError

Tuner = Callable[..., FineTuneClassifier]
CLASSES = np.asarray(["ant", "bee", "wasp"])


# --- what is refused ---


def test_fit_hands_groups_to_its_validation_part(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    with pytest.raises(DatasetError, match="a class has too few of them"):
        tuner(network, validation_fraction=0.25).fit(pictures, labels, groups=labels)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0 and at most 1e"),
        ({"learning_rate": np.inf}, "learning_rate must be a number above 0 and at most 1e"),
        ({"learning_rate": 1e300}, "learning_rate must be a number above 0 and at most 1e"),
        ({"weight_decay": np.inf}, "weight_decay must be a number of at least 0 and at most 1e"),
        ({"weight_decay": -1}, "weight_decay must be a number of at least 0"),
        ({"warm_start_head": "no"}, "warm_start_head must be True or False"),
        ({"refit_head": 1}, "refit_head must be True or False"),
        ({"class_weight": "x"}, 'class_weight must be "balanced", a dict'),
        ({"class_weight": [1, 2, 3]}, 'class_weight must be "balanced", a dict'),
        ({"class_weight": {"ant": 0, "bee": 1, "wasp": 1}}, "found 0 for 'ant'. Leave out the samples"),
        ({"class_weight": {"ant": -1.0}}, "found -1.0 for 'ant'"),
        ({"class_weight": {"ant": np.nan}}, "found nan for 'ant'"),
        ({"class_weight": {"ant": 1e300}}, "from 1e-06 to 1e.06, found 1e.300"),
        ({"class_weight": {"ant": True}}, "found True for 'ant'"),
        (
            {"class_weight": {"ant": 1, "bees": 2}},
            "names 'bees', which y does not have, and not 'bee', 'wasp'",
        ),
        ({"layer_decay": 1.5}, "layer_decay must be a number above 0 and at most 1, got 1.5"),
        ({"freeze_until": 1.0}, "from 0, below 1"),
        ({"freeze_until": "stage9"}, "stage9"),
        ({"freeze_until": "pooled"}, "nothing between it and tap 'pooled' can be trained"),
        ({"freeze_until": 0.999}, "freeze_until=0.999: at most 0.001 of the weights"),
        ({"validation_fraction": 0.9}, "validation_fraction must be a share up to 0.5"),
        ({"validation_fraction": 1e-320}, "validation_fraction must be a share up to 0.5, at least 1e-06"),
        ({"validation_fraction": True}, "validation_fraction must be a share"),
        ({"validation_fraction": np.nan}, "validation_fraction must be a share"),
        ({"patience": 0}, "patience must be a whole number of at least 1 or None"),
        ({"precision": "int8"}, "precision must be one of"),
        ({"device": "tensorrt"}, "to train"),
        ({"augment": 3}, "expected a featx.Augment"),
        ({"random_state": -1}, "random_state must be"),
        ({"checkpoints": ""}, "checkpoints must be a folder"),
        ({"checkpoints": 5}, "checkpoints must be a folder"),
    ],
)
def test_parameters_out_of_their_range_are_refused_in_words(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    given: dict[str, Any],
    words: str,
    tuner: Tuner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compute(self: ImageFeatures, X: Any) -> None:
        raise AssertionError("samples were looked at before the parameters")

    if "freeze_until" not in given:  # what a boundary leaves to train is asked of the network
        monkeypatch.setattr(ImageFeatures, "extract", compute)
    with pytest.raises(featx.errors.FeatxError, match=words):
        tuner(network, **given).fit(pictures, labels)


def test_several_taps_and_missing_labels_are_refused(
    network: str, pictures: list[np.ndarray], tuner: Tuner
) -> None:
    features = ImageFeatures(network, tap=["stage1", "pooled"])
    with pytest.raises(ParameterError, match="Name one"):
        tuner(features).fit(pictures, CLASSES[np.arange(48) % 3])
    with pytest.raises(DatasetError, match="requires y"):
        tuner(network).fit(pictures, None)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(DatasetError, match="47 labels for 48 samples"):
        tuner(network).fit(pictures, CLASSES[np.arange(47) % 3])


def test_cuda_by_name_raises_where_torch_has_none(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    tuner: Tuner,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(featx.errors.DeviceError, match="finds 0 CUDA device"):
        tuner(network, device="cuda").fit(pictures, labels)


def test_a_folder_for_checkpoints_that_cannot_be_written_is_refused_before_the_work(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    tmp_path: Path,
    tuner: Tuner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compute(self: ImageFeatures, X: Any) -> None:
        raise AssertionError("samples were looked at before the folder")

    monkeypatch.setattr(ImageFeatures, "extract", compute)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="the state of a training cannot be kept there"):
        tuner(network, checkpoints=tmp_path / "file" / "runs").fit(pictures, labels)
    with pytest.raises(OutputError, match="null"):
        tuner(network, checkpoints="a\0b").fit(pictures, labels)


# --- labels ---


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(5, id="scalar"),
        pytest.param("ant", id="string"),
        pytest.param({at: at % 2 for at in range(48)}, id="dict"),
        pytest.param((at % 2 for at in range(48)), id="generator"),
        pytest.param(np.arange(48).reshape(24, 2) % 2, id="two columns"),
        pytest.param(np.arange(48) % 2 * 1j, id="complex"),
        pytest.param([1, "ant"] * 24, id="mixed"),
        pytest.param([None, "ant"] * 24, id="missing"),
    ],
)
def test_labels_that_name_no_classes_are_refused(
    network: str, pictures: list[np.ndarray], y: Any, tuner: Tuner
) -> None:
    with pytest.raises(DatasetError, match="labels"):
        tuner(network).fit(pictures, y)


@pytest.mark.parametrize(("kind", "dtype"), [("boolean", np.bool_), ("Int64", np.integer)])
def test_labels_of_pandas_keep_their_type(
    network: str, pictures: list[np.ndarray], kind: str, dtype: type, tuner: Tuner
) -> None:
    pandas = pytest.importorskip("pandas")
    y = pandas.Series(np.arange(48) % 2).astype(kind)
    model = tuner(network, epochs=1, freeze_until="stage1").fit(pictures, y)
    assert np.issubdtype(model.classes_.dtype, dtype)
    assert np.issubdtype(model.predict(pictures[:2]).dtype, dtype)


# --- numbers of numpy, seeds ---


def test_shares_may_be_numbers_of_numpy(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    given = {"epochs": 1, "learning_rate": np.float32(1e-3)}
    ours = tuner(network, validation_fraction=np.float32(0.25), freeze_until=np.float32(0.5), **given)
    plain = tuner(network, validation_fraction=0.25, freeze_until=0.5, **given)
    ours.fit(pictures, labels)
    plain.fit(pictures, labels)
    assert ours.choice_ == plain.choice_
    assert ours.n_frozen_ == plain.n_frozen_ > 0


def test_a_fit_without_a_seed_keeps_no_run_that_nobody_can_take_up(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path, tuner: Tuner
) -> None:
    given = {"epochs": 1, "freeze_until": "stage1", "checkpoints": tmp_path / "runs"}
    tuner(network, random_state=None, **given).fit(pictures, labels)
    assert not (tmp_path / "runs").exists()
    tuner(network, random_state=0, **given).fit(pictures, labels)
    assert len(list((tmp_path / "runs").iterdir())) == 1


# --- saving ---


def test_saving_it_names_what_to_save_instead(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path, tuner: Tuner
) -> None:
    model = tuner(network, epochs=1, freeze_until="stage1").fit(pictures, labels)
    search = GridSearchCV(model, {"learning_rate": [1e-3]}, cv=2).fit(np.asarray(pictures), labels)
    for each in (model, search):
        with pytest.raises(
            ArtifactError, match=r"FineTuneClassifier: .* Save what its to_pipeline\(\) gives"
        ):
            featx.save(each, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert featx.save(model.to_pipeline(), tmp_path / "model").is_dir()
