"""A head on several views of each sample: a sample counts once, and its views are on one side of any fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featx import make_head
from featx.errors import ParameterError
from featx.heads import HEAD_NAMES
from featx.svm import SupportVectorClassifier
from featx.view_head import ViewHead, group_takers


def views_of(n: int, n_views: int, *, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Two classes that overlap a little, and views that lie close to their sample: (n, v, 6)."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 2
    clean = rng.normal(size=(n, 1, 6)) + codes[:, None, None]
    views = clean + 0.1 * rng.normal(size=(n, n_views, 6))
    views[:, 0] = clean[:, 0]
    return views, np.asarray(["ant", "bee"])[codes]


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_one_view_is_a_plain_fit(name: str) -> None:
    X, y = views_of(60, 1)
    plain = make_head(name).fit(X[:, 0], y)
    np.testing.assert_array_equal(
        ViewHead(make_head(name)).fit(X, y).predict_proba(X), plain.predict_proba(X[:, 0])
    )


def test_equal_views_weigh_as_much_as_one() -> None:
    X, y = views_of(60, 1)
    once = ViewHead(make_head("logistic")).fit(X, y)
    often = ViewHead(make_head("logistic")).fit(X.repeat(5, axis=1), y)
    # lbfgs stops within 1e-4 of the same optimum.
    np.testing.assert_allclose(often.decision_function(X), once.decision_function(X), atol=1e-3)


class Recording(ClassifierMixin, BaseEstimator):
    """Keeps what each fit was given."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012  # of all clones

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Recording:
        Recording.seen.append({"X": X, "y": y, "sample_weight": sample_weight})
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.repeat(self.classes_[:1], len(X))


@pytest.fixture
def seen() -> list[dict[str, Any]]:
    Recording.seen = []
    return Recording.seen


def test_rows_are_views_with_their_samples_label_and_a_weight_that_sums_to_one(
    seen: list[dict[str, Any]],
) -> None:
    X, y = views_of(10, 4)
    ViewHead(make_pipeline(StandardScaler(), Recording())).fit(X, y)
    (fit,) = seen
    assert fit["X"].shape == (40, 6)
    assert fit["y"].tolist() == np.repeat(y, 4).tolist()
    assert fit["sample_weight"].tolist() == [0.25] * 40


def samples_in(rows: NDArray[np.floating], X: NDArray[np.floating]) -> set[int]:
    """Which samples some rows are views of."""
    distance = np.abs(rows[:, None, None] - X[None]).sum(axis=3).min(axis=2)  # (rows, samples)
    return set(distance.argmin(axis=1).tolist())


@pytest.mark.parametrize(
    "cv", [None, 3, KFold(3), [(np.arange(15), np.arange(15, 30)), (np.arange(15, 30), np.arange(15))]]
)
def test_a_search_keeps_the_views_of_a_sample_in_one_fold(cv: Any, seen: list[dict[str, Any]]) -> None:
    X, y = views_of(30, 4)
    search = GridSearchCV(Pipeline([("r", Recording())]), {"r": [Recording()]}, cv=cv, scoring="accuracy")
    ViewHead(search).fit(X, y)
    *folds, whole = seen
    assert len(folds) == (5 if cv is None else 3 if cv == 3 or isinstance(cv, KFold) else 2)
    assert len(whole["X"]) == 120
    for fold in folds:
        inside = samples_in(fold["X"], X)
        assert len(fold["X"]) == 4 * len(inside) < 120
        assert set(fold["sample_weight"]) == {0.25}


def test_groups_stay_together_in_the_folds_of_a_search(seen: list[dict[str, Any]]) -> None:
    X, y = views_of(30, 2)
    groups = np.arange(30) // 6
    ViewHead(GridSearchCV(Recording(), {}, scoring="accuracy")).fit(X, y, groups=groups)
    for fold in seen[:-1]:
        inside = groups[sorted(samples_in(fold["X"], X))]
        assert np.bincount(inside, minlength=5).tolist() in [
            [6 * (g != out) for g in range(5)] for out in range(5)
        ]


