"""How many photographs a second does featx embed, and other ways of doing the same?

    python benchmarks/versus.py [--save]

Needs the test material (``FEATX_SHARED``, default ``../shared``) and torch. Every way starts at the same JPEG files and ends
at one matrix of vectors:

- featx: ``ImageFeatures(...).fit_transform(paths)``, empty cache (so it also digests, stores and syncs);
- onnxruntime: a plain loop over batches of 32, PIL decoding and numpy preprocessing in the loop, a session with its defaults;
- torch: the same loop in inference mode with its default threads: float32, float32 with channels last, and bfloat16 autocast
  with channels last.

The torch networks have random weights, which does not change their speed. Files are in the operating system's memory.

Expected before tuning: featx ahead of every float32 loop on both networks; with ``mobilenet_v2`` ahead of torch in bfloat16
as well; with ``resnet50`` behind it (network alone, on a processor with bfloat16 units: 75 against 55 images a second).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch_networks
from measuring import SHARED, alternating, filled_skeleton, parser, report
from PIL import Image

from featx import ImageFeatures

FILES = {"mobilenet_v2": 398, "resnet50": 96}
BATCH = 32
MEAN = np.asarray([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.asarray([0.229, 0.224, 0.225], dtype=np.float32)


def picture(path: str) -> np.ndarray:
    """Shortest edge to 232, the middle 224 x 224, normalised, (3, 224, 224): what both networks' configuration says."""
    image = Image.open(path).convert("RGB")
    scale = 232 / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)


def loop(paths: list[str], run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Vectors of all paths, batch by batch."""
    parts = []
    for at in range(0, len(paths), BATCH):
        parts.append(run(np.stack([picture(path) for path in paths[at : at + BATCH]])))
    return np.concatenate(parts)


def with_torch(
    network: torch.nn.Module, *, channels_last: bool, bfloat16: bool, batch: np.ndarray
) -> np.ndarray:
    x = torch.from_numpy(batch)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        return network(x).float().numpy()


def with_onnxruntime(session: onnxruntime.InferenceSession, batch: np.ndarray) -> np.ndarray:
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def with_featx(backbone: Path, paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as cache:
        ImageFeatures(backbone, device="cpu", cache=cache).fit_transform(paths)


def ways(name: str, backbone: Path, paths: list[str]) -> dict[str, Callable[[], object]]:
    """What is compared, by name; sessions and networks are open and warm."""
    plain = getattr(torch_networks, name)()
    last = getattr(torch_networks, name)().to(memory_format=torch.channels_last)
    session = onnxruntime.InferenceSession(backbone / "model.onnx", providers=["CPUExecutionProvider"])
    runs = {
        "onnxruntime loop": partial(with_onnxruntime, session),
        "torch float32": lambda b: with_torch(plain, channels_last=False, bfloat16=False, batch=b),
        "torch float32 channels last": lambda b: with_torch(
            last, channels_last=True, bfloat16=False, batch=b
        ),
        "torch bfloat16 channels last": lambda b: with_torch(
            last, channels_last=True, bfloat16=True, batch=b
        ),
    }
    found: dict[str, Callable[[], object]] = {"featx": partial(with_featx, backbone, paths)}
    found |= {way: partial(loop, paths, run) for way, run in runs.items()}
    with_featx(backbone, paths[:BATCH])
    for run in runs.values():
        loop(paths[:BATCH], run)
    return found


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--backbones", nargs="+", choices=list(FILES), default=list(FILES))
    given = arguments.parse_args()
    photographs = sorted(map(str, (SHARED / "data" / "hymenoptera_small").glob("*/*.jpg")))
    figures: dict[str, dict[str, float]] = {}
    print(f"{'backbone':13} {'way':29} {'images/s':>8} {'featx is faster by':>18}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.backbones:
            known = SHARED / "weights" / name
            backbone = known if known.exists() else filled_skeleton(name, Path(scratch))
            paths = photographs[: FILES[name]]
            works = ways(name, backbone, paths)
            taken = alternating(works, given.rounds)
            figures[name] = {"files": len(paths), "others": taken.others}
            for way in works:
                rate, ratio = len(paths) / taken.median(way), taken.ratio(way, "featx")
                figures[name] |= {f"{way} per_s": rate, f"featx / {way}": ratio}
                print(f"{name:13} {way:29} {rate:8.1f} {ratio:18.2f}", flush=True)
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
