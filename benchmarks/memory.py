"""How much memory does an extraction take beyond its result and its session?

    python benchmarks/memory.py [--samples 2000 20000] [--backbones tiny mobilenet_v2] [--save]

Each run is a process of its own; its peak is what the operating system counted (``ru_maxrss``: mapped pages of files
included). The same process that embeds only eight of the samples is the ground: interpreter, imports, open session (none in
a warm run), list of paths. What a run takes more than that and than its result matrix is compared with 64 MB and 200 bytes a
sample. Runs are cold (empty cache), warm (all stored) and without a cache. The samples are small JPEG files that differ in
the bytes after their end. ``mobilenet_v2`` needs the test material (``FEATX_SHARED``, default ``../shared``).

Expected before tuning: at most 64 MB + 200 bytes a sample in every run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import SHARED, parser, report

BACKBONES = ("tiny", "mobilenet_v2")
GROUND_SAMPLES = 8
ALLOWED_BYTES = 64 << 20
ALLOWED_A_SAMPLE = 200
_RECENT_S = 2.1
"""Files changed in the last two seconds are not remembered."""

# In processes of their own, and small ones: Linux counts a parent's pages towards the peak of its children.
WRITE = """
import io, sys
from pathlib import Path
import numpy as np
from PIL import Image
from featx.testing import tiny_backbone
folder, n = Path(sys.argv[1]), int(sys.argv[2])
buffer = io.BytesIO()
noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
Image.fromarray(noise).resize((96, 72)).save(buffer, format="JPEG")
for at in range(n):
    (folder / f"{at:06}.jpg").write_bytes(buffer.getvalue() + at.to_bytes(4, "little"))
tiny_backbone(folder.parent / "tiny")
"""
EMBED = """
import json, resource, sys
from featx import ImageFeatures
backbone, cache, folder, n, n_embedded = sys.argv[1:]
paths = [f"{folder}/{at:06}.jpg" for at in range(int(n))]
features = ImageFeatures(backbone, device="cpu", cache=cache or None).fit(None)
vectors = features.transform(paths[:int(n_embedded)])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([peak, vectors.nbytes]))
"""


def peak_bytes(backbone: Path, cache: Path | str, folder: Path, n: int, n_embedded: int) -> tuple[int, int]:
    """Peak memory of a process that embeds ``n_embedded`` of ``n`` samples, and the size of its result."""
    command = [sys.executable, "-c", EMBED, str(backbone), str(cache), str(folder), str(n), str(n_embedded)]
    peak, result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return peak, result


def main() -> None:
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("--samples", nargs="+", type=int, default=[2_000, 20_000])
    arguments.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    given = arguments.parse_args()
    figures = {}
    print(
        f"{'backbone':13} {'samples':>8} {'run':9} {'ground MB':>9} {'peak MB':>8} {'result MB':>9} "
        f"{'beyond MB':>9} {'allowed MB':>10}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        subprocess.run([sys.executable, "-c", WRITE, str(folder), str(max(given.samples))], check=True)
        time.sleep(_RECENT_S)
        for name in given.backbones:
            backbone = Path(scratch) / "tiny" if name == "tiny" else SHARED / "weights" / name
            for n in given.samples:
                cache = Path(scratch) / f"cache-{name}-{n}"
                for kind, where in (("cold", cache), ("warm", cache), ("no cache", "")):
                    # A warm run opens no session, nor does its ground.
                    at = f"{cache}-ground" if kind == "cold" else where
                    ground, _ = peak_bytes(backbone, at, folder, n, GROUND_SAMPLES)
                    peak, result = peak_bytes(backbone, where, folder, n, n)
                    f = {
                        "ground_mb": ground / 1e6,
                        "peak_mb": peak / 1e6,
                        "result_mb": result / 1e6,
                        "beyond_mb": (peak - ground - result) / 1e6,
                        "allowed_mb": (ALLOWED_BYTES + ALLOWED_A_SAMPLE * n) / 1e6,
                    }
                    figures[f"{name}, {n} samples, {kind}"] = f
                    print(
                        f"{name:13} {n:8} {kind:9} {f['ground_mb']:9.1f} {f['peak_mb']:8.1f} {f['result_mb']:9.1f} "
                        f"{f['beyond_mb']:9.1f} {f['allowed_mb']:10.1f}",
                        flush=True,
                    )
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
