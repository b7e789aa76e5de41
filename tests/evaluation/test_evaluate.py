"""``evaluate`` cannot be fooled: nothing of a test part is learned from, copies and groups stay together, thresholds are set
before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featx
from featx.errors import DatasetError, FeatxWarning, ParameterError
from featx.evaluation.evaluate import compare, evaluate
from featx.evaluation.thresholds import Threshold

FEW = {"n_bootstrap": 100}


def clouds(n: int = 200, *, seed: int = 0, k: int = 2) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    X = rng.normal(size=(n, 5))
    X[np.arange(n), codes] += 1.5
    return X, np.asarray([f"class {c}" for c in codes])


def patients(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.str_], NDArray[np.intp]]:
    """60 patients of 5 all but equal samples, whose label no one can know: whoever has seen a patient knows it."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), 5)
    X = rng.normal(size=(60, 8))[groups] + 0.01 * rng.normal(size=(300, 8))
    return X, np.where(rng.random(60) < 0.5, "ill", "well")[groups], groups


class Diary(ClassifierMixin, BaseEstimator):
    """A classifier that writes down what it was fitted on and what it was asked."""

    fitted: ClassVar[list[set[float]]] = []
    asked: ClassVar[list[set[float]]] = []

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth

    def fit(self, X: Any, y: Any) -> Diary:
        self.classes_ = np.unique(y)
        self.seen_ = set(X[:, 0].tolist())
        Diary.fitted.append(self.seen_)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        assert not self.seen_ & set(X[:, 0].tolist())
        Diary.asked.append(set(X[:, 0].tolist()))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X: Any) -> NDArray[Any]:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_nothing_is_predicted_by_a_model_that_has_seen_it() -> None:
    """Searched, calibrated and with thresholds: ten fits a fold and more, each asked about others only (Diary asserts it)."""
    X, y = clouds(90)
    Diary.fitted, Diary.asked = [], []
    evaluate(
        Diary(), X, y, param_grid={"depth": [1, 2]}, scoring="accuracy", calibrate="sigmoid", cv=3, **FEW
    )
    assert len(Diary.fitted) > 3 * 9
    # What was chosen for a fold was chosen on its training part: no fit and no question crosses into the fold's test part.
    folds = featx.evaluation.folds.make_folds(y, n_splits=3)
    parts = [set(X[test, 0].tolist()) for _, test in folds]
    for fitted in Diary.fitted:
        assert any(not fitted & part for part in parts)


def test_groups_stay_together_and_without_them_the_figure_is_a_lie() -> None:
    X, y, groups = patients()
    nearest = KNeighborsClassifier(1)
    fooled = evaluate(nearest, X, y, **FEW)
    honest = evaluate(nearest, X, y, groups=groups, **FEW)
    assert fooled["balanced_accuracy"].value > 0.99
    assert honest["balanced_accuracy"].value < 0.7
    assert (honest.n_groups, honest.n_units) == (60, 60)


def test_intervals_are_wider_where_samples_come_in_groups() -> None:
    X, y, groups = patients()
    model = KNeighborsClassifier(5)

    def width(found: featx.Evaluation) -> float:
        estimate = found["accuracy"]
        assert estimate.low is not None
        assert estimate.high is not None
        return estimate.high - estimate.low

    assert width(evaluate(model, X, y, groups=groups, **FEW)) > 1.5 * width(
        evaluate(LogisticRegression(), *clouds(300), **FEW)
    )


def test_copies_stay_in_one_fold_and_join_their_groups() -> None:
    rng = np.random.default_rng(3)
    X = np.repeat(rng.normal(size=(40, 4)), 2, axis=0)
    y = np.repeat(np.where(rng.random(40) < 0.5, "a", "b"), 2)
    nearest = KNeighborsClassifier(1)
    assert evaluate(nearest, X, y, **FEW)["accuracy"].value < 0.75
    assert evaluate(nearest, X, y, on_leak="warn", **FEW)["accuracy"].value > 0.85
    groups = np.arange(80) % 40  # a copy of each sample is in another group
    joined = evaluate(nearest, X, y, groups=groups, **FEW)
    assert joined.n_units < 40
    assert joined["accuracy"].value < 0.75
    with pytest.warns(FeatxWarning, match="several groups"):
        fooled = evaluate(nearest, X, y, groups=groups, on_leak="warn", **FEW)
    assert fooled["accuracy"].value > joined["accuracy"].value + 0.1
    with pytest.raises(DatasetError, match="on_leak"):
        evaluate(nearest, X, y, groups=groups, on_leak="raise", **FEW)


