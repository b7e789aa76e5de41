"""The figures: scikit-learn's where it has them, with weights as with rows repeated, and within folds only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from featx.evaluation.figures import FIGURES, figure_of, measure, measure_classes
from featx.evaluation.outcomes import Outcomes


def outcomes(k: int, *, n: int = 300, seed: int = 0, n_folds: int = 1) -> Outcomes:
    """Predictions that are right more often than not, with ties among the scores."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    truth[:k] = np.arange(k)
    logits = rng.normal(size=(n, k)).round(1)
    logits[np.arange(n), truth] += 1
    proba = np.exp(logits)
    proba /= proba.sum(axis=1, keepdims=True)
    return Outcomes(
        truth=truth,
        predicted=proba.argmax(axis=1),
        folds=np.arange(n) % n_folds,
        units=np.arange(n),
        samples=np.arange(n),
        classes=np.asarray([f"class {i}" for i in range(k)]),
        scores=proba,
        proba=proba,
    )


def plain(found: Outcomes, weights: NDArray[np.float64] | None = None) -> dict[str, float]:
    return {name: float(values[0]) for name, values in measure(found, weights).items()}


def by_scikit_learn(found: Outcomes, weights: NDArray[np.float64]) -> dict[str, float]:
    assert found.proba is not None
    y, p, predicted, w = found.truth, found.proba, found.predicted, weights
    k = p.shape[1]
    of = [1] if k == 2 else range(k)
    return {
        "accuracy": metrics.accuracy_score(y, predicted, sample_weight=w),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted, sample_weight=w),
        "macro_f1": metrics.f1_score(y, predicted, average="macro", sample_weight=w),
        "roc_auc": np.mean([metrics.roc_auc_score(y == c, p[:, c], sample_weight=w) for c in of]),
        "average_precision": np.mean(
            [metrics.average_precision_score(y == c, p[:, c], sample_weight=w) for c in of]
        ),
        "log_loss": metrics.log_loss(y, p, sample_weight=w),
        "brier": metrics.brier_score_loss(y, p[:, 1] if k == 2 else p, sample_weight=w),
    }


@pytest.mark.parametrize("k", [2, 3, 7])
def test_figures_are_those_of_scikit_learn_with_weights(k: int) -> None:
    found = outcomes(k)
    weights = np.random.default_rng(1).integers(1, 5, len(found)).astype(np.float64)
    mine = plain(found, weights[:, None])
    for name, expected in by_scikit_learn(found, weights).items():
        assert mine[name] == pytest.approx(expected, abs=1e-12), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 4), n_folds=st.integers(1, 3))
def test_a_weight_is_a_row_repeated(seed: int, k: int, n_folds: int) -> None:
    found = outcomes(k, n=60, seed=seed, n_folds=n_folds)
    weights = np.random.default_rng(seed).integers(0, 4, 60)
    weights[: 3 * k] = 1  # every class stays there
    repeated = found.take(np.repeat(np.arange(60), weights))
    weighed, expected = plain(found, weights[:, None].astype(float)), plain(repeated)
    assert weighed.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(weighed[name], value, atol=1e-12, err_msg=name)


def test_columns_of_weights_are_measured_each_by_itself() -> None:
    found = outcomes(3, n_folds=2)
    weights = np.random.default_rng(2).integers(0, 3, (len(found), 5)).astype(np.float64)
    together = measure(found, weights)
    for j in range(5):
        for name, value in plain(found, weights[:, [j]]).items():
            np.testing.assert_allclose(together[name][j], value, atol=1e-12, err_msg=name)


def test_ranking_compares_within_folds_only() -> None:
    """Two folds whose scores are shifted against each other rank perfectly each, and badly as one."""
    truth = np.asarray([0, 1, 0, 1])
    second = np.asarray([0.1, 0.2, 0.8, 0.9])
    found = replace(
        outcomes(2, n=4),
        truth=truth,
        folds=np.asarray([0, 0, 1, 1]),
        scores=np.column_stack([1 - second, second]),
    )
    assert plain(found)["roc_auc"] == 1.0
    assert plain(found)["average_precision"] == 1.0
    assert plain(replace(found, folds=np.zeros(4, dtype=int)))["roc_auc"] == 0.75


