"""Boosted trees as a scikit-learn classifier: plain state, one model wherever it is read, no surprise threads."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.metrics import recall_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.boosted import BoostedTreesClassifier
from featx.errors import DatasetError, ParameterError


@parametrize_with_checks(
    [BoostedTreesClassifier(n_estimators=20, random_state=0)],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": "every tree draws half of the rows, repeated ones included"
    },
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    X, y = load_digits(n_class=4, return_X_y=True)
    return X, np.array(["zero", "one", "two", "three"])[y]


@pytest.fixture(scope="module")
def fitted(digits: tuple[NDArray[np.float64], NDArray[np.str_]]) -> BoostedTreesClassifier:
    return BoostedTreesClassifier(n_estimators=20, random_state=0).fit(*digits)


def test_columns_follow_the_sorted_labels(
    fitted: BoostedTreesClassifier, digits: tuple[NDArray[np.float64], NDArray[np.str_]]
) -> None:
    X, y = digits
    assert fitted.classes_.tolist() == ["one", "three", "two", "zero"]
    proba = fitted.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[proba.argmax(axis=1)])
    assert (fitted.predict(X) == y).mean() > 0.98


def test_state_is_plain_data(fitted: BoostedTreesClassifier) -> None:
    state = fitted.__getstate__()
    assert {type(value).__module__ for value in state.values()} <= {"builtins", "numpy"}
    assert isinstance(state["booster_ubj_"], bytes)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))])
def test_a_copy_predicts_the_same_bits(
    copied: Any, fitted: BoostedTreesClassifier, digits: tuple[NDArray[np.float64], NDArray[np.str_]]
) -> None:
    np.testing.assert_array_equal(copied(fitted).predict_proba(digits[0]), fitted.predict_proba(digits[0]))


def test_the_bytes_are_a_model_for_xgboost_alone(
    fitted: BoostedTreesClassifier, digits: tuple[NDArray[np.float64], NDArray[np.str_]]
) -> None:
    booster = xgboost.Booster()
    booster.load_model(bytearray(fitted.booster_ubj_))
    alone = booster.inplace_predict(digits[0].astype(np.float32))
    np.testing.assert_allclose(alone, fitted.predict_proba(digits[0]), atol=1e-6)  # float32 probabilities


def test_unpickling_and_importing_heads_do_not_need_xgboost(fitted: BoostedTreesClassifier) -> None:
    script = (
        "import pickle, sys; sys.modules['xgboost'] = None; import featx.heads;"
        "head = pickle.loads(sys.stdin.buffer.read()); print(head.classes_.tolist(), head.get_params()['max_bin'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(fitted), capture_output=True, check=True
    )
    assert done.stdout.decode().split() == ["['one',", "'three',", "'two',", "'zero']", "32"]


def test_the_seed_decides_the_trees(digits: tuple[NDArray[np.float64], NDArray[np.str_]]) -> None:
    models = [
        BoostedTreesClassifier(n_estimators=5, random_state=seed).fit(*digits).booster_ubj_
        for seed in (0, 0, 1)
    ]
    assert models[0] == models[1] != models[2]


def test_balanced_weights_find_the_rare_class() -> None:
    X, y = make_classification(
        2000, 10, n_informative=5, weights=[0.95], class_sep=0.7, flip_y=0.02, random_state=0
    )
    recalls = [
        recall_score(
            y[1000:],
            BoostedTreesClassifier(class_weight=w, random_state=0).fit(X[:1000], y[:1000]).predict(X[1000:]),
        )
        for w in (None, "balanced")
    ]
    assert recalls[1] > recalls[0] + 0.15


@pytest.mark.parametrize(("n_jobs", "threads"), [(None, "1"), (2, "2")])
def test_threads_are_one_unless_asked_for(
    n_jobs: int | None, threads: str, digits: tuple[NDArray[np.float64], NDArray[np.str_]]
) -> None:
    head = BoostedTreesClassifier(n_estimators=2, n_jobs=n_jobs, random_state=0).fit(*digits)
    head.predict_proba(digits[0][:2])
    assert json.loads(head._booster.save_config())["learner"]["generic_param"]["nthread"] == threads


@pytest.mark.parametrize(("n_features", "share"), [(10, 1.0), (64, 1.0), (128, 0.5), (640, 0.1), (1280, 0.1)])
def test_a_tree_sees_a_tenth_of_the_columns_but_64_at_least(n_features: int, share: float) -> None:
    assert BoostedTreesClassifier()._column_share(n_features) == share


def test_names_of_columns_are_kept_and_held_to() -> None:
    X = pd.DataFrame({"a": [0.0, 1.0, 0.1, 0.9] * 5, "b": [1.0, 0.0] * 10})
    head = BoostedTreesClassifier(n_estimators=2, random_state=0).fit(X, ["x", "y"] * 10)
    assert head.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        head.predict(X[["b", "a"]])


def test_one_class_is_refused_by_name() -> None:
    with pytest.raises(DatasetError, match=r"only 1 class in y, \['ant'\]"):
        BoostedTreesClassifier().fit([[0.0], [1.0]], ["ant", "ant"])


@pytest.mark.parametrize("share", ["tenth", 0, 1.5])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(ParameterError, match="colsample"):
        BoostedTreesClassifier(colsample=share).fit([[0.0], [1.0]], ["ant", "bee"])


def test_rows_of_nan_are_refused(fitted: BoostedTreesClassifier) -> None:
    with pytest.raises(ValueError, match="NaN"):
        fitted.predict(np.full((1, 64), np.nan))


def test_a_clone_is_unfitted_with_equal_parameters() -> None:
    head = BoostedTreesClassifier(max_depth=5, class_weight={"a": 2.0}, random_state=3)
    assert clone(head).get_params() == head.get_params()
    assert not hasattr(clone(head), "classes_")


def test_auto_grows_deeper_trees_of_more_samples() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5_001, 3)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)

    def same(n: int, **given: float) -> bool:
        auto = BoostedTreesClassifier(n_estimators=3, random_state=0).fit(X[:n], y[:n])
        named = BoostedTreesClassifier(n_estimators=3, random_state=0, **given).fit(X[:n], y[:n])
        return bool((auto.predict_proba(X) == named.predict_proba(X)).all())

    assert same(5_000, max_depth=3, learning_rate=0.05)
    assert same(5_001, max_depth=5, learning_rate=0.1)
    assert not same(5_001, max_depth=3, learning_rate=0.05)
    with pytest.raises(ParameterError, match="max_depth='deep'"):
        BoostedTreesClassifier(max_depth="deep").fit(X, y)


def test_a_row_three_times_with_a_third_of_the_weight_counts_once() -> None:
    X, y = load_digits(n_class=2, return_X_y=True)
    settings = {"n_estimators": 10, "subsample": 1.0, "colsample": 1.0, "random_state": 0}
    once = BoostedTreesClassifier(**settings).fit(X, y)
    thrice = BoostedTreesClassifier(**settings).fit(
        X.repeat(3, axis=0), y.repeat(3), sample_weight=np.full(3 * len(y), 1 / 3)
    )
    # Gradients are float32 sums; a third is none of its numbers.
    np.testing.assert_allclose(once.predict_proba(X), thrice.predict_proba(X), atol=1e-4)
