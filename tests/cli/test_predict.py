"""``featx predict``: which labels come out, in which order, for people and for programs."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx as library
from featx.testing import counted_rows


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


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


def test_a_table_of_files_is_predicted_row_by_row(
    featx: Any, model: Path, table: Callable[..., Path]
) -> None:
    rows = csv_rows(featx("predict", model, table(without=("label",)), "--csv").out)
    assert [row["label"] for row in rows] == ["dark"] * 12 + ["light"] * 12


def test_words_in_the_wrong_order_are_told(refused: Any, model: Path, photos: Path) -> None:
    line = refused("predict", photos / "dark" / "00.png", model)
    assert "is a file, and a model is a folder" in line
