"""Rows of predictions say what the figures were computed from, and where each sample stands in the data."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

import featx
from featx.evaluation.origins import Origin
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation
from featx.reporting.predictions import csv_bytes


def test_every_sample_has_a_row_also_where_groups_are_judged(two: Evaluation) -> None:
    rows = two.predictions()
    assert [row["position"] for row in rows] == list(range(120))
    assert list(rows[0]) == ["position", "fold", "unit", "truth", "predicted", "p_ill", "p_well"]
    assert {row["fold"] for row in rows} == {1, 2, 3}
    assert len({row["unit"] for row in rows}) == 40
    assert {row["truth"] for row in rows} == {"ill", "well"}
    assert all(row["p_ill"] + row["p_well"] == pytest.approx(1) for row in rows)
    assert all((row["p_ill"] > 0.5) == (row["predicted"] == "ill") for row in rows)


def test_figures_follow_from_the_rows(right: Evaluation, nasty: Evaluation) -> None:
    for found in (right, nasty):
        rows = found.predictions()
        value = balanced_accuracy_score([row["truth"] for row in rows], [row["predicted"] for row in rows])
        assert value == pytest.approx(found["balanced_accuracy"].value)


def test_a_sample_of_a_split_has_one_row_with_its_part(pictured: Evaluation) -> None:
    rows = pictured.predictions()  # judged as given, and without what training saw
    assert [row["position"] for row in rows] == list(range(24, 40))
    assert {row["part"] for row in rows} == {"test"}
    assert "name" not in rows[0]
    assert pictured.predictions(show_names=True)[0]["name"].endswith("Jane Doe 24.png")


def test_positions_are_rows_of_the_data_as_given_and_lines_those_of_the_table(right: Evaluation) -> None:
    n = right.n_samples
    places = tuple(f"pets.csv, line {i + 3}" for i in range(n))
    moved = replace(right, origin=Origin(rows=np.arange(n) + 1, dataset="pets", places=places))
    assert [moved.predictions()[0][key] for key in ("position", "place")] == [1, "pets.csv, line 3"]


def test_scores_stand_where_there_are_no_probabilities_and_nothing_for_a_regression(
    regression: Evaluation,
) -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    rows = featx.evaluate(LinearSVC(), X, y, cv=2, n_bootstrap=100).predictions()
    assert list(rows[0])[-2:] == ["score_0", "score_1"]
    assert list(regression.predictions()[0]) == ["position", "fold", "unit", "truth", "predicted"]
    assert isinstance(regression.predictions()[0]["predicted"], float)


def test_a_comparison_has_the_rows_of_each_model(compared: Comparison, tmp_path: Path) -> None:
    rows = compared.predictions()
    assert len(rows) == 3 * 90
    assert [rows[at]["model"] for at in (0, 90, 180)] == ["one <i>", "two", "three"]
    compared.to_csv(tmp_path / "rows.csv")
    assert len((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()) == 1 + 270


def test_a_file_holds_every_row_with_six_digits(two: Evaluation, tmp_path: Path) -> None:
    two.to_csv(tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    for row, expected in zip(read, two.predictions(), strict=True):
        assert row["truth"] == expected["truth"]
        assert float(row["p_ill"]) == pytest.approx(expected["p_ill"], rel=1e-5)
        assert len(row["p_ill"].split("e")[0].lstrip("0.").replace(".", "")) <= 6


def test_models_with_other_columns_and_names_that_are_no_unicode_share_a_file() -> None:
    content = csv_bytes([{"model": "a", "p_x": 0.5}, {"model": "b\udcff", "score_x": 2.0}]).decode()
    assert list(csv.reader(io.StringIO(content))) == [
        ["model", "p_x", "score_x"],
        ["a", "0.5", ""],
        ["b\\udcff", "", "2"],
    ]
