"""The best is chosen on val where the split has it, so that its figures on test are of no choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import featx
from featx.reporting.comparisons import Comparison


def split_in_three() -> Comparison:
    """Two models of which the first is better on val and the second on test: each is right in the other's column alone."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    split = np.repeat(["train", "val", "test"], 100)
    good_on = {"val": rng.normal(size=300), "test": rng.normal(size=300)}
    for part, column in good_on.items():
        column[(split == part) | (split == "train")] += 3 * y[(split == part) | (split == "train")]
    X = np.column_stack([good_on["val"], good_on["test"]])
    models = {name: _on_column(at) for at, name in enumerate(("good on val", "good on test"))}
    return featx.compare(models, X, y, split=split, n_bootstrap=100, at_specificity=None, at_sensitivity=None)


def _on_column(at: int) -> Any:
    return make_pipeline(FunctionTransformer(lambda X: X[:, [at]]), LogisticRegression())


@pytest.fixture(scope="module")
def chosen() -> Comparison:
    return split_in_three()


def test_val_chooses_and_test_is_quoted(chosen: Comparison) -> None:
    other = chosen.evaluations[1]
    assert chosen.chosen_on == "val"
    assert chosen.best.name == "good on val"
    assert chosen.best.main.part == "test"
    assert other["balanced_accuracy"].value > chosen.best["balanced_accuracy"].value
    assert chosen.to_dict()["chosen_on"] == "val"


def test_it_is_said_wherever_the_best_is_named(chosen: Comparison, page_of: Callable[..., str]) -> None:
    words = "balanced accuracy on val (of equals the first); figures on test took no part in the choice"
    table, page = chosen.format_table(), page_of(chosen)
    assert words in table
    assert words in page
    assert "flatters itself" not in table + page
    assert "balanced accuracy, val" in table


def test_without_val_the_best_flatters_itself(compared: Comparison) -> None:
    assert compared.chosen_on is None
    assert "the best of several figures flatters itself" in compared.format_table()
    highest = max(each["balanced_accuracy"].value for each in compared.evaluations)
    assert compared.best["balanced_accuracy"].value == pytest.approx(highest, abs=0.0005)


def test_the_choice_is_on_the_slide(
    chosen: Comparison, compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.reporting import pictures

    said: list[str] = []
    monkeypatch.setattr(
        pictures, "write_column", lambda _, paragraphs, **__: said.extend(each.text for each in paragraphs)
    )
    chosen.to_png(tmp_path / "a.png")
    compared.to_png(tmp_path / "b.png")
    assert any("took no part in the choice" in each for each in said)
    assert any("flatters itself" in each for each in said)
