"""Which mistakes are shown, and which of a group's samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from featx.evaluation.judgements import Judgement
from featx.evaluation.outcomes import Outcomes, aggregate
from featx.reporting.mistakes import shown_text, shown_thumbnail, worst_mistakes


def judgement(outcomes: Outcomes, level: str = "sample") -> Judgement:
    return Judgement(part="3 folds", level=level, outcomes=outcomes, figures={}, by_class={}, n_units=1)


def predictions(truth: list[int], p: list[float], units: list[int] | None = None, **more: Any) -> Outcomes:
    n, yes = len(truth), np.asarray(p)
    proba = np.column_stack([1 - yes, yes])
    given: dict[str, Any] = {
        "truth": np.asarray(truth),
        "predicted": (yes > 0.5).astype(int),
        "folds": np.zeros(n, dtype=int),
        "units": np.arange(n) if units is None else np.asarray(units),
        "samples": np.arange(n) + 100,
        "classes": np.array(["no", "yes"]),
        "scores": proba,
        "proba": proba,
    }
    return Outcomes(**{**given, **more})


def test_the_most_confident_come_first() -> None:
    found = worst_mistakes(judgement(predictions([0, 0, 1, 1, 1], [0.9, 0.1, 0.05, 0.4, 0.8])), None)
    assert [(each.sample, each.true, each.predicted) for each in found] == [
        (102, "yes", "no"),
        (100, "no", "yes"),
        (103, "yes", "no"),
    ]
    assert [each.sure for each in found] == pytest.approx([0.95, 0.9, 0.6])


def test_no_more_than_asked_for_and_none_where_all_are_right() -> None:
    wrong = judgement(predictions([0] * 20, [0.9] * 20))
    assert len(worst_mistakes(wrong, None)) == 12
    assert len(worst_mistakes(wrong, None, most=3)) == 3
    assert worst_mistakes(judgement(predictions([0, 1], [0.1, 0.9])), None) == []


def test_without_scores_wrong_ones_are_shown_in_their_order() -> None:
    given = predictions([0, 0, 1], [0.9, 0.8, 0.9], scores=None, proba=None)
    found = worst_mistakes(judgement(given), None)
    assert [(each.sample, each.sure) for each in found] == [(100, None), (101, None)]


def test_a_label_that_its_own_score_puts_second_is_wrong_all_the_same() -> None:
    given = predictions([0, 0], [0.4, 0.3], predicted=np.array([1, 0]), proba=None)
    assert [each.sample for each in worst_mistakes(judgement(given), None)] == [100]


def test_of_a_regression_the_largest_errors_come_first() -> None:
    given = Outcomes(
        truth=np.array([1.0, 2.0, 3.0]),
        predicted=np.array([1.1, 0.0, 3.0]),
        folds=np.zeros(3, dtype=int),
        units=np.arange(3),
        samples=np.arange(3),
    )
    found = worst_mistakes(judgement(given), None)
    assert [(each.sample, each.true, each.predicted) for each in found] == [(1, 2.0, 0.0), (0, 1.0, 1.1)]


def test_of_a_group_the_sample_is_shown_that_spoke_loudest() -> None:
    rows = predictions([0, 0, 0, 1], [0.6, 0.95, 0.7, 0.9], units=[7, 7, 7, 8])
    of_groups = aggregate(rows, rows.units, "mean")
    (found,) = worst_mistakes(judgement(of_groups, "group"), judgement(rows))
    assert (found.sample, found.n_samples) == (101, 3)


def test_groups_that_share_a_unit_are_not_mixed_up() -> None:
    rows = predictions([0, 0, 1, 1], [0.6, 0.7, 0.9, 0.9], units=[7, 7, 7, 7])
    of_groups = aggregate(rows, np.array([1, 1, 2, 2]), "mean")
    (found,) = worst_mistakes(judgement(of_groups, "group"), judgement(rows))
    assert (found.sample, found.n_samples) == (100, 1)


TEXTS = ["first", "x" * 400, "third"]


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS,
        np.array(TEXTS, dtype=object),
        np.array(TEXTS)[:, None],
        pd.Series(TEXTS, index=[5, 0, 1]),
        pl.Series(TEXTS),
    ],
    ids=["list", "array", "column", "pandas", "polars"],
)
def test_texts_of_any_container_are_cut(texts: Any) -> None:
    assert shown_text(texts, 0) == "first"
    assert shown_text(texts, 1) == "x" * 300 + "…"


def test_what_is_not_there_is_not_shown(tmp_path: Path) -> None:
    digest = "digest:" + "0" * 32
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert shown_text([digest], 0) is None
    assert shown_text([None], 0) is None
    for sample in (digest, str(tmp_path / "gone.png"), str(tmp_path / "broken.png"), None):
        assert shown_thumbnail([sample], 0) is None


def test_pictures_of_any_kind_are_shown(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    Image.fromarray(stack[0]).save(tmp_path / "a.png")
    for samples in (stack, list(stack), [Image.fromarray(stack[0])], [(tmp_path / "a.png").read_bytes()]):
        assert (shown_thumbnail(samples, 0) or b"").startswith(b"\xff\xd8")
