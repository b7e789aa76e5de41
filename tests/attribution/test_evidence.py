"""Evidence: maps whose mean is the decision value, and an honest word where there is no such map."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import featx
from featx.attribution.linear import linear_map, score_function
from featx.attribution.maps import Evidence, mean_preserving
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


# --- drawing ---


def test_a_drawing_is_red_where_values_are_positive_and_blue_where_negative() -> None:
    values = np.asarray([[1.0, 0.0], [0.0, -1.0]])
    grey = np.full((10, 20, 3), 128, dtype=np.uint8)
    found = Evidence(
        method="exact", label="a", score=0.0, score_name="decision value", values=values, pixels=grey
    )
    drawn = found.draw(size_px=100)
    assert drawn.size == (100, 50)
    pixels = np.asarray(drawn, dtype=int)
    assert pixels[5, 5, 0] > pixels[5, 5, 2] + 50
    assert pixels[45, 95, 2] > pixels[45, 95, 0] + 50


def test_html_of_a_text_is_escaped() -> None:
    found = Evidence(
        method="exact",
        label="a",
        score=0.0,
        score_name="decision value",
        values=np.asarray([1.0, 2.0]),
        pieces=("<script>", ""),
    )
    assert "&lt;script&gt;" in found.to_html()
    assert "<script>" not in found.to_html()
    with pytest.raises(ValueError, match="to_html"):
        found.draw()


def test_maps_of_other_resolution_keep_their_mean() -> None:
    rng = np.random.default_rng(0)
    for shape in ((14, 14), (8, 9), (7, 7)):
        values = rng.normal(size=(7, 6))
        finer = mean_preserving(values, shape)
        assert finer.shape == shape
        assert finer.mean() == pytest.approx(values.mean())


def test_a_map_is_called_linear_only_where_it_is() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    y = (X[:, 0] > 0).astype(int)
    scores, name = score_function(featx.make_head("logistic").fit(X, y))
    assert name == "decision value"
    assert linear_map(scores, X) is not None
    curved, _ = score_function(featx.make_head("svm", kernel="rbf").fit(X, y))
    assert linear_map(curved, X) is None
    assert linear_map(lambda x: np.abs(x[:, :1]), X) is None


def test_pictures_may_be_files(tmp_path: Path) -> None:
    X, _ = pictures(2)
    Image.fromarray(X[0]).save(tmp_path / "lit.png")
    model = fitted(featx.make_head("logistic"))
    one, two = featx.evidence(model, [str(tmp_path / "lit.png")])[0], featx.evidence(model, X[:1])[0]
    np.testing.assert_array_equal(one.values, two.values)
