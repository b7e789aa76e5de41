"""What an evaluation is asked is checked before anything is fitted, and a grid of any form becomes settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from featx.errors import DatasetError, InputError, ParameterError
from featx.evaluation.evaluate import compare, evaluate

FEW: dict[str, Any] = {"n_bootstrap": 100, "n_jobs": 1}


def clouds(n: int = 60) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    X = np.random.default_rng(0).normal(size=(n, 4))
    return X, np.where(X[:, 0] + 0.3 * X[:, 1] > 0, "b", "a")


class NeverFitted(LogisticRegression):
    """Nothing that is refused may come as far as this."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        raise AssertionError("fitted")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"n_bootstrap": 99}, "n_bootstrap=99: expected a whole number of at least 100"),
        ({"n_bootstrap": None}, "n_bootstrap=None"),
        ({"n_bootstrap": 100.0}, "n_bootstrap=100.0"),
        ({"random_state": -1}, "random_state=-1: expected a whole number"),
        ({"random_state": None}, "random_state=None"),
        ({"random_state": 2**40}, "random_state=1099511627776"),
        ({"random_state": "a"}, "random_state='a'"),
        ({"n_jobs": 0}, "n_jobs=0: expected a number of threads"),
        ({"n_jobs": "x"}, "n_jobs='x'"),
        ({"cv": "prefitt"}, "cv='prefitt'"),
        ({"learning_curve": 0.5}, "learning_curve=0.5: expected shares"),
        ({"learning_curve": None}, "learning_curve=None: expected shares"),
        ({"learning_curve": ("0.5",)}, "learning_curve=.'0.5',.: expected shares"),
        ({"at_sensitivity": "x"}, "at_sensitivity='x': expected a share"),
        ({"at_specificity": True}, "at_specificity=True"),
        ({"aggregate": "median"}, "no groups to make one prediction of"),
        ({"aggregate": "modus"}, "aggregate='modus'"),
        ({"param_grid": {"c": [1]}}, "no parameter 'c'.* Did you mean 'C'"),
        ({"scoring": "rocauc"}, "scoring='rocauc'"),
    ],
)
def test_odd_settings_are_refused_before_anything_is_fitted(given: dict[str, Any], match: str) -> None:
    X, y = clouds()
    with pytest.raises(ParameterError, match=match):
        evaluate(NeverFitted(), X, y, **{**FEW, **given})


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (NeverFitted, "NeverFitted is a class"),
        (KMeans(), "KMeans groups samples"),
    ],
)
def test_what_is_no_estimator_is_refused(estimator: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        evaluate(estimator, *clouds(), **FEW)


def test_a_scoring_without_a_search_is_refused() -> None:
    with pytest.raises(ParameterError, match="is what param_grid is searched by, and there is none"):
        evaluate(NeverFitted(), *clouds(), scoring="accuracy", **FEW)
    with pytest.raises(ParameterError, match="is what param_grid is searched by, and there is none"):
        compare([NeverFitted()], *clouds(), scoring="accuracy", **FEW)


def test_what_is_for_classifiers_is_refused_of_regressors_before_anything_is_fitted() -> None:
    X, _ = clouds()
    for given in ({"calibrate": "sigmoid"}, {"positive": 1}):
        with pytest.raises(ParameterError, match="are for classifiers"):
            evaluate(Ridge(), X, X[:, 0], **given, **FEW)
    with pytest.raises(ParameterError, match="no labels to count"):
        evaluate(Ridge(), X, X[:, 0], groups=np.arange(60) // 2, aggregate="vote", **FEW)


def test_a_grid_may_be_a_list_of_grids(tmp_path: Path) -> None:
    X, y = clouds()
    grid = [{"C": [1e-3, 1.0]}, {"solver": ["liblinear"], "C": [1.0]}]
    found = evaluate(LogisticRegression(), X, y, param_grid=grid, scoring="accuracy", **FEW)
    assert found.fits[0].params["C"] == 1.0
    assert found.settings["param_grid"] == [
        {"C": ["0.001", "1.0"]},
        {"solver": ["'liblinear'"], "C": ["1.0"]},
    ]
    found.to_json(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["settings"]["param_grid"][1][
        "C"
    ] == ["1.0"]


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_search_that_cannot_tell_a_best_one_is_refused_with_the_fold() -> None:
    X, y = clouds()
    with pytest.raises(ParameterError, match=r"scoring=.*: fold 1: gives NaN for {'C': 0.1}"):
        evaluate(
            LogisticRegression(),
            X,
            y,
            param_grid={"C": [1.0, 0.1]},
            scoring=lambda model, X, y: float("nan") if model.C == 0.1 else 1.0,
            **FEW,
        )
    with pytest.raises(
        ParameterError, match=r"param_grid: fold 1: a candidate of the search cannot be fitted"
    ):
        evaluate(LogisticRegression(), X, y, param_grid={"C": [-1.0]}, **FEW)


def test_the_positive_class_of_a_finished_model_is_the_second_in_sorted_order_too() -> None:
    X, y = clouds()
    model = LogisticRegression().fit(X, y)
    plain = evaluate(model, X, y, cv="prefit", **FEW)
    model.classes_, model.coef_, model.intercept_ = model.classes_[::-1], -model.coef_, -model.intercept_
    turned = evaluate(model, X, y, cv="prefit", **FEW)
    assert turned.positive == plain.positive == "b"
    for name, estimate in plain.main.figures.items():
        assert turned[name].value == pytest.approx(estimate.value), name


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([b"a", b"b"] * 30, "of type bytes"),
        ([1j, 2j] * 30, "of type complex"),
        ((label for label in "ab" * 30), "expected a list or an array, .* found generator"),
        (
            np.ma.MaskedArray(["a", "b"] * 30, [True] + [False] * 59),
            "1 of 60 are missing, the first at index 0",
        ),
        ([["a"], ["b"]] * 30, "expected shape"),
    ],
)
def test_labels_that_are_none_are_refused(y: Any, match: str) -> None:
    with pytest.raises(DatasetError, match=match):
        evaluate(NeverFitted(), clouds()[0], y, **FEW)


def test_masked_groups_and_missing_parts_are_missing() -> None:
    X, y = clouds()
    with pytest.raises(DatasetError, match="groups: 1 of 60 are missing"):
        evaluate(NeverFitted(), X, y, groups=np.ma.MaskedArray(np.arange(60), [True] + [False] * 59), **FEW)
    split = np.asarray(["train"] * 40 + ["test "] * 10 + [float("nan")] * 10, dtype=object)
    found = evaluate(LogisticRegression(), X, y, split=split, **FEW)
    assert [judgement.part for judgement in found.judgements] == ["test"]
    assert {(part.part, part.n_samples) for part in found.parts} == {
        ("train", 40),
        ("not used", 10),
        ("test", 10),
    }


def test_masked_values_are_refused() -> None:
    X, y = clouds()
    with pytest.raises(InputError, match="X: 1 of 240 values are masked"):
        evaluate(NeverFitted(), np.ma.MaskedArray(X, X.max() == X), y, **FEW)


class AllOrNothing(ClassifierMixin, BaseEstimator):
    """A classifier whose scores are infinite."""

    def fit(self, X: Any, y: Any) -> AllOrNothing:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        return np.where(X[:, 0] > 0, np.inf, -np.inf)

    def predict(self, X: Any) -> NDArray[Any]:
        return self.classes_[(X[:, 0] > 0).astype(int)]


def test_infinite_scores_have_thresholds_that_json_can_say(tmp_path: Path) -> None:
    X, y = clouds()
    found = evaluate(AllOrNothing(), X, y, **FEW)
    assert found["roc_auc"].value > 0.8
    found.to_json(tmp_path / "found.json")
    folds = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["folds"]
    assert None in {at for fold in folds for at in fold["thresholds"].values()}


def test_targets_whose_squares_overflow_are_refused() -> None:
    X, _ = clouds()
    with pytest.raises(DatasetError, match="whose squares overflow"):
        evaluate(Ridge(), X, X[:, 0] * 1e300, **FEW)


def test_sparse_matrices_of_every_format_and_tables_of_strings_are_taken() -> None:
    X, y = clouds()
    plain = evaluate(LogisticRegression(), X, y, **FEW)
    for sparse in (coo_matrix(X), coo_matrix(X).tocsr()):
        assert evaluate(LogisticRegression(), sparse, y, **FEW)["accuracy"].value == plain["accuracy"].value
    words = np.where(X > 0, "high", "low")
    found = evaluate(make_pipeline(OneHotEncoder(), LogisticRegression()), words, words[:, 0], **FEW)
    assert found["accuracy"].value > 0.9
    assert found.n_units < 60  # rows of the same words are copies
