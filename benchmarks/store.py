"""What does the store cost over plain numpy on the same rows?

    python benchmarks/store.py [--rows 1000000] [--save]

One million rows of 384 float32 values are put as an extraction puts them, 4,096 at a time, and read four ways, each beside
plain numpy on an npy file of the same rows, taking turns. Everything is in the operating system's memory. Reading in order
is measured twice: from the segments that the puts left, and from the one that ``merge`` leaves. The memory of file digests
is measured on 20,000 small files, beside ``os.stat`` alone, which it cannot do without. Takes about 5 GB of the temporary
folder while it runs.

Expected before tuning: reading in order at most 1.3 times a copy of ``np.load(mmap_mode="r")``, from one segment nearly
1.0; 100,000 random rows at most 3 times ``np.take`` on the memory map, of which finding the keys is the greater part; a
remembered file at most 6 microseconds, about 3 of them ``os.stat``.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from measuring import alternating, median_ratio, parser, report, spread

from featx.store import segments
from featx.store.files import FileDigests
from featx.store.store import EmbeddingStore
from featx.store.upkeep import sweep

D = 384
WINDOW = 4096
N_RANDOM = 100_000
N_FILES = 20_000
SPACE = "space"


def blocks(n_rows: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, WINDOW):
        yield rng.standard_normal((min(WINDOW, n_rows - start), D), dtype=np.float32)


def fill(store: EmbeddingStore, keys: np.ndarray, plain: Path) -> dict[str, float]:
    """Put the rows, and write them to one npy file; seconds of either."""
    seconds = {"put_s": 0.0, "npy_s": 0.0}
    target = np.lib.format.open_memmap(plain, mode="w+", dtype=np.float32, shape=(len(keys), D))
    start = 0
    for block in blocks(len(keys)):
        part = slice(start, start + len(block))
        began = time.perf_counter()
        target[part] = block
        target.flush()
        between = time.perf_counter()
        store.put(SPACE, keys[part], block)
        seconds["npy_s"] += between - began
        seconds["put_s"] += time.perf_counter() - between
        start += len(block)
        sweep(
            store.root / SPACE, replaced_older_than_s=0.0
        )  # nobody has them mapped, and the disk is not ours alone
    return seconds


def compared(
    name: str, store: Callable[[], object], plain: Callable[[], object], rounds: int
) -> dict[str, float]:
    """Time both, after one round that counts for nothing, and print a line of the table."""
    works = {"featx": store, "numpy": plain}
    alternating(works, 1)
    seconds = alternating(works, rounds)
    ratio = median_ratio(seconds["featx"], seconds["numpy"])
    figures = {
        "featx_s": statistics.median(seconds["featx"]),
        "numpy_s": statistics.median(seconds["numpy"]),
        "ratio": ratio,
        "spread": max(map(spread, seconds.values())),
    }
    print(
        f"{name:45} {figures['featx_s'] * 1e3:9.1f} ms {figures['numpy_s'] * 1e3:9.1f} ms {ratio:6.2f}"
        f"   spread {figures['spread']:.2f}"
    )
    return figures


def file_memory(folder: Path, rounds: int) -> dict[str, float]:
    """Microseconds a path of a warm lookup, and of ``os.stat`` alone."""
    paths = []
    for number in range(N_FILES):
        path = folder / f"{number % 10}" / f"photograph_{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        paths.append(str(path))
    store = EmbeddingStore(folder / "store")
    with mock.patch.object(time, "time_ns", return_value=time.time_ns() + 10**10):  # the files have settled
        _, _, identities = FileDigests(store).lookup(paths)
        FileDigests(store).remember(
            identities, np.random.default_rng(0).integers(0, 256, (N_FILES, 16), np.uint8)
        )
        files = FileDigests(store)
        figures = compared(
            f"{N_FILES:,} remembered files, os.stat",
            lambda: files.lookup(paths),
            lambda: list(map(os.stat, paths)),
            rounds,
        )
        if not files.lookup(paths)[1].all():
            raise RuntimeError("some files were not remembered")
    return {
        "lookup_us": 1e6 * figures["featx_s"] / N_FILES,
        "stat_us": 1e6 * figures["numpy_s"] / N_FILES,
        "ratio": figures["ratio"],
        "spread": figures["spread"],
    }


def main() -> None:
    arguments = parser(__doc__, rounds=7)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    given = arguments.parse_args()
    keys = np.random.default_rng(1).integers(0, 256, (given.rows, 16), dtype=np.uint8)
    chosen = np.random.default_rng(2).integers(0, given.rows, min(N_RANDOM, given.rows))
    figures: dict[str, object] = {"rows": given.rows, "d": D}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = EmbeddingStore(folder / "store")
        figures["fill"] = fill(store, keys, folder / "plain.npy")
        plain = np.load(folder / "plain.npy", mmap_mode="r")
        figures["segments"] = len(segments.list_folder(store.root / SPACE).live)
        print(
            f"{given.rows:,} rows of {D} in {figures['segments']} segments;  store, numpy, ratio of the two"
        )

        def read_all() -> np.ndarray:
            rows = store.get(SPACE, keys)[0]
            return rows if rows.flags.writeable else np.array(rows)  # a view is copied, as numpy's is

        def read_random() -> np.ndarray:
            return store.get(SPACE, keys[chosen])[0]

        for state in ("as put", "merged"):
            if state == "merged":
                store.merge(SPACE)
                sweep(store.root / SPACE, replaced_older_than_s=0.0)
            figures[f"in order, {state}"] = compared(
                f"all in order, {state}", read_all, lambda: np.array(plain), given.rounds
            )
            figures[f"random, {state}"] = compared(
                f"{len(chosen):,} random, {state}",
                read_random,
                lambda: np.take(plain, chosen, axis=0),
                given.rounds,
            )
        fresh = [
            EmbeddingStore(store.root) for _ in range(given.rounds + 1)
        ]  # one more: the round that counts not
        figures["opening"] = compared(
            "opening the index",
            lambda: fresh.pop().get(SPACE, keys[:1]),
            lambda: np.argsort(keys.view(np.uint64)[:, 0]),
            given.rounds,
        )
        figures["file memory"] = file_memory(folder, given.rounds)
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
