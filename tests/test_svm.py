"""The support vector machine: scores, labels and probabilities of one mind; groups kept out of the calibration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.datasets import load_digits
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx import svm
from featx.errors import DatasetError, ParameterError
from featx.svm import SupportVectorClassifier


@parametrize_with_checks(
    [
        SupportVectorClassifier(random_state=0),
        SupportVectorClassifier(kernel="rbf", C=10.0, gamma=1.0, random_state=0),
    ],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": "the folds that calibrate are folds of rows, repeated ones included"
    },
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def digits(n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    X, y = load_digits(n_class=n_classes, return_X_y=True)
    return (X - 5) / 6, np.array([f"digit {i}" for i in range(n_classes)])[y]


def two_clouds(n: int, seed: int, distance: float = 2.0) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = rng.normal(size=(n, 4))
    X[:, 0] += distance * (y - 0.5)
    return X, y


def grouped_clouds(seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """60 patients of 10 all but equal samples: a machine that saw some of a patient's knows the others."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), 10)
    y = groups % 2
    patients = rng.normal(size=(60, 100))
    patients[:, 0] += np.arange(60) % 2
    return patients[groups] + rng.normal(scale=0.05, size=(600, 100)), y, groups


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_label_score_and_probability_agree(kernel: str, n_classes: int) -> None:
    X, y = digits(n_classes)
    head = SupportVectorClassifier(kernel=kernel, random_state=0).fit(X[::2], y[::2])
    scores, proba, labels = head.decision_function(X), head.predict_proba(X), head.predict(X)
    expected = expit(scores) if n_classes == 2 else softmax(scores, axis=1)
    np.testing.assert_allclose(proba[:, 1] if n_classes == 2 else proba, expected)
    np.testing.assert_array_equal(labels, head.classes_[proba.argmax(axis=1)])
    assert (labels == y).mean() > 0.95


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_probabilities_are_those_of_two_clouds(kernel: str) -> None:
    distance = 1.5
    X, y = two_clouds(2000, seed=0, distance=distance)
    true = expit(distance * X[1000:, 0])  # log-odds of two unit Gaussians that far apart
    head = SupportVectorClassifier(kernel=kernel, random_state=0).fit(X[:1000], y[:1000])
    found = head.predict_proba(X[1000:])[:, 1]
    # A thousand samples leave a slope uncertain by some 10 %, which moves a probability by 0.03 at most.
    assert np.abs(found - true).mean() < 0.04
    bare = expit(head.machine_.decision_function(X[1000:]))
    assert np.abs(found - true).mean() < np.abs(bare - true).mean()


def test_separable_classes_do_not_give_certainty() -> None:
    X = np.r_[np.full((10, 1), -1.0), np.full((10, 1), 1.0)]
    head = SupportVectorClassifier(random_state=0).fit(X, [0] * 10 + [1] * 10)
    # Platt's target for 10 samples of a class is 11/12.
    np.testing.assert_allclose(head.predict_proba([[1.0]])[0, 1], 11 / 12, atol=0.01)


def test_groups_make_probabilities_humbler() -> None:
    X, y, groups = grouped_clouds(seed=0)
    leaking = SupportVectorClassifier(random_state=0).fit(X, y)
    honest = SupportVectorClassifier(random_state=0).fit(X, y, groups=groups)
    assert leaking.scale_ > 3 * honest.scale_
    np.testing.assert_array_equal(leaking.predict(X), honest.predict(X))
    new_X, new_y, _ = grouped_clouds(seed=1)
    losses = [-np.log(head.predict_proba(new_X)[np.arange(600), new_y]).mean() for head in (leaking, honest)]
    assert losses[1] < losses[0]


def test_calibration_changes_no_label() -> None:
    X, y = digits(5)
    labels = [
        SupportVectorClassifier(calibration_folds=folds, random_state=0).fit(X[::2], y[::2]).predict(X)
        for folds in (0, 5)
    ]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_c_means_the_same_at_any_width_and_unit(kernel: str) -> None:
    X, y = digits(3)
    head = SupportVectorClassifier(kernel=kernel, random_state=0).fit(X, y)
    wide = SupportVectorClassifier(kernel=kernel, random_state=0).fit(np.tile(X, (1, 4)) * 10, y)
    # liblinear stops at a relative tolerance of 1e-4 on its own objective.
    np.testing.assert_allclose(
        wide.machine_.decision_function(np.tile(X, (1, 4)) * 10),
        head.machine_.decision_function(X),
        atol=0.02,
    )


