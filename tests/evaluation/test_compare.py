"""Heads compared: nothing of a test part, nor of its groups, is ever learnt from; the winner is fitted the way it was judged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_info

from featx.errors import DatasetError, InputError, ParameterError
from featx.evaluation import compare
from featx.evaluation.compare import compare_heads, refit, score_head
from featx.evaluation.folds import make_folds
from featx.evaluation.scores import score_predictions
from featx.heads import make_head, param_grid


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    X, y = load_digits(n_class=3, return_X_y=True)
    return X[:150].astype(np.float32), np.array(["zero", "one", "two"])[y[:150]]


class Witness(ClassifierMixin, BaseEstimator):
    """Notes which rows each fit and each prediction saw; a row's first value is its number."""

    seen: ClassVar[list[tuple[frozenset[int], frozenset[int]]]] = []
    blas_threads: ClassVar[set[int]] = set()
    lock = threading.Lock()

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, X: NDArray[np.float64], y: NDArray[np.str_]) -> Witness:
        self.classes_ = np.unique(y)
        self.rows_ = frozenset(X[:, 0].astype(int).tolist())
        with self.lock:
            self.blas_threads |= {
                lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
            }
        return self

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        with self.lock:
            self.seen.append((self.rows_, frozenset(X[:, 0].astype(int).tolist())))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.str_]:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Witness]]:
    monkeypatch.setattr(compare, "make_head", lambda name, **_: Witness())
    monkeypatch.setattr(compare, "param_grid", lambda name, **_: {"C": [1.0, 2.0]})
    Witness.seen.clear()
    Witness.blas_threads.clear()
    yield Witness
    Witness.seen.clear()
    Witness.blas_threads.clear()


@pytest.mark.parametrize("search", [False, True])
def test_no_group_is_learnt_from_and_tested_on(witness: type[Witness], search: bool) -> None:
    n = 120
    groups = np.random.default_rng(0).integers(0, 30, n)
    y = np.array(["a", "b", "b"] * 40)
    X = np.arange(n, dtype=np.float64)[:, None]
    compare_heads(X, y, groups=groups, heads=("logistic",), cv=4, search=search)
    tests = [frozenset(test.tolist()) for _, test in make_folds(y, groups, n_splits=4)]
    assert len(witness.seen) == 4 * (
        1 + (2 * 3 if search else 0)
    )  # a fold's own, and two settings on three inner folds
    for learnt, tested in witness.seen:
        assert not {groups[i] for i in learnt} & {groups[i] for i in tested}
    outer = [(learnt, tested) for learnt, tested in witness.seen if len(learnt | tested) == n]
    assert sorted(map(sorted, (tested for _, tested in outer))) == sorted(map(sorted, tests))
    for learnt, tested in witness.seen:  # a search stays inside the training part of one fold
        if len(learnt | tested) < n:
            assert any(not (learnt | tested) & test for test in tests)


def test_blas_has_one_thread_in_every_fit_and_its_own_number_after(
    witness: type[Witness], digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    def blas() -> list[int]:
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    before = blas()
    compare_heads(*digits, heads=("logistic",), cv=2)
    assert witness.blas_threads == {1}
    assert blas() == before


def test_patients_seen_twice_flatter_only_folds_that_split_them() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    X = rng.normal(size=(40, 80))[groups] + rng.normal(scale=0.01, size=(160, 80))
    y = np.where(rng.permutation(40) < 20, "ill", "well")[
        groups
    ]  # by lot: nothing to be known of a new patient
    split, kept = (
        compare_heads(X, y, groups=g, heads=("svm",)).results[0].mean.balanced_accuracy
        for g in (None, groups)
    )
    assert split > 0.95
    assert kept < 0.7


def test_searching_on_noise_finds_nothing() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 200)), np.array(["a", "b"] * 60)
    found = compare_heads(X, y, heads=("logistic", "svm"), search=True)
    for result in found.results:
        assert 0.35 < result.mean.balanced_accuracy < 0.65  # 0.5 with a standard error of 0.05


def test_probabilities_are_each_samples_own_fold(
    digits: tuple[NDArray[np.float32], NDArray[np.str_]],
) -> None:
    X, y = digits
    found = compare_heads(X, y, heads=("logistic", "svm"), cv=3)
    assert [result.name for result in found.results] == ["logistic", "svm"]
    for result in found.results:
        for fold, (train, test) in zip(result.folds, make_folds(y, n_splits=3), strict=True):
            assert score_predictions(y[test], result.proba[test], found.classes) == fold.scores
            own = make_head(result.name).fit(X[train], y[train])
            np.testing.assert_allclose(own.predict_proba(X[test]), result.proba[test], atol=1e-6)


