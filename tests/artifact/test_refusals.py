"""What cannot be saved is refused by name, and nothing is left behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier

import featx
from featx import ImageFeatures
from featx.errors import ArtifactError, ParameterError


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        ImageFeatures(),
        make_pipeline(ImageFeatures(), LogisticRegression()),
        LogisticRegression,
        "text",
    ],
    ids=["estimator", "features", "pipeline", "class", "string"],
)
def test_what_is_not_fitted_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fitted"):
        featx.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_parameters_changed_after_fit_are_refused(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    features.fit(pictures).set_params(tap="relu1")
    with pytest.raises(ArtifactError, match=r"'pooled' became 'relu1'.*Fit it again"):
        featx.save(features, tmp_path / "model")


def test_a_subclass_of_image_features_is_refused(
    pictures: NDArray[np.uint8], tiny: Path, tmp_path: Path
) -> None:
    class Mine(ImageFeatures):
        pass

    with pytest.raises(ArtifactError, match="Mine is a subclass"):
        featx.save(Mine(str(tiny), cache=None, device="cpu").fit(pictures), tmp_path / "model")


def named_later(X: NDArray[np.float64]) -> NDArray[np.float64]:
    return X


class Cursed(BaseEstimator):
    def fit(self, X: Any, y: Any = None) -> Cursed:
        self.generator_ = (i for i in range(3))
        return self


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (FunctionTransformer(lambda X: X), "<lambda>.*with def"),
        (FunctionTransformer(lambda X: X), "steps.1.1.func"),
        (Cursed(), "generator"),
        (Cursed(), "steps.1.1.generator_"),
    ],
)
def test_what_cannot_be_written_is_named(
    step: BaseEstimator, message: str, features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = make_pipeline(features, step).fit(pictures)
    with pytest.raises(ArtifactError, match=message):
        featx.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_is_defined_in_a_script_is_refused_when_it_is_saved(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_later, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "named_later", named_later, raising=False)
    model = make_pipeline(features, FunctionTransformer(named_later)).fit(pictures)
    with pytest.raises(ArtifactError, match="named_later is defined in the script"):
        featx.save(model, tmp_path / "model")


class Closed:
    """Says itself what its state is, so that nobody else can tell what a copy of it needs."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner}


def test_features_and_trees_out_of_reach_are_refused(
    features: ImageFeatures, pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    trees = XGBClassifier(n_estimators=1, n_jobs=1).fit(np.eye(4), [0, 1, 0, 1])
    for inner, name in ((features.fit(pictures), "ImageFeatures"), (trees, "Booster")):
        model = make_pipeline(StandardScaler()).fit(np.eye(4))
        model[0].extra_ = Closed(inner)
        with pytest.raises(ArtifactError, match=rf"{name}.*: inside an object"):
            featx.save(model, tmp_path / "model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "link"}, "copy"),
        ({"labels": ["one"]}, "got 1, and the pipeline has 3 classes"),
        ({"labels": "abc"}, "sequence of strings"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, Any], message: str, fitted: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=message):
        featx.save(fitted(), tmp_path / "model", **arguments)
    assert list(tmp_path.iterdir()) == []
