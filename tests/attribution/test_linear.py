"""A head is called linear where its scores are, whatever their offset and however small their slope."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler
from sklearn.svm import SVC, SVR

import featx
from featx.attribution.linear import linear_map, score_function


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


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (2000.0, 20.0), (5e5, 2e4)])
def test_a_large_intercept_hides_no_curve_and_makes_none(offset: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(0.5, 1, (40, 60)).astype(np.float32)
    y = offset + scale * X[:, 0]
    for curved in (SVR(), SVR(C=1e-3)):
        assert linear_map(score_function(make_pipeline(StandardScaler(), curved).fit(X, y))[0], X) is None
    for straight in (Ridge(), SVR(kernel="linear", C=1e-3), DummyRegressor()):
        found = linear_map(score_function(make_pipeline(StandardScaler(), straight).fit(X, y))[0], X)
        assert found is not None


@pytest.mark.parametrize("C", [1e-6, 1.0])
def test_a_kernel_that_hardly_tells_classes_apart_is_not_linear(C: float) -> None:
    """Its decision value is an intercept and next to nothing else."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 30))
    y = np.repeat(["a", "b"], [4, 20])
    curved = make_pipeline(StandardScaler(), SVC(C=C)).fit(X, y)
    assert linear_map(score_function(curved)[0], X) is None
    straight = make_pipeline(StandardScaler(), SVC(C=C, kernel="linear")).fit(X, y)
    assert linear_map(score_function(straight)[0], X) is not None


def test_a_step_that_refuses_zeros_is_not_linear() -> None:
    X = np.random.default_rng(0).uniform(1, 2, (40, 3))
    head = Pipeline([("power", PowerTransformer(method="box-cox")), ("last", Ridge())]).fit(X, X[:, 0])
    assert linear_map(score_function(head)[0], X) is None
