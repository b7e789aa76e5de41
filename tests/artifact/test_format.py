"""The format: read back equal, old samples stay readable, other versions of libraries are told."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx.artifact import describe, training_keys
from featx.artifact.format import FORMAT
from featx.artifact.manifest import from_json, to_json
from featx.errors import FeatxWarning

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("head", ["logistic", "svm", "xgboost", "remembers"])
@pytest.mark.parametrize("number", [1])
def test_old_artefacts_stay_readable(number: int, head: str) -> None:
    folder = DATA / f"artifact_v{number}" / head
    expected = json.loads(folder.with_suffix(".expected.json").read_text(encoding="utf-8"))
    assert describe(folder).format == number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatxWarning)  # the versions it was saved with
        model = featx.load(folder, cache=None, device="cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 24, 20, 3), dtype=np.uint8)
    assert model.predict(pictures).tolist() == expected["labels"]
    # Another processor or library sums float32 in another order: 1e-5 covers it, where every change of rule shows.
    np.testing.assert_allclose(model.predict_proba(pictures), expected["probabilities"], atol=1e-5)
    assert [space.id for record in describe(folder).features for space in record.spaces] == expected["spaces"]
    keys = training_keys(folder)
    assert (None if keys is None else [key.tobytes().hex() for key in keys]) == expected.get("keys")


def test_there_is_a_sample_of_the_present_format() -> None:
    assert describe(DATA / f"artifact_v{FORMAT}" / "logistic").format == FORMAT


def test_a_manifest_is_read_back_equal(fitted: Callable[..., Any], tmp_path: Path) -> None:
    featx.save(
        fitted(), tmp_path / "model", labels=["A", "Bé", "…"], notes="two\nlines", sample_column="scan"
    )
    info = describe(tmp_path / "model")
    assert from_json(to_json(info)) == info
    assert info.labels == ("A", "Bé", "…")


def test_keys_of_a_later_version_are_passed_over(fitted: Callable[..., Any], tmp_path: Path) -> None:
    featx.save(fitted(), tmp_path / "model")
    values = json.loads((tmp_path / "model" / "artifact.json").read_text())
    for entry in (
        values,
        values["files"][0],
        values["backbones"][0],
        values["features"][0],
        values["features"][0]["spaces"][0],
    ):
        entry["novelty"] = 1
    assert from_json(json.dumps(values)) == describe(tmp_path / "model")


@pytest.mark.parametrize(("version", "warned"), [("0.24.2", True), ("1.1.9", True), (None, False)])
def test_another_minor_version_of_scikit_learn_is_told_and_loads(
    version: str | None, warned: bool, fitted: Callable[..., Any], tmp_path: Path
) -> None:
    featx.save(fitted(), tmp_path / "model")
    values = json.loads((tmp_path / "model" / "artifact.json").read_text())
    own: str = values["versions"]["scikit-learn"]
    values["versions"]["scikit-learn"] = version or ".".join([*own.split(".")[:2], "99"])
    (tmp_path / "model" / "artifact.json").write_text(json.dumps(values))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = featx.load(tmp_path / "model", cache=None)
    assert hasattr(model, "predict")
    told = [str(w.message) for w in caught if issubclass(w.category, FeatxWarning)]
    assert len(told) == len(caught) == warned
    if warned:
        assert f"saved with scikit-learn {version}, and this is {own}" in told[0]
        assert caught[0].filename == __file__