def test_a_leaking_split_is_judged_twice_the_honest_figure_first() -> None:
    X, y, groups = patients()
    split = np.where(np.arange(300) % 5 == 0, "test", "train")  # a sample of each patient is tested
    split[groups >= 40] = "test"
    with pytest.warns(FeatxWarning, match="groups are in both"):
        found = evaluate(KNeighborsClassifier(1), X, y, groups=groups, split=split, **FEW)
    assert [judgement.part for judgement in found.judgements] == [
        "test, only what training has not seen",
        "test, as given",
    ]
    assert len(found.main.outcomes) == 100
    assert found["accuracy"].value + 0.1 < found.judgements[1].figures["accuracy"].value


def test_a_clean_split_is_judged_once_a_part_test_first() -> None:
    X, y = clouds(300)
    split = np.repeat(["train", "val", "test", ""], 75)
    found = evaluate(LogisticRegression(), X, y, split=split, **FEW)
    assert [judgement.part for judgement in found.judgements] == ["test", "val"]
    assert found.main.outcomes.samples.tolist() == list(range(150, 225))


def test_a_threshold_holds_in_training_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(5, 60))
        scores, positive = rng.normal(size=n).round(1), rng.random(n) < 0.5
        if positive.all() or not positive.any():
            continue
        for share in (0.5, 0.8, 0.9, 1.0):
            at = Threshold(of="specificity", at_least=share).choose(scores, positive)
            assert (scores[~positive] < at).mean() >= share - 1e-9
            at = Threshold(of="sensitivity", at_least=share).choose(scores, positive)
            assert (scores[positive] >= at).mean() >= share - 1e-9


def test_thresholds_reach_about_what_they_were_set_for_on_samples_unseen() -> None:
    X, y = clouds(1500)
    found = evaluate(
        LogisticRegression(), X, y, positive="class 0", at_specificity=0.8, at_sensitivity=None, **FEW
    )
    assert found["specificity@specificity 0.8"].value == pytest.approx(0.8, abs=0.03)
    assert "sensitivity@sensitivity 0.9" not in found.main.figures
    assert found.positive == "class 0"
    assert len({fit.thresholds["specificity 0.8"] for fit in found.fits}) == 5  # each fold's own


def test_groups_are_judged_as_groups() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(80), 4)
    y = np.where(np.arange(80) % 2 == 0, "a", "b")[groups]
    X = rng.normal(size=(320, 1)) + (y == "b")[:, None]
    found = evaluate(LogisticRegression(), X, y, groups=groups, aggregate="mean", **FEW)
    of_groups, of_samples = found.judgements
    assert (of_groups.level, len(of_groups.outcomes)) == ("group", 80)
    assert (of_samples.level, len(of_samples.outcomes)) == ("sample", 320)
    assert of_groups.figures["roc_auc"].value > of_samples.figures["roc_auc"].value + 0.05
    assert "specificity 0.9 (groups)" in found.fits[0].thresholds


def test_a_search_is_nested_and_told_fold_by_fold() -> None:
    X, y = clouds(150)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    found = evaluate(model, X, y, param_grid={"logisticregression__C": [1e-4, 1.0]}, **FEW)
    assert [fit.params for fit in found.fits] == [{"logisticregression__C": 1.0}] * 5
    searching = GridSearchCV(model, {"logisticregression__C": [1e-4, 1.0]}, cv=3)
    assert evaluate(searching, X, y, **FEW)["accuracy"].value == pytest.approx(
        found["accuracy"].value, abs=0.02
    )


def test_calibration_inside_the_folds_mends_probabilities_far_too_sure() -> None:
    X, y = clouds(400)
    sure = LogisticRegression(C=1e6)
    X = np.column_stack([X, np.random.default_rng(5).normal(size=(400, 150))])
    plain, calibrated = (evaluate(sure, X, y, calibrate=how, **FEW) for how in (None, "sigmoid"))
    assert calibrated["log_loss"].value < plain["log_loss"].value - 0.1
    assert plain.main.calibration_by_chance is not None
    assert plain["calibration_error"].value > 3 * plain.main.calibration_by_chance
    assert plain["calibration_error"].low is None


def test_classifiers_without_probabilities_are_ranked_by_their_scores() -> None:
    X, y = clouds(200, k=3)
    found = evaluate(RidgeClassifier(), X, y, **FEW)
    assert "log_loss" not in found.main.figures
    assert found["roc_auc"].value > 0.8


def test_a_regression_has_its_own_figures() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 3))
    y = X[:, 0] * 2 + rng.normal(size=200)
    groups = np.arange(200) // 4
    found = evaluate(Ridge(), X, y, groups=groups, param_grid={"alpha": [0.1, 1.0]}, aggregate="mean", **FEW)
    assert list(found.main.figures) == ["r2", "mae", "rmse"]
    assert (found.main.level, len(found.main.outcomes), found.classes) == ("group", 50, None)
    assert found.judgements[1].figures["r2"].value == pytest.approx(0.8, abs=0.08)
    with pytest.raises(DatasetError, match="a regressor needs numbers"):
        evaluate(Ridge(), X, ["a"] * 200)


