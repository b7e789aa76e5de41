"""``featx embed``: what is written, what is kept from being overwritten, and how it is used elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import featx as library
from featx.testing import counted_rows


def test_vectors_manifest_and_spaces_are_written(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    ended = featx("embed", photos, "-b", tiny, "--out", tmp_path / "vectors.npy")
    assert (ended.status, ended.err) == (0, "")
    vectors = np.load(tmp_path / "vectors.npy")
    manifest = pd.read_csv(tmp_path / "vectors.manifest.csv")
    spaces = json.loads((tmp_path / "vectors.spaces.json").read_text(encoding="utf-8"))
    assert (vectors.shape, vectors.dtype) == ((24, 16), np.float32)
    assert list(manifest) == ["row", "file", "digest", "label"]
    assert manifest["row"].tolist() == list(range(24))
    assert manifest["file"][0] == "dark/00.png"
    assert set(manifest["label"]) == {"dark", "light"}
    features = library.ImageFeatures(tiny).fit(None)
    assert [space["id"] for space in spaces["spaces"]] == [space.id for space in features.spaces_]
    np.testing.assert_array_equal(vectors, features.transform(sorted(map(str, photos.glob("*/*.png")))))


def test_the_manifests_digests_stand_for_the_pictures(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    featx("embed", photos, "-b", tiny, "-o", tmp_path / "v", "--cache", tmp_path / "cache")
    digests = pd.read_csv(tmp_path / "v.manifest.csv")["digest"]
    with counted_rows() as rows:
        again = library.ImageFeatures(tiny, cache=tmp_path / "cache").fit_transform(digests)
    assert rows.n == 0
    np.testing.assert_array_equal(again, np.load(tmp_path / "v.npy"))


def test_a_model_is_made_from_the_manifest_where_the_pictures_are_not(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(photos, tmp_path / "hospital"))
    cache = tmp_path / "cache"
    featx("embed", pictures, "-b", tiny, "-o", tmp_path / "v", "--cache", cache)
    here = featx("train", pictures, "-b", tiny, "--head", "logistic", "--cache", cache, "--json").json
    shutil.rmtree(pictures)
    words = (
        "train",
        tmp_path / "v.manifest.csv",
        "--file-column",
        "digest",
        "-b",
        tiny,
        "--head",
        "logistic",
    )
    elsewhere = featx(*words, "--cache", cache, "--json").json
    assert elsewhere["n_computed"] == 0
    for found in (here, elsewhere):
        del found["comparison"]["heads"][0]["fit_time_s"]
        for fold in found["comparison"]["heads"][0]["folds"]:
            del fold["fit_time_s"]
    assert elsewhere["comparison"] == here["comparison"]
    assert "the store holds no vector for this digest" in featx(*words).err  # in the default cache


def test_samples_need_not_be_files(tiny: Path, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    dataset = library.Dataset(samples=list(stack), name="arrays", root="")  # type: ignore[arg-type]  # arrays pass too
    _, manifest, _ = library.write_embedding(library.embed(dataset, backbone=tiny), tmp_path / "v")
    assert pd.read_csv(manifest)["file"][1] == "sample 1 (array of shape (40, 40, 3))"


def test_json_says_what_was_written(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    found = featx("embed", photos, "-b", tiny, "-o", tmp_path / "v.npy", "--json").json
    assert (found["n"], found["d"], found["n_computed"], found["skipped"]) == (24, 16, 24, [])
    assert [Path(file).name for file in found["files"]] == ["v.npy", "v.manifest.csv", "v.spaces.json"]
    assert all(Path(file).is_file() for file in found["files"])


def test_vectors_are_replaced_only_when_asked(
    featx: Any, refused: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    words = ("embed", photos, "-b", tiny, "-o", tmp_path / "v.npy")
    featx(*words)
    (tmp_path / "v.npy").unlink()  # the manifest alone is enough
    assert refused(*words).endswith(
        "v.manifest.csv: exists. Choose another name, or pass --overwrite to replace it."
    )
    assert featx(*words, "--overwrite").status == 0


def test_a_manifest_away_from_its_images_says_how_to_use_it(
    featx: Any, refused: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    featx("embed", photos, "-b", tiny, "-o", tmp_path / "v.npy")
    manifest = tmp_path / "v.manifest.csv"
    assert "--file-column digest takes vectors from the cache" in refused("train", manifest, "-b", tiny)
    assert featx("train", manifest, "-b", tiny, "--file-column", "digest", "--head", "logistic").status == 0


def test_a_table_is_never_overwritten_by_the_manifest(
    featx: Any, table: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    path = table("data.csv", group=[f"g{i}" for i in range(24)], split=["train"] * 24)
    before = path.read_bytes()
    assert featx("embed", path, "-b", tiny, "-o", path.with_suffix(".npy")).status == 0
    assert path.read_bytes() == before
    manifest = pd.read_csv(tmp_path / "data.manifest.csv")
    assert list(manifest) == ["row", "file", "digest", "label", "group", "split"]


def test_skipped_images_are_rows_of_nan_without_a_digest(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "d")
    (tmp_path / "d" / "dark" / "00.png").write_bytes(b"no picture")
    words = ("embed", tmp_path / "d", "-b", tiny, "-o", tmp_path / "v", "--skip-unreadable")
    ended = featx(*words)
    assert ended.out.startswith(f"skipped {tmp_path / 'd' / 'dark' / '00.png'} (index 0): ")
    assert featx(*words, "--overwrite", "--json").json["skipped"][0]["index"] == 0
    vectors = np.load(tmp_path / "v.npy")
    manifest = pd.read_csv(tmp_path / "v.manifest.csv")
    assert np.isnan(vectors).all(axis=1).tolist() == [True] + [False] * 23
    assert manifest["digest"].isna().tolist() == [True] + [False] * 23


@pytest.mark.parametrize("layout", ["flat", "one class", "no labels in the table", "one class in the table"])
def test_labels_are_not_needed(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path, table: Callable[..., Path], layout: str
) -> None:
    data = {
        "flat": lambda: photos / "dark",
        "one class": lambda: Path(shutil.copytree(photos / "dark", tmp_path / "d" / "dark")).parent,
        "no labels in the table": lambda: table(without=("label",)),
        "one class in the table": lambda: table(label=["x"] * 24),
    }[layout]()
    ended = featx("embed", data, "-b", tiny, "-o", tmp_path / "v")
    assert (ended.status, ended.err) == (0, "")
    has_labels = "label" in pd.read_csv(tmp_path / "v.manifest.csv")
    assert has_labels == (layout in ("one class", "one class in the table"))


def test_labels_that_cannot_be_used_are_left_out_with_a_warning(
    featx: Any, tiny: Path, tmp_path: Path, table: Callable[..., Path], photos: Path
) -> None:
    words = ("-b", tiny, "-o", tmp_path / "v", "--overwrite")
    ended = featx("embed", table(label=["x"] * 23 + [""]), *words)
    assert ended.status == 0
    assert "read without its labels. column 'label' is empty in 1 of 24 rows" in ended.err
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    shutil.copy(photos / "dark" / "00.png", mixed / "loose.png")
    ended = featx("embed", mixed, *words)
    assert "read without its labels. 1 image lies in no class, for example loose.png" in ended.err
    assert len(np.load(tmp_path / "v.npy")) == 25


def test_files_may_lie_elsewhere(featx: Any, refused: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    featx("embed", photos, "-b", tiny, "-o", tmp_path / "v.npy")
    words = ("train", tmp_path / "v.manifest.csv", "-b", tiny, "--head", "logistic")
    assert "--image-root where the files lie" in refused(*words)
    assert featx(*words, "--image-root", photos).status == 0


def test_a_table_is_not_replaced_by_the_manifest_made_of_it(
    featx: Any, refused: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    featx("embed", photos, "-b", tiny, "-o", tmp_path / "v.npy")
    words = (
        "embed",
        tmp_path / "v.manifest.csv",
        "--file-column",
        "digest",
        "-b",
        tiny,
        "-o",
        tmp_path / "v.npy",
    )
    assert "which is read" in refused(*words, "--overwrite")


def test_digests_of_what_was_skipped_can_be_skipped_again(
    featx: Any, refused: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "d")
    (tmp_path / "d" / "dark" / "00.png").write_bytes(b"no picture")
    featx("embed", tmp_path / "d", "-b", tiny, "-o", tmp_path / "v", "--skip-unreadable")
    words = (
        "train",
        tmp_path / "v.manifest.csv",
        "--file-column",
        "digest",
        "-b",
        tiny,
        "--head",
        "logistic",
    )
    assert "v.manifest.csv, line 2" in refused(*words)
    assert "fitted on 23 images" in featx(*words, "--skip-unreadable").out
