"""Folders, CSV files and files of lines as data sets: what is read, and how each mistake is named."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from featx.errors import DatasetError, ParameterError
from featx.inputs.dataset import count_missing
from featx.inputs.datasets import read_dataset, read_samples

# From the README of the test material: samples a class, groups, splits.
REAL = {
    "covid_ct_small": ({"COVID": 349, "NonCOVID": 397}, 384, {"train", "val", "test"}),
    "bccd_crops": ({"RBC": 1047, "WBC": 372, "Platelets": 361}, 364, {"train", "val", "test"}),
    "hymenoptera_small": ({"ants": 194, "bees": 204}, None, {"train", "val"}),
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize("name", REAL)
def test_the_real_sets_have_their_counts(name: str, data: Path) -> None:
    classes, n_groups, splits = REAL[name]
    dataset = read_dataset(data / name)
    assert dataset.labels is not None
    assert Counter(dataset.labels.tolist()) == classes
    assert len(dataset) == sum(classes.values())
    assert (None if dataset.groups is None else len(set(dataset.groups))) == n_groups
    assert dataset.split is not None
    assert set(dataset.split) == splits
    assert count_missing(dataset) == 0
    assert (dataset.name, dataset.skipped, dataset.classes) == (name, (), sorted(classes))


@pytest.mark.parametrize("name", REAL)
def test_the_folders_agree_with_the_labels_file(name: str, data: Path, tmp_path: Path) -> None:
    """Read through links, without the labels.csv, the same files have the same labels."""
    for folder in (data / name).iterdir():
        if folder.is_dir():
            (tmp_path / folder.name).symlink_to(folder, target_is_directory=True)
    by_folder = read_dataset(tmp_path)
    by_file = read_dataset(data / name)
    assert by_folder.labels is not None
    assert by_file.labels is not None
    folder_labels = {
        os.path.relpath(file, tmp_path): label
        for file, label in zip(by_folder.samples, by_folder.labels, strict=True)
    }
    file_labels = {
        os.path.relpath(file, data / name): label
        for file, label in zip(by_file.samples, by_file.labels, strict=True)
    }
    assert folder_labels == file_labels


def test_a_folder_per_class_is_sorted_and_says_what_it_skips(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b/2.JPG",
        "b/10.png",
        "a/deep/er/1.tif",
        "a/0.webp",
        "a/.hidden.png",
        ".git/x.png",
        "a/.d/y.png",
    )
    touch(tmp_path, "a/notes.txt", "README.md", "b/Thumbs.db")
    dataset = read_dataset(tmp_path)
    assert [os.path.relpath(file, tmp_path) for file in dataset.samples] == [
        os.path.join("a", "0.webp"),
        os.path.join("a", "deep", "er", "1.tif"),
        os.path.join("b", "10.png"),
        os.path.join("b", "2.JPG"),
    ]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == ["a", "a", "b", "b"]
    assert set(dataset.skipped) == {
        "README.md",
        os.path.join("a", "notes.txt"),
        os.path.join("b", "Thumbs.db"),
    }
    assert dataset.groups is None
    assert dataset.split is None
    assert (dataset.name, dataset.root) == (tmp_path.name, str(tmp_path))


def test_train_and_val_folders_are_splits_not_classes(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/ants/1.png",
        "train/bees/2.png",
        "valid/ants/3.png",
        "valid/bees/4.png",
        "train/list.txt",
    )
    dataset = read_dataset(tmp_path)
    assert dataset.labels is not None
    assert dataset.split is not None
    assert list(zip(dataset.labels.tolist(), dataset.split.tolist(), strict=True)) == [
        ("ants", "train"),
        ("bees", "train"),
        ("ants", "val"),
        ("bees", "val"),
    ]
    assert dataset.skipped == (os.path.join("train", "list.txt"),)


def test_an_unlabelled_folder_is_read_when_no_label_is_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "x/2.png", "1.png", "notes.txt")
    dataset = read_dataset(tmp_path, label_column=None)
    assert [os.path.basename(file) for file in dataset.samples] == ["1.png", "2.png"]
    assert (dataset.labels, dataset.classes, dataset.skipped) == (None, [], ("notes.txt",))


def test_real_unlabelled_photographs_are_listed(data: Path) -> None:
    assert len(read_dataset(data / "large_photos", label_column=None)) == 16


def test_other_columns_and_another_root_are_named(tmp_path: Path, csv_file: Any) -> None:
    path = csv_file("image,kind,patient,group\na.png,x,7,g1\n/abs/b.png,y,8,g1\n")
    dataset = read_dataset(
        path,
        file_column="image",
        label_column="kind",
        group_column="patient",
        image_root=tmp_path / "pictures",
    )
    assert dataset.samples == [str(tmp_path / "pictures" / "a.png"), "/abs/b.png"]
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["7", "8"]
    assert dataset.root == str(tmp_path / "pictures")


def test_a_folders_labels_file_wins_over_its_folders(tmp_path: Path, csv_file: Any) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    csv_file("file,label,group\na/1.png,one,g\nb/2.png,two,h\n", "labels.csv")
    dataset = read_dataset(tmp_path)
    assert dataset.classes == ["one", "two"]
    assert dataset.groups is not None
    assert (dataset.name, count_missing(dataset)) == (tmp_path.name, 0)


def test_a_split_may_be_unknown_for_some(csv_file: Any) -> None:
    dataset = read_dataset(csv_file("file,label,split\na,x,train\nb,y,\n"))
    assert dataset.split is not None
    assert dataset.split.tolist() == ["train", ""]


def test_equal_rows_are_kept(csv_file: Any) -> None:
    assert len(read_dataset(csv_file("file,label\na,x\na,x\nb,y\n"))) == 3


@pytest.mark.parametrize(
    ("content", "samples"),
    [("a\n\nb, c\n", ["a", "", "b, c"]), ("text\na", ["text", "a"]), ("\ufeffa", ["a"])],
)
def test_a_text_file_is_one_text_a_line(csv_file: Any, content: str, samples: list[str]) -> None:
    dataset = read_samples(csv_file(content, "notes.txt"))
    assert (dataset.samples, dataset.modality, dataset.column) == (samples, "text", None)
    assert dataset.name_of(len(samples) - 1) == f"notes.txt, line {len(samples)}"


def test_a_text_file_has_no_labels(csv_file: Any) -> None:
    with pytest.raises(DatasetError, match=r"notes\.txt: a \.txt file is one text a line, without labels"):
        read_dataset(csv_file("a\nb\n", "notes.txt"))


@pytest.mark.parametrize("header", ["text,label", "id\ttext", '"file";"label"', "text,label,group"])
def test_a_table_that_is_called_a_text_file_is_refused(csv_file: Any, header: str) -> None:
    path = csv_file(f"{header}\na,b,c\n", "table.txt")
    for read in (read_dataset, read_samples):
        with pytest.raises(DatasetError, match=r"Rename it to \.csv or \.tsv"):
            read(path)


def test_samples_in_memory_are_no_path() -> None:
    for read in (read_dataset, read_samples):
        with pytest.raises(ParameterError, match=r"got list\. Samples in memory go into"):
            read(["a", "b"])  # type: ignore[arg-type]  # a mistake


def test_one_column_cannot_be_sample_and_label(csv_file: Any) -> None:
    path = csv_file("text,label\na,x\nb,y\n")
    with pytest.raises(DatasetError, match=r"'text' is to hold the samples and their labels.*text_column="):
        read_dataset(path, text_column="text", label_column="text")


@pytest.mark.parametrize("name", ["table.xlsx", "table.json", "table"])
def test_other_files_are_to_be_saved_as_a_csv(csv_file: Any, name: str) -> None:
    path = csv_file("file,label\na,x\n", name)
    for read in (read_dataset, read_samples):
        with pytest.raises(DatasetError, match=r"expected a folder or a CSV.*Save it as a CSV"):
            read(path)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder or file"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="it is empty"):
        read_dataset(tmp_path)
    touch(tmp_path, "1.png", "2.png", "a/notes.txt")
    with pytest.raises(
        DatasetError, match=r"no images found \(skipped 2 x \.png, 1 x \.txt\).*one subfolder a class"
    ):
        read_dataset(tmp_path)
    touch(tmp_path, "a/1.png")
    with pytest.raises(DatasetError, match="all 1 samples are 'a'"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"1\.png: is one image, and a data set is a folder of them"):
        read_dataset(tmp_path / "1.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    (tmp_path / "c").chmod(0)
    try:
        with pytest.raises(DatasetError, match="cannot be listed"):
            read_dataset(tmp_path)
    finally:
        (tmp_path / "c").chmod(0o700)


def test_images_that_a_folders_list_leaves_out_are_told(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,x\nb/3.png,y\n", encoding="utf-8")
    assert read_dataset(tmp_path).skipped == (os.path.join("a", "2.png"), os.path.join("b", "4.png"))
    assert read_dataset(tmp_path / "labels.csv").skipped == ()  # a list alone says nothing of its folder


def test_addresses_are_not_taken_for_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,label\nhttps://a.org/1.png,x\n2.png,y\n", encoding="utf-8")
    assert read_dataset(tmp_path / "t.csv").samples == ["https://a.org/1.png", str(tmp_path / "2.png")]


def test_a_table_of_texts_keeps_what_is_written_and_may_repeat_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('text,label\n"a, b",x\n"a, b",y\n,x\n', encoding="utf-8")
    dataset = read_dataset(tmp_path / "t.csv")
    assert dataset.modality == "text"
    assert dataset.samples == ["a, b", "a, b", ""]
    assert dataset.name_of(1) == "t.csv, line 3"


def test_what_is_no_path_is_refused_in_words() -> None:
    with pytest.raises(ParameterError, match="expected the path of a folder or a CSV, got list"):
        read_dataset(["photos"])  # type: ignore[arg-type]  # the mistake
