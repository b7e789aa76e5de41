"""One of several processes that start cold on the same keys; run by test_store_processes.py.

usage: cold_worker.py ROOT NAME. Says "ready", waits for a line, computes what nobody else does, says which keys it
computed, waits for a line, says which rows it reads.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from featx.store.store import EmbeddingStore

N_KEYS = 600
WINDOW = 50


def main(root: str, name: int) -> None:
    keys = np.random.default_rng(0).integers(0, 256, (N_KEYS, 16), dtype=np.uint8)
    print("ready", flush=True)
    sys.stdin.readline()
    store = EmbeddingStore(root)
    computed: list[int] = []
    left = np.arange(N_KEYS)
    while len(left):
        waiting = []
        for window in np.split(left, range(WINDOW, len(left), WINDOW)):
            window = window[~store.get("space", keys[window])[1]]
            if not len(window):
                continue
            with store.claim("space", keys[window]) as claim:
                mine = window[claim.mine]
                time.sleep(0.005)  # inference
                # The row says who computed it, so that a second row of a key would show.
                store.put("space", keys[mine], np.full((len(mine), 8), name, np.float32))
                computed += mine.tolist()
            waiting.append(claim)
        for claim in waiting:
            claim.wait()
        left = left[~store.get("space", keys[left])[1]]
    print(json.dumps(computed), flush=True)
    sys.stdin.readline()
    rows, found = store.get("space", keys)
    assert found.all()
    print(json.dumps(rows[:, 0].tolist()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
