"""Pictures for slides, and charts that stay small whatever the data."""

from __future__ import annotations

import struct
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import featx
from featx.reporting.charts import most_confused, short
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation


@pytest.mark.parametrize("name", ["two", "nasty", "many", "right", "regression", "compared", "pictured"])
def test_a_picture_fills_a_slide_and_leaves_matplotlib_as_it_was(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found: Evaluation | Comparison = request.getfixturevalue(name)
    before = dict(mpl.rcParams)
    found.to_png(
        tmp_path / "a.png", title="A title $of$ one's own, which is so long that it has to be broken"
    )
    data = (tmp_path / "a.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (1920, 1080)
    assert b"Software" not in data
    assert dict(mpl.rcParams) == before


def test_the_same_evaluation_gives_the_same_picture_and_page(two: Evaluation, tmp_path: Path) -> None:
    for name in ("a", "b"):
        two.to_png(tmp_path / f"{name}.png")
        two.to_html(tmp_path / f"{name}.html")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_many_samples_do_not_make_a_page_large(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 30_000)
    X = rng.normal(size=(30_000, 2)) + y[:, None]
    found = featx.evaluate("logistic", X, y, n_bootstrap=100, cv=2, at_specificity=None, at_sensitivity=None)
    found.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 300_000


def test_a_heat_map_shows_the_classes_that_are_confused() -> None:
    matrix = np.diag(np.full(20, 50))
    matrix[3, 17], matrix[17, 4], matrix[8, 9] = 9, 8, 7
    assert most_confused(matrix, 20) == list(range(20))
    assert most_confused(matrix, 5) == [3, 4, 8, 9, 17]
    assert most_confused(matrix, 3) == [3, 4, 17]


def test_labels_are_told_apart_by_their_ends() -> None:
    assert short("species number 12", 12) != short("species number 13", 12)
    assert {len(short("x" * n, 12)) for n in range(13, 40)} == {12}
    assert short("short", 12) == "short"
