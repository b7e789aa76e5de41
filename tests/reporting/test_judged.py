"""A figure on training samples alone is marked on page and slide, and nothing is claimed for it that does not hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx.errors import LeakWarning
from featx.reporting import pictures
from featx.reporting.evaluations import Evaluation
from featx.reporting.wording import REMEMBERED
from featx.store.digest import digest_array, keys_array

UNTRUE = ("The interval covers", "it was not chosen on", "Guessing gives", 'class="interval"')


def judged(n_known: int, groups: Any = None) -> Evaluation:
    """30 samples, of which a model knows the first."""
    X, y = np.random.default_rng(0).normal(size=(30, 2)), [0, 1] * 15
    known = keys_array(digest_array(row) for row in X[:n_known])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        model: Any = featx.make_head("logistic").fit(X, y)
        return featx.evaluate(model, X, y, groups=groups, cv="prefit", training_keys=known, n_bootstrap=100)


@pytest.mark.parametrize(
    ("n_known", "groups", "marked"),
    [
        (30, None, True),
        (10, None, False),
        (15, list(range(15)) * 2, True),  # every other one belongs with one that was trained on
        (5, list(range(15)) * 2, False),
    ],
)
def test_training_data_is_marked(
    n_known: int,
    groups: Any,
    marked: bool,
    page_of: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = judged(n_known, groups)
    text = page_of(found)
    assert found.judges_training is marked
    assert ('class="headline remembered"' in text) is marked
    assert (f">{REMEMBERED}<" in text) is marked
    for words in UNTRUE[:1] + UNTRUE[2:]:
        assert (words in text) is not marked
    assert UNTRUE[1] not in text  # a finished model has no threshold of its own choice
    paragraphs: list[Any] = []
    monkeypatch.setattr(pictures, "write_column", lambda _, given, **__: paragraphs.extend(given))
    found.to_png(tmp_path / "a.png")
    said = [each.text for each in paragraphs]
    assert (REMEMBERED in said) is marked
    assert any("interval" in each for each in said) is not marked


def test_models_fitted_here_never_judge_their_training(two: Evaluation, pictured: Evaluation) -> None:
    assert not two.judges_training
    assert not pictured.judges_training


def test_all_judgements_stand_side_by_side_and_all_but_the_first_are_folded(
    pictured: Evaluation, right: Evaluation, page_of: Callable[..., str]
) -> None:
    text = page_of(pictured)
    assert "<strong>test, only what training has not seen: 15 images</strong> (above)" in text
    assert "<summary>Every figure: test, as given: 16 images</summary>" in text
    assert text.index("What was judged, ") < text.index("<summary>Every figure")
    assert text.count("<summary>Every figure") == 1
    assert "What was judged, " not in page_of(right)


def test_what_is_folded_is_open_on_paper(right: Evaluation, page_of: Callable[..., str]) -> None:
    text = page_of(right)
    on_paper = text[text.index("@media print") :]
    assert "<details><summary>What the figures mean</summary>" in text
    assert "details::details-content { content-visibility: visible" in on_paper
