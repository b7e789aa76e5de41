"""Many processes on one store: killed at any moment, started cold together, with and without locks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
N_KEYS = 600


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent.parent), **more}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")
def test_writers_killed_at_60_random_moments_lose_no_row_and_resume(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_writers.py"), str(tmp_path / "store"), "60", "0"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["n_killed_at_work"] == 60
    assert seen["all_claims_free"]
    assert seen["complete"]
    assert seen["intact"]
    assert seen["n_rows"] == 1500


def run_cold(root: Path, n_processes: int = 4, **variables: str) -> tuple[list[list[int]], list[list[float]]]:
    """Which keys each process computed, and which rows each read at the end."""
    with contextlib.ExitStack() as stack:
        workers = []
        for name in range(n_processes):
            arguments = [sys.executable, str(HERE / "cold_worker.py"), str(root), str(name)]
            worker = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(**variables),
            )
            stack.enter_context(worker)
            stack.callback(worker.kill)
            workers.append((worker.stdin, worker.stdout))
        answers: list[list[str]] = []
        for _ in range(3):  # ready, computed, read
            answers.append([out.readline() for _, out in workers if out is not None])
            for into, _ in workers:
                assert into is not None
                with contextlib.suppress(BrokenPipeError):  # after its last answer a worker is gone
                    into.write("\n")
                    into.flush()
    return [json.loads(line) for line in answers[1]], [json.loads(line) for line in answers[2]]


def test_four_processes_started_cold_compute_each_key_exactly_once(tmp_path: Path) -> None:
    computed, read = run_cold(tmp_path / "store")
    assert sorted(key for keys in computed for key in keys) == list(range(N_KEYS))
    assert sum(bool(keys) for keys in computed) > 1, "one process did all the work: nothing was shared"
    assert all(rows == read[0] for rows in read)
    for name, keys in enumerate(computed):
        assert all(read[0][key] == name for key in keys)


def test_without_locks_four_processes_read_equal_rows(tmp_path: Path) -> None:
    computed, read = run_cold(tmp_path / "store", FEATX_STORE_LOCKS="0")
    assert {key for keys in computed for key in keys} == set(range(N_KEYS))
    assert all(rows == read[0] for rows in read)
