"""Scratch folders: gone with their object, swept where their process was killed, never anybody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from featx.errors import OutputError
from featx.finetuning.scratch import PREFIXES, ScratchFolder

OLD_S = 3600.0
KILLED = """
import os, signal
from featx.finetuning.scratch import ScratchFolder
folder = ScratchFolder("featx-rows-")
(folder.path / "rows.f32").write_bytes(b"\\0" * 64)
print(folder.path, flush=True)
{end}
"""
ABORT = "os._exit(9)  # nothing is cleaned up, as after SIGKILL"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, for other processes too."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setenv("TEMP", str(place))
    return place


@pytest.fixture
def left_behind() -> Callable[[], Path]:
    """A function that gives the folder of a process that was killed."""

    def make() -> Path:
        code = KILLED.format(end=ABORT)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 9, done.stderr
        return Path(done.stdout.strip())

    return make


def aged(folder: Path) -> Path:
    at = time.time() - OLD_S
    os.utime(folder, (at, at))
    return folder


def test_a_folder_is_gone_with_its_object(root: Path) -> None:
    folder = ScratchFolder("featx-tuned-")
    (folder.path / "model.onnx").write_bytes(b"x")
    assert folder.path.parent == root
    del folder
    assert list(root.iterdir()) == []


def test_what_a_killed_process_left_is_swept_by_the_next_use(
    root: Path, left_behind: Callable[[], Path]
) -> None:
    left = aged(left_behind())
    assert (left / "rows.f32").is_file()
    mine = ScratchFolder("featx-tuned-")
    assert list(root.iterdir()) == [mine.path]


def test_a_folder_that_was_just_made_is_not_swept(root: Path, left_behind: Callable[[], Path]) -> None:
    left = left_behind()
    ScratchFolder("featx-rows-")
    assert left.is_dir()


def test_folders_of_living_processes_stay_this_one_s_and_others(root: Path) -> None:
    mine = ScratchFolder("featx-rows-")
    code = KILLED.format(end="input()")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        aged(theirs)
        aged(mine.path)
        ScratchFolder("featx-rows-")
        assert (theirs / "rows.f32").is_file()
        assert mine.path.is_dir()
        other.communicate("\n")
    assert other.returncode == 0
    assert not theirs.exists()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nothing_is_swept_that_is_not_provably_a_dead_scratch_folder(root: Path, prefix: str) -> None:
    unlocked = root / f"{prefix}abcdefgh"  # no owner's file: made by hand, or before its lock
    unlocked.mkdir()
    named = root / f"{prefix}results"
    named.mkdir()
    (named / ".featx-owner").touch()
    other = root / "featx-thesis-abcdefgh"
    other.mkdir()
    (other / ".featx-owner").touch()
    file = root / f"{prefix}hgfedcba"
    file.touch()
    kept = [aged(each) for each in (unlocked, named, other, file)]
    ScratchFolder(prefix)
    assert sorted(root.iterdir()) == sorted(kept)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_link_is_not_followed(root: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / ".featx-owner").touch()
    aged(real)
    link = root / "featx-rows-abcdefgh"
    try:
        link.symlink_to(real, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    ScratchFolder("featx-rows-")
    assert (real / ".featx-owner").is_file()


def test_without_locks_nothing_is_swept_and_nothing_looks_abandoned(
    root: Path, left_behind: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = aged(left_behind())
    monkeypatch.setenv("FEATX_STORE_LOCKS", "0")
    mine = ScratchFolder("featx-rows-")
    assert left.is_dir()
    assert list(mine.path.iterdir()) == []  # no unlocked file by which others would take it for a dead one's


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_ends_leaves_its_parents_folder() -> None:
    code = (
        "import os, sys\n"
        "from featx.finetuning.scratch import ScratchFolder\n"
        "folder = ScratchFolder('featx-rows-')\n"
        "if (child := os.fork()) == 0:\n"
        "    sys.exit()  # with all that is done at the end of a process\n"
        "os.waitpid(child, 0)\n"
        "print(folder.path.is_dir())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_missing_temporary_folder_is_said_in_words(root: Path) -> None:
    root.rmdir()
    with pytest.raises(OutputError, match=r"nothing can be kept there .*TMPDIR"):
        ScratchFolder("featx-rows-")
