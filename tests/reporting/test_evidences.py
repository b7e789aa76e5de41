"""Evidence on a page is that of the model which made the mistake; where there is none the page says why."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

import featx
from featx.errors import FeatxWarning
from featx.evaluation import predictors
from featx.reporting import cards, evidences
from featx.reporting.evaluations import Evaluation
from featx.reporting.evidences import Shown, caption, evidence_of, legend
from featx.reporting.mistakes import Mistake, worst_mistakes
from featx.reporting.wording import number
from featx.testing import tiny_backbone
from featx.testing_texts import tiny_text_backbone

FEW: dict[str, Any] = {"n_bootstrap": 100, "cv": 3}
CLOSE = 1e-4  # float32 pooling inside the graph against float64 sums outside it
Model = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A head behind a small network of pictures."""
    folder = tiny_backbone(tmp_path_factory.mktemp("evidences") / "tiny")

    def make(head: Any, **features: Any) -> Pipeline:
        transformer = featx.ImageFeatures(folder, cache=None, device="cpu", **features)
        return Pipeline(
            [("features", transformer), ("head", featx.make_head(head) if isinstance(head, str) else head)]
        )

    return make


def noise(n: int = 36) -> list[NDArray[np.uint8]]:
    """Pictures that nothing tells apart."""
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (48, 40, 3), dtype=np.uint8) for _ in range(n)]


LABELS = np.asarray(["cat", "dog", "owl"])[np.arange(36) % 3]


@pytest.fixture(scope="module")
def wrong(model: Model) -> Evaluation:
    """Three classes, three folds, a linear head, mistakes in every fold."""
    return featx.evaluate(model("logistic"), noise(), LABELS, **FEW)


def mistakes_of(found: Evaluation, most: int = 12) -> list[Mistake]:
    of_samples = None if found.main.level == "sample" else found.judgements[1]
    return worst_mistakes(found.main, of_samples, most=most)


def vectors_of(found: Evaluation) -> NDArray[np.float32]:
    assert found.predictors is not None
    assert found.predictors.features is not None
    return found.predictors.features.transform(found.samples)


def test_evidence_is_of_the_model_that_had_not_seen_the_sample(wrong: Evaluation) -> None:
    mistakes = mistakes_of(wrong)
    assert len({each.fold for each in mistakes}) == 3
    shown, vectors = evidence_of(wrong, mistakes), vectors_of(wrong)
    assert wrong.predictors is not None
    assert set(shown.by_sample) == {each.sample for each in mistakes}
    assert shown.missing == {}
    for each in mistakes:
        found = shown.by_sample[each.sample]
        scores = [model.decision_function(vectors[[each.sample]])[0] for model in wrong.predictors.models]
        at = ["cat", "dog", "owl"].index(str(each.predicted))
        assert (found.method, found.label) == ("exact", each.predicted)
        assert found.score == pytest.approx(scores[each.fold][at], abs=CLOSE)
        assert found.values.mean() == pytest.approx(found.score, abs=CLOSE)
        assert all(abs(scores[other][at] - found.score) > 10 * CLOSE for other in {0, 1, 2} - {each.fold})


def test_a_group_is_shown_by_the_evidence_of_the_sample_shown(model: Model) -> None:
    found = featx.evaluate(
        model("logistic"),
        noise(),
        LABELS,
        groups=np.arange(36) // 9 * 3 + np.arange(36) % 3,
        aggregate="mean",
        **FEW,
    )
    mistakes = mistakes_of(found)
    assert {each.n_samples for each in mistakes} == {3}
    shown, vectors = evidence_of(found, mistakes), vectors_of(found)
    assert found.predictors is not None
    for each in mistakes:
        head = found.predictors.models[each.fold]
        at = head.classes_.tolist().index(each.predicted)
        expected = head.decision_function(vectors[[each.sample]])[0][at]
        assert shown.by_sample[each.sample].score == pytest.approx(expected, abs=CLOSE)


