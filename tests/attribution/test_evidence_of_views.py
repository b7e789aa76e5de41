"""Evidence of heads trained on augmented views: that of any head on pictures as they are; of means over views it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import featx
from featx import Augment, AugmentedClassifier, EmbeddingStore, ImageFeatures
from featx.attribution.explainer import Head
from featx.errors import FeatxWarning
from featx.testing import counted_rows, tiny_backbone

CLOSE = 1e-4  # float32 pooling inside the graph against float64 sums outside it
TURNS = Augment(horizontal_flip=True, rotation_range=30, brightness_range=(0.5, 1.5))
LABELS = np.asarray(["cat", "dog", "owl"])[np.arange(24) % 3]
ALONE = "decision value from the picture alone"
Model = Callable[..., AugmentedClassifier]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("views") / "tiny")


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Model:
    """A function from a head and parameters to a fitted classifier of three classes."""
    store = EmbeddingStore(tmp_path / "store")

    def make(head: Any = "logistic", y: Any = LABELS, X: Any = None, **given: Any) -> AugmentedClassifier:
        features = ImageFeatures(str(folder), cache=store, device="cpu")
        chosen = featx.make_head(head) if isinstance(head, str) else head
        whole = AugmentedClassifier(features, chosen, **{"augment": TURNS, "n_views": 3, **given})
        return whole.fit(noise(len(y)) if X is None else X, y)

    return make


def noise(n: int = 24) -> list[NDArray[np.uint8]]:
    """Pictures that nothing tells apart."""
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (40, 48, 3), dtype=np.uint8) for _ in range(n)]


def tinted() -> NDArray[np.uint8]:
    """Pictures of LABELS, one channel of which is brighter by class; (24, 40, 48, 3)."""
    found = np.stack(noise()) // 2
    found[np.arange(24), :, :, np.arange(24) % 3] += 100
    return found


def of_pictures_alone(model: AugmentedClassifier, X: Any = None) -> NDArray[np.float64]:
    """The head's decision values on pictures as they are, (n, k)."""
    vectors = model.features_.transform(noise() if X is None else X)
    return np.asarray(model.view_head_.head_.decision_function(vectors))


@pytest.mark.parametrize("head", ["logistic", "svm"])
def test_the_mean_of_the_map_is_the_decision_value(model: Model, head: str) -> None:
    fitted = model(head)
    found, values = featx.evidence(fitted, noise()), fitted.decision_function(noise())
    assert {(each.method, each.score_name, each.note) for each in found} == {("exact", "decision value", "")}
    for each, row, label in zip(found, values, fitted.predict(noise()), strict=True):
        assert each.label == label
        expected = row[fitted.classes_.tolist().index(label)]
        assert each.score == pytest.approx(expected, abs=CLOSE)
        assert each.values.mean() == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("head", ["logistic", "svm"])
def test_a_mean_over_views_is_explained_by_the_picture_alone_and_says_so(model: Model, head: str) -> None:
    fitted = model(head, tta=True)
    found, values = featx.evidence(fitted, noise()), of_pictures_alone(fitted)
    # What is asked about is what is predicted, also where the picture alone would be called something else.
    assert [each.label for each in found] == fitted.predict(noise()).tolist()
    assert any(fitted.classes_[values.argmax(axis=1)] != fitted.predict(noise()))
    for each, row in zip(found, values, strict=True):
        expected = row[fitted.classes_.tolist().index(each.label)]
        assert (each.method, each.score_name) == ("exact", ALONE)
        assert each.score == pytest.approx(expected, abs=CLOSE)
        assert each.values.mean() == pytest.approx(expected, abs=CLOSE)
        assert each.words.endswith(
            f"{ALONE}, {each.score:.3f}. Predictions are means over views; the map is of the picture as it is, the first of them."
        )


def test_a_mean_over_one_view_is_the_decision_value(model: Model) -> None:
    fitted = model(tta=True, augment=None)
    found = featx.evidence(fitted, noise())
    assert {(each.score_name, each.note) for each in found} == {("decision value", "")}


