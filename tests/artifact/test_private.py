"""Nothing in an artefact names a place on the machine that saved it."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import featx
from featx import Backbone, EmbeddingStore, ImageFeatures
from featx.artifact.parts import without_paths

ROOT = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and every entry of every archive, with its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.name, str(path.relative_to(folder)).encode() + path.read_bytes()
        if path.suffix == ".skops":
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    yield f"{path.name}/{entry.filename}", entry.filename.encode() + archive.read(entry)


def places(tmp_path: Path) -> list[str]:
    known = [tmp_path, tmp_path.parent, Path(tempfile.gettempdir()), Path.home(), Path.cwd(), ROOT]
    return [str(place) for place in known if place != Path(place.anchor)]


def assert_no_place_in(folder: Path, tmp_path: Path) -> None:
    found = list(contents(folder))
    assert len(found) > 5
    for name, content in found:
        for place in places(tmp_path):
            # numpy keeps strings as UTF-32.
            for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
                assert place.encode(encoding) not in content, f"{place} in {name} as {encoding}"


@pytest.fixture
def model(tiny: Path, tmp_path: Path, pictures: NDArray[np.uint8], y: NDArray[np.str_]) -> Pipeline:
    features = ImageFeatures(tiny, device="cpu", cache=str(tmp_path / "cache"))
    steps = [("features", features), ("head", LogisticRegression())]
    return Pipeline(steps, memory=str(tmp_path / "memory")).fit(pictures, y)


def test_no_path_in_a_saved_pipeline(model: Pipeline, tmp_path: Path) -> None:
    featx.save(model, tmp_path / "model")
    assert_no_place_in(tmp_path / "model", tmp_path)
    featx.save(model, tmp_path / "by reference", backbone="reference")
    assert_no_place_in(tmp_path / "by reference", tmp_path)


def test_no_path_in_a_search_over_backbones_and_caches(
    model: Pipeline, tiny: Path, other: Path, tmp_path: Path, pictures: NDArray[np.uint8], y: NDArray[np.str_]
) -> None:
    model.set_params(memory=joblib.Memory(tmp_path / "memory", verbose=0))
    grid: list[dict[str, list[Any]]] = [
        {"features__backbone": [str(tiny), other, Backbone.open(tiny)]},
        {"features__cache": [str(tmp_path / "cache"), EmbeddingStore(tmp_path / "store"), None]},
    ]
    search = GridSearchCV(model, grid, cv=2).fit(pictures, y)
    featx.save(search, tmp_path / "model")
    assert_no_place_in(tmp_path / "model", tmp_path)
    again = featx.load(tmp_path / "model", cache=None)
    assert again.param_grid[0]["features__backbone"] == ["tiny"] * 3
    np.testing.assert_array_equal(again.predict_proba(pictures), search.predict_proba(pictures))


def test_memory_is_off_in_what_is_saved_and_in_what_is_loaded(model: Pipeline, tmp_path: Path) -> None:
    featx.save(model, tmp_path / "model")
    assert featx.load(tmp_path / "model").memory is None
    assert model.memory == str(tmp_path / "memory")


def test_classes_that_are_paths_are_data(tiny: Path, pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    folders = [tmp_path / "ants", tmp_path / "bees"]
    for folder in folders:
        folder.mkdir()
    labels = np.array([str(folders[i % 2]) for i in range(30)], dtype=object)
    steps = [("features", ImageFeatures(tiny, device="cpu", cache=None)), ("head", LogisticRegression())]
    model = Pipeline(steps).fit(pictures, labels)
    again = featx.load(featx.save(model, tmp_path / "model"), cache=None)
    np.testing.assert_array_equal(again.predict(pictures), model.predict(pictures))


def test_labels_that_look_like_paths_are_left_alone(tmp_path: Path) -> None:
    # Open Images names its classes like this.
    assert without_paths("/m/0k4j") == "/m/0k4j"
    assert without_paths("/") == "/"
    assert without_paths("relative/name") == "relative/name"
    assert without_paths(str(tmp_path)) == tmp_path.name
    assert without_paths(str(tmp_path / "gone" / "cache")) == "cache"
    assert without_paths(tmp_path / "resnet50") == "resnet50"
