"""Tables, folders and parameters that allow no training: refused in one line, before the first image is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx as library
from featx.errors import (
    DatasetError,
    DeviceError,
    GraphError,
    ParameterError,
)
from featx.testing import counted_rows

Refused = Callable[..., str]


def csv(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


DATA = {
    "one class": ("file,label\na.png,x\nb.png,x\n", "all 2 samples are 'x'"),
    "fewer samples than folds": (
        "file,label\na.png,x\nb.png,x\nc.png,y\n",
        "class 'y' has 1 sample, and 5 folds need 5",
    ),
    "label missing": ("file,label\na.png,x\nb.png,\n", "column 'label' is empty in 1 of 2 rows (line 3)"),
    "label NaN": ("file,label\na.png,x\nb.png,nan\n", "column 'label' is empty in 1 of 2 rows (line 3)"),
    "no file column": ("path,label\na.png,x\n", "no column 'file' or 'text'; found 'path', 'label'."),
    "no label column": ("file,class\na.png,x\n", "no column 'label'; found 'file', 'class'."),
    "empty file": ("", "found 0 rows"),
    "unknown split": ("file,label,split\na.png,x,holdout\n", "column 'split' holds 'holdout'"),
    "group missing": ("file,label,group\na.png,x,\nb.png,y,g\n", "column 'group' is empty in 1 of 2 rows"),
    "two labels": ("file,label\na.png,x\na.png,y\n", "has two labels, x in line 2 and y in line 3"),
}


@pytest.mark.parametrize("kind", DATA)
def test_a_table_that_cannot_be_used(both: Any, tmp_path: Path, tiny: Path, kind: str) -> None:
    text, says = DATA[kind]
    path = csv(tmp_path, text)
    line = both(["train", path, "-b", tiny], lambda: library.train(path, backbone=tiny), DatasetError)
    assert says in line


def test_groups_that_make_a_fold_impossible(both: Any, table: Any, tiny: Path) -> None:
    path = table(group=["a"] * 12 + ["b", "c"] * 6)
    words = ["train", path, "-b", tiny, "--cv", 2]
    line = both(words, lambda: library.train(path, backbone=tiny, cv=2), DatasetError)
    assert "class 'dark' has 1 group, and 2 folds need 2" in line


def test_a_split_without_a_part_to_train_on(both: Any, table: Any, tiny: Path) -> None:
    path = table(split=["val", "test"] * 12)
    line = both(["train", path, "-b", tiny], lambda: library.train(path, backbone=tiny), DatasetError)
    assert "no part train (it has test, val)" in line
    assert "--ignore-split" in line


def test_a_held_out_class_that_training_lacks_is_refused_before_the_work(
    both: Any, table: Any, tiny: Path
) -> None:
    path = table(label=["x"] * 10 + ["y"] * 10 + ["z"] * 4, split=["train"] * 20 + ["val"] * 4)
    with counted_rows() as rows:
        line = both(["train", path, "-b", tiny], lambda: library.train(path, backbone=tiny), DatasetError)
    assert "a held-out part has samples of 'z', and train has none" in line
    assert rows.n == 0


def test_an_empty_folder(both: Any, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "d").mkdir()
    line = both(
        ["train", tmp_path / "d", "-b", tiny],
        lambda: library.train(tmp_path / "d", backbone=tiny),
        DatasetError,
    )
    assert "no images found (it is empty)" in line
    both(
        ["embed", tmp_path / "d", "-b", tiny, "-o", tmp_path / "v"],
        lambda: library.embed(tmp_path / "d", backbone=tiny),
        DatasetError,
    )


def test_images_in_no_class(refused: Any, photos: Path, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "d").mkdir()
    for file in (photos / "dark").iterdir():
        (tmp_path / "d" / file.name).write_bytes(file.read_bytes())
    line = refused("train", tmp_path / "d", "-b", tiny)
    assert "images lie in no class: make a subfolder for each" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--tap", "stage_1"), "Did you mean 'stage1'?"),
        (("--tap", "stage1", "--pooling", "geem"), "Did you mean 'gem'?"),
        (("--head", "logistics"), "Did you mean 'logistic'?"),
    ],
)
def test_names_with_a_slip_are_answered_with_the_right_one(
    refused: Any, photos: Path, tiny: Path, words: tuple[str, ...], says: str
) -> None:
    assert refused("train", photos, "-b", tiny, *words).endswith(says)


def test_no_such_data(both: Any, tmp_path: Path, tiny: Path) -> None:
    line = both(
        ["train", tmp_path / "absent", "-b", tiny],
        lambda: library.train(tmp_path / "absent", backbone=tiny),
        DatasetError,
    )
    assert "no such folder or file" in line


def test_a_group_column_of_a_folder_is_not_quietly_ignored(both: Any, photos: Path, tiny: Path) -> None:
    line = both(
        ["train", photos, "-b", tiny, "--group-column", "patient"],
        lambda: library.train(photos, backbone=tiny, group_column="patient"),
        DatasetError,
    )
    assert "no columns for --group-column patient" in line


def test_labels_that_are_missing_in_python(photos: Path, tiny: Path) -> None:
    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    for labels, says in (
        (None, "no labels to train on"),
        (np.array(["a"] * 23 + [None], dtype=object), "1 of 24 are missing, the first at index 23"),
        (np.linspace(0, 1, 24), "do not name classes"),
    ):
        dataset = library.Dataset(samples=files, labels=labels, name="mine", root="")
        with pytest.raises(DatasetError, match=says):
            library.train(dataset, backbone=tiny)


@pytest.mark.parametrize("cv", [1, 0, -3])
def test_folds_that_are_none(both: Any, photos: Path, tiny: Path, cv: int) -> None:
    with counted_rows() as rows:
        line = both(
            ["train", photos, "-b", tiny, f"--cv={cv}"],
            lambda: library.train(photos, backbone=tiny, cv=cv),
            ParameterError,
        )
    assert line.startswith(f"--cv {cv}: expected a whole number of folds, at least 2")
    assert rows.n == 0


@pytest.mark.parametrize(
    ("option", "value", "parameters", "says"),
    [
        ("--head", "forest", {"heads": ["forest"]}, "unknown head 'forest'; expected one of 'logistic'"),
        ("--head", ",", {"heads": ()}, "expected names, each once, some of 'logistic'"),
        ("--head", "svm,svm", {"heads": ("svm", "svm")}, "expected names, each once"),
        ("--seed", "-1", {"random_state": -1}, "--seed -1: expected 0 to 2147483647"),
        ("--seed", str(2**40), {"random_state": 2**40}, "expected 0 to 2147483647"),
        ("--pooling", "median", {"pooling": "median"}, "--pooling median does not fit tap 'pooled'"),
        ("--device", "tpu", {"device": "tpu"}, "auto, cpu, cuda"),
    ],
)
def test_a_wrong_choice_lists_the_right_ones(
    both: Any, photos: Path, tiny: Path, option: str, value: str, parameters: dict[str, Any], says: str
) -> None:
    with counted_rows() as rows:
        line = both(
            ["train", photos, "-b", tiny, option, value],
            lambda: library.train(photos, backbone=tiny, **parameters),
            ParameterError,
        )
    assert says in line
    assert rows.n == 0


def test_an_unknown_tap_lists_those_there_are(both: Any, photos: Path, tiny: Path) -> None:
    line = both(
        ["train", photos, "-b", tiny, "--tap", "stage9"],
        lambda: library.train(photos, backbone=tiny, tap="stage9"),
        GraphError,
    )
    assert "stage1, stage2, pooled" in line


def test_a_device_that_is_not_there(
    both: Any, photos: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.inference.devices.count_cards", lambda: None)
    line = both(
        ["train", photos, "-b", tiny, "--device", "cuda"],
        lambda: library.train(photos, backbone=tiny, device="cuda"),
        DeviceError,
        builtin=RuntimeError,
    )
    assert "--device cpu" in line


def test_parameters_that_train_sets_itself_are_refused_in_words(photos: Path, tiny: Path) -> None:
    with pytest.raises(ParameterError, match="on_error is skip_unreadable here"):
        library.train(photos, backbone=tiny, on_error="nan")
    with pytest.raises(ParameterError, match=r"unknown parameter\(s\) tapp"):
        library.embed(photos, backbone=tiny, tapp="pooled")
    with pytest.raises(ParameterError, match="expected names"):
        library.train(photos, backbone=tiny, heads="svm")


def test_csv_and_json_at_once(refused: Refused, model: Path) -> None:
    assert "give one of them" in refused("predict", model, "a.png", "--csv", "--json")
