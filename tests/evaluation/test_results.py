"""The outcome of a comparison: the winner by its rule, a table that fits a terminal, values that JSON can say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from featx.evaluation.results import FoldResult, HeadComparison, HeadResult
from featx.evaluation.scores import Scores


def head(name: str, *balanced: float, fit_time_s: float = 0.02) -> HeadResult:
    folds = tuple(
        FoldResult(
            scores=Scores(accuracy=0.5, balanced_accuracy=b, macro_f1=0.5, roc_auc=0.5, log_loss=0.7),
            fit_time_s=fit_time_s,
            params={},
        )
        for b in balanced
    )
    return HeadResult(name=name, folds=folds, proba=np.full((4, 2), 0.5))


def comparison(*results: HeadResult, n_groups: int | None = None, searched: bool = False) -> HeadComparison:
    return HeadComparison(
        results=results,
        classes=np.array(["ant", "bee"]),
        n_samples=746,
        n_features=1280,
        n_groups=n_groups,
        n_folds=2,
        searched=searched,
    )


@pytest.mark.parametrize(
    ("logistic", "svm", "best"),
    [
        ((0.7, 0.9), (0.8, 0.82), "svm"),
        ((0.8, 0.82), (0.7, 0.9), "logistic"),
        ((0.9004, 0.9004), (0.9, 0.9), "logistic"),
        ((0.9, 0.9), (0.9004, 0.9004), "logistic"),  # equal to three decimals: the first
        ((0.9, 0.9), (0.9006, 0.9006), "svm"),
    ],
)
def test_the_best_has_the_highest_balanced_accuracy_shown(
    logistic: tuple[float, ...], svm: tuple[float, ...], best: str
) -> None:
    assert comparison(head("logistic", *logistic), head("svm", *svm)).best == best


def test_mean_and_spread_are_over_folds() -> None:
    result = head("svm", 0.8, 0.9, 1.0)
    assert result.mean.balanced_accuracy == pytest.approx(0.9)
    assert result.std.balanced_accuracy == pytest.approx(0.1)
    assert result.std.log_loss == pytest.approx(0)


def test_the_table_marks_the_best_and_fits_a_terminal() -> None:
    table = comparison(
        head("logistic", 0.7, 0.8), head("xgboost", 0.9, 0.8, fit_time_s=12.3), n_groups=384, searched=True
    ).format_table()
    lines = table.splitlines()
    assert lines[1].startswith("  logistic")
    assert lines[2].startswith("* xgboost ")
    assert "0.850±0.071" in lines[2]
    assert lines[1].endswith("20 ms")
    assert lines[2].endswith("12.3 s")
    assert "384 groups kept together" in table
    assert "searched" in table
    assert max(map(len, lines)) <= 80


def test_a_plain_comparison_mentions_no_groups_and_no_search() -> None:
    table = comparison(head("logistic", 0.7, 0.8)).format_table()
    assert "group" not in table
    assert "searched" not in table


def test_the_dict_is_what_json_can_say() -> None:
    found = json.loads(json.dumps(comparison(head("svm", 0.7, 0.9)).to_dict(), allow_nan=False))
    assert found["best"] == "svm"
    assert found["classes"] == ["ant", "bee"]
    assert found["heads"][0]["mean"]["balanced_accuracy"] == pytest.approx(0.8)
    assert [fold["balanced_accuracy"] for fold in found["heads"][0]["folds"]] == [0.7, 0.9]
