"""How close does a cold extraction come to the sum of its two parts, decoding and inference?

    python benchmarks/extraction.py [--backbones mobilenet_v2 resnet50 resnet56_cifar10] [--save]

Needs the test material (``FEATX_SHARED``, default ``../shared``). Both parts are timed with one thread a core on the same
files: decoding alone, from bytes already read; inference alone, on pixels already decoded, at the best of several batch
sizes. Their sum is the least that a run can take which keeps all cores busy, and the bound is the files over that time.
The run itself is the ``transform`` of a fitted estimator, from paths to vectors: it reads, digests, claims, stores and
syncs as well. Cold means an empty cache folder; the files are in the operating system's memory.

Expected before tuning: at least 0.90 of the bound for ``mobilenet_v2`` and ``resnet50``, at least 0.85 for
``resnet56_cifar10``, whose network at 32 x 32 takes less time than a decoded photograph.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measuring import MOST_ROUNDS_A_ROUND, SHARED, alternating, filled_skeleton, in_threads, parser, report

from featx import ImageFeatures
from featx.inference.devices import Device, cpu_threads
from featx.inference.runtime import Session, session_pool
from featx.inputs.images import decode

FILES = {"mobilenet_v2": 600, "resnet50": 128, "resnet56_cifar10": 1780}
"""Files of each set at most: seconds a run on two cores."""

BATCHES = (1, 2, 4, 8)
VARIANTS = 8
"""Each large photograph is used so many times, with different bytes after its end: 16 are too few to time."""


def file_sets(folder: Path) -> dict[str, list[Path]]:
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
    return sets


def cold_run(estimators: list[ImageFeatures], paths: list[str]) -> None:
    """Embed with the next estimator, whose cache is empty."""
    vectors = estimators.pop().transform(paths)
    if not np.isfinite(vectors).all():
        raise RuntimeError("vectors that are not finite")


def with_empty_caches(backbone: Path, scratch: Path, n: int) -> list[ImageFeatures]:
    """Fitted estimators, each with a cache folder of its own."""
    caches = [tempfile.mkdtemp(dir=scratch) for _ in range(n)]
    return [ImageFeatures(backbone, device="cpu", cache=cache).fit(None) for cache in caches]


def open_session(backbone: Path, path: Path) -> Session:
    """The session that cold runs use, opened and warm."""
    features = ImageFeatures(backbone, device="cpu", cache=None)
    features.fit_transform([str(path)])
    return session_pool().get((tuple(space.id for space in features.spaces_), Device("cpu")), _not_open)


def _not_open() -> Session:
    raise RuntimeError("the session was expected to be open")


def measure(backbone: Path, paths: list[Path], rounds: int, scratch: Path) -> dict[str, float]:
    """Figures of one backbone on one set of files."""
    session = open_session(backbone, paths[0])
    preprocess = ImageFeatures(backbone, cache=None).fit(None).backbone_.pixels()
    contents = [path.read_bytes() for path in paths]
    pixels = np.stack([decode(content, preprocess) for content in contents])
    n_threads = cpu_threads()
    # Made beforehand: opening a backbone is not part of embedding images with it.
    estimators = with_empty_caches(backbone, scratch, MOST_ROUNDS_A_ROUND * rounds)
    size = best_batch(session, pixels[:64])
    batches = [pixels[at : at + size] for at in range(0, len(pixels), size)]
    works: dict[str, Callable[[], object]] = {
        "featx": partial(cold_run, estimators, list(map(str, paths))),
        "decode": lambda: in_threads(lambda content: decode(content, preprocess), contents, n_threads),
        "infer": lambda: in_threads(session.run, batches, n_threads),
    }
    taken = alternating(works, rounds)
    n = len(paths)
    return {
        "files": n,
        "decode_ms": taken.median("decode") / n * 1e3,
        "infer_ms": taken.median("infer") / n * 1e3,
        "infer_batch": size,
        "bound_per_s": n / (taken.median("decode") + taken.median("infer")),
        "featx_per_s": n / taken.median("featx"),
        "of_bound": taken.ratio(["decode", "infer"], "featx"),
        "others": taken.others,
    }


def best_batch(session: Session, pixels: np.ndarray) -> int:
    """The batch size at which one thread runs these images fastest."""
    seconds = {}
    for size in BATCHES * 3:
        began = time.perf_counter()
        for at in range(0, len(pixels), size):
            session.run(pixels[at : at + size])
        seconds[size] = min(seconds.get(size, np.inf), time.perf_counter() - began)
    return min(seconds, key=lambda size: seconds[size])


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--backbones", nargs="+", choices=list(FILES), default=list(FILES))
    arguments.add_argument("--sets", nargs="+", default=None)
    given = arguments.parse_args()
    figures = {}
    print(
        f"{'backbone':17} {'files':18} {'n':>5} {'decode ms':>9} {'infer ms':>9} {'batch':>5} {'bound/s':>8} "
        f"{'featx/s':>8} {'of bound':>8} {'others':>7}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        sets = file_sets(Path(scratch))
        for name in given.backbones:
            known = SHARED / "weights" / name
            backbone = known if known.exists() else filled_skeleton(name, Path(scratch) / "backbones")
            for kind in given.sets or sets:
                f = figures[f"{name}, {kind}"] = measure(
                    backbone, sets[kind][: FILES[name]], given.rounds, Path(scratch)
                )
                print(
                    f"{name:17} {kind:18} {f['files']:5.0f} {f['decode_ms']:9.3f} {f['infer_ms']:9.3f} "
                    f"{f['infer_batch']:5.0f} {f['bound_per_s']:8.1f} {f['featx_per_s']:8.1f} {f['of_bound']:8.3f} "
                    f"{f['others']:7.2f}",
                    flush=True,
                )
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