def test_the_page_shows_maps_beside_pictures_and_says_what_they_are(
    wrong: Evaluation, page_of: Callable[..., str]
) -> None:
    text, n = page_of(wrong), len(mistakes_of(wrong))
    assert text.count("data:image/jpeg;base64,") == 2 * n
    assert "Red speaks for the predicted label, blue against it" in text
    assert "The maps are exact: the mean of each is the decision value below, of the very model" in text
    assert len(re.findall(r"<small>decision value for (cat|dog|owl): -?\d\.\d{3}</small>", text)) == n
    assert "without evidence" not in text


def test_nothing_is_explained_where_it_is_not_asked_for(
    wrong: Evaluation, page_of: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(cards, "evidence_of", never)
    text = page_of(wrong, evidence=False)
    assert text.count("data:image/jpeg;base64,") == len(mistakes_of(wrong))
    assert "Red speaks" not in text
    wrong.to_json(tmp_path / "found.json")
    wrong.to_png(tmp_path / "found.png")


def test_an_evaluation_from_a_file_has_a_page_without_evidence(
    wrong: Evaluation, page_of: Callable[..., str]
) -> None:
    text, n = page_of(copy.deepcopy(wrong)), len(mistakes_of(wrong))
    assert text.count("data:image/jpeg;base64,") == n
    assert f"{n} without evidence: this evaluation came from a file" in text


def test_models_that_were_let_go_are_told(
    model: Model, page_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictors, "_MOST_BYTES", 100)
    found = featx.evaluate(model(KNeighborsClassifier(1)), noise(), LABELS, **FEW)
    assert "without evidence: models that hold many training samples are not kept" in page_of(found)


def test_calibrated_heads_are_explained_before_calibration(model: Model, page_of: Callable[..., str]) -> None:
    brighter = np.arange(36) % 3 * 25
    X = [(picture // 2 + bright).astype(np.uint8) for picture, bright in zip(noise(), brighter, strict=True)]
    found = featx.evaluate(model("svm"), X, LABELS, calibrate="isotonic", **FEW)
    text = page_of(found)
    assert "the mean of each is the decision value before calibration below" in text
    assert "<small>decision value before calibration for " in text


def test_trees_are_explained_by_covering_and_it_says_so(model: Model, page_of: Callable[..., str]) -> None:
    found = featx.evaluate(model("xgboost"), noise(), LABELS, **FEW)
    shown, vectors = evidence_of(found, mistakes_of(found, 2)), vectors_of(found)
    assert found.predictors is not None
    for each in mistakes_of(found, 2):
        head = found.predictors.models[each.fold]
        at = head.classes_.tolist().index(each.predicted)
        seen = shown.by_sample[each.sample]
        assert (seen.method, seen.values.shape) == ("occlusion", (8, 8))
        assert seen.score == pytest.approx(head.predict_proba(vectors[[each.sample]])[0][at], abs=CLOSE)
    text = page_of(found)
    assert "The maps are approximations: 64 squares of the picture were covered one after the other" in text
    assert "lowers the probability" in text


def test_what_would_take_too_long_is_left_out_and_told(model: Model) -> None:
    found = featx.evaluate(model("xgboost"), noise(), LABELS, **FEW)
    shown = evidence_of(found, mistakes_of(found), limit_s=0.0)
    assert shown.by_sample == {}
    (words,) = legend(shown, found)
    assert words == f"{len(mistakes_of(found))} without evidence: covering parts would take over 20 s."


def test_a_finished_model_is_asked_itself(model: Model) -> None:
    X = noise()
    finished = model("logistic").fit(X[:18], LABELS[:18])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatxWarning)
        found = featx.evaluate(finished, X[18:], LABELS[18:], cv="prefit", n_bootstrap=100)
    mistakes = mistakes_of(found)
    shown = evidence_of(found, mistakes)
    expected = featx.evidence(finished, [X[18:][each.sample] for each in mistakes])
    for each, same in zip(mistakes, expected, strict=True):
        np.testing.assert_allclose(shown.by_sample[each.sample].values, same.values, atol=CLOSE)


def test_evidence_does_not_make_a_finished_model_silent(model: Model) -> None:
    X = noise()
    finished = model("logistic", verbose=True).fit(X, LABELS)
    found = featx.evaluate(finished, X, LABELS, cv="prefit", n_bootstrap=100)
    assert found.predictors is not None
    assert found.predictors.features is not None
    assert (found.predictors.features.verbose, finished[0].verbose) == (False, True)


@pytest.mark.parametrize("given", [{}, {"calibrate": "sigmoid"}], ids=str)
def test_heads_trained_on_views_are_explained_by_the_picture_as_it_is(
    model: Model, given: dict[str, Any]
) -> None:
    plain = model("logistic")
    varied = featx.AugmentedClassifier(plain[0], plain[1], featx.Augment(rotation_range=20), n_views=3)
    found = featx.evaluate(varied, noise(), LABELS, **FEW, **given)
    mistakes = mistakes_of(found)
    shown = evidence_of(found, mistakes)
    assert shown.missing == {}
    assert {each.note for each in shown.by_sample.values()} == {""}
    assert found.predictors is not None
    vectors = vectors_of(found)
    for each in mistakes if not given else ():
        one = shown.by_sample[each.sample]
        scores = [fold.decision_function(vectors[[each.sample]])[0] for fold in found.predictors.models]
        at = ["cat", "dog", "owl"].index(str(each.predicted))
        assert one.method == "exact"
        assert one.values.mean() == pytest.approx(scores[each.fold][at], abs=CLOSE)
        assert all(abs(scores[other][at] - one.score) > CLOSE for other in {0, 1, 2} - {each.fold})
    assert "views" not in " ".join(legend(shown, found))


def test_means_over_views_are_explained_by_the_picture_alone_and_the_page_says_so(
    model: Model, page_of: Callable[..., str]
) -> None:
    plain = model("logistic")
    turns = featx.Augment(rotation_range=20)
    varied = featx.AugmentedClassifier(plain[0], plain[1], turns, n_views=3, tta=True)
    found = featx.evaluate(varied, noise(), LABELS, **FEW)
    mistakes, vectors = mistakes_of(found), vectors_of(found)
    shown = evidence_of(found, mistakes)
    assert found.predictors is not None
    for each in mistakes:
        one, head = shown.by_sample[each.sample], found.predictors.models[each.fold].head_
        at = head.classes_.tolist().index(each.predicted)
        expected = head.decision_function(vectors[[each.sample]])[0][at]
        assert (one.method, one.label) == ("exact", each.predicted)
        assert one.values.mean() == pytest.approx(expected, abs=CLOSE)
        assert caption(one) == f"decision value from the picture alone for {one.label}: {number(one.score)}"
    page = page_of(found)
    assert "the mean of each is the decision value from the picture alone below" in page
    assert page.count("Predictions are means over views; the map is of the picture as it is") == 1


def test_augmentations_that_a_fold_chose_are_explained(model: Model) -> None:
    plain = model("logistic")
    turns = featx.Augment(rotation_range=20)
    varied = featx.AugmentedClassifier(plain[0], plain[1], turns, n_views=2, tta=True)
    found = featx.evaluate(varied, noise(), LABELS, **FEW, param_grid={"augment": [None, turns]})
    mistakes = mistakes_of(found)
    shown = evidence_of(found, mistakes)
    for each in mistakes:
        alone = shown.by_sample[each.sample].score_name == "decision value from the picture alone"
        assert alone == (found.fits[each.fold].params["augment"] is not None)


def test_a_regression_is_explained(model: Model, page_of: Callable[..., str]) -> None:
    X = noise()
    found = featx.evaluate(model(Ridge()), X, np.random.default_rng(0).normal(50, 5, 36), **FEW)
    mistakes = mistakes_of(found)
    shown = evidence_of(found, mistakes)
    for each in mistakes:
        assert shown.by_sample[each.sample].values.mean() == pytest.approx(float(each.predicted), abs=1e-3)
    text = page_of(found)
    assert "Red speaks for a higher value, blue for a lower one" in text
    assert "The maps are exact: the mean of each is the prediction" in text


TEXTS = [f"{'abcdefghij'[i % 10]} red fox no {i} {'again ' * (i % 3)}" for i in range(36)]


def test_words_are_shaded(tmp_path: Path, page_of: Callable[..., str]) -> None:
    features = featx.TextFeatures(tiny_text_backbone(tmp_path / "tiny"), cache=None, device="cpu")
    texts = Pipeline([("features", features), ("head", featx.make_head("logistic"))])
    found = featx.evaluate(texts, TEXTS, LABELS, **FEW)
    mistakes, text = mistakes_of(found), page_of(found)
    shown = evidence_of(found, mistakes)
    for each in mistakes:
        seen = shown.by_sample[each.sample]
        assert seen.values.mean() == pytest.approx(seen.score, abs=CLOSE)
    quoted = [re.sub("<[^>]*>", "", each) for each in re.findall("<blockquote[^>]*>(.*?)</blockquote>", text)]
    assert [each.strip() for each in quoted] == [TEXTS[each.sample].strip() for each in mistakes]
    tokens = sum(bool(piece.strip()) for each in shown.by_sample.values() for piece in each.pieces)
    assert text.count('<span style="background:rgba(') == tokens > 0
    assert "over all tokens, with the network's own at both ends," in text.replace("&#x27;", "'")


def test_a_file_that_is_gone_takes_no_other_evidence_along(
    model: Model, tmp_path: Path, page_of: Callable[..., str]
) -> None:
    files = [tmp_path / f"{i}.png" for i in range(36)]
    for file, pixels in zip(files, noise(), strict=True):
        Image.fromarray(pixels).save(file)
    found = featx.evaluate(model("logistic"), [str(file) for file in files], LABELS, **FEW)
    mistakes = mistakes_of(found)
    files[mistakes[0].sample].unlink()
    assert page_of(found).count("data:image/jpeg;base64,") == 2 * (len(mistakes) - 1)


def test_a_backbone_that_is_gone_leaves_a_page_that_says_so(
    tmp_path: Path, page_of: Callable[..., str]
) -> None:
    folder = tiny_backbone(tmp_path / "tiny")
    made = Pipeline(
        [("features", featx.ImageFeatures(folder, cache=None)), ("head", featx.make_head("logistic"))]
    )
    found = featx.evaluate(made, noise(), LABELS, **FEW)
    (folder / "model.onnx").unlink()
    text = page_of(found)
    assert (
        f"{len(mistakes_of(found))} without evidence: the model has no score to explain, or its backbone"
        in text
    )


class Moody(LogisticRegression):
    """Answers about what it was asked first, and nothing else."""

    def decision_function(self, X: Any) -> Any:
        if np.asarray(X).dtype == np.float64:  # unit vectors, not those of a network
            raise RuntimeError("not these")
        return super().decision_function(X)


def test_a_head_that_raises_takes_its_evidence_along_and_not_the_page(
    model: Model, page_of: Callable[..., str]
) -> None:
    found = featx.evaluate(model(Moody()), noise(), LABELS, **FEW)
    assert f"{len(mistakes_of(found))} without evidence: the model has no score to explain" in page_of(found)


def test_numbers_have_no_evidence_and_no_word_of_it(two: Evaluation, page_of: Callable[..., str]) -> None:
    assert evidence_of(two, mistakes_of(two)) == Shown()
    assert "evidence" not in page_of(two)


def test_maps_of_two_kinds_are_told_apart(wrong: Evaluation) -> None:
    shown = evidence_of(wrong, mistakes_of(wrong, 2))
    first, second = shown.by_sample
    rough = replace(shown.by_sample[second], method="occlusion")
    (words,) = legend(Shown(by_sample={**shown.by_sample, second: rough}), wrong)
    assert "The maps are exact" not in words
    assert "Some maps are exact" in words
    assert "approximations" in words
    assert evidences.caption(rough) == f"{evidences.caption(shown.by_sample[second])} (map: approximation)"
    assert (evidences.caption(shown.by_sample[first]) or "").startswith("decision value for ")