def test_calibration_keeps_the_views_of_a_sample_in_one_fold(seen: list[dict[str, Any]]) -> None:
    X, y = views_of(40, 3)
    model = ViewHead(CalibratedClassifierCV(LogisticRegression())).fit(X, y)
    for fold, calibrated in zip(model.head_.cv, model.head_.calibrated_classifiers_, strict=True):
        train, test = fold
        assert not set((train // 3).tolist()) & set((test // 3).tolist())
        assert calibrated.estimator.coef_.shape == (1, 6)


@pytest.mark.parametrize("given", [None, np.arange(40) // 2])
def test_the_svm_calibrates_on_groups_of_views(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    plain = SupportVectorClassifier.fit

    def fit(self: Any, X: Any, y: Any, groups: Any = None, sample_weight: Any = None) -> Any:
        told.append((groups, sample_weight))
        return plain(self, X, y, groups, sample_weight)

    monkeypatch.setattr(SupportVectorClassifier, "fit", fit)
    X, y = views_of(40, 3)
    ViewHead(make_head("svm")).fit(X, y, groups=given)
    (groups, weights), *_ = told
    assert groups.tolist() == np.repeat(np.arange(40) if given is None else given, 3).tolist()
    assert set(weights) == {1 / 3}


def test_tta_is_the_mean_of_probabilities_and_everything_agrees() -> None:
    X, y = views_of(60, 4)
    model = ViewHead(make_head("logistic"), tta=True).fit(X, y)
    each = np.stack([model.head_.predict_proba(X[:, v]) for v in range(4)])
    np.testing.assert_allclose(model.predict_proba(X), each.mean(axis=0), atol=1e-12)  # the order of adding
    assert model.predict(X).tolist() == model.classes_[model.predict_proba(X).argmax(axis=1)].tolist()
    odds = model.decision_function(X)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), model.predict_proba(X)[:, 1], atol=1e-12)


def test_tta_without_probabilities_is_the_mean_of_decision_values() -> None:
    X, y = views_of(60, 4)
    model = ViewHead(LinearSVC(), tta=True).fit(X, y)
    assert not hasattr(model, "predict_proba")
    each = np.stack([model.head_.decision_function(X[:, v]) for v in range(4)])
    np.testing.assert_allclose(model.decision_function(X), each.mean(axis=0), atol=1e-12)
    assert model.predict(X).tolist() == model.classes_[(each.mean(axis=0) > 0).astype(int)].tolist()


def test_without_tta_further_views_are_not_looked_at() -> None:
    X, y = views_of(60, 4)
    model = ViewHead(make_head("logistic")).fit(X, y)
    spoilt = X.copy()
    spoilt[:, 1:] = np.nan
    np.testing.assert_array_equal(model.predict_proba(spoilt), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(X[:, 0]), model.predict_proba(X))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (KNeighborsClassifier(), "KNeighborsClassifier.fit takes no sample_weight"),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), "KNeighborsClassifier.fit"),
        (GridSearchCV(KNeighborsClassifier(), {}), "KNeighborsClassifier.fit"),
        (CalibratedClassifierCV(make_head("logistic")), "hands no sample_weight to the steps of a Pipeline"),
        (GridSearchCV(LogisticRegressionCV(), {}), "folds of rows inside another step"),
        (StandardScaler(), "expected a classifier"),
        ("logistic", r"featx.make_head\('logistic'\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_head_for_which_a_sample_would_count_often_is_refused(head: Any, words: str) -> None:
    X, y = views_of(20, 2)
    with pytest.raises(ParameterError, match=words):
        ViewHead(head).fit(X, y)


def test_any_classifier_may_do_without_weights_on_one_view() -> None:
    X, y = views_of(20, 1)
    assert ViewHead(KNeighborsClassifier()).fit(X, y).predict(X).shape == (20,)


def test_steps_that_take_groups_are_found_where_they_are() -> None:
    svm = make_head("svm")
    assert group_takers(svm) == ["svm__"]
    assert group_takers(Pipeline([("a", Pipeline([("b", svm)]))])) == ["a__b__svm__"]
    assert group_takers(GridSearchCV(svm, {})) == ["svm__"]
    assert group_takers(CalibratedClassifierCV(SupportVectorClassifier())) == [""]
    assert group_takers(ViewHead(svm)) == [""]
    assert group_takers(make_head("logistic")) == []
