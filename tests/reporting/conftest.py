"""Small evaluations to report on, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

import featx
from featx.errors import FeatxWarning
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation
from featx.testing import tiny_backbone

FEW: dict[str, Any] = {"n_bootstrap": 100, "cv": 3}
NASTY = "<script>alert('1')</script> & $x$"


def vectors(n: int, k: int, *, apart: float = 1.0, seed: int = 0) -> tuple[Any, Any]:
    """Points (n, k) around a centre a class, and the position of each one's class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.normal(size=(n, k)) + apart * np.eye(k)[y], y


@pytest.fixture(scope="session")
def two() -> Evaluation:
    """Two classes, 120 samples of 40 groups, judged by groups; searched and calibrated, with a learning curve."""
    X, y = vectors(120, 2, apart=1.5)
    groups = [f"Jane Doe {i % 40}" for i in range(120)]
    return featx.evaluate(
        "logistic",
        X,
        np.array(["ill", "well"])[y],
        groups=groups,
        aggregate="mean",
        positive="ill",
        calibrate="sigmoid",
        param_grid={"logistic__C": [0.1, 1.0]},
        learning_curve=(0.5,),
        **FEW,
    )


@pytest.fixture(scope="session")
def nasty() -> Evaluation:
    """Three classes with names that are no text for HTML as they stand."""
    X, y = vectors(90, 3)
    return featx.evaluate(
        "logistic", X, np.array([NASTY, "日本語", "\"quoted\" 'twice'"])[y], name="<b>bold</b>", **FEW
    )


@pytest.fixture(scope="session")
def many() -> Evaluation:
    """Twenty classes."""
    X, y = vectors(200, 20, apart=3.0)
    return featx.evaluate("logistic", X, np.array([f"species number {i}" for i in range(20)])[y], **FEW)


@pytest.fixture(scope="session")
def right() -> Evaluation:
    """Two classes, every prediction right."""
    X, y = vectors(40, 2, apart=40.0)
    return featx.evaluate("logistic", X, y, **FEW)


@pytest.fixture(scope="session")
def regression() -> Evaluation:
    """A target of three columns and noise."""
    X, _ = vectors(90, 3)
    return featx.evaluate(
        Ridge(), X, X.sum(axis=1) + np.random.default_rng(1).normal(size=90), learning_curve=(0.5,), **FEW
    )


@pytest.fixture(scope="session")
def compared() -> Comparison:
    """Three on the same 90 samples."""
    X, y = vectors(90, 2)
    return featx.compare({"one <i>": "logistic", "two": "svm", "three": "xgboost"}, X, y, **FEW)


@pytest.fixture(scope="session")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """40 pictures of noise, told apart by nothing, in files named after people; one is in both parts of the split."""
    folder = tmp_path_factory.mktemp("reporting")
    rng = np.random.default_rng(4)
    files = [folder / f"Jane Doe {i}.png" for i in range(40)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)).save(file)
    files[30].write_bytes(files[0].read_bytes())
    model = Pipeline(
        [
            ("features", featx.ImageFeatures(tiny_backbone(folder / "tiny"), cache=None)),
            ("head", featx.make_head("logistic")),
        ]
    )
    with pytest.warns(FeatxWarning):  # the leak is said
        return featx.evaluate(
            model,
            [str(file) for file in files],
            ["cat", "dog"] * 20,
            split=["train"] * 24 + ["test"] * 16,
            groups=[f"Group of Jane {i}" for i in range(40)],
            **{**FEW, "at_specificity": None, "at_sensitivity": None},
        )


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., str]:
    """Write a page and read it."""

    def write(found: Evaluation | Comparison, **options: Any) -> str:
        found.to_html(tmp_path / "page.html", overwrite=True, **options)
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return write
