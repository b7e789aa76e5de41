"""Evaluations by the names of backbones and heads, and of saved models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.errors import ParameterError, UnreadableSampleError
from featx.evaluating import evaluate_heads, evaluate_model
from featx.testing import tiny_backbone


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> featx.Dataset:
    """Two classes of ten pictures."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 120)):
        (folder / label).mkdir()
        for i in range(10):
            pixels = rng.integers(low, low + 120, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return featx.read_dataset(folder)


def test_names_of_backbones_are_short_where_that_tells_them_apart(
    photos: featx.Dataset, tmp_path: Path
) -> None:
    one, other = tiny_backbone(tmp_path / "a" / "net"), tiny_backbone(tmp_path / "b" / "net", seed=2)
    few = {"cv": 2, "n_bootstrap": 100}
    alone = evaluate_heads(photos, backbones=[one], **few)
    assert [each.name for each in alone.evaluations] == ["net, logistic"]
    both = evaluate_heads(photos, backbones=[one, other], **few)
    assert [each.name for each in both.evaluations] == [f"{one}, logistic", f"{other}, logistic"]
    with pytest.raises(ParameterError, match="given twice"):
        evaluate_heads(photos, backbones=[one, one], **few)


@pytest.mark.parametrize("heads", ["logistic", (), ("svm", "svm"), ("nothing",)])
def test_heads_are_names_each_once(photos: featx.Dataset, tmp_path: Path, heads: tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match=r"heads=|unknown head"):
        evaluate_heads(photos, backbones=[tiny_backbone(tmp_path / "net")], heads=heads)


def test_a_saved_model_predicts_as_it_does_elsewhere(photos: featx.Dataset, tmp_path: Path) -> None:
    trained = featx.train(
        photos, backbone=tiny_backbone(tmp_path / "net"), heads=("logistic",), out=tmp_path / "model"
    )
    found = evaluate_model(tmp_path / "model", photos, n_bootstrap=100)
    predicted = trained.pipeline.predict(photos.samples)
    assert found["accuracy"].value == np.mean(predicted == photos.labels)
    assert found.name == "model"
    broken = replace(photos, samples=[str(tmp_path / "gone.png"), *photos.samples[1:]])
    with pytest.raises(UnreadableSampleError):
        evaluate_model(tmp_path / "model", broken, n_bootstrap=100)
    left = evaluate_model(tmp_path / "model", broken, n_bootstrap=100, skip_unreadable=True)
    assert (left.n_samples, len(left.skipped)) == (19, 1)
