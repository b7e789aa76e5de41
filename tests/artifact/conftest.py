"""A tiny backbone, pictures and labels, and fitted pipelines to save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from featx import ImageFeatures, save
from featx.testing import tiny_backbone


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second network under the same name in another folder."""
    return tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny", seed=1)


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    """(30, 40, 36, 3)"""
    return np.random.default_rng(3).integers(0, 256, (30, 40, 36, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def y() -> NDArray[np.str_]:
    return np.array(["ant", "bee", "wasp"])[np.arange(30) % 3]


@pytest.fixture
def features(tiny: Path) -> ImageFeatures:
    return ImageFeatures(str(tiny), device="cpu", cache=None)


@pytest.fixture
def fitted(features: ImageFeatures, pictures: NDArray[np.uint8], y: NDArray[np.str_]) -> Callable[..., Any]:
    """Fit ``ImageFeatures -> head``, by default with a logistic regression."""

    def fit(head: BaseEstimator | None = None) -> Pipeline:
        return Pipeline(
            [("features", features), ("head", LogisticRegression() if head is None else head)]
        ).fit(pictures, y)

    return fit


@pytest.fixture
def saved(fitted: Callable[..., Any], tmp_path: Path) -> Path:
    """The folder of a fitted pipeline, to spoil."""
    return save(fitted(), tmp_path / "model")
