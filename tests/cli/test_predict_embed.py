"""``featx predict`` and ``featx embed``: what comes out, in which order, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import featx as library
from featx.testing import counted_rows


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- predict ---


def test_labels_come_in_the_order_of_the_files(featx: Any, model: Path, photos: Path) -> None:
    files = [photos / "light" / "03.png", photos / "dark" / "01.png", photos / "light" / "00.png"]
    found = featx("predict", model, *files, "--json").json
    assert [row["file"] for row in found] == [str(file) for file in files]
    assert [row["label"] for row in found] == ["light", "dark", "light"]


def test_a_file_named_twice_has_two_rows_and_is_computed_once(featx: Any, model: Path, photos: Path) -> None:
    file = photos / "light" / "03.png"
    with counted_rows() as rows:
        found = featx("predict", model, file, file, "--json", "--cache", "none").json
    assert rows.n == 1
    assert found[0] == found[1]


def test_csv_has_a_column_a_class_and_one_for_errors(featx: Any, model: Path, photos: Path) -> None:
    ended = featx("predict", model, photos / "light" / "03.png", photos / "dark" / "01.png", "--csv")
    assert ended.err == ""
    assert ended.out.splitlines()[0] == "file,label,p_dark,p_light,error"
    for row in csv_rows(ended.out):
        assert float(row["p_dark"]) + float(row["p_light"]) == pytest.approx(1, abs=2e-6)  # six digits each
        assert (float(row["p_light"]) > 0.5) == (row["label"] == "light")
        assert len(row["p_light"]) <= len("1.23456e-05")
        assert row["error"] == ""


def test_a_folder_means_every_image_below_it_by_name(
    featx: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "new")
    (tmp_path / "new" / "notes.txt").write_text("none", encoding="utf-8")
    (tmp_path / "new" / ".hidden.png").write_bytes(b"")
    found = featx("predict", model, photos / "dark" / "07.png", tmp_path / "new", "--json").json
    below = sorted((tmp_path / "new").glob("*/*.png"))
    assert [row["file"] for row in found] == [str(photos / "dark" / "07.png"), *map(str, below)]


def test_patterns_that_the_shell_left_are_expanded(
    featx: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    found = featx("predict", model, photos / "*" / "0[12].png", "--json").json
    names = [Path(row["file"]).relative_to(photos).as_posix() for row in found]
    assert names == ["dark/01.png", "dark/02.png", "light/01.png", "light/02.png"]
    # a file whose name looks like a pattern is that file
    shutil.copy(photos / "dark" / "00.png", tmp_path / "scan[1].png")
    assert len(featx("predict", model, tmp_path / "scan[1].png", "--json").json) == 1


def test_unreadable_images_have_a_row_without_a_label(
    featx: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad, one.png").write_bytes(b"")
    files = (photos / "dark" / "01.png", tmp_path / "bad, one.png")
    as_csv = featx("predict", model, *files, "--skip-unreadable", "--csv")
    assert as_csv.status == 0
    assert as_csv.err == "featx: warning: 1 of 2 images could not be read and have no label.\n"
    bad = csv_rows(as_csv.out)[1]
    assert bad["file"] == str(files[1])
    assert (bad["label"], bad["p_dark"], bad["p_light"]) == ("", "", "")
    assert bad["error"].startswith("empty file")
    as_json = featx("predict", model, *files, "--skip-unreadable", "--json").json
    assert (as_json[1]["label"], as_json[1]["p_dark"]) == (None, None)
    table = featx("predict", model, *files, "--skip-unreadable").out.splitlines()
    assert table[0].split() == ["file", "label", "p_dark", "p_light", "error"]
    assert "  -  " in table[2]
    assert "empty file" in table[2]


def test_long_names_are_shortened_on_a_terminal_and_whole_in_a_pipe(
    featx: Any, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60) / "長い名前 of a picture.png"
    deep.parent.mkdir(parents=True)
    shutil.copy(photos / "dark" / "00.png", deep)
    assert str(deep) in featx("predict", model, deep).out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = featx("predict", model, deep, "--quiet").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert "…" in lines[1]
    assert "of a picture.png" in lines[1]
    assert "\x1b" not in "".join(lines)


def test_a_name_with_a_newline_stays_on_its_line(
    featx: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    if sys.platform == "win32":
        pytest.skip("no such names there")
    odd = tmp_path / "two\nlines\t\x1b[31m.png"
    shutil.copy(photos / "dark" / "00.png", odd)
    assert len(featx("predict", model, odd).out.splitlines()) == 2
    assert "\x1b" not in featx("predict", model, odd).out
    assert csv_rows(featx("predict", model, odd, "--csv").out)[0]["file"] == str(odd)
    assert featx("predict", model, odd, "--json").json[0]["file"] == str(odd)


def test_a_name_that_is_not_utf8_is_no_reason_to_fail(
    featx: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    try:
        odd = Path(shutil.copy(photos / "dark" / "00.png", tmp_path / "caf\udce9.png"))
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system holds Unicode names only")
    for form in ("--csv", "--json"):
        ended = featx("predict", model, odd, form)
        assert ended.status == 0
        assert "caf\\udce9.png" in ended.out
    assert featx("predict", model, odd).status == 0


def test_predict_computes_only_what_the_cache_lacks(featx: Any, model: Path, photos: Path) -> None:
    featx("predict", model, photos / "dark")
    with counted_rows() as rows:
        featx("predict", model, photos)
    assert rows.n == 12


def test_a_model_in_memory_predicts_without_being_changed(tiny: Path, photos: Path) -> None:
    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    pipeline = library.train(photos, backbone=tiny, heads=["logistic"]).pipeline
    before = repr(pipeline)
    found = library.predict(
        pipeline, [*files, str(photos / "absent.png")], skip_unreadable=True, device="cpu"
    )
    assert repr(pipeline) == before
    assert found.labels[:-1].tolist() == pipeline.predict(files).tolist()
    assert found.labels[-1] is None
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[:-1], pipeline.predict_proba(files))
    assert list(found.errors) == [24]


def test_predictions_of_a_search_are_those_of_its_best(tiny: Path, photos: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    labels = [Path(file).parent.name for file in files]
    search = GridSearchCV(
        make_pipeline(library.ImageFeatures(tiny), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
    ).fit(files, labels)
    assert library.predict(search, files).labels.tolist() == search.predict(files).tolist()


def test_numbers_that_were_labels_come_back_as_numbers(tiny: Path, photos: Path) -> None:
    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    dataset = library.Dataset(samples=files, labels=np.repeat([3, 7], 12), name="mine", root="")
    pipeline = library.train(dataset, backbone=tiny, heads=["xgboost"]).pipeline
    found = library.predict(pipeline, [files[0], files[-1]])
    assert found.labels.tolist() == [3, 7]
    assert list(found.rows()[0]) == ["file", "label", "p_3", "p_7", "error"]


def test_of_many_classes_a_table_shows_the_one_that_was_chosen(
    featx: Any, tiny: Path, picture: Callable[..., Path], tmp_path: Path
) -> None:
    for i in range(24):
        picture(tmp_path / "d" / f"class {i // 4}" / f"{i}.png", seed=i, low=(i // 4) * 20)
    featx("train", tmp_path / "d", "-b", tiny, "--head", "logistic", "--cv", 2, "-o", tmp_path / "m")
    lines = featx("predict", tmp_path / "m", tmp_path / "d" / "class 0").out.splitlines()
    assert lines[0].split() == ["file", "label", "p"]
    as_json = featx("predict", tmp_path / "m", tmp_path / "d" / "class 0", "--json").json
    assert float(lines[1].split()[-1]) == pytest.approx(as_json[0][f"p_{as_json[0]['label']}"], abs=5e-4)
    assert len(as_json[0]) == 6 + 3


# --- embed ---


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


def test_a_table_of_files_is_predicted_row_by_row(
    featx: Any, model: Path, table: Callable[..., Path]
) -> None:
    rows = csv_rows(featx("predict", model, table(without=("label",)), "--csv").out)
    assert [row["label"] for row in rows] == ["dark"] * 12 + ["light"] * 12


def test_words_in_the_wrong_order_are_told(refused: Any, model: Path, photos: Path) -> None:
    line = refused("predict", photos / "dark" / "00.png", model)
    assert "is a file, and a model is a folder" in line


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
