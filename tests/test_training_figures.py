"""``train`` on real pictures is as good as the README says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx.errors import LeakWarning


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the real sets: each of their 2,924 pictures is embedded once in this file."""
    return tmp_path_factory.mktemp("real")


# The rows of the README's table. Figures are those of folds with fixed seeds, on float32 vectors that agree between machines to
# about 1e-5: a sample or two on the decision boundary may differ, and the bounds leave room for more than that.
@pytest.mark.parametrize(
    ("name", "parameters", "least"),
    [
        ("hymenoptera_small", {}, 0.93),
        ("bccd_crops", {"heads": ["logistic"], "ignore_split": True}, 0.985),
        ("covid_ct_small", {"heads": ["logistic"], "ignore_split": True}, 0.72),
    ],
)
def test_frozen_features_reach_what_the_readme_says(
    name: str, parameters: dict[str, Any], least: float, cache: Path, data: Path, weights: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        result = featx.train(data / name, backbone=weights / "mobilenet_v2", cache=cache, **parameters)
    if result.held_out:
        accuracy = result.held_out["val"]["accuracy"]
    else:
        assert result.comparison.n_groups is not None
        accuracy = result.comparison.results[0].mean.accuracy
    assert accuracy >= least
    # Two pictures of covid_ct_small are there twice, once as COVID and once as NonCOVID.
    found = [("near-copy with another label", 2)] if name == "covid_ct_small" else []
    assert [(leak.kind, leak.n) for leak in result.leaks] == found


def test_the_reference_head_reaches_what_the_readme_says_of_it(
    cache: Path, data: Path, weights: Path
) -> None:
    # C=0.001 was the stated reference before any head was measured. The default of 0.01 is better in cross-validation and two
    # photographs of these 153 worse; benchmarks/accuracy.py prints both.
    dataset = featx.read_dataset(data / "hymenoptera_small")
    vectors = featx.ImageFeatures(weights / "mobilenet_v2", cache=cache).fit_transform(dataset.samples)
    train = dataset.split == "train"
    head = featx.make_head("logistic", C=1e-3).fit(vectors[train], dataset.labels[train])
    assert head.score(vectors[~train], dataset.labels[~train]) >= 0.94


def test_a_real_model_is_saved_and_used(cache: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    words = {"backbone": weights / "mobilenet_v2", "cache": cache, "heads": ["logistic"]}
    result = featx.train(data / "hymenoptera_small", out=tmp_path / "model", **words)
    val = [s for s, part in zip(*samples_and_split(data / "hymenoptera_small"), strict=True) if part == "val"]
    found = featx.predict(tmp_path / "model", val, cache=cache)
    np.testing.assert_array_equal(found.labels, result.pipeline.predict(val))


def samples_and_split(folder: Path) -> tuple[list[str], np.ndarray]:
    dataset = featx.read_dataset(folder)
    assert dataset.split is not None
    return dataset.samples, dataset.split
