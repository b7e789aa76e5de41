"""A page says before any figure what a finished model was trained on, or that nobody knows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx.errors import LeakWarning
from featx.reporting.evaluations import Evaluation
from featx.store.digest import digest_array, keys_array


def judged(n_known: int | None) -> Evaluation:
    """30 samples, of which a model knows the first."""
    X, y = np.random.default_rng(0).normal(size=(30, 2)), [0, 1] * 15
    known = None if n_known is None else keys_array(digest_array(row) for row in X[:n_known])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        model: Any = featx.make_head("logistic").fit(X, y)
        return featx.evaluate(model, X, y, cv="prefit", training_keys=known, n_bootstrap=100)


@pytest.mark.parametrize(
    ("n_known", "said", "called"),
    [
        (None, "Training samples not known. ", "as given: 30 samples"),
        (0, "No leak found. ", "new samples: 30 samples"),
        (10, "sample in training: 10. ", "only samples the model has not been trained on: 20 samples"),
        (30, "nothing but training samples: 30. ", "only samples the model was trained on: 30 samples"),
    ],
)
def test_what_the_model_knows_stands_before_the_figures(
    n_known: int | None, said: str, called: str, tmp_path: Path
) -> None:
    found = judged(n_known)
    found.to_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    at = text.index(f"<strong>{said}</strong>")
    assert at < text.index('class="value"') < text.index(called)
    assert ("new samples: 30" in text) == (n_known == 0)
    assert ("only exact copies of them are found" in text) == (n_known is not None)
    assert "for example row" not in text
    found.to_png(tmp_path / "page.png")


def test_examples_are_on_the_page_where_names_are_asked_for(tmp_path: Path) -> None:
    judged(10).to_html(tmp_path / "page.html", show_names=True)
    assert "for example row 0; row 1; row 2" in (tmp_path / "page.html").read_text(encoding="utf-8")
