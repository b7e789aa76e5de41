"""Who is fitted on what and judged on what: parts apart, training parts too small for thresholds, learning curves of one kind."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from featx.errors import DatasetError, FeatxWarning
from featx.evaluation.evaluate import evaluate

FEW: dict[str, Any] = {"n_bootstrap": 100, "n_jobs": 1}


def clouds(n: int, k: int = 2) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    rng = np.random.default_rng(0)
    codes = np.arange(n) % k
    X = rng.normal(size=(n, 4))
    X[np.arange(n), codes] += 1.5
    return X, np.asarray(list("abc"), dtype="<U5")[codes]


class Noted(ClassifierMixin, BaseEstimator):
    """A classifier that notes how many samples it was fitted on, and with which depth."""

    fits: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth

    def fit(self, X: Any, y: Any) -> Noted:
        self.classes_ = np.unique(y)
        Noted.fits.append((len(X), self.depth))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        second = 1 / (1 + np.exp(-self.depth * (X[:, 1] - X[:, 0])))
        return np.column_stack([1 - second, second])

    def predict(self, X: Any) -> NDArray[Any]:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.mark.parametrize("finished", [False, True])
def test_a_group_in_two_held_out_parts_is_judged_in_each(finished: bool) -> None:
    X, _ = clouds(120)
    groups = [*range(1000, 1060), *range(30), *range(30)]
    y = np.where(np.asarray(groups) % 2 == 0, "a", "b")
    split = ["train"] * 60 + ["val"] * 30 + ["test"] * 30
    model, given = LogisticRegression(), {"cv": "prefit"} if finished else {}
    if finished:
        model.fit(X, y)
    found = evaluate(model, X, y, groups=groups, split=split, aggregate="mean", **given, **FEW)
    sizes = {(each.part.split(",")[0], each.level): len(each.outcomes) for each in found.judgements}
    assert (sizes["test", "group"], sizes["val", "group"]) == (30, 30)
    of_groups = next(
        each for each in found.judgements if each.part.startswith("val") and each.level == "group"
    )
    of_samples = next(
        each for each in found.judgements if each.part.startswith("val") and each.level == "sample"
    )
    np.testing.assert_allclose(
        of_groups.outcomes.proba, of_samples.outcomes.proba
    )  # a sample a group: nothing to pool


def test_training_parts_too_small_for_thresholds_go_without_and_say_so() -> None:
    X, y = clouds(40)
    split = np.asarray(["train"] * 21 + ["test"] * 19)
    y[:21] = "a"
    y[3] = "b"  # one of two classes has one sample to choose a threshold on
    with pytest.warns(FeatxWarning, match="too few samples in a training part to choose thresholds"):
        found = evaluate(LogisticRegression(), X, y, split=split, **FEW)
    assert not any("@" in name for name in found.main.figures)
    assert found.fits[0].thresholds == {}
    asked = evaluate(LogisticRegression(), X, y, split=split, at_specificity=None, at_sensitivity=None, **FEW)
    assert asked["accuracy"].value == found["accuracy"].value


def test_few_groups_of_a_class_are_no_reason_to_fail() -> None:
    X, y = clouds(60)
    groups = np.where(y == "a", np.arange(60), 1000 + np.arange(60) // 2 % 2)  # class "b" lies in two groups
    with pytest.warns(FeatxWarning, match="too few groups in a training part"):
        found = evaluate(LogisticRegression(), X, y, groups=groups, cv=2, **FEW)
    assert len(found.fits) == 2
    with pytest.raises(DatasetError, match="too few to choose parameters"):
        evaluate(LogisticRegression(), X, y, groups=groups, cv=2, param_grid={"C": [1.0, 2.0]}, **FEW)


def test_thresholds_of_calibrated_models_need_folds_inside_folds() -> None:
    X, y = clouds(60)
    y[:] = "a"
    y[:4] = "b"  # 2 in a training part: a fold of it has one, too few to calibrate on
    with pytest.warns(FeatxWarning, match="too few samples in a training part to choose thresholds"):
        found = evaluate(LogisticRegression(), X, y, cv=2, calibrate="sigmoid", **FEW)
    assert "log_loss" in found.main.figures


def test_a_training_part_of_one_class_is_refused_before_anything_is_fitted() -> None:
    X, y = clouds(40)
    split = np.where(y == "a", "train", "test")
    Noted.fits = []
    with pytest.raises(DatasetError, match="all 20 samples in 'train' are 'a'"):
        evaluate(Noted(), X, y, split=split, **FEW)
    assert Noted.fits == []


def test_a_split_without_any_part_is_nothing_to_judge() -> None:
    X, y = clouds(40)
    with pytest.raises(DatasetError, match="names no part for any sample"):
        evaluate(LogisticRegression().fit(X, y), X, y, cv="prefit", split=[""] * 40, **FEW)


def test_a_learning_curve_is_searched_at_every_share() -> None:
    """Depths that 120 samples are searched for are searched for in 60 as well."""
    X, y = clouds(240)
    Noted.fits = []
    found = evaluate(
        Noted(),
        X,
        y,
        cv=2,
        param_grid={"depth": [1, 9]},
        learning_curve=(0.5,),
        at_specificity=None,
        at_sensitivity=None,
        **FEW,
    )
    searched = {n for n, depth in Noted.fits if depth == 9}
    assert searched >= {80, 40}  # two thirds of 120 and of 60
    assert [point.n_train for point in found.curve] == [60, 120]


def test_a_learning_curve_is_calibrated_at_every_share() -> None:
    X, y = clouds(400)
    found = evaluate(LinearSVC(), X, y, cv=2, calibrate="sigmoid", learning_curve=(0.2,), **FEW)
    assert found.curve[0].n_train == 40
    y[:] = "often"
    y[::20] = "rare"
    message = r"a share of 0.1 of a training part, 20 samples, is too small to search or calibrate in: .*a larger share"
    with pytest.raises(DatasetError, match=message):
        evaluate(LinearSVC(), X, y, cv=2, calibrate="sigmoid", learning_curve=(0.1,), random_state=10, **FEW)


def test_a_share_that_is_too_small_is_refused_before_anything_is_fitted() -> None:
    X, y = clouds(200)
    y[:] = "often"
    y[:10] = "rare"
    Noted.fits = []
    with pytest.raises(DatasetError, match="holds no 'rare'"):
        evaluate(Noted(), X, y, learning_curve=(0.02,), **FEW)
    assert Noted.fits == []


def test_a_class_that_training_lacks_ranks_no_higher_by_the_order_of_the_rows() -> None:
    """Its scores are -inf throughout: half of all pairs are right, whichever comes first."""
    X, y = clouds(120, k=3)
    split = np.where(np.arange(120) < 60, "train", "test")
    split[(y == "c") & (split == "train")] = ""
    areas = []
    for order in (np.arange(120), np.arange(120)[::-1], np.argsort(y)):
        found = evaluate(LinearSVC(), X[order], y[order], split=split[order], **FEW)
        areas.append(found["roc_auc"].value)
    assert areas == pytest.approx([areas[0]] * 3)
