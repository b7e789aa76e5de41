"""What cannot be evaluated or searched is refused before anything is embedded or fitted, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featx.errors import ParameterError
from featx.evaluation.estimators import check_estimator, check_grid, check_scoring, grids_of


class Duck:
    def fit(self, X: Any, y: Any) -> Duck:
        return self

    def predict(self, X: Any) -> Any:
        return X


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression, r"LogisticRegression is a class; .* Give one: LogisticRegression\(\)"),
        (StandardScaler(), "expected a classifier or regressor, .* found StandardScaler"),
        (KMeans(), "KMeans groups samples and knows no labels"),
        (make_pipeline(PCA(), IsolationForest()), "tells odd samples from the others"),
        (Duck(), "Duck has no __sklearn_tags__"),
    ],
)
def test_what_is_no_classifier_and_no_regressor_is_refused(estimator: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_estimator(estimator, prefit=False)


def test_a_finished_estimator_is_a_fitted_one() -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    for estimator in (
        LogisticRegression(),
        Ridge(),
        make_pipeline(StandardScaler(), SVC()),
        make_pipeline(Ridge()),
    ):
        check_estimator(estimator, prefit=False)
        with pytest.raises(ParameterError, match=r"and this .* is not. Fit it"):
            check_estimator(estimator, prefit=True)
        check_estimator(estimator.fit(X, y), prefit=True)


PIPE = Pipeline([("scale", StandardScaler()), ("head", LogisticRegression())])


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"head__c": [1]}, "Pipeline has no parameter 'head__c'; .* Did you mean 'head__C'"),
        ([{"head__C": [1]}, {"typo": [1]}], "has no parameter 'typo'"),
        ({"head__C": 1}, "head__C=1: expected a list of values to try"),
        ({"head__C": []}, "at least one"),
        ({"head__solver": "lbfgs"}, "expected a list of values"),
        ({3: [1]}, "has no parameter 3"),
        ("head__C", "expected a dict of parameters' names"),
        ([], "or a list of such dicts"),
        ([("head__C", [1])], "or a list of such dicts"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_refused(grid: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_grid(PIPE, grid)


def test_grids_of_every_form_are_taken() -> None:
    check_grid(PIPE, None)
    check_grid(PIPE, {})
    check_grid(PIPE, {"head__C": np.logspace(-2, 2, 3), "head__max_iter": range(100, 300, 100)})
    # Of a step that is exchanged the parameters are those of its candidates.
    check_grid(PIPE, [{"head": [SVC()], "head__gamma": ("scale", 0.1)}, {"head__C": [1.0]}])
    assert grids_of(None) == []
    assert grids_of({"a": [1]}) == [{"a": [1]}]
    assert grids_of([{"a": [1]}, {"b": [2]}]) == [{"a": [1]}, {"b": [2]}]


@pytest.mark.parametrize("scoring", ["rocauc", ["roc_auc", "accuracy"], {"a": "accuracy"}, 5])
def test_a_scoring_that_is_not_one_figure_is_refused(scoring: Any) -> None:
    with pytest.raises(ParameterError, match=r"scoring=.*: expected"):
        check_scoring(scoring)
    check_scoring("roc_auc")
    check_scoring(lambda estimator, X, y: 0.0)
