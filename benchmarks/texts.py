"""How many tweets a second does featx embed, and other ways of doing the same with the same weights?

    python benchmarks/texts.py --weights FOLDER [--backbone minilm] [--save]

Needs the test material (``FEATX_SHARED``, default ``../shared``), torch and sentence-transformers; FOLDER holds the publisher's
``model.safetensors`` of the same encoder. Every way starts at the same texts and ends at one matrix of normalised vectors:

- featx: ``TextFeatures(...).fit_transform(texts)``, empty cache (so it also digests, stores and syncs);
- sentence-transformers: ``SentenceTransformer(FOLDER).encode(texts)``, its defaults, float32;
- onnxruntime: a plain loop over texts sorted by length in batches of 2,048 tokens, a session with its defaults.

The share of padding is counted in featx's own runs.

Expected before tuning: at least 2 times sentence-transformers, 3 aimed at; ahead of the plain loop; padding below 5 % of tokens.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from measuring import SHARED, alternating, parser, report
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from featx import Backbone, TextFeatures
from featx.inference.runtime import Session

TOKENS = 2048
LENGTH = 256


def with_featx(backbone: str, texts: list[str]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as cache:
        return TextFeatures(backbone, device="cpu", cache=cache).fit_transform(texts)


class PlainLoop:
    """Tokenise all, sort by length, pad, run, pool in numpy."""

    def __init__(self, folder: Path) -> None:
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LENGTH)

    def __call__(self, texts: list[str]) -> np.ndarray:
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out, start = None, 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * len(ids[order[stop]]) <= TOKENS:
                stop += 1
            batch = [ids[i] for i in order[start:stop]]
            longest = max(map(len, batch))
            rows = np.zeros((len(batch), longest), dtype=np.int64)
            mask = np.zeros_like(rows)
            for row, flags, one in zip(rows, mask, batch, strict=True):
                row[: len(one)], flags[: len(one)] = one, 1
            feeds = {"input_ids": rows, "attention_mask": mask, "token_type_ids": np.zeros_like(rows)}
            hidden = self.session.run(None, {name: feeds[name] for name in self.inputs})[0]
            vectors = (hidden * mask[..., None]).sum(1) / mask.sum(1)[:, None]
            if out is None:
                out = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
            out[order[start:stop]] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            start = stop
        assert out is not None
        return out


@contextmanager
def counted_tokens() -> Iterator[dict[str, int]]:
    """Tokens, and those of them that are padding, in all runs of this process."""
    counts = {"tokens": 0, "padding": 0}
    run = Session.run

    def counting(session: Session, batch: np.ndarray) -> Any:
        counts["tokens"] += batch.size
        counts["padding"] += int((batch < 0).sum())
        return run(session, batch)

    Session.run = counting  # type: ignore[method-assign]  # the seam for counting
    try:
        yield counts
    finally:
        Session.run = run  # type: ignore[method-assign]  # restored


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--weights", type=Path, required=True)
    arguments.add_argument("--backbone", default="minilm")
    arguments.add_argument("--texts", type=int, default=3000)
    given = arguments.parse_args()
    with open(
        SHARED / "data" / "airline_tweets" / "airline_tweets.csv", newline="", encoding="utf-8"
    ) as file:
        texts = [row["text"] for row in csv.DictReader(file)][: given.texts]
    theirs = SentenceTransformer(str(given.weights), device="cpu")
    works = {
        "featx": partial(with_featx, given.backbone, texts),
        "sentence-transformers": partial(theirs.encode, texts),
        "onnxruntime loop": partial(PlainLoop(Backbone.open(given.backbone).folder), texts),
    }
    vectors = {way: np.asarray(work()) for way, work in works.items()}
    with counted_tokens() as counts:
        works["featx"]()
    taken = alternating(works, given.rounds)
    figures: dict[str, Any] = {"texts": len(texts), "others": taken.others}
    figures["padding share"] = counts["padding"] / counts["tokens"]
    print(f"{'way':22} {'texts/s':>8} {'featx is faster by':>18} {'max |difference|':>17}")
    for way in works:
        rate, ratio = len(texts) / taken.median(way), taken.ratio(way, "featx")
        apart = float(np.abs(vectors[way] - vectors["sentence-transformers"]).max())
        figures |= {f"{way} per_s": rate, f"featx / {way}": ratio, f"{way} difference": apart}
        print(f"{way:22} {rate:8.1f} {ratio:18.2f} {apart:17.2e}", flush=True)
    print(f"padding: {100 * figures['padding share']:.2f} % of {counts['tokens']:,} tokens")
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
