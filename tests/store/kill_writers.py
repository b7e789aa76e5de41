"""Writers killed at random moments; run by test_store_processes.py in a process of its own, without threads.

usage: kill_writers.py ROOT N_KILLS SEED

Forks two writers at a time, which claim, put and merge, kills one of them with SIGKILL, and checks the store. Prints a
JSON object of what it saw, or ends with a traceback at the first wrong row.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import numpy as np

from featx.store.store import EmbeddingStore

N_KEYS = 1500
D = 64


def rows_of(keys: np.ndarray) -> np.ndarray:
    return np.tile(keys.astype(np.float32), (1, D // 16))


def write(root: str, keys: np.ndarray, seed: int) -> None:
    """Compute what is missing, a few keys at a time, until nothing is."""
    store, chance = EmbeddingStore(root), random.Random(seed)
    while True:
        missing = keys[~store.get("space", keys)[1]]
        if not len(missing):
            return
        start = chance.randrange(len(missing))
        window = missing[start : start + chance.randint(1, 40)]
        with store.claim("space", window) as claim:
            mine = window[claim.mine]
            store.put("space", mine, rows_of(mine))
            if chance.random() < 0.1:
                store.merge("space")
            claim.wait()


def fork_writer(root: str, keys: np.ndarray, seed: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            write(root, keys, seed)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return pid


def main(root: str, n_kills: int, seed: int) -> None:
    chance = random.Random(seed)
    all_keys = np.random.default_rng(seed).integers(0, 256, (N_KEYS, 16), dtype=np.uint8)
    seen = np.zeros(N_KEYS, bool)
    n_killed_at_work = n_rounds = n_strays = 0
    writers: list[int] = []
    n_wanted = 0
    while n_killed_at_work < n_kills:
        n_rounds += 1
        n_wanted = min(N_KEYS, n_wanted + 20)  # there is always something left to do
        while len(writers) < 2:
            writers.append(fork_writer(root, all_keys[:n_wanted], chance.randrange(1 << 30)))
        time.sleep(chance.uniform(0, 0.04))
        pid = writers.pop(chance.randrange(2))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a writer failed"
        else:
            n_killed_at_work += 1
        rows, found = EmbeddingStore(root).get("space", all_keys)
        assert not (seen & ~found).any(), "a published row is gone"
        assert not found.any() or (rows == rows_of(all_keys[found])).all(), "a row is not what was put"
        seen = found
    for pid in writers:
        assert os.waitpid(pid, 0)[1] == 0, "the last writer did not finish"
    store = EmbeddingStore(root)
    with store.claim("space", all_keys) as claim:
        free = claim.mine | store.get("space", all_keys)[1]
    write(root, all_keys, seed)  # the run resumes
    rows, found = store.get("space", all_keys)
    report = store.verify()
    n_strays = len(report.spaces["space"].orphans)
    print(
        json.dumps(
            {
                "n_killed_at_work": n_killed_at_work,
                "n_rounds": n_rounds,
                "all_claims_free": bool(free.all()),
                "complete": bool(found.all() and (rows == rows_of(all_keys)).all()),
                "intact": report.ok,
                "n_rows": report.spaces["space"].n_rows,
                "n_strays": n_strays,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