def test_a_head_saved_before_it_counted_its_views_is_taken_to_average(model: Model) -> None:
    fitted = model(tta=True)
    del fitted.view_head_.n_views_
    assert Head.of(fitted.view_head_).averages
    assert featx.evidence(fitted, noise(1))[0].score_name == ALONE


def test_two_classes_are_told_apart_by_sign(model: Model) -> None:
    fitted = model(y=np.asarray(["ant", "bee"] * 12), tta=True)
    ant, bee = (featx.evidence(fitted, noise(1), label=label)[0] for label in ("ant", "bee"))
    np.testing.assert_allclose(ant.values, -bee.values)
    expected = fitted.view_head_.head_.decision_function(fitted.features_.transform(noise(1)))[0]
    assert bee.values.mean() == pytest.approx(expected, abs=CLOSE)


def test_trees_are_explained_by_covering_the_picture_alone(model: Model) -> None:
    fitted = model("xgboost", tta=True)
    with pytest.warns(FeatxWarning, match="GradientBoosting|Boosted.* is not linear"):
        (found,) = featx.evidence(fitted, noise(1), label="cat")
    expected = fitted.view_head_.head_.predict_proba(fitted.features_.transform(noise(1)))[0, 0]
    assert (found.method, found.score_name) == ("occlusion", "probability from the picture alone")
    assert found.score == pytest.approx(expected, abs=1e-6)  # float32 probabilities


def test_a_label_that_is_named_costs_no_views(model: Model) -> None:
    fitted = model(tta=True)
    new = [picture[::-1].copy() for picture in noise(4)]
    with counted_rows() as rows:
        featx.evidence(fitted, new, label="owl")
        assert rows.n == 4 + 4  # vectors, and positions beside them
    with counted_rows() as rows:
        featx.evidence(fitted, new)
        assert rows.n == 2 * 4 + 4  # the other views, and positions


def test_searches_and_pipelines_around_it_are_looked_through(model: Model) -> None:
    fitted = model(tta=True)
    grid = {"head__logistic__C": [0.01, 1.0]}
    search = GridSearchCV(fitted, grid, cv=2).fit(np.stack(noise()), LABELS)
    (found,) = featx.evidence(search, noise(1), label="cat")
    assert found.values.mean() == pytest.approx(of_pictures_alone(search.best_estimator_)[0, 0], abs=CLOSE)
    step = Pipeline([("model", fitted)])
    assert featx.evidence(step, noise(1))[0].label == fitted.predict(noise(1))[0]


@pytest.mark.parametrize("tta", [False, True])
def test_a_calibration_around_it_is_looked_through(model: Model, tta: bool) -> None:
    X = tinted()
    calibrated = CalibratedClassifierCV(model(X=X, tta=tta), ensemble=False, cv=2).fit(X, LABELS)
    found = featx.evidence(calibrated, X)
    assert [each.label for each in found] == calibrated.predict(X).tolist()
    values = of_pictures_alone(calibrated.calibrated_classifiers_[0].estimator, X)
    alone = " from the picture alone" if tta else ""
    for each, row in zip(found, values, strict=True):
        assert each.score_name == f"decision value before calibration{alone}"
        expected = row[calibrated.classes_.tolist().index(each.label)]
        assert each.values.mean() == pytest.approx(expected, abs=CLOSE)


def test_a_calibration_inside_the_head_is_looked_through(model: Model) -> None:
    head = CalibratedClassifierCV(LogisticRegression(max_iter=1000), ensemble=False, cv=2)
    (found,) = featx.evidence(model(head, X=tinted()), tinted()[:1])
    assert (found.method, found.score_name) == ("exact", "decision value before calibration")


def test_what_is_not_fitted_is_refused(folder: Path) -> None:
    unfitted = AugmentedClassifier(ImageFeatures(str(folder)), featx.make_head("logistic"), TURNS)
    with pytest.raises(NotFittedError):
        featx.evidence(unfitted, noise(1))
