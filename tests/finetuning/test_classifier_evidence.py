"""Evidence of tuned classifiers: exact maps on the tuned network, and on a page those of the fold's own network."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import featx
from featx import EmbeddingStore, FineTuneClassifier, ImageFeatures, TextFeatures
from featx.errors import FeatxWarning
from featx.evaluation import predictors
from featx.reporting.evaluations import Evaluation
from featx.reporting.evidences import evidence_of
from featx.reporting.mistakes import worst_mistakes
from featx.testing import counted_rows

Tuner = Callable[..., FineTuneClassifier]

CLOSE = 1e-4  # float32 pooling inside the graph against float64 sums outside it
FEW: dict[str, Any] = {"n_bootstrap": 100, "cv": 3, "at_specificity": None, "at_sensitivity": None}


def tuned(tuner: Tuner, network: str, **given: Any) -> FineTuneClassifier:
    """One that keeps its last epoch, so that its network is another than the one it began with."""
    return tuner(network, validation_fraction=None, **given)


def test_the_mean_of_the_map_is_the_decision_value(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=None, device="cpu")).fit(pictures, labels)
    found, values = featx.evidence(model, pictures[:6]), model.decision_function(pictures[:6])
    assert model.best_epoch_ > 0  # it is not the network that it began with
    for each, row, label in zip(found, values, model.predict(pictures[:6]), strict=True):
        assert (each.method, each.label, each.score_name) == ("exact", label, "decision value")
        expected = row[model.classes_.tolist().index(label)]
        assert each.score == pytest.approx(expected, abs=CLOSE)
        assert each.values.mean() == pytest.approx(expected, abs=CLOSE)


def test_of_two_classes_the_map_is_of_the_log_odds(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    two = np.where(labels == "wasp", "wasp", "other")
    model = tuned(tuner, network).fit(pictures, two)
    other, wasp = (featx.evidence(model, pictures[:1], label=label)[0] for label in ("other", "wasp"))
    np.testing.assert_allclose(other.values, -wasp.values)
    assert wasp.values.mean() == pytest.approx(model.decision_function(pictures[:1])[0], abs=CLOSE)


def test_the_mean_over_tokens_is_the_decision_value(
    encoder: str, texts: list[str], labels: np.ndarray, tuner: Tuner
) -> None:
    model = tuned(tuner, TextFeatures(encoder, pooling="mean", cache=None, device="cpu")).fit(texts, labels)
    found, values = featx.evidence(model, texts[:4], label="bee"), model.decision_function(texts[:4])
    for each, row in zip(found, values, strict=True):
        assert each.method == "exact"
        assert each.values.mean() == pytest.approx(row[1], abs=CLOSE)
        assert len(each.pieces) == len(each.values)


def test_where_nothing_was_better_the_evidence_is_that_of_the_probe(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    model = tuner(network, epochs=1, learning_rate=1e-12, validation_fraction=0.25).fit(pictures, labels)
    (found,) = featx.evidence(model, pictures[:1], label="ant")
    assert model.best_epoch_ == 0
    assert found.values.mean() == pytest.approx(model.decision_function(pictures[:1])[0, 0], abs=CLOSE)


def test_a_search_is_explained_by_its_best_estimator(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    grid = {"learning_rate": [1e-3, 3e-3]}
    search = GridSearchCV(tuned(tuner, network, epochs=1), grid, cv=2).fit(np.stack(pictures), labels)
    (found,) = featx.evidence(search, pictures[:1], label="ant")
    expected = search.best_estimator_.decision_function(pictures[:1])[0, 0]
    assert found.values.mean() == pytest.approx(expected, abs=CLOSE)


def test_what_is_not_fitted_is_refused(network: str, pictures: list[np.ndarray]) -> None:
    with pytest.raises(NotFittedError):
        featx.evidence(FineTuneClassifier(network), pictures[:1])


# --- on pages ---


def noise() -> list[np.ndarray]:
    """Pictures that nothing tells apart: mistakes in every fold."""
    return list(np.random.default_rng(3).integers(0, 256, (36, 36, 36, 3), dtype=np.uint8))


NOISY = np.asarray(["ant", "bee", "wasp"])[np.arange(36) % 3]


def shown_of(found: Evaluation) -> tuple[list[Any], Any]:
    mistakes = worst_mistakes(found.main, None)
    return mistakes, evidence_of(found, mistakes)


def training_parts(found: Evaluation) -> list[np.ndarray]:
    """What the model of each fold was fitted on."""
    rows = found.main.outcomes
    return [np.setdiff1d(np.arange(36), rows.samples[rows.folds == fold]) for fold in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "store")


def test_evidence_is_of_the_network_of_the_fold_and_computes_no_vector_again(
    network: str, store: EmbeddingStore, tuner: Tuner
) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu"), epochs=1)
    found = featx.evaluate(model, noise(), NOISY, **FEW)
    assert found.modality == "image"
    assert len(set(found.spaces)) == 3  # a network, and so a space, for each fold
    mistakes = worst_mistakes(found.main, None)
    with counted_rows() as rows:
        shown = evidence_of(found, mistakes)
        assert rows.n == len(mistakes)  # positions; the vectors are stored
    assert len({each.fold for each in mistakes}) == 3
    assert set(shown.by_sample) == {each.sample for each in mistakes}
    again = [
        tuned(tuner, ImageFeatures(network, cache=store, device="cpu"), epochs=1).fit(
            [noise()[i] for i in train], NOISY[train]
        )
        for train in training_parts(found)
    ]
    for each in mistakes:
        mine = shown.by_sample[each.sample]
        at = ["ant", "bee", "wasp"].index(str(each.predicted))
        values = [one.decision_function([noise()[each.sample]])[0, at] for one in again]
        assert (mine.method, mine.label) == ("exact", each.predicted)
        assert mine.values.mean() == pytest.approx(values[each.fold], abs=CLOSE)
        assert all(abs(values[fold] - mine.score) > CLOSE for fold in {0, 1, 2} - {each.fold})


def test_the_page_shows_the_maps(network: str, store: EmbeddingStore, tuner: Tuner, tmp_path: Path) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu"), epochs=1)
    found = featx.evaluate(model, noise(), NOISY, **FEW)
    found.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The maps are exact: the mean of each is the decision value below" in page
    assert "without evidence" not in page


@pytest.mark.parametrize("given", [{"calibrate": "sigmoid"}, {"param_grid": {"epochs": [1, 2]}}], ids=str)
def test_searched_and_calibrated_folds_have_evidence(
    network: str, store: EmbeddingStore, tuner: Tuner, given: dict[str, Any]
) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu"), epochs=1)
    mistakes, shown = shown_of(featx.evaluate(model, noise(), NOISY, **{**FEW, "cv": 2}, **given))
    assert set(shown.by_sample) == {each.sample for each in mistakes}
    assert mistakes


def test_weights_of_any_size_are_kept_and_go_with_the_evaluation(
    network: str, tuner: Tuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=None, device="cpu"), epochs=1)
    monkeypatch.setattr(predictors, "_MOST_BYTES", 4000)  # the head's size, not the network's
    found = featx.evaluate(model, noise(), NOISY, **FEW)
    mistakes, shown = shown_of(found)
    assert shown.missing == {}
    assert found.predictors is not None
    folders = [features.backbone_.folder for features in found.predictors.own if features is not None]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)
    del found, shown, mistakes
    gc.collect()
    assert not any(folder.exists() for folder in folders)


def test_a_finished_classifier_is_judged_on_its_own_network(
    network: str, store: EmbeddingStore, tuner: Tuner
) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu")).fit(noise()[:18], NOISY[:18])
    found = featx.evaluate(model, noise()[18:], NOISY[18:], cv="prefit", n_bootstrap=100)
    assert found["accuracy"].value == model.score(noise()[18:], NOISY[18:])
    mistakes, shown = shown_of(found)
    assert set(shown.by_sample) == {each.sample for each in mistakes}
    assert found.spaces == tuple(space.id for space in model.parts(fitted=True)[0].spaces_)


def test_copies_of_pictures_are_found_by_their_content(
    network: str, store: EmbeddingStore, tuner: Tuner
) -> None:
    X, y = noise(), NOISY.copy()
    X[3] = X[0].copy()
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu"), epochs=1)
    found = featx.evaluate(model, X, y, **FEW)
    folds = dict(zip(found.main.outcomes.samples.tolist(), found.main.outcomes.folds.tolist(), strict=True))
    assert folds[0] == folds[3]
    assert [leak.kind for leak in found.kept] == ["copy"]
    assert "near-copy with another label" in found.looked_for


def test_what_sees_no_near_copies_is_compared_on_the_folds_of_what_does(
    network: str, store: EmbeddingStore, tuner: Tuner
) -> None:
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu"), epochs=1)
    both = featx.compare({"guess": DummyClassifier(), "tuned": model}, noise(), NOISY, **FEW)
    for each in both.evaluations:
        assert "near-copy with another label" in each.looked_for


def test_pictures_that_cannot_be_read_are_left_out_where_the_features_do_so(
    network: str, store: EmbeddingStore, tuner: Tuner
) -> None:
    X: list[Any] = [*noise(), b"no picture"]
    model = tuned(tuner, ImageFeatures(network, cache=store, device="cpu", on_error="nan"), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatxWarning)
        found = featx.evaluate(model, X, np.append(NOISY, "ant"), **FEW)
    assert (found.n_samples, len(found.skipped)) == (36, 1)
