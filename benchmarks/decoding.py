"""How long does decoding take, and what does ``decode="draft"`` save?

    python benchmarks/decoding.py

Needs the test material (``FEATX_SHARED``, default ``../shared``). Files are read beforehand and decoded on one thread;
exact and draft take turns, so that what else the machine does falls on both. Each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from featx.backbones.preprocess import ImagePreprocess
from featx.inputs.images import decode

SHARED = Path(os.environ.get("FEATX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
EXACT = ImagePreprocess.imagenet()
DRAFT = dataclasses.replace(EXACT, decode="draft")


def elapsed_s(work: Callable[[], object]) -> float:
    """Processor seconds of this thread, which other processes do not lengthen."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def compare(contents: list[bytes], rounds: int) -> tuple[float, float, float]:
    """(exact, draft) in seconds for all contents, and the median of the rounds' ratios."""
    exact, draft, ratios = [], [], []
    for _ in range(rounds):
        exact.append(elapsed_s(lambda: [decode(content, EXACT) for content in contents]))
        draft.append(elapsed_s(lambda: [decode(content, DRAFT) for content in contents]))
        ratios.append(exact[-1] / draft[-1])
    return statistics.median(exact), statistics.median(draft), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds

    small = [
        path.read_bytes() for path in sorted((SHARED / "data" / "hymenoptera_small").glob("*/*.jpg"))[:100]
    ]
    exact_s, _, _ = compare(small, rounds)
    print(
        f"{len(small)} photographs with a shortest edge of 256: {exact_s / len(small) * 1e3:.2f} ms each, exact"
    )

    print(f"{'photograph':24} {'exact ms':>9} {'draft ms':>9} {'ratio':>6} {'mean difference':>16}")
    halved = []
    for path in sorted((SHARED / "data" / "large_photos").glob("*.jpg")):
        content = path.read_bytes()
        difference = np.abs(decode(content, EXACT).astype(int) - decode(content, DRAFT)).mean()
        exact_s, draft_s, ratio = compare([content], rounds)
        print(f"{path.name:24} {exact_s * 1e3:9.1f} {draft_s * 1e3:9.1f} {ratio:6.2f} {difference:16.2f}")
        if difference > 0:
            halved.append(content)
    exact_s, draft_s, ratio = compare(halved, rounds)
    print(
        f"{len(halved)} large enough for a smaller DCT scale, together: {exact_s * 1e3:.0f} ms exact, "
        f"{draft_s * 1e3:.0f} ms draft, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
