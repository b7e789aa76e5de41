"""How close does a cold extraction come to the sum of its two parts, decoding and inference?

    python benchmarks/extraction.py [--backbones mobilenet_v2 resnet50 resnet56_cifar10] [--save]

Needs the test material (``FEATX_SHARED``, default ``../shared``). Both parts are timed with one thread a core on the same
files: decoding alone, from bytes already read; inference alone, on pixels already decoded, at the best of several batch
sizes. Their sum is the least that a run can take which keeps all cores busy, and the bound is the files over that time.
The run itself starts at paths and ends at vectors: it reads, digests, claims, stores and syncs as well. Cold means an
empty cache folder; the files are in the operating system's memory.

Expected before tuning: at least 0.90 of the bound for ``mobilenet_v2`` and ``resnet50``, at least 0.85 for
``resnet56_cifar10``, whose network at 32 x 32 takes less time than a decoded photograph.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measuring import SHARED, alternating, filled_skeleton, in_threads, median_ratio, parser, report, spread

from featx import ImageFeatures
from featx.inference.runtime import Device, Session, cpu_threads, session_pool
from featx.inputs.images import decode

BACKBONES = ("mobilenet_v2", "resnet50", "resnet56_cifar10")
BATCHES = (1, 4, 16)
VARIANTS = 8
"""Each large photograph is used so many times, with different bytes after its end: 16 are too few to time."""


def file_sets(folder: Path, limit: int | None) -> dict[str, list[Path]]:
    """JPEG files by the name of their set."""
    sets = {
        name: sorted((SHARED / "data" / name).glob("*/*.jpg")) for name in ("hymenoptera_small", "bccd_crops")
    }
    large = []
    for path in sorted((SHARED / "data" / "large_photos").glob("*.jpg")):
        for variant in range(VARIANTS):
            copy = folder / f"{path.stem}-{variant}.jpg"
            copy.write_bytes(path.read_bytes() + bytes([variant]))
            large.append(copy)
    sets["large_photos"] = large
    return {name: paths[:limit] for name, paths in sets.items()}


def cold_run(backbone: Path, paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as cache:
        features = ImageFeatures(backbone, device="cpu", cache=cache)
        vectors = features.fit_transform(list(map(str, paths)))
    if not np.isfinite(vectors).all():
        raise RuntimeError(f"{backbone}: vectors that are not finite")


def open_session(backbone: Path, path: Path) -> Session:
    """The session that cold runs use, opened and warm."""
    features = ImageFeatures(backbone, device="cpu", cache=None)
    features.fit_transform([str(path)])
    return session_pool().get((tuple(space.id for space in features.spaces_), Device("cpu")), _not_open)


def _not_open() -> Session:
    raise RuntimeError("the session was expected to be open")


def measure(backbone: Path, paths: list[Path], rounds: int) -> dict[str, float]:
    session = open_session(backbone, paths[0])
    preprocess = ImageFeatures(backbone, cache=None).fit(None).backbone_.pixels()
    contents = [path.read_bytes() for path in paths]
    pixels = np.stack([decode(content, preprocess) for content in contents])
    n_threads = cpu_threads()
    works: dict[str, Callable[[], object]] = {
        "featx": partial(cold_run, backbone, paths),
        "decode": lambda: in_threads(lambda content: decode(content, preprocess), contents, n_threads),
    }
    for size in BATCHES:
        batches = [pixels[at : at + size] for at in range(0, len(pixels), size)]
        works[f"infer {size}"] = partial(in_threads, session.run, batches, n_threads)
    seconds = alternating(works, rounds)
    best = min(BATCHES, key=lambda size: statistics.median(seconds[f"infer {size}"]))
    parts = [d + i for d, i in zip(seconds["decode"], seconds[f"infer {best}"], strict=True)]
    n = len(paths)
    return {
        "files": n,
        "decode_ms": statistics.median(seconds["decode"]) / n * 1e3,
        "infer_ms": statistics.median(seconds[f"infer {best}"]) / n * 1e3,
        "infer_batch": best,
        "bound_per_s": n / statistics.median(parts),
        "featx_per_s": n / statistics.median(seconds["featx"]),
        "of_bound": median_ratio(parts, seconds["featx"]),
        "spread": spread(seconds["featx"]),
    }


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    arguments.add_argument("--sets", nargs="+", default=None)
    arguments.add_argument("--limit", type=int, default=None, help="files of each set")
    given = arguments.parse_args()
    figures = {}
    print(
        f"{'backbone':17} {'files':18} {'n':>5} {'decode ms':>9} {'infer ms':>9} {'batch':>5} {'bound/s':>8} "
        f"{'featx/s':>8} {'of bound':>8} {'spread':>7}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        sets = file_sets(Path(scratch), given.limit)
        for name in given.backbones:
            known = SHARED / "weights" / name
            backbone = known if known.exists() else filled_skeleton(name, Path(scratch) / "backbones")
            for kind, paths in sets.items():
                if given.sets is not None and kind not in given.sets:
                    continue
                f = figures[f"{name}, {kind}"] = measure(backbone, paths, given.rounds)
                print(
                    f"{name:17} {kind:18} {f['files']:5.0f} {f['decode_ms']:9.3f} {f['infer_ms']:9.3f} "
                    f"{f['infer_batch']:5.0f} {f['bound_per_s']:8.1f} {f['featx_per_s']:8.1f} {f['of_bound']:8.3f} "
                    f"{f['spread']:7.2f}",
                    flush=True,
                )
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
