"""``featx train``: from a folder or a CSV to a compared, judged, saved head, and what is printed on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featx as library
from featx.artifact import describe
from featx.testing import counted_rows


def test_a_folder_a_class_becomes_a_saved_model(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    ended = featx("train", photos, "--backbone", tiny, "--out", tmp_path / "model")
    assert (ended.status, ended.err) == (0, "")
    for words in (
        "logistic",
        "svm",
        "xgboost",
        "24 samples, 5 stratified folds",
        "24 embedded now",
        "Saved ",
    ):
        assert words in ended.out
    assert library.load(tmp_path / "model").predict([str(photos / "light" / "00.png")]).tolist() == ["light"]


def test_the_second_run_embeds_nothing(featx: Any, photos: Path, tiny: Path) -> None:
    featx("train", photos, "--backbone", tiny, "--head", "logistic")
    with counted_rows() as rows:
        ended = featx("train", photos, "--backbone", tiny, "--head", "logistic")
    assert rows.n == 0
    assert "; 0 embedded now." in ended.out


def test_without_out_nothing_is_saved(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    ended = featx("train", photos, "--backbone", tiny, "--head", "logistic", "--cache", "none")
    assert ended.status == 0
    assert "Saved" not in ended.out
    assert set(tmp_path.iterdir()) == before


def test_json_is_all_that_goes_to_standard_output(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    ended = featx("train", photos, "-b", tiny, "--head", "logistic,svm", "-o", tmp_path / "m", "--json")
    assert ended.err == ""
    found = ended.json
    assert [head["name"] for head in found["comparison"]["heads"]] == ["logistic", "svm"]
    assert found["comparison"]["best"] in ("logistic", "svm")
    assert (found["n_train"], found["n_computed"], found["skipped"], found["leaks"]) == (24, 24, [], [])
    assert found["out"] == str(tmp_path / "m")


def test_heads_keep_their_order_and_are_not_searched_unless_asked(
    featx: Any, photos: Path, tiny: Path
) -> None:
    plain = featx("train", photos, "-b", tiny, "--head", " svm, logistic ", "--json").json["comparison"]
    searched = featx("train", photos, "-b", tiny, "--head", "logistic", "--search", "--json").json[
        "comparison"
    ]
    assert [head["name"] for head in plain["heads"]] == ["svm", "logistic"]
    assert (plain["searched"], searched["searched"]) == (False, True)
    assert all(fold["params"] for fold in searched["heads"][0]["folds"])


def test_output_for_a_pipe_is_plain_and_fits_80_columns(
    featx: Any, table: Callable[..., Path], tiny: Path
) -> None:
    split = (["train"] * 8 + ["val"] * 4) * 2
    ended = featx("train", table(split=split), "-b", tiny)
    assert "\x1b" not in ended.out
    assert "held out" in ended.out
    assert [line for line in ended.out.splitlines() if len(line) > 80] == []


def test_progress_goes_to_standard_error_and_only_on_a_terminal(
    featx: Any, photos: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", photos, "-b", tiny, "--head", "logistic", "--json", "--cache", "none")
    assert featx(*words).err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = featx(*words)
    assert "embedding" in shown.err
    assert "comparing" in shown.err
    assert shown.json["n_train"] == 24
    assert featx(*words, "--quiet").err == ""


def test_several_taps_are_put_side_by_side(featx: Any, photos: Path, tiny: Path) -> None:
    words = ("train", photos, "-b", tiny, "--head", "logistic", "--json")
    one = featx(*words, "--tap", "stage1").json
    two = featx(*words, "--tap", "stage1", "--tap", "pooled", "--pooling", "auto").json
    assert one["comparison"]["n_features"] == 12
    assert two["comparison"]["n_features"] == 12 + 16


def test_a_column_of_groups_keeps_them_together(featx: Any, table: Callable[..., Path], tiny: Path) -> None:
    patients = [f"p{i // 2}" for i in range(24)]
    named = featx(
        "train", table(patient=patients), "-b", tiny, "--head", "logistic", "--group-column", "patient"
    )
    usual = featx("train", table(group=patients), "-b", tiny, "--head", "logistic")
    assert "12 groups kept together" in named.out
    assert "12 groups kept together" in usual.out


def test_columns_may_have_other_names(
    featx: Any, table: Callable[..., Path], photos: Path, tiny: Path
) -> None:
    files = sorted(photos.glob("*/*.png"))
    path = table(
        without=("file", "label"),
        path=[str(f) for f in files],
        diagnosis=[f.parent.name for f in files],
        part=(["train"] * 8 + ["test"] * 4) * 2,
    )
    columns = ("--file-column", "path", "--label-column", "diagnosis", "--split-column", "part")
    found = featx("train", path, "-b", tiny, "--head", "logistic", "--json", *columns).json
    assert found["comparison"]["classes"] == ["dark", "light"]
    assert found["n_train"] == 16
    assert list(found["held_out"]) == ["test"]


def test_a_split_is_predicted_once_and_can_be_ignored(
    featx: Any, table: Callable[..., Path], tiny: Path
) -> None:
    path = table(split=(["train"] * 6 + ["val"] * 3 + ["test"] * 3) * 2)
    found = featx("train", path, "-b", tiny, "--head", "logistic", "--json").json
    assert found["n_train"] == 12
    assert set(found["held_out"]) == {"val", "test"}
    assert found["held_out"]["test"]["accuracy"] == 1.0  # brightness tells these pictures apart
    whole = featx("train", path, "-b", tiny, "--head", "logistic", "--ignore-split", "--json").json
    assert (whole["n_train"], whole["held_out"]) == (24, {})


def test_samples_in_no_part_of_the_split_are_reported(
    featx: Any, table: Callable[..., Path], tiny: Path
) -> None:
    ended = featx(
        "train", table(split=(["train"] * 6 + ["val"] * 3 + [""] * 3) * 2), "-b", tiny, "--head", "svm"
    )
    assert ended.status == 0
    assert "warning: data: 6 of 24 samples are in no part of the split and are not used." in ended.err


def test_labels_that_are_numbers_stay_as_they_are_written(
    featx: Any, table: Callable[..., Path], tiny: Path, tmp_path: Path, photos: Path
) -> None:
    path = table(label=["007"] * 12 + ["10"] * 12)
    assert featx("train", path, "-b", tiny, "--head", "xgboost", "--out", tmp_path / "m").status == 0
    rows = featx("predict", tmp_path / "m", photos / "dark" / "03.png", "--json").json
    assert rows[0]["label"] == "007"
    assert {"p_007", "p_10"} <= set(rows[0])


def test_names_with_spaces_brackets_and_other_alphabets(
    featx: Any, picture: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    for i in range(6):
        picture(tmp_path / "d" / "Grüne Äpfel [red]" / f"фото {i} [1].png", seed=i)
        picture(tmp_path / "d" / "日本 :smile:" / f"写真{i}.png", seed=10 + i, low=120)
    ended = featx("train", tmp_path / "d", "-b", tiny, "--head", "logistic", "--cv", 3, "-o", tmp_path / "m")
    assert ended.status == 0
    ended = featx("predict", tmp_path / "m", tmp_path / "d" / "Grüne Äpfel [red]" / "фото 0 [1].png")
    assert "Grüne Äpfel [red]/фото 0 [1].png" in ended.out.replace("\\", "/")
    assert "p_日本 :smile:" in ended.out


def test_unreadable_pictures_are_left_out_and_listed(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path, picture: Callable[..., Path]
) -> None:
    for file in photos.glob("*/*.png"):
        (tmp_path / "d" / file.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / file.parent.name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "d" / "dark" / "broken.jpg").write_bytes(b"not a picture")
    (tmp_path / "d" / "dark" / "notes.txt").write_text("two of them moved")
    ended = featx("train", tmp_path / "d", "-b", tiny, "--head", "logistic", "--skip-unreadable")
    assert ended.status == 0
    (line,) = [line for line in ended.out.splitlines() if line.startswith("skipped ")]
    assert "broken.jpg" in line
    assert "ignored 1 file, no images, in no class or not in labels.csv, for example" in ended.out
    assert "fitted on 24 images" in ended.out
    found = featx(
        "train", tmp_path / "d", "-b", tiny, "--head", "logistic", "--skip-unreadable", "--json"
    ).json
    assert [Path(skipped["file"]).name for skipped in found["skipped"]] == ["broken.jpg"]
    assert [Path(name).name for name in found["ignored"]] == ["notes.txt"]


def test_samples_are_remembered_unless_they_are_not_to_be(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    words = ("train", photos, "-b", tiny, "--head", "logistic")
    featx(*words, "-o", tmp_path / "knows")
    featx(*words, "-o", tmp_path / "forgets", "--no-remember-samples")
    counts = [describe(tmp_path / name).n_training_samples for name in ("knows", "forgets")]
    assert counts == [24, None]


def test_a_model_is_replaced_only_when_asked(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    words = ("train", photos, "-b", tiny, "--head", "logistic", "--out", tmp_path / "m")
    assert featx(*words).status == 0
    assert featx(*words).status == 2
    assert featx(*words, "--overwrite").status == 0


def test_a_bare_onnx_file_takes_a_preprocessing_file(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes((tiny / "model.onnx").read_bytes())
    words = ("train", photos, "-b", tmp_path / "net.onnx", "--head", "logistic", "--json")
    found = featx(*words, "--preprocess", tiny / "preprocessor_config.json").json
    assert found["n_train"] == 24


def test_the_model_says_how_it_was_trained(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    featx("train", photos, "-b", tiny, "--head", "logistic", "-o", tmp_path / "m")
    words = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "Trained on 24 images" in words
    assert "dark (12), light (12)" in words
