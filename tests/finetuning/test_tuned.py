"""What comes out of ``FineTuneClassifier``: a backbone like any other, pickles, pipelines, evaluations."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline

import featx
from featx import Backbone, FineTuneClassifier, ImageFeatures, make_head

Tuner = Callable[..., FineTuneClassifier]
CLASSES = np.asarray(["ant", "bee", "wasp"])


# --- what comes out ---


def test_the_tuned_backbone_is_one_like_any_other(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path, tuner: Tuner
) -> None:
    model = tuner(network, epochs=12, learning_rate=0.02, validation_fraction=0.25).fit(pictures, labels)
    folder = model.save_backbone(tmp_path / "mine", card={"held_out": {"test": {"accuracy": 0.9}}})
    written = Backbone.open(folder)
    assert written.digest == model.backbone_.digest != Backbone.open(network).digest
    assert written.card["finetuned"]["from"]["digest"] == Backbone.open(network).digest
    tuning = written.card["tuning"]
    assert tuning["classes"] == {"ant": 16, "bee": 16, "wasp": 16}
    assert tuning["best_epoch"] == model.best_epoch_
    frozen, tuned = (tuning["validation"][name] for name in ("frozen_probe", "tuned"))
    assert tuned["validation_refined_loss"] < frozen["validation_refined_loss"]
    assert written.card["held_out"] == {"test": {"accuracy": 0.9}}
    vectors = ImageFeatures(str(folder)).fit(None).transform(pictures)
    np.testing.assert_allclose(model.head_.probabilities(vectors), model.predict_proba(pictures))


def test_it_is_saved_as_a_pipeline_and_loaded_without_torch(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path, tuner: Tuner
) -> None:
    model = tuner(network, freeze_until="stage1").fit(pictures, labels)
    featx.save(model.to_pipeline(), tmp_path / "model")
    loaded = featx.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict_proba(pictures), model.predict_proba(pictures), atol=1e-7)


@pytest.mark.parametrize("kept", [False, True])
def test_a_pickle_predicts_the_same_and_does_not_need_the_first_ones_folder(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, kept: bool, tuner: Tuner
) -> None:
    model = tuner(
        network, freeze_until="stage1", validation_fraction=None if kept else 0.25, learning_rate=1e-3
    ).fit(pictures, labels)
    assert (model.best_epoch_ > 0) == kept
    expected = model.predict_proba(pictures)
    content = pickle.dumps(model)
    del model
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(pictures), expected)


def test_the_files_of_a_backbone_handed_out_outlive_the_estimator(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    backbone = tuner(network, freeze_until="stage1").fit(pictures, labels).backbone_
    assert ImageFeatures(backbone).fit(None).transform(pictures[:1]).shape == (1, 12)


def test_a_clone_fits_the_same(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    features = ImageFeatures(network, cache=None)
    model = tuner(features, epochs=1).fit(pictures, labels)
    again = clone(model)
    assert not [name for name in vars(again) if name.endswith("_")]
    np.testing.assert_array_equal(again.fit(pictures, labels).head_.weight, model.head_.weight)


def test_it_is_evaluated_and_compared_with_the_frozen_backbone_on_the_same_folds(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    frozen = Pipeline([("features", ImageFeatures(network)), ("head", make_head("logistic"))])
    found = featx.compare(
        {"frozen": frozen, "tuned": tuner(network, epochs=1)},
        pictures,
        labels,
        groups=np.arange(48) // 2,
        cv=2,
        n_bootstrap=100,
    )
    assert [one.name for one in found.evaluations] == ["frozen", "tuned"]
    difference = found.difference("tuned", "frozen", "accuracy")
    assert difference.low <= difference.value <= difference.high