def test_scores_that_tie_at_infinity_are_one_step_whatever_the_order_of_the_rows() -> None:
    """A class that a training part lacks scores -inf throughout; ranks are those of scikit-learn with a finite number instead."""
    truth = np.asarray([1, 0, 1, 0, 1, 0])
    for end in (np.inf, -np.inf):
        second = np.asarray([end, end, end, end, 0.0, 1.0])
        finite = np.where(np.isinf(second), np.sign(end) * 9, second)
        for order in (np.arange(6), np.arange(6)[::-1]):
            found = replace(
                outcomes(2, n=6),
                truth=truth[order],
                scores=np.column_stack([-second, second])[order],
                proba=None,
            )
            figures = plain(found)
            assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, finite))
            assert figures["average_precision"] == pytest.approx(
                metrics.average_precision_score(truth, finite)
            )


def test_calibration_error_is_the_weighted_gap_of_bins() -> None:
    proba = np.asarray([[0.2, 0.8]] * 10 + [[0.45, 0.55]] * 10)
    truth = np.asarray([1] * 6 + [0] * 4 + [1] * 5 + [0] * 5)
    found = replace(
        outcomes(2, n=20), truth=truth, predicted=np.ones(20, dtype=int), proba=proba, scores=proba
    )
    assert plain(found)["calibration_error"] == pytest.approx(0.5 * 0.2 + 0.5 * 0.05)


def test_sensitivity_is_about_the_positive_class_and_thresholds_are_figures_of_their_own() -> None:
    found = replace(
        outcomes(2, n=6),
        truth=np.asarray([1, 1, 1, 0, 0, 0]),
        predicted=np.asarray([1, 1, 0, 0, 0, 1]),
        decisions={"specificity 0.9": np.asarray([True, False, False, False, False, False])},
    )
    figures = plain(found)
    assert figures["sensitivity"] == pytest.approx(2 / 3)
    assert figures["specificity"] == pytest.approx(2 / 3)
    assert figures["sensitivity@specificity 0.9"] == pytest.approx(1 / 3)
    assert figures["specificity@specificity 0.9"] == 1.0
    other = {name: float(v[0]) for name, v in measure(found, positive=0).items()}
    assert other["sensitivity"] == pytest.approx(2 / 3)
    assert figure_of("sensitivity@specificity 0.9").is_share


def test_a_draw_without_a_class_has_no_roc_auc_and_an_accuracy() -> None:
    found = outcomes(2)
    weights = (found.truth == 1).astype(np.float64)[:, None]
    figures = plain(found, weights)
    assert np.isnan(figures["roc_auc"])
    assert np.isnan(figures["specificity"])
    assert figures["accuracy"] == figures["balanced_accuracy"] == figures["sensitivity"]


def test_predictions_without_probabilities_have_fewer_figures() -> None:
    found = outcomes(2)
    assert set(plain(replace(found, proba=None, scores=None))) == {
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "sensitivity",
        "specificity",
    }
    assert "roc_auc" in plain(replace(found, proba=None))


def test_regression_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(100, 3, 200)
    predicted = truth + rng.normal(size=200)
    weights = rng.integers(1, 4, 200).astype(np.float64)
    found = replace(
        outcomes(2, n=200), truth=truth, predicted=predicted, classes=None, scores=None, proba=None
    )
    figures = plain(found, weights[:, None])
    assert figures["r2"] == pytest.approx(metrics.r2_score(truth, predicted, sample_weight=weights))
    assert figures["mae"] == pytest.approx(
        metrics.mean_absolute_error(truth, predicted, sample_weight=weights)
    )
    assert figures["rmse"] == pytest.approx(
        metrics.root_mean_squared_error(truth, predicted, sample_weight=weights)
    )
    assert np.isnan(plain(replace(found, truth=np.full(200, 0.1)))["r2"])


def test_figures_by_class_are_those_of_scikit_learn() -> None:
    found = outcomes(4)
    mine = measure_classes(found)
    expected = metrics.precision_recall_fscore_support(found.truth, found.predicted)
    for name, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        np.testing.assert_allclose(mine[name][:, 0], values)


def test_every_figure_has_a_title_and_a_meaning() -> None:
    for figure in FIGURES.values():
        assert figure.title
        assert figure.meaning.endswith(".")