@pytest.mark.parametrize(("kernel", "kind"), [("linear", LinearSVC), ("rbf", SVC)])
def test_each_kernel_has_its_solver(kernel: str, kind: type) -> None:
    assert type(SupportVectorClassifier(kernel=kernel).fit(*two_clouds(40, seed=0)).machine_) is kind


def test_a_class_of_one_sample_leaves_the_scale_at_one() -> None:
    X, _ = two_clouds(20, seed=0)
    assert SupportVectorClassifier(random_state=0).fit(X, ["rare"] + ["common"] * 19).scale_ == 1.0


def test_groups_that_hold_a_whole_class_leave_the_scale_at_one() -> None:
    X, y = two_clouds(40, seed=0)
    assert SupportVectorClassifier(random_state=0).fit(X, y, groups=y).scale_ == 1.0


def test_constant_columns_do_not_divide_by_zero() -> None:
    head = SupportVectorClassifier(random_state=0).fit(np.ones((20, 3)), ["a", "b"] * 10)
    np.testing.assert_allclose(head.predict_proba(np.ones((1, 3))), 0.5, atol=1e-3)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ParameterError, match="kernel='poly': expected one of 'linear', 'rbf'"):
        SupportVectorClassifier(kernel="poly").fit([[0.0], [1.0]], [0, 1])


def test_one_class_is_refused_by_name() -> None:
    with pytest.raises(DatasetError, match=r"only 1 class in y, \['ant'\]"):
        SupportVectorClassifier().fit([[0.0], [1.0]], ["ant", "ant"])


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SupportVectorClassifier().fit([[0.0], [1.0]], [0, 1], groups=[1])


def test_threads_that_fit_at_the_same_time_repeat_a_seed() -> None:
    rng = np.random.default_rng(2)
    X, y = (
        rng.normal(size=(60, 200)),
        np.arange(60) % 2,
    )  # more columns than rows: the dual, which draws numbers
    alone = SupportVectorClassifier(random_state=3).fit(X, y).predict_proba(X)

    def fit(_: int) -> np.ndarray:
        return SupportVectorClassifier(random_state=3).fit(X, y).predict_proba(X)

    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(fit, range(8)):
            np.testing.assert_array_equal(found, alone)


def test_large_data_are_calibrated_on_the_first_folds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One number wants 2,000 margins: 11,000 samples give them in one fold of five, 5,000 in two, 1,000 in all five."""
    fits: list[int] = []
    plain = svm._fitted

    def counting(machine: Any, rows: NDArray[np.floating], labels: NDArray[Any], counts: Any) -> Any:
        fits.append(len(rows))
        return plain(machine, rows, labels, counts)

    monkeypatch.setattr(svm, "_fitted", counting)
    counts, scales = [], []
    for n in (11_000, 5_000, 1_000):
        fits.clear()
        scales.append(SupportVectorClassifier(random_state=0).fit(*two_clouds(n, seed=1)).scale_)
        counts.append(len(fits) - 1)
    assert counts == [1, 2, 5]
    assert max(scales) / min(scales) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_a_row_three_times_with_a_third_of_the_weight_counts_once(kernel: str) -> None:
    X, y = digits(2)
    once = SupportVectorClassifier(kernel=kernel, C=0.01, random_state=0).fit(X, y, groups=np.arange(len(y)))
    thrice = SupportVectorClassifier(kernel=kernel, C=0.01, random_state=0).fit(
        X.repeat(3, axis=0),
        y.repeat(3),
        groups=np.arange(len(y)).repeat(3),
        sample_weight=np.full(3 * len(y), 1 / 3),
    )
    # Primal and dual solvers stop within 1e-4 of the same optimum.
    np.testing.assert_allclose(
        once.machine_.decision_function(X), thrice.machine_.decision_function(X), atol=2e-3
    )
    assert once.scale_ == pytest.approx(thrice.scale_, rel=0.01)  # folds stratify three rows a group alike


def test_rows_of_no_weight_are_not_there() -> None:
    X, y = digits(3)
    weights = (y != "digit 2").astype(float)
    found = SupportVectorClassifier(random_state=0).fit(X, y, sample_weight=weights)
    alone = SupportVectorClassifier(random_state=0).fit(X[weights > 0], y[weights > 0])
    assert found.classes_.tolist() == ["digit 0", "digit 1"]
    np.testing.assert_array_equal(found.decision_function(X), alone.decision_function(X))
