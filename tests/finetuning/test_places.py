"""Folders that cannot be written are refused, and nothing stays of the asking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featx.errors import OutputError
from featx.finetuning.places import check_place


def test_nothing_stays_of_the_asking(tmp_path: Path) -> None:
    check_place(tmp_path / "runs" / "first", "states")
    check_place(tmp_path, "states")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="the tuned backbone cannot be kept there") as raised:
        check_place(tmp_path / "file" / "runs", "the tuned backbone")
    assert str(tmp_path / "file" / "runs") in str(raised.value)
    with pytest.raises(OutputError):
        check_place(tmp_path / "file", "the tuned backbone")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="null"):
        check_place(tmp_path / "a\0b", "states")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody may make folders")
def test_what_is_refused_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        check_place(Path("/proc/nope/x"), "states")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write anywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="ermission"):
            check_place(tmp_path, "states")
    finally:
        tmp_path.chmod(0o700)
