"""How much memory does embedding texts take beyond its result and its session?

    python benchmarks/text_memory.py [--backbone minilm --samples 5000] [--save]

As ``memory.py``, for texts of 1 to 400 words (lognormal, median 30), made from a seed in each process, which holds all of them
also where it embeds only eight: the ground. The longest text is among these eight, so that the ground's session has met the
largest run.
Without ``--backbone`` a small seeded encoder that cuts off at 256 tokens is used, and 100,000 texts.

Expected before tuning: at most 64 MB + 200 bytes a sample in every run, as for images.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import parser, report

GROUND_SAMPLES = 8
ALLOWED_BYTES = 64 << 20
ALLOWED_A_SAMPLE = 200

EMBED = """
import json, resource, sys, warnings
import numpy as np
from featx import TextFeatures
warnings.simplefilter("ignore")
backbone, cache, n, n_embedded = sys.argv[1:]
rng = np.random.default_rng(0)
words = np.asarray(["".join(w) for w in rng.choice(list("etaoinshrdlu"), (2000, 5))])
lengths = np.clip(rng.lognormal(3.4, 0.9, int(n)).astype(int) + 1, 1, 400)
lengths[0] = 400
texts = [" ".join(words[rng.integers(0, 2000, k)]) + f" {i}" for i, k in enumerate(lengths.tolist())]
features = TextFeatures(backbone, device="cpu", cache=cache or None).fit(None)
vectors = features.transform(texts[:int(n_embedded)])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([peak, vectors.nbytes]))
"""
MAKE = (
    "import sys; from featx.testing import tiny_text_backbone; tiny_text_backbone(sys.argv[1], positions=256)"
)


def peak_bytes(backbone: str, cache: Path | str, n: int, n_embedded: int) -> tuple[int, int]:
    """Peak memory of a process that embeds ``n_embedded`` of ``n`` texts, and the size of its result."""
    command = [sys.executable, "-c", EMBED, backbone, str(cache), str(n), str(n_embedded)]
    peak, result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return peak, result


def main() -> None:
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("--backbone")
    arguments.add_argument("--samples", type=int, default=100_000)
    given = arguments.parse_args()
    figures = {}
    print(f"{'run':9} {'ground MB':>9} {'peak MB':>8} {'result MB':>9} {'beyond MB':>9} {'allowed MB':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        backbone = given.backbone or str(Path(scratch) / "tiny")
        if given.backbone is None:
            subprocess.run([sys.executable, "-c", MAKE, backbone], check=True)
        cache, n = Path(scratch) / "cache", given.samples
        for kind, where in (("cold", cache), ("warm", cache), ("no cache", "")):
            at = (
                f"{cache}-ground" if kind == "cold" else where
            )  # a warm run opens no session, nor does its ground
            ground, _ = peak_bytes(backbone, at, n, GROUND_SAMPLES)
            peak, result = peak_bytes(backbone, where, n, n)
            f = {"ground_mb": ground / 1e6, "peak_mb": peak / 1e6, "result_mb": result / 1e6}
            f["beyond_mb"] = (peak - ground - result) / 1e6
            f["allowed_mb"] = (ALLOWED_BYTES + ALLOWED_A_SAMPLE * n) / 1e6
            figures[f"{n} texts, {kind}"] = f
            print(
                f"{kind:9} {f['ground_mb']:9.1f} {f['peak_mb']:8.1f} {f['result_mb']:9.1f} {f['beyond_mb']:9.1f} "
                f"{f['allowed_mb']:10.1f}",
                flush=True,
            )
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
