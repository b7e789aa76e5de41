"""Pictures are embedded once for an evaluation, and what cannot be read or has no network is judged beside them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import featx
from featx.errors import FeatxWarning
from featx.evaluation.evaluate import compare, evaluate

FEW = {"n_bootstrap": 100}


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of two classes of small pictures, red and blue noise."""

    def make(per_class: int) -> Path:
        rng = np.random.default_rng(0)
        for channel, name in ((0, "red"), (2, "blue")):
            (tmp_path / "pictures" / name).mkdir(parents=True)
            for i in range(per_class):
                pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
        return tmp_path / "pictures"

    return make


def test_pictures_meet_the_network_once_whatever_is_asked(
    tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    data = featx.read_dataset(picture_folder(per_class=8))
    store = featx.EmbeddingStore(tmp_path / "store")
    model = Pipeline(
        [("features", featx.ImageFeatures(cache=None, device="cpu")), ("head", featx.make_head("logistic"))]
    )
    found = evaluate(
        model, data, cv=2, learning_curve=(0.5,), param_grid={"head__logistic__C": [0.01, 1.0]}, **FEW
    )
    assert found.modality == "image"
    assert len(found.spaces) == 1
    assert not hasattr(model[0], "backbone_")  # a clone was fitted, never what was given
    cached = Pipeline(
        [("features", featx.ImageFeatures(cache=store, device="cpu")), ("head", featx.make_head("logistic"))]
    )
    searched = evaluate(
        cached, data, cv=2, param_grid={"features__tap": ["stage3", "pooled"]}, scoring="accuracy", **FEW
    )
    assert {fit.params["features__tap"] for fit in searched.fits} <= {"stage3", "pooled"}
    assert set(searched.spaces) <= {space.id for space in store.spaces() if space.n_rows == 16}
    # A space a tap; the memory of files is of no backbone.
    assert [space.n_rows for space in store.spaces() if "backbone" in space.description] == [16, 16]


def _mean_colours(paths: list[str]) -> NDArray[np.float64]:
    return np.array([np.asarray(Image.open(path), dtype=float).mean(axis=(0, 1)) for path in paths])


def test_a_model_without_a_network_is_compared_on_the_folds_of_one_that_sees_near_copies(
    picture_folder: Callable[..., Path],
) -> None:
    folder = picture_folder(per_class=8)
    for name in ("red", "blue"):
        Image.open(folder / name / "0.png").save(folder / name / "near.jpg", quality=95)
    data = featx.read_dataset(folder)
    found = compare(
        {
            "colours": make_pipeline(FunctionTransformer(_mean_colours), LogisticRegression()),
            "network": make_pipeline(featx.ImageFeatures(cache=None, device="cpu"), LogisticRegression()),
        },
        data.samples,
        data.labels,
        cv=2,
        **FEW,
    )
    assert [each.name for each in found.evaluations] == ["colours", "network"]
    assert [each.n_units for each in found.evaluations] == [16, 16]  # 18 pictures, two of them twice
    network, colours = (found.evaluations[at]["accuracy"].value for at in (1, 0))
    assert found.difference("network", "colours", "accuracy").value == pytest.approx(network - colours)


def test_unreadable_pictures_are_left_out_and_told(
    tmp_path: Path, picture_folder: Callable[..., Path]
) -> None:
    folder = picture_folder(per_class=8)
    broken = next(folder.rglob("*.png"))
    broken.write_bytes(b"no picture")
    data = featx.read_dataset(folder)
    model = Pipeline(
        [
            ("features", featx.ImageFeatures(on_error="nan", cache=None, device="cpu")),
            ("head", featx.make_head("logistic")),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatxWarning)
        found = evaluate(model, data, cv=2, **FEW)
    assert found.n_samples == len(data) - 1
    assert [error.name for error in found.skipped] == [str(broken)]


def test_a_finished_model_is_judged_as_it_is(picture_folder: Callable[..., Path]) -> None:
    data = featx.read_dataset(picture_folder(per_class=8))
    model = Pipeline(
        [("features", featx.ImageFeatures(cache=None, device="cpu")), ("head", featx.make_head("logistic"))]
    ).fit(data.samples, data.labels)
    found = evaluate(model, data, cv="prefit", **FEW)
    assert found["accuracy"].value == pytest.approx(np.mean(model.predict(data.samples) == data.labels))
    assert found.fits == ()
    assert found.main.part == "as given"  # nobody said what it was trained on
