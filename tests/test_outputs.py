"""Files that a user asked for: there whole, or as they were before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featx.errors import DatasetError, OutputError
from featx.outputs import check_output, npy_path, write_output


def test_a_name_without_npy_gets_it(tmp_path: Path) -> None:
    assert npy_path(tmp_path / "v") == tmp_path / "v.npy"
    assert npy_path(tmp_path / "v.1") == tmp_path / "v.1.npy"
    assert npy_path(str(tmp_path / "v.npy")) == tmp_path / "v.npy"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        npy_path(tmp_path)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path)


def test_there_must_be_a_folder_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_output(tmp_path / "v.npy")
    with pytest.raises(OutputError, match="there is no folder"):
        check_output(tmp_path / "absent" / "v.npy")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(tmp_path / "v.npy")


@pytest.mark.parametrize("name", ["a\0b.npy", "n" * 1000, "a/" * 3000 + "b"], ids=["null", "long", "path"])
def test_what_no_file_can_be_called_is_refused_in_words(tmp_path: Path, name: str) -> None:
    for check in (check_output, npy_path):
        with pytest.raises(
            OutputError, match=r"cannot be the name of a file.*\. Choose another\.$"
        ) as caught:
            check(tmp_path / name)
        assert len(str(caught.value)) < 250
        assert "\0" not in str(caught.value)


def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system takes no names of 255 bytes")
    check_output(path, overwrite=True)
    write_output(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "v.npy").touch()
    with pytest.raises(OutputError, match=r"v\.npy: exists.*overwrite=True"):
        check_output(tmp_path / "v.npy")
    check_output(tmp_path / "v.npy", overwrite=True)


def test_an_old_file_is_replaced_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    path.write_bytes(b"old")
    write_output(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "No space left on device"), OutputError),
        (DatasetError("featx's own"), DatasetError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_whatever_fails_the_old_file_stays_and_nothing_else(
    tmp_path: Path, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "v.npy"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        raise error

    with pytest.raises(raised):
        write_output(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
