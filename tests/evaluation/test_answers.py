"""What an estimator answers is checked: figures of anything else would be numbers like any other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featx.errors import ParameterError
from featx.evaluation.answers import columns_of, labels_of, proba_of, scores_of, values_of

CLASSES = np.asarray(["a", "b", "c"])


def says(**answers: Any) -> Any:
    """An estimator that answers with what is given."""
    given = {name: (lambda X, value=value: value) for name, value in answers.items() if name != "classes_"}
    return SimpleNamespace(**given, **{k: v for k, v in answers.items() if k == "classes_"})


@pytest.mark.parametrize(
    ("proba", "message"),
    [
        (
            [[0.9, 0.9], [0.1, 0.9]],
            r"fold 2: SimpleNamespace.predict_proba: expected rows that sum to 1; row 0 sums to 1.8",
        ),
        (np.log([[0.5, 0.5], [0.1, 0.9]]), "found -2.303 to -0.1054. Log-probabilities"),
        ([[0.5, 0.5], [np.nan, 1]], "NaN or infinity for 1 of 2 samples, the first in row 1"),
        ([[0.5, 0.5]], r"expected shape \(2, 2\), .* found \(1, 2\)"),
        ([0.5, 0.5], r"expected shape \(2, 2\), .* found \(2,\)"),
        ([[-1, 2], [0, 1]], "expected probabilities, 0 to 1; found -1 to 2"),
        (None, r"expected shape \(2, 2\), .* found \(\)"),
        ([["x", "y"]], "expected an array of numbers; found list"),
    ],
)
def test_what_are_no_probabilities_is_refused_with_estimator_and_fold(proba: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        proba_of(says(predict_proba=proba), None, 2, 2, "fold 2")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_of_any_float_sum_closely_enough(dtype: Any) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 1000)) * 4
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert proba_of(says(predict_proba=proba.astype(dtype)), None, 50, 1000, "").shape == (50, 1000)


def test_scores_of_two_classes_are_each_others_negative_and_infinity_is_a_score() -> None:
    for given in ([1.0, -np.inf], [[1.0], [-np.inf]]):
        found = scores_of(says(decision_function=given), None, 2, 2, "")
        assert found is not None
        np.testing.assert_array_equal(found, [[-1, 1], [np.inf, -np.inf]])
    with pytest.raises(ParameterError, match="decision_function: NaN for 1 of 2 samples"):
        scores_of(says(decision_function=[0.0, np.nan]), None, 2, 2, "")
    with pytest.raises(ParameterError, match=r"expected shape \(2, 3\); found \(2, 7\)"):
        scores_of(says(decision_function=np.zeros((2, 7))), None, 2, 3, "")


def test_scores_of_pairs_of_classes_are_no_scores_of_classes_also_where_there_are_as_many() -> None:
    """Three classes make three pairs: the columns of one-against-one are not those of the classes."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 3
    for k, in_pairs, own in ((3, "ovo", False), (3, "ovr", True)):
        machine = make_pipeline(StandardScaler(), SVC(decision_function_shape=in_pairs)).fit(X, y)
        assert (scores_of(machine, X, 60, k, "") is not None) == own
    four = SVC(decision_function_shape="ovo").fit(X, np.arange(60) % 4)
    assert scores_of(four, X, 60, 4, "") is None


def test_labels_are_of_training_and_one_a_sample() -> None:
    assert labels_of(says(predict=["b", "a"]), None, 2, CLASSES, "").tolist() == [1, 0]
    assert labels_of(says(predict=[["b"], ["a"]]), None, 2, CLASSES, "").tolist() == [1, 0]
    with pytest.raises(
        ParameterError,
        match="predict: gives 'z', which is no label in training; expected some of 'a', 'b', 'c'",
    ):
        labels_of(says(predict=["b", "z"]), None, 2, CLASSES, "")
    with pytest.raises(ParameterError, match=r"expected shape \(2,\), a label a sample; found \(3,\)"):
        labels_of(says(predict=["a"] * 3), None, 2, CLASSES, "")


def test_classes_are_named_and_known() -> None:
    assert columns_of(says(classes_=["c", "a"]), CLASSES, "").tolist() == [2, 0]
    with pytest.raises(ParameterError, match="fold 1: SimpleNamespace: has no classes_"):
        columns_of(says(), CLASSES, "fold 1")
    with pytest.raises(ParameterError, match=r"classes_: gives 'd', which is no label"):
        columns_of(says(classes_=["a", "d"]), CLASSES, "")


def test_values_are_finite_and_one_a_sample() -> None:
    assert values_of(says(predict=[[1], [2]]), None, 2, "").tolist() == [1.0, 2.0]
    with pytest.raises(ParameterError, match=r"expected shape \(2,\), a number a sample; found \(2, 2\)"):
        values_of(says(predict=np.zeros((2, 2))), None, 2, "")
    for odd in (np.nan, np.inf):
        with pytest.raises(ParameterError, match="NaN or infinity for 1 of 2 samples, the first in row 1"):
            values_of(says(predict=[0.0, odd]), None, 2, "")


def test_values_whose_squares_overflow_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"as large as 1e\+200, whose squares overflow"):
        values_of(says(predict=[0.0, -1e200]), None, 2, "")


def test_an_estimator_that_is_not_fitted_says_so() -> None:
    with pytest.raises(ParameterError, match=r"Ridge.predict: the estimator is not fitted"):
        values_of(Ridge(), np.zeros((2, 2)), 2, "")
