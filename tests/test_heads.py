"""Heads by name: scikit-learn classifiers that are good untuned and searchable without traps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterGrid, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import ParameterError
from featx.heads import HEAD_NAMES, group_parameters, head_name, make_head, param_grid, search_scoring

_OF_PIPELINES = "scikit-learn's Pipeline fits its steps in place; its own test suite expects this failure too"


def expected_failures(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, Pipeline):
        return {
            "check_dont_overwrite_parameters": _OF_PIPELINES,
            "check_estimators_overwrite_params": _OF_PIPELINES,
        }
    return {}


@parametrize_with_checks(
    [make_head("logistic"), make_head("svm"), make_head("svm", kernel="rbf", C=10.0)],
    expected_failed_checks=expected_failures,
)  # "xgboost" is a bare BoostedTreesClassifier: tests/test_boosted.py
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    X, y = load_digits(n_class=3, return_X_y=True)
    return X.astype(np.float32), np.array(["zero", "one", "two"])[y]


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_every_head_is_good_untuned_on_string_labels(
    name: str, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    X, y = digits
    head = make_head(name).fit(X[::2], y[::2])
    assert is_classifier(head)
    assert head.classes_.tolist() == ["one", "two", "zero"]
    assert (head.predict(X[1::2]) == y[1::2]).mean() > 0.97
    proba = head.predict_proba(X[1::2])
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(head.classes_[proba.argmax(axis=1)], head.predict(X[1::2]))


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_equal_seeds_give_equal_heads(
    name: str, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    X, y = digits
    first, second = (make_head(name, random_state=7).fit(X[:100], y[:100]).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_a_rare_class_is_not_drowned(name: str) -> None:
    rng = np.random.default_rng(0)
    y = np.array(["common"] * 360 + ["rare"] * 40)
    X = rng.normal(size=(400, 20)) + 0.8 * (y == "rare")[:, None]
    head = make_head(name).fit(X[::2], y[::2])
    rare = y[1::2] == "rare"
    assert (head.predict(X[1::2])[rare] == "rare").mean() >= 0.6


def test_trees_are_not_scaled_the_others_are() -> None:
    assert isinstance(make_head("logistic")[0], StandardScaler)
    assert isinstance(make_head("svm")[0], StandardScaler)
    assert not isinstance(make_head("xgboost"), Pipeline)


def test_parameters_reach_the_classifier_and_override_the_defaults() -> None:
    assert make_head("logistic", C=3.0, max_iter=7)[-1].get_params()["C"] == 3.0
    assert make_head("svm", kernel="rbf")[-1].kernel == "rbf"
    assert make_head("xgboost", max_depth=9).max_depth == 9
    assert make_head("logistic")[-1].class_weight == "balanced"


@pytest.mark.parametrize("call", [make_head, param_grid, search_scoring])
def test_an_unknown_name_is_refused_with_the_known_ones(call: Any) -> None:
    with pytest.raises(
        ParameterError, match="unknown head 'forest'; expected one of 'logistic', 'svm', 'xgboost'"
    ):
        call("forest")


@pytest.mark.parametrize(
    ("name", "known"), [("logistic", "max_iter"), ("svm", "gamma"), ("xgboost", "max_depth")]
)
def test_an_unknown_parameter_is_refused_with_the_known_ones(name: str, known: str) -> None:
    with pytest.raises(ParameterError, match=rf"unknown parameter\(s\) depth; expected some of .*{known}"):
        make_head(name, depth=3)


@pytest.mark.parametrize("name", HEAD_NAMES)
@pytest.mark.parametrize("prefix", ["", "head__"])
def test_every_setting_of_a_grid_fits(
    name: str, prefix: str, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    X, y = digits[0][:60], digits[1][:60]
    head = make_head(name)
    estimator = Pipeline([("same", FunctionTransformer()), ("head", head)]) if prefix else head
    settings = ParameterGrid(param_grid(name, prefix=prefix))
    scores = [clone(estimator).set_params(**setting).fit(X, y).score(X, y) for setting in settings]
    assert len(set(map(str, settings))) == len(scores) <= 6
    assert max(scores) > 0.95


def test_the_grid_of_many_samples_has_no_rbf_kernel() -> None:
    assert param_grid("svm", n_samples=5_000)["svm__kernel"] == ["linear", "rbf"]
    assert param_grid("svm", n_samples=5_001)["svm__kernel"] == ["linear"]


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_a_grid_search_in_two_processes_finds_a_good_head(
    name: str, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    X, y = digits[0][:120], digits[1][:120]
    small = {parameter: values[:2] for parameter, values in param_grid(name).items()}
    fixed = {"n_estimators": 20} if name == "xgboost" else {}
    search = GridSearchCV(make_head(name, **fixed), small, scoring=search_scoring(name), cv=2, n_jobs=2)
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(X, y) > -0.7 if name != "svm" else search.score(X, y) > 0.95


def test_the_log_loss_searched_by_counts_classes_equally() -> None:
    """Of 9 samples of one class at probability 0.5 and 1 of another at 0.25, each class is half of the mean."""

    class Fixed:
        classes_ = np.array(["a", "b"])

        def predict_proba(self, X: Any) -> NDArray[np.float64]:
            return np.array([[0.5, 0.5]] * 9 + [[0.75, 0.25]])

    score = search_scoring("logistic")
    assert callable(score)
    assert score(Fixed(), np.zeros((10, 1)), np.array(["a"] * 9 + ["b"])) == pytest.approx(
        (np.log(0.5) + np.log(0.25)) / 2
    )


def test_groups_reach_the_calibration_through_a_pipeline() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    X = rng.normal(size=(40, 60))[groups] + rng.normal(scale=0.05, size=(400, 60))
    y = groups % 2
    outer = Pipeline([("same", FunctionTransformer()), ("head", make_head("svm"))])
    outer.fit(X, y, **group_parameters("svm", groups, prefix="head__"))
    plain = make_head("svm").fit(X, y)
    assert outer["head"]["svm"].scale_ < plain["svm"].scale_ / 3


@pytest.mark.parametrize("name", ["logistic", "xgboost"])
def test_heads_without_inner_folds_take_no_groups(name: str) -> None:
    assert group_parameters(name, [1, 2]) == {}


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_heads_can_be_bagged_and_cross_validated(
    name: str, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    X, y = digits[0][:150], digits[1][:150]
    fixed = {"n_estimators": 20} if name == "xgboost" else {}
    bagged = BaggingClassifier(make_head(name, **fixed), n_estimators=2, random_state=0)
    assert cross_val_score(bagged, X, y, cv=2).min() > 0.8


@pytest.mark.parametrize("C", [0.001, 0.01, 0.1, 1.0, 10.0])
def test_the_logistic_head_converges_over_its_grid_where_columns_outnumber_samples(C: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    X = (rng.normal(size=(150, 600)) + 0.3 * rng.normal(size=(3, 600))[y]).astype(np.float32)
    head = make_head("logistic", C=C).fit(X, y)  # a ConvergenceWarning would be an error here
    fitted = head[-1]
    assert isinstance(fitted, LogisticRegression)
    assert fitted.n_iter_.max() < fitted.max_iter


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_a_head_knows_its_name_and_others_have_none(name: str) -> None:
    assert head_name(make_head(name)) == head_name(make_head(name, random_state=3)) == name
    assert head_name(Pipeline([("scale", StandardScaler()), (name, FunctionTransformer())])) is None
    assert head_name(LogisticRegression()) is None
