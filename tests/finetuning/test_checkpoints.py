"""The state of a training on disk: whole, of one run, small once it has ended, and no obstacle."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from featx.errors import FeatxWarning, OutputError  # noqa: E402
from featx.finetuning import checkpoints  # noqa: E402
from featx.finetuning.checkpoints import Checkpoints  # noqa: E402

RUNS = tuple(letter * 32 for letter in "0abcd")


def test_a_state_comes_back_as_it_was_and_is_gone_when_the_run_has_ended(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "runs", RUNS[0])
    assert kept.load() is None
    kept.save({"epoch": 3, "best": [torch.arange(4.0)], "sums": [0.5, 1.0]})
    found = Checkpoints(tmp_path / "runs", RUNS[0]).load()
    assert found is not None
    assert (found["epoch"], found["sums"]) == (3, [0.5, 1.0])
    assert torch.equal(found["best"][0], torch.arange(4.0))
    assert Checkpoints(tmp_path / "runs", RUNS[1]).load() is None
    kept.remove()
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_came_of_a_run_takes_the_place_of_its_state(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, RUNS[0])
    kept.save({"epoch": 1})
    kept.end({"epoch": 2})
    assert [path.name for path in (tmp_path / RUNS[0]).iterdir()] == ["ended.pt"]
    assert Checkpoints(tmp_path, RUNS[0]).load() == {"epoch": 2}


def test_of_runs_that_ended_the_oldest_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_MOST_BYTES", 12_000)
    running, a, b, c, d = RUNS
    Checkpoints(tmp_path, running).save({"best": torch.zeros(4_000)})
    for at, run in enumerate((a, b, c, d)):
        Checkpoints(tmp_path, run).end({"best": torch.zeros(1_000)})  # about 5,000 bytes
        os.utime(tmp_path / run, (time.time() - 100 + at,) * 2)
        if run == c:  # a was let go; b is used again, so c is the older one
            assert {path.name for path in tmp_path.iterdir()} == {running, b, c}
            assert Checkpoints(tmp_path, b).load() is not None
    assert {path.name for path in tmp_path.iterdir()} == {running, b, d}


def test_nothing_is_kept_without_a_folder() -> None:
    kept = Checkpoints(None, RUNS[0])
    kept.save({"epoch": 1})
    kept.end({"epoch": 1})
    assert kept.load() is None
    kept.remove()


@pytest.mark.parametrize("at", [0, 20, 300, -40])
def test_a_state_with_one_flipped_bit_is_not_taken_up(tmp_path: Path, at: int) -> None:
    kept = Checkpoints(tmp_path, RUNS[0])
    kept.end({"best": torch.arange(100.0)})
    path = tmp_path / RUNS[0] / "ended.pt"
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    assert kept.load() is None


def test_a_state_that_is_cut_off_is_not_taken_up(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, RUNS[0])
    kept.save({"epoch": 1})
    path = tmp_path / RUNS[0] / "state.pt"
    content = path.read_bytes()
    for n in (0, 5, 30, len(content) - 1):
        path.write_bytes(content[:n])
        assert kept.load() is None


def test_what_nobody_came_back_for_is_swept_and_nothing_that_is_not_ours(tmp_path: Path) -> None:
    old, young = Checkpoints(tmp_path, RUNS[0]), Checkpoints(tmp_path, RUNS[1])
    old.save({"epoch": 1})
    young.save({"epoch": 1})
    Checkpoints(tmp_path, RUNS[2]).save({"epoch": 1})
    (tmp_path / RUNS[2] / "notes.txt").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "ended.pt").write_text("mine")
    long_ago = time.time() - 15 * 24 * 3600
    for name in (RUNS[0], RUNS[2], "thesis"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    young.load()
    assert {path.name for path in tmp_path.iterdir()} == {RUNS[1], RUNS[2], "thesis"}
    assert [path.name for path in (tmp_path / RUNS[2]).iterdir()] == ["notes.txt"]
    assert (tmp_path / "thesis" / "ended.pt").exists()


def test_a_folder_that_cannot_be_made_raises_if_it_was_asked_for_and_warns_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Checkpoints(tmp_path / "file", RUNS[0]).save({"epoch": 1})
    kept = Checkpoints(tmp_path / "file", RUNS[0], required=False)
    with pytest.warns(FeatxWarning, match="checkpoints=None"):
        kept.save({"epoch": 1})
    kept.save({"epoch": 2})  # said once


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "runs", RUNS[0]).save({"epoch": 1})
    assert (tmp_path / "runs").stat().st_mode & 0o077 == 0
