"""The area under a curve that is drawn is the figure that is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from featx.evaluation.figures import measure
from featx.evaluation.outcomes import Outcomes
from featx.reporting.curves import precision_recall_curves, reliability, roc_curves


def outcomes(n: int = 400, *, folds: int = 4, decimals: int = 8, seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    p = np.clip(np.round(0.5 + 0.2 * (truth - 0.5) + 0.2 * rng.normal(size=n), decimals), 0, 1)
    proba = np.column_stack([1 - p, p])
    return Outcomes(
        truth=truth,
        predicted=(p > 0.5).astype(np.intp),
        folds=rng.integers(0, folds, n),
        units=np.arange(n),
        samples=np.arange(n),
        classes=np.array(["no", "yes"]),
        scores=proba,
        proba=proba,
    )


def area(line: tuple[Any, Any]) -> float:
    return float(np.trapezoid(line[1], line[0]))


@pytest.mark.parametrize("decimals", [8, 1], ids=["distinct scores", "many equal scores"])
@pytest.mark.parametrize("positive", [0, 1])
def test_the_mean_curve_has_the_figures_area(decimals: int, positive: int) -> None:
    given = outcomes(decimals=decimals)
    figures = measure(given, positive=positive)
    roc, pr = roc_curves(given, positive), precision_recall_curves(given, positive)
    assert roc is not None
    assert pr is not None
    # A grid of 201 places is off by at most half a place a step.
    assert area(roc.mean) == pytest.approx(figures["roc_auc"][0], abs=0.005)
    assert area(pr.mean) == pytest.approx(figures["average_precision"][0], abs=0.005)


def test_a_folds_curves_are_scikit_learns() -> None:
    given = outcomes(folds=1)
    assert given.scores is not None
    roc, pr = roc_curves(given, 1), precision_recall_curves(given, 1)
    assert roc is not None
    assert pr is not None
    x, y, _ = roc_curve(given.truth, given.scores[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(roc.folds[0], (x, y))
    precision, recall, _ = precision_recall_curve(given.truth, given.scores[:, 1])
    mine_recall, mine_precision = pr.folds[0]  # theirs goes from all to none, and ends with a point of no row
    k = len(mine_recall)
    np.testing.assert_allclose(mine_recall, recall[::-1][1 : k + 1])
    np.testing.assert_allclose(mine_precision, precision[::-1][1 : k + 1])
    assert mine_recall[-1] == 1.0


def test_a_fold_without_the_class_has_no_curve() -> None:
    given = outcomes(folds=2)
    one_class = np.where(given.folds == 0, 0, given.truth)
    curves = roc_curves(Outcomes(**{**fields(given), "truth": one_class}), 1)
    assert curves is not None
    assert len(curves.folds) == 1
    assert roc_curves(Outcomes(**{**fields(given), "truth": np.zeros(400, dtype=int)}), 1) is None


def test_labels_alone_have_no_curve() -> None:
    bare = Outcomes(**{**fields(outcomes()), "scores": None, "proba": None})
    assert roc_curves(bare, 1) is None
    assert precision_recall_curves(bare, 1) is None
    assert reliability(bare, 1) is None


def test_bins_of_probabilities_hold_every_row_once() -> None:
    given = outcomes()
    found = reliability(given, 1)
    assert found is not None
    assert given.proba is not None
    assert found.counts.sum() == len(given)
    assert found.counts @ found.said == pytest.approx(given.proba[:, 1].sum())
    assert found.counts @ found.happened == pytest.approx(given.truth.sum())
    of_label = reliability(given, None)
    assert of_label is not None
    assert of_label.said.min() >= 0.5
    assert of_label.counts @ of_label.happened == (given.truth == given.predicted).sum()


def fields(given: Outcomes) -> dict[str, Any]:
    return {name: getattr(given, name) for name in given.__slots__}
