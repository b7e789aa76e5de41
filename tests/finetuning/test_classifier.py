"""``FineTuneClassifier`` on small networks: what it starts from, what it keeps, what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from featx import Augment, Backbone, FineTuneClassifier, ImageFeatures, TextFeatures, make_head
from featx.errors import FeatxWarning, ParameterError
from featx.testing import counted_rows

Tuner = Callable[..., FineTuneClassifier]
CLASSES = np.asarray(["ant", "bee", "wasp"])


# --- where it begins, and what is kept ---


@pytest.mark.parametrize("n_classes", [2, 3])
def test_before_the_first_step_it_predicts_what_the_frozen_probe_does(
    network: str, pictures: list[np.ndarray], n_classes: int, tuner: Tuner
) -> None:
    y = CLASSES[np.arange(48) % n_classes]
    # Without a validation part the last weights are kept, here after steps of nothing.
    model = tuner(network, epochs=1, learning_rate=1e-12).fit(pictures, y)
    probe = Pipeline([("features", ImageFeatures(network)), ("head", make_head("logistic"))]).fit(pictures, y)
    np.testing.assert_allclose(model.predict_proba(pictures), probe.predict_proba(pictures), atol=1e-5)
    np.testing.assert_array_equal(model.predict(pictures), probe.predict(pictures))
    scores = model.decision_function(pictures), probe.decision_function(pictures)
    if n_classes == 3:  # logits are free up to a number a sample
        scores = tuple(each - each.mean(axis=1, keepdims=True) for each in scores)
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_where_no_epoch_is_better_the_start_is_kept(
    network: str, pictures: list[np.ndarray], tuner: Tuner
) -> None:
    y = np.random.default_rng(1).permutation(CLASSES[np.arange(48) % 3])  # nothing to learn
    model = tuner(network, learning_rate=0.3, epochs=2, validation_fraction=0.25).fit(pictures, y)
    assert model.best_epoch_ == 0
    assert model.n_iter_ == 2
    assert model.backbone_ == Backbone.open(network)
    vectors = ImageFeatures(network).fit(None).transform(pictures)
    np.testing.assert_allclose(model.predict_proba(pictures), model.head_.probabilities(vectors))


def test_the_best_epoch_is_kept_and_later_ones_are_not_waited_for(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    model = tuner(network, epochs=30, patience=2, learning_rate=0.02, validation_fraction=0.25).fit(
        pictures, labels
    )
    figures = [record.validation_refined_loss for record in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmin(figures[1:]))
    assert model.n_iter_ == model.best_epoch_ + 2 < 30
    assert [record.epoch for record in model.history_] == list(range(model.n_iter_ + 1))


@pytest.mark.parametrize("freeze_until", [None, "stage1"])
def test_what_torch_validated_is_what_onnx_runtime_predicts(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, freeze_until: str | None, tuner: Tuner
) -> None:
    model = tuner(
        network, freeze_until=freeze_until, epochs=1, refit_head=False, validation_fraction=0.25
    ).fit(pictures, labels)
    start, end = model.history_
    # The two kernels agree to about 1e-6; the issue asks for 1e-4.
    assert model.choice_.frozen.loss == pytest.approx(start.validation_loss, abs=1e-4)
    assert model.choice_.tuned.loss == pytest.approx(end.validation_loss, abs=1e-4)
    assert model.choice_.tuned.refined_loss == pytest.approx(end.validation_refined_loss, abs=1e-4)
    assert abs(end.validation_loss - start.validation_loss) > 1e-3


def test_a_training_that_diverges_warns_and_keeps_what_was_best(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    with pytest.warns(FeatxWarning, match="diverged in epoch 1"):
        model = tuner(network, learning_rate=1e30, validation_fraction=0.25).fit(pictures, labels)
    assert model.best_epoch_ == 0
    assert np.isfinite(model.predict_proba(pictures[:2])).all()


def test_a_fit_repeats_bit_for_bit_and_another_seed_does_not(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    first, second, other = (
        tuner(network, freeze_until="stage1", random_state=seed).fit(pictures, labels) for seed in (0, 0, 1)
    )
    assert first.backbone_.digest == second.backbone_.digest
    np.testing.assert_array_equal(first.head_.weight, second.head_.weight)
    assert not np.array_equal(first.head_.weight, other.head_.weight)


def test_augmented_fits_repeat_and_differ_from_plain_ones(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    flips = {"horizontal_flip": True, "rotation_range": 20}
    first, second = (
        tuner(network, freeze_until="stage1", augment=augment, epochs=2).fit(pictures, labels)
        for augment in (flips, Augment(**flips))
    )
    plain = tuner(network, freeze_until="stage1", augment=Augment(), epochs=2).fit(pictures, labels)
    np.testing.assert_array_equal(first.head_.weight, second.head_.weight)
    assert not np.array_equal(first.head_.weight, plain.head_.weight)


# --- computed once ---


def test_the_frozen_part_of_another_fit_is_read_not_computed(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    tuner(network, freeze_until="stage2").fit(pictures, labels)
    with counted_rows() as rows:
        tuner(network, freeze_until="stage2", learning_rate=1e-3, epochs=4).fit(pictures[:40], labels[:40])
    assert rows.n == 40 + 3  # vectors of the tuned network and its fixed samples: nothing of the frozen one


def test_a_grid_over_boundaries_works_and_computes_each_frozen_row_once(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    model = tuner(network, epochs=1, validation_fraction=None, learning_rate=1e-9)
    search = GridSearchCV(model, {"freeze_until": ["stage1", "stage2"]}, cv=2, error_score="raise")
    with counted_rows() as rows:
        search.fit(np.asarray(pictures), labels)
        fitted = rows.n
        search.fit(np.asarray(pictures), labels)
    assert set(search.cv_results_["param_freeze_until"]) == {"stage1", "stage2"}
    # Once each: vectors, two boundaries. The rest are vectors of tuned networks and their fixed samples.
    assert rows.n - fitted <= fitted - 3 * len(pictures)
    assert search.predict(pictures[:3]).shape == (3,)


def test_it_is_a_step_of_a_pipeline(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    model = Pipeline([("tuned", tuner(network, epochs=1))]).fit(pictures, labels)
    assert 0 <= model.score(pictures, labels) <= 1


# --- texts ---


@pytest.mark.parametrize("freeze_until", [None, 0.5])
def test_texts_are_tuned_and_predicted_alike_by_torch_and_onnx_runtime(
    encoder: str, texts: list[str], labels: np.ndarray, freeze_until: float | None, tuner: Tuner
) -> None:
    model = tuner(
        encoder, freeze_until=freeze_until, epochs=1, refit_head=False, validation_fraction=0.25
    ).fit(texts, labels)
    start, end = model.history_
    assert model.choice_.frozen.loss == pytest.approx(start.validation_loss, abs=1e-4)
    assert model.choice_.tuned.loss == pytest.approx(end.validation_loss, abs=1e-4)
    assert abs(end.validation_loss - start.validation_loss) > 1e-3


def test_a_prompt_and_a_length_of_the_features_are_tuned_and_predicted_with(
    encoder: str, texts: list[str], labels: np.ndarray, tuner: Tuner
) -> None:
    features = TextFeatures(encoder, prompt="abc ", max_length=40, cache=None)
    model = tuner(features, epochs=1).fit(texts, labels)
    assert model.backbone_.text().prompt == "abc "
    pipeline = model.to_pipeline()
    np.testing.assert_allclose(pipeline.predict_proba(texts), model.predict_proba(texts), atol=1e-9)
    assert pipeline[0].prompt == "abc "
    assert model.backbone_.card["tuning"]["texts"] == {"prompt": "abc ", "max_length": 40}


def test_views_of_texts_are_refused(encoder: str, texts: list[str], labels: np.ndarray, tuner: Tuner) -> None:
    with pytest.raises(ParameterError, match="of texts there are none"):
        tuner(encoder, augment=Augment(horizontal_flip=True)).fit(texts, labels)


# --- real networks ---


def test_a_real_network_is_tuned_on_photographs_and_predicts_what_torch_validated(
    weights: Path, data: Path, tuner: Tuner
) -> None:
    reference = str(weights / "resnet56_cifar10")
    photographs = [
        str(p)
        for kind in ("ants", "bees")
        for p in sorted((data / "hymenoptera_small" / kind).glob("*.jpg"))[:20]
    ]
    y = np.repeat(["ant", "bee"], 20)
    model = tuner(
        reference,
        freeze_until="stage2",
        epochs=1,
        learning_rate=1e-4,
        batch_size=10,
        refit_head=False,
        validation_fraction=0.25,
    ).fit(photographs, y)
    start, end = model.history_
    assert model.choice_.frozen.loss == pytest.approx(start.validation_loss, abs=1e-4)
    assert model.choice_.tuned.loss == pytest.approx(end.validation_loss, abs=1e-4)
    assert end.validation_loss != start.validation_loss
    assert model.n_trained_ > model.n_frozen_ > 0


def test_bfloat16_arithmetic_keeps_weights_in_float32_and_stays_near(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    exact, rounded = (
        tuner(network, precision=precision, epochs=2, learning_rate=1e-3, validation_fraction=0.25).fit(
            pictures, labels
        )
        for precision in ("float32", "bfloat16")
    )
    assert rounded.head_.weight.dtype == np.float64
    found = [[record.validation_loss for record in each.history_] for each in (exact, rounded)]
    assert found[0] != found[1]
    np.testing.assert_allclose(*found, rtol=0.05)  # 8 bits of mantissa