def test_all_heads_can_be_compared_and_searched(digits: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    X, y = digits
    found = compare_heads(X[:90], y[:90], cv=2, search=True)
    assert found.searched
    for result in found.results:
        grid = param_grid(result.name)
        for fold in result.folds:
            assert set(fold.params) == set(grid)
            assert all(value in grid[name] for name, value in fold.params.items())
        assert result.mean.accuracy > 0.8
    assert "searched" in found.format_table()


def test_threads_change_nothing(digits: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    one, two = (compare_heads(*digits, heads=("svm",), cv=3, n_jobs=n).results[0].proba for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_progress_counts_a_step_a_head_and_fold(digits: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    class Steps:
        n = 0

        def update(self, n: int) -> None:
            self.n += n

    steps = Steps()
    compare_heads(*digits, heads=("logistic", "svm"), cv=3, progress=steps)
    assert steps.n == 6


def test_a_users_metadata_routing_does_not_matter(
    digits: tuple[NDArray[np.float32], NDArray[np.str_]],
) -> None:
    X, y = digits
    with sklearn.config_context(enable_metadata_routing=True):
        found = compare_heads(X, y, groups=np.arange(150) // 2, heads=("svm",), cv=2, search=True)
    assert found.n_groups == 75


def test_an_inner_search_takes_fewer_folds_where_groups_are_few(witness: type[Witness]) -> None:
    groups = np.repeat(np.arange(6), 10)
    y = np.array(["a", "b"])[groups % 2]  # three groups of each class: two are left in a training part
    compare_heads(np.arange(60.0)[:, None], y, groups=groups, heads=("logistic",), cv=3, search=True)
    assert len(witness.seen) == 3 * (1 + 2 * 2)


def test_a_search_without_two_groups_left_says_so() -> None:
    groups = np.repeat(np.arange(4), 10)
    y = np.array(["a", "b"])[groups % 2]
    X = np.random.default_rng(0).normal(size=(40, 3))
    assert compare_heads(X, y, groups=groups, heads=("logistic",), cv=2).n_folds == 2
    with pytest.raises(DatasetError, match="a class has fewer than 2 groups in a training part"):
        compare_heads(X, y, groups=groups, heads=("logistic",), cv=2, search=True)


@pytest.mark.parametrize("name", ["logistic", "svm"])
def test_refit_is_the_head_on_everything(
    name: str, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    X, y = digits
    np.testing.assert_allclose(
        refit(name, X, y).predict_proba(X), make_head(name).fit(X, y).predict_proba(X), atol=1e-6
    )


def test_refit_searches_where_the_comparison_did(
    monkeypatch: pytest.MonkeyPatch, digits: tuple[NDArray[np.float32], NDArray[np.str_]]
) -> None:
    monkeypatch.setattr(compare, "param_grid", lambda name, **_: {"logistic__C": [1e-9, 1.0]})
    assert refit("logistic", *digits, search=True, n_jobs=2)[-1].C == 1.0
    assert refit("logistic", *digits)[-1].C == 0.01


def test_groups_reach_the_calibration_of_a_refitted_svm() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    X = rng.normal(size=(40, 60))[groups] + rng.normal(scale=0.05, size=(400, 60))
    honest, leaking = (refit("svm", X, groups % 2, groups=g)["svm"].scale_ for g in (groups, None))
    assert honest < leaking / 3


def test_a_head_is_scored_on_held_out_samples(digits: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    X, y = digits
    scores = score_head(refit("logistic", X[:100], y[:100]), X[100:], y[100:])
    assert scores["accuracy"] > 0.95
    assert set(scores) == {"accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss"}
    with pytest.raises(DatasetError, match="no samples"):
        score_head(make_head("logistic"), X[:0], y[:0])


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (("forest",), "unknown head 'forest'"),
        ("logistic", "expected a sequence of names"),
        ((), "expected a sequence of names"),
        (("svm", "svm"), "one occurs twice"),
    ],
)
def test_heads_that_cannot_be_compared_are_refused(heads: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        compare_heads(np.eye(4), ["a", "a", "b", "b"], heads=heads, cv=2)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.eye(3), r"expected shape \(4, n_features\), one row a label; found \(3, 3\)"),
        (np.ones(4), r"found \(4,\)"),
        (np.where(np.eye(4) == 1, np.nan, 0), "4 of 4 rows hold NaN or infinity, the first at index 0"),
    ],
)
def test_embeddings_that_cannot_be_used_are_refused(X: NDArray[np.float64], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_heads(X, ["a", "a", "b", "b"], cv=2)
