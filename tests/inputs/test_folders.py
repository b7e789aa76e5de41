"""Folders listed and patterns expanded: which files are meant, in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featx.errors import DatasetError
from featx.inputs.folders import image_files, images_below, images_by_class, is_image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/2.png", "b/10.PNG", "a/x/1.jpg", "a/.hidden.jpg", ".git/y.png", "a/notes.txt", "top.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(folder: Path, files: list[str]) -> list[str]:
    return [Path(file).relative_to(folder).as_posix() for file in files]


def test_images_are_told_by_suffix_in_any_case() -> None:
    assert [name for name in ("a.JPG", "b.webp", "c.txt", "png", "d.png.bak") if is_image(name)] == [
        "a.JPG",
        "b.webp",
    ]


def test_every_image_below_a_folder_in_the_order_of_names(tree: Path) -> None:
    found = images_below(tree)
    assert names(tree, found.files) == ["top.gif", "a/x/1.jpg", "b/10.PNG", "b/2.png"]
    assert [Path(name).as_posix() for name in found.skipped] == ["a/notes.txt"]


def test_classes_are_the_first_folders_and_loose_files_are_skipped(tree: Path) -> None:
    found = images_by_class(tree)
    assert list(zip(names(tree, found.files), found.labels, strict=True)) == [
        ("a/x/1.jpg", "a"),
        ("b/10.PNG", "b"),
        ("b/2.png", "b"),
    ]
    assert sorted(Path(name).as_posix() for name in found.skipped) == ["a/notes.txt", "top.gif"]


def test_words_are_files_folders_and_patterns_in_their_order(tree: Path) -> None:
    words = [str(tree / "top.gif"), str(tree / "b"), str(tree / "*" / "2.png"), str(tree / "absent.png")]
    assert names(tree, image_files(words)) == ["top.gif", "b/10.PNG", "b/2.png", "b/2.png", "absent.png"]


def test_a_pattern_may_reach_folders_and_go_deep(tree: Path) -> None:
    assert names(tree, image_files([str(tree / "[ab]")])) == ["a/x/1.jpg", "b/10.PNG", "b/2.png"]
    assert names(tree, image_files([str(tree / "**" / "1.jpg")])) == ["a/x/1.jpg"]


def test_a_name_that_looks_like_a_pattern_is_itself_where_it_exists(tree: Path) -> None:
    (tree / "scan[1].png").write_bytes(b"")
    assert names(tree, image_files([str(tree / "scan[1].png")])) == ["scan[1].png"]


def test_nothing_found_is_an_error(tree: Path) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DatasetError, match="a folder without images"):
        image_files([str(tree / "empty")])
    with pytest.raises(DatasetError, match="no file matches"):
        image_files([str(tree / "*.tif")])


def test_a_folder_that_cannot_be_listed_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith("x"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload]  # passed through

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"x: cannot be listed \(Permission denied\)"):
        images_below(tree)


def test_medical_images_are_found_also_without_a_suffix(tmp_path: Path) -> None:
    dicom = bytes(128) + b"DICM"
    for name in ("a.DCM", "b.dicom", "c.IMA", "d.nii", "e.nii.gz", "f.mgz", "g.mgh"):
        (tmp_path / name).write_bytes(b"")
    for name in ("IM0001", "1.2.840.113619", "DICOMDIR", "dicom.txt"):
        (tmp_path / name).write_bytes(dicom)
    for name in ("README", "1.5", "archive.gz", "short"):
        (tmp_path / name).write_bytes(b"DICM")
    found = images_below(tmp_path)
    assert [Path(file).name for file in found.files] == [
        *("1.2.840.113619", "IM0001", "a.DCM", "b.dicom", "c.IMA", "d.nii", "e.nii.gz", "f.mgz", "g.mgh"),
    ]
    assert found.skipped == ["1.5", "DICOMDIR", "README", "archive.gz", "dicom.txt", "short"]