def test_a_learning_curve_grows_by_units_and_ends_with_everything() -> None:
    X, y = clouds(300)
    found = evaluate(LogisticRegression(), X, y, learning_curve=(0.5, 0.1), **FEW)
    assert [point.n_train for point in found.curve] == [24, 120, 240]
    assert found.curve[-1].estimate is found[found.main.headline]


def test_the_same_data_and_seed_give_the_same_figures() -> None:
    X, y, groups = patients()
    one, two = (evaluate("svm", X, y, groups=groups, n_jobs=n, **FEW) for n in (1, 2))
    one_plain, two_plain = one.to_dict(), two.to_dict()
    for each in (one_plain, two_plain):
        for fold in each["folds"]:
            fold.pop("fit_time_s")
    assert one_plain == two_plain
    other = evaluate("svm", X + 1e-9, y, groups=groups, **FEW)
    assert other.data_digest != one.data_digest


def test_a_result_is_json_and_a_table_and_names_no_group(tmp_path: Path) -> None:
    X, y, _ = patients()
    secret = np.repeat([f"Doe, Jane {i}" for i in range(60)], 5)
    found = evaluate("logistic", X, y, groups=secret, aggregate="mean", **FEW)
    found.to_json(tmp_path / "found.json")
    text = (tmp_path / "found.json").read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(found.to_dict()))
    assert "Doe" not in text + found.format_table()
    assert "balanced accuracy" in found.format_table()


def test_compared_on_the_same_folds_and_draws() -> None:
    X, y = clouds(200)
    found = compare({"good": LogisticRegression(), "bad": KNeighborsClassifier(1)}, X, y, **FEW)
    gap = found.difference("good", "bad", "roc_auc")
    assert gap.low is not None
    assert gap.low > 0
    assert found.best.name == "good"
    assert "good" in found.format_table()
    assert set(found.to_dict()["differences"]) == {"bad"}
    with pytest.raises(ParameterError, match="two are named"):
        compare([LogisticRegression(), LogisticRegression(C=2)], X, y, **FEW)


def test_roc_auc_is_that_of_the_folds(tmp_path: Path) -> None:
    """The share of right pairs within folds, which for equal folds is the mean of the folds' own."""
    X, y = clouds(200)
    found = evaluate(LogisticRegression(), X, y, cv=2, **FEW)
    rows = found.main.outcomes
    assert rows.scores is not None
    parts = [(rows.truth[rows.folds == f], rows.scores[rows.folds == f, 1]) for f in np.unique(rows.folds)]
    pairs = np.asarray([t.sum() * (1 - t).sum() for t, _ in parts], dtype=float)
    areas = np.asarray([roc_auc_score(t, s) for t, s in parts])
    assert found["roc_auc"].value == pytest.approx((areas * pairs).sum() / pairs.sum())


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"on_leak": "grop"}, "Did you mean 'group'"),
        ({"calibrate": "platt"}, "calibrate"),
        ({"aggregate": "mean"}, "no groups"),
        ({"positive": "class 9"}, "expected one of two classes"),
        ({"at_specificity": 90}, "at_specificity=90"),
        ({"learning_curve": (5,)}, "between 0 and 1"),
        ({"n_bootstrap": 10}, "at least 100"),
        ({"cv": 1}, "cv=1"),
    ],
)
def test_odd_settings_are_refused_in_words(given: dict[str, Any], match: str) -> None:
    X, y = clouds(40)
    with pytest.raises(ParameterError, match=match):
        evaluate(LogisticRegression(), X, y, **given)


def test_data_that_allow_no_evaluation_are_refused() -> None:
    X, y = clouds(40)
    with pytest.raises(ParameterError, match="y: none given"):
        evaluate(LogisticRegression(), X)
    with pytest.raises(DatasetError, match="39 labels for 40 samples"):
        evaluate(LogisticRegression(), X, y[:39])
    with pytest.raises(DatasetError, match="split: 0 samples in 'train'"):
        evaluate(LogisticRegression(), X, y, split=["test"] * 40)
    with pytest.raises(ParameterError, match="expected a classifier"):
        evaluate(StandardScaler(), X, y)


def test_a_judged_model_is_not_fitted_again_in_any_way() -> None:
    X, y = clouds(60)
    model = LogisticRegression().fit(X, y)
    for given in ({"calibrate": "sigmoid"}, {"learning_curve": (0.5,)}, {"param_grid": {"C": [1.0]}}):
        with pytest.raises(ParameterError, match="fits nothing"):
            evaluate(model, X, y, cv="prefit", **given)


def test_a_learning_curve_that_begins_without_a_class_says_so() -> None:
    X, y = clouds(200)
    y[:] = "often"
    y[:10] = "rare"
    with pytest.raises(DatasetError, match="holds no 'rare'"):
        evaluate(LogisticRegression(), X, y, learning_curve=(0.02,), **FEW)
