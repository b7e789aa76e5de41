"""What does a ``transform`` cost whose vectors are all stored?

    python benchmarks/warm.py [--samples 10000 100000] [--save]

Small PNG files and a small seeded backbone with vectors of 16 and of 1280 features: nothing is decoded or computed in a warm
run, so neither matters. A first, cold run stores the vectors; a fresh estimator then transforms the same list of paths. Each
file is looked at (one ``stat``), its digest recalled, its row found and copied. Copying the finished matrix is measured in the
same rounds and taken off.

Expected before tuning: at most 15 microseconds a sample plus copying the rows, for 10,000 and for 100,000 samples.
"""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import alternating, parser, report
from PIL import Image

from featx import ImageFeatures
from featx.testing import counted_rows, tiny_backbone

WIDTHS = (16, 1280)
_RECENT_S = 2.1
"""Files changed in the last two seconds are not remembered."""


def write_pictures(folder: Path, n: int) -> list[str]:
    """Paths of small PNG files that differ in the bytes after their end."""
    buffer = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(buffer, format="PNG")
    folder.mkdir()
    paths = [str(folder / f"{at:06}.png") for at in range(n)]
    for at, path in enumerate(paths):
        Path(path).write_bytes(buffer.getvalue() + at.to_bytes(4, "little"))
    time.sleep(_RECENT_S)
    return paths


def measure(backbone: Path, cache: Path, paths: list[str], rounds: int) -> dict[str, float]:
    """Figures of one backbone on one list of paths."""
    vectors = ImageFeatures(backbone, device="cpu", cache=cache).fit_transform(paths)

    def warm() -> None:
        again = ImageFeatures(backbone, device="cpu", cache=cache).fit(None).transform(paths)
        if not np.array_equal(again[::1000], vectors[::1000]):
            raise RuntimeError("a warm run gave other vectors than the cold one")

    with counted_rows() as rows:
        taken = alternating({"warm": warm, "copy": lambda: vectors.copy()}, rounds)
    if rows.n:
        raise RuntimeError(f"a warm run computed {rows.n} rows")
    n = len(paths)
    return {
        "samples": n,
        "features": vectors.shape[1],
        "transform_us": taken.median("warm") / n * 1e6,
        "copy_us": taken.median("copy") / n * 1e6,
        "us_a_sample": (taken.median("warm") - taken.median("copy")) / n * 1e6,
        "others": taken.others,
    }


def main() -> None:
    arguments = parser(__doc__, rounds=7)
    arguments.add_argument("--samples", nargs="+", type=int, default=[10_000, 100_000])
    given = arguments.parse_args()
    print(
        f"{'samples':>8} {'features':>8} {'transform us':>12} {'copy us':>8} {'us a sample':>11} {'others':>7}"
    )
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        for n in given.samples:
            paths = write_pictures(Path(scratch) / f"pictures-{n}", n)
            for width in WIDTHS:
                backbone = tiny_backbone(
                    Path(scratch) / f"tiny-{width}", size_px=8, channels=(4, width), seed=width
                )
                f = measure(backbone, Path(scratch) / f"cache-{n}", paths, given.rounds)
                figures[f"{n} samples, {width} features"] = f
                print(
                    f"{n:8} {width:8} {f['transform_us']:12.2f} {f['copy_us']:8.3f} {f['us_a_sample']:11.2f} "
                    f"{f['others']:7.2f}",
                    flush=True,
                )
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
