"""How a process ends: interrupted, refused, or with a reader that has gone; always without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import featx as library
from featx.inference.runtime import Session
from featx.testing import counted_rows


def test_an_interruption_says_so_and_the_next_run_goes_on(
    featx: Any, photos: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, n_run = Session.run, 0

    def interrupted(session: Session, batch: Any) -> Any:
        nonlocal n_run
        n_run += len(batch)
        if n_run > 10:
            raise KeyboardInterrupt
        return run(session, batch)

    words = ("train", photos, "-b", tiny, "--head", "logistic")
    with monkeypatch.context() as patched:
        patched.setattr(Session, "run", interrupted)
        ended = featx(*words)
    assert (ended.status, ended.out) == (130, "")
    assert ended.err == (
        "featx: interrupted. What was computed is in the cache: the same command goes on from there.\n"
    )
    with counted_rows() as rows:
        assert featx(*words).status == 0
    assert 0 < rows.n < 24  # whole runs of a lane are stored


SLOW = """
import sys, time
from featx.inference.runtime import Session
run = Session.run
def slow(self, batch):
    sys.stderr.write("running\\n")
    time.sleep(0.1)
    return run(self, batch)
Session.run = slow
from featx.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_ends_a_process_with_130_and_no_traceback(photos: Path, tiny: Path, tmp_path: Path) -> None:
    import signal

    words = [sys.executable, "-c", SLOW, "embed", photos, "-b", tiny, "--out", tmp_path / "v.npy"]
    process = subprocess.Popen(
        [str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for _ in range(5):  # of six on one thread, of more on several
        assert process.stderr.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if line != "running"] == [
        "featx: interrupted. What was computed is in the cache: the same command goes on from there."
    ]
    with counted_rows() as rows:
        library.embed(photos, backbone=tiny)
    assert 0 < rows.n < 24


def test_a_mistake_ends_a_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "featx", "train", str(tmp_path / "absent")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no such folder or file" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_reader_that_has_seen_enough_is_no_error(model: Path, photos: Path) -> None:
    # A thousand names of a few files: more text than a pipe holds, so that writing meets the closed end.
    files = [str(file) for file in sorted(photos.glob("*/*.png"))] * 80
    command = [sys.executable, "-m", "featx", "predict", str(model), *files, "--csv", "--cache", "none"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline().startswith("file,label,")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_told(model: Path, photos: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "featx", "backbones", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("featx: standard output: cannot be written (No space left on device)")
    assert len(done.stderr.splitlines()) == 1
