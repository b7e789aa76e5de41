"""Evidence: maps whose mean is the decision value, and an honest word where there is no such map."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import featx
from featx.attribution.explainer import Explainer, Head
from featx.attribution.linear import score_function
from featx.errors import FeatxWarning, InputError, ParameterError
from featx.testing_texts import tiny_text_backbone

# float32 pooling inside the graph against float64 sums outside it
CLOSE = 1e-4


def pictures(n: int = 12) -> tuple[list[NDArray[np.uint8]], NDArray[np.str_]]:
    """Dark noise; those called "lit" have a bright square in the upper left quarter."""
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 90, (96, 96, 3), dtype=np.uint8) for _ in range(n)]
    for picture in X[::2]:
        picture[8:40, 8:40] = 250
    return X, np.asarray(["lit", "dark"] * (n // 2))


def fitted(head: Any, **features: Any) -> Pipeline:
    X, y = pictures()
    transformer = featx.ImageFeatures(cache=None, device="cpu", **features)
    return Pipeline([("features", transformer), ("head", head)]).fit(X, y)


class NoScore(ClassifierMixin, BaseEstimator):
    """Predicts, and says nothing of how sure it is."""

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X), dtype=int)


def decision(model: Pipeline, X: Any) -> NDArray[np.float64]:
    return np.asarray(model.decision_function(X))


@pytest.mark.parametrize("head", ["logistic", "svm"])
@pytest.mark.parametrize("tap", ["pooled", "stage3", ["stage2", "stage4"]], ids=str)
def test_the_mean_of_an_exact_map_is_the_decision_value(head: str, tap: Any) -> None:
    model = fitted(featx.make_head(head), tap=tap)
    X, _ = pictures()
    found = featx.evidence(model, X, label="lit")
    assert {each.method for each in found} == {"exact"}
    for each, value in zip(found, decision(model, X), strict=True):
        assert each.score == pytest.approx(value, abs=CLOSE)
        assert each.values.mean() == pytest.approx(value, abs=CLOSE)


def test_the_other_class_is_the_same_map_turned() -> None:
    model = fitted(featx.make_head("logistic"))
    X, _ = pictures(2)
    lit, dark = (featx.evidence(model, X, label=label)[0] for label in ("lit", "dark"))
    np.testing.assert_allclose(lit.values, -dark.values)
    assert featx.evidence(model, X)[0].label == model.predict(X)[0]


def test_the_map_points_to_what_makes_the_class() -> None:
    X, _ = pictures()
    found = featx.evidence(fitted(featx.make_head("logistic"), tap="stage2"), X[:1], label="lit")[0]
    half = found.values.shape[0] // 2
    assert found.values[:half, :half].mean() > found.values[half:, half:].mean() + 0.01
    assert found.pixels is not None
    assert found.pixels.shape[2] == 3


def test_projections_and_several_classes_are_linear_too() -> None:
    X, y = pictures()
    y = y.copy()
    y[:3] = "odd"
    head = Pipeline(
        [("scale", StandardScaler()), ("pca", PCA(5, whiten=True)), ("last", LogisticRegression())]
    )
    model = Pipeline([("features", featx.ImageFeatures(cache=None, device="cpu")), ("head", head)]).fit(X, y)
    values = decision(model, X)
    for at, label in enumerate(model.classes_):
        for each, row in zip(featx.evidence(model, X, label=label), values, strict=True):
            assert each.values.mean() == pytest.approx(row[at], abs=CLOSE)


def test_a_regression_is_explained_by_its_prediction() -> None:
    X, y = pictures()
    model = Pipeline([("features", featx.ImageFeatures(cache=None, device="cpu")), ("head", Ridge())])
    model.fit(X, np.where(y == "lit", 3.0, 1.0))
    found = featx.evidence(model, X)
    np.testing.assert_allclose([each.values.mean() for each in found], model.predict(X), atol=CLOSE)
    assert (found[0].label, found[0].score_name) == (None, "prediction")
    with pytest.raises(ParameterError, match="no classes"):
        featx.evidence(model, X, label="lit")


@pytest.mark.parametrize(
    ("head", "features", "why"),
    [
        ("xgboost", {}, "BoostedTreesClassifier is not linear"),
        ("logistic", {"tap": "stage3", "pooling": "max"}, "other pooling"),
        ("logistic", {"tap": "stage3", "pooling": "gem"}, "other pooling"),
    ],
)
def test_where_there_is_no_exact_map_parts_are_covered_and_it_says_so(
    head: str, features: dict[str, str], why: str
) -> None:
    model = fitted(featx.make_head(head), **features)
    X, _ = pictures()
    with pytest.warns(FeatxWarning, match=why):
        found = featx.evidence(model, X[:2], label="lit")
    assert {each.method for each in found} == {"occlusion"}
    assert found[0].values.shape == (8, 8)
    assert found[0].words.startswith("Approximation")
    with pytest.raises(ParameterError, match="exact"):
        featx.evidence(model, X[:2], method="exact")


def test_a_covered_square_shows_by_how_much_the_score_falls() -> None:
    model = fitted(featx.make_head("logistic"))
    X, _ = pictures()
    found = featx.evidence(model, X[:1], label="lit", method="occlusion")[0]
    covered = X[0].copy()
    covered[12:24, 36:48] = X[0].mean(axis=(0, 1)).round()  # of 8 x 8 squares the one in row 1, column 3
    whole, without = decision(model, [X[0], covered])
    assert found.score == pytest.approx(whole, abs=CLOSE)
    assert found.values[1, 3] == pytest.approx(whole - without, abs=CLOSE)


def test_a_search_is_explained_by_its_best_estimator() -> None:
    X, y = pictures()
    model = Pipeline(
        [("features", featx.ImageFeatures(cache=None, device="cpu")), ("head", featx.make_head("logistic"))]
    )
    search = GridSearchCV(model, {"head__logistic__C": [0.1]}, cv=2).fit(X, y)
    assert featx.evidence(search, X[:1])[0].method == "exact"


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_calibrated_head_is_explained_by_its_decision_value_before_calibration(method: str) -> None:
    X, y = pictures(24)
    calibrated = CalibratedClassifierCV(featx.make_head("logistic"), method=method, ensemble=False, cv=2)
    features = featx.ImageFeatures(cache=None, device="cpu")
    model = Pipeline([("features", features), ("head", calibrated)]).fit(X, y)
    inside = model[-1].calibrated_classifiers_[0].estimator
    found = featx.evidence(model, X[:4], label="lit")
    assert {(each.method, each.score_name) for each in found} == {
        ("exact", "decision value before calibration")
    }
    expected = inside.decision_function(model[0].transform(X[:4]))
    np.testing.assert_allclose([each.values.mean() for each in found], expected, atol=CLOSE)


def test_a_calibration_that_turns_labels_round_is_not_looked_through() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    fitted = LogisticRegression().fit(X, X[:, 0] < 0)  # wrong about everything that it is calibrated on
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid", ensemble=False, cv=2)
    assert score_function(calibrated.fit(X, X[:, 0] > 0))[1] == "probability"
    assert score_function(calibrated.fit(X, X[:, 0] < 0))[1] == "decision value before calibration"


def test_features_within_a_step_of_their_own_are_found() -> None:
    X, _ = pictures()
    flat = fitted(featx.make_head("logistic"))
    nested = Pipeline(
        [("columns", Pipeline([("features", flat[0]), ("scale", flat[1][0])])), ("last", flat[1][1])]
    )
    one, two = featx.evidence(flat, X[:1])[0], featx.evidence(nested, X[:1])[0]
    np.testing.assert_allclose(one.values, two.values)
    assert two.method == "exact"


def test_several_columns_are_refused_with_what_to_pass_instead() -> None:
    X, y = pictures()
    frame = pd.DataFrame({"slice": X, "age": np.arange(12.0)})
    columns = ColumnTransformer(
        [
            ("age", StandardScaler(), ["age"]),
            ("picture", featx.ImageFeatures(cache=None, device="cpu"), ["slice"]),
        ]
    )
    model = Pipeline([("columns", columns), ("head", featx.make_head("logistic"))]).fit(frame, y)
    with pytest.raises(ParameterError, match=r"ImageFeatures\(...\)\), .*\.fit\(X\['slice'\], y\)"):
        featx.evidence(model, frame)


def test_a_calibration_around_a_pipeline_is_explained_as_one_inside_it_is() -> None:
    X, y = pictures()
    model = CalibratedClassifierCV(fitted(featx.make_head("logistic")), ensemble=False, cv=2).fit(X, y)
    inside = model.calibrated_classifiers_[0].estimator
    found, predicted = featx.evidence(model, X), model.predict(X).tolist()
    assert [each.label for each in found] == predicted
    assert {(each.method, each.score_name) for each in found} == {
        ("exact", "decision value before calibration")
    }
    signs = np.where(np.asarray(predicted) == "lit", 1, -1)
    np.testing.assert_allclose([each.score for each in found], signs * decision(inside, X), atol=CLOSE)
    assert model.calibrated_classifiers_[0].estimator is inside  # looked through, not taken apart


def test_several_classifiers_in_one_are_refused_with_what_to_pass_instead() -> None:
    X, y = pictures()
    model = CalibratedClassifierCV(fitted(featx.make_head("logistic")), ensemble=True, cv=2).fit(X, y)
    with pytest.raises(ParameterError, match="Pass the fitted model inside it"):
        featx.evidence(model, X)


def test_a_head_without_a_score_is_refused() -> None:
    with pytest.raises(ParameterError, match="neither decision_function nor predict_proba"):
        score_function(Pipeline([("last", NoScore())]))


def test_decision_values_of_pairs_of_classes_are_refused() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 4
    head = Head.of(SVC(kernel="linear", decision_function_shape="ovo").fit(X, y))
    with pytest.raises(ParameterError, match="ovr"):
        head.reading(2, head.scores(X).shape[1])


def test_covering_that_would_take_too_long_is_not_done() -> None:
    X, _ = pictures(2)
    model = fitted(featx.make_head("logistic"))
    explainer, head = Explainer(model[0]), Head.of(model[1:])
    assert explainer.covered(head, X[0], "lit", limit_s=0.0) is None
    assert explainer.covered(head, X[0], "lit", limit_s=600.0) is not None


def test_what_cannot_be_explained_is_refused_in_words() -> None:
    X, _ = pictures()
    model = fitted(featx.make_head("logistic"))
    with pytest.raises(ParameterError, match="'dark', 'lit'"):
        featx.evidence(model, X, label="bright")
    with pytest.raises(ParameterError, match="method='best'"):
        featx.evidence(model, X, method="best")
    with pytest.raises(ParameterError, match="expected a fitted Pipeline"):
        featx.evidence(LogisticRegression(), X)
    with pytest.raises(InputError, match="X is empty"):
        featx.evidence(model, [])


# --- texts ---

TEXTS = [
    "red fox",
    "the quick brown fox jumps",
    "a lazy dog sleeps all day",
    "dog",
    "a red dog",
    "quick dog day",
]


TEXT_LABELS = ["fox", "fox", "dog", "dog", "dog", "fox"]


@pytest.mark.parametrize("normalize", [False, True])
def test_tokens_add_up_to_the_decision_value_normalised_or_not(tmp_path: Path, normalize: bool) -> None:
    folder = tiny_text_backbone(tmp_path / "tiny")
    features = featx.TextFeatures(folder, pooling="mean", normalize=normalize, cache=None, device="cpu")
    model = Pipeline([("features", features), ("head", featx.make_head("logistic"))]).fit(TEXTS, TEXT_LABELS)
    found = featx.evidence(model, TEXTS, label="fox")
    for text, each, value in zip(TEXTS, found, decision(model, TEXTS), strict=True):
        assert each.method == "exact"
        assert each.values.mean() == pytest.approx(value, abs=CLOSE)
        assert len(each.pieces) == len(each.values)
        assert "".join(each.pieces).strip() == text


def test_words_are_left_out_where_tokens_do_not_add_up(tmp_path: Path) -> None:
    folder = tiny_text_backbone(tmp_path / "tiny")
    features = featx.TextFeatures(folder, pooling="cls", cache=None, device="cpu")
    model = Pipeline([("features", features), ("head", featx.make_head("logistic"))]).fit(TEXTS, TEXT_LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatxWarning)
        found = featx.evidence(model, ["a  red fox", ""])
    assert found[0].pieces == ("a", "  red", " fox")
    assert found[0].values.shape == (3,)
    assert found[1].values.shape == (1,)


def test_pictures_may_be_files(tmp_path: Path) -> None:
    X, _ = pictures(2)
    Image.fromarray(X[0]).save(tmp_path / "lit.png")
    model = fitted(featx.make_head("logistic"))
    one, two = featx.evidence(model, [str(tmp_path / "lit.png")])[0], featx.evidence(model, X[:1])[0]
    np.testing.assert_array_equal(one.values, two.values)
