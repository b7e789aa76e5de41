"""What predicted stays with an evaluation while it is small, and never leaves the process."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featx.evaluation import predictors
from featx.evaluation.evaluate import evaluate
from featx.evaluation.predictors import Predictors, if_small


def clouds(n: int = 90) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, n)
    return rng.normal(size=(n, 5)) + codes[:, None], np.asarray(["a", "b"])[codes]


@pytest.mark.parametrize("given", [{}, {"calibrate": "sigmoid"}, {"param_grid": {"C": [0.1, 1.0]}}], ids=str)
def test_the_model_kept_for_a_fold_is_the_one_that_predicted_it(given: dict[str, Any]) -> None:
    X, y = clouds()
    found = evaluate(LogisticRegression(), X, y, cv=3, n_bootstrap=100, **given)
    rows = found.main.outcomes
    assert found.predictors is not None
    assert len(found.predictors.models) == 3
    for fold, model in enumerate(found.predictors.models):
        mine = rows.folds == fold
        assert rows.proba is not None
        np.testing.assert_array_equal(model.predict_proba(X[rows.samples[mine]]), rows.proba[mine])


def test_a_finished_model_is_kept_itself() -> None:
    X, y = clouds()
    model = LogisticRegression().fit(X, y)
    found = evaluate(model, X, y, cv="prefit", n_bootstrap=100)
    assert found.predictors is not None
    assert found.predictors.models == (model,)


def test_models_that_hold_their_training_samples_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = clouds()
    nearest, linear = KNeighborsClassifier().fit(X, y), LogisticRegression().fit(X, y)
    assert if_small(nearest) is nearest
    monkeypatch.setattr(predictors, "_MOST_BYTES", X.nbytes)
    assert if_small(nearest) is None
    assert if_small(linear) is linear


def test_what_cannot_be_weighed_is_let_go() -> None:
    X, y = clouds()
    odd = make_pipeline(FunctionTransformer(lambda rows: rows), LogisticRegression())
    found = evaluate(odd, X, y, cv=3, n_bootstrap=100)
    assert found.predictors is not None
    assert found.predictors.models == (None,) * 3


def test_models_do_not_travel() -> None:
    X, y = clouds()
    found = evaluate("logistic", X, y, cv=3, n_bootstrap=100)
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert other.predictors is None
        assert other.to_dict() == found.to_dict()
    assert copy.copy(found).predictors is found.predictors
    assert dataclasses.replace(found, name="other").predictors is found.predictors
    assert "predictors" not in found.to_dict()


def test_an_odd_model_does_not_keep_an_evaluation_from_pickling() -> None:
    assert pickle.loads(pickle.dumps(Predictors.of(None, (lambda: None,)))) is None
