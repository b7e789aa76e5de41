"""A model remembers what it was trained on until it is fitted anew."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.errors import LeakWarning
from featx.evaluation.evaluate import evaluate
from featx.evaluation.remembered import remember_keys, remembered_keys
from featx.store.digest import digest_array, keys_array

X, Y = np.random.default_rng(0).normal(size=(30, 2)), [0, 1] * 15
KEYS = keys_array(digest_array(row) for row in X)
MODELS = (
    LogisticRegression(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1.0]}),
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_new_fit_forgets_and_so_does_a_clone(model: object) -> None:
    fitted = clone(model).fit(X, Y)
    assert remembered_keys(fitted) is None
    remember_keys(fitted, KEYS)
    fitted.predict(X)
    for same in (fitted, copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(remembered_keys(same), KEYS)
    assert remembered_keys(clone(fitted)) is None
    assert remembered_keys(fitted.fit(X[:20], Y[:20])) is None


def test_a_step_that_is_fitted_anew_is_noticed() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    remember_keys(model, KEYS)
    model[-1].fit(X[:20], Y[:20])
    assert remembered_keys(model) is None


def test_nothing_to_remember_is_nothing() -> None:
    model = LogisticRegression().fit(X, Y)
    remember_keys(model, None)
    assert remembered_keys(model) is None
    assert remembered_keys("logistic") is None


def test_an_evaluation_asks_the_model() -> None:
    model = LogisticRegression().fit(X, Y)
    remember_keys(model, KEYS)
    with pytest.warns(LeakWarning, match="trained on every one of these 30"):
        found = evaluate(model, X, Y, cv="prefit", n_bootstrap=100)
    assert found.n_trained_on == 30
