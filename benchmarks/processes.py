"""Is a cold search in two processes as fast as in one?

    python benchmarks/processes.py [--save]

``GridSearchCV`` over a head behind ``ImageFeatures(mobilenet_v2)`` on the 398 photographs of ``hymenoptera_small``, empty
cache. With ``n_jobs=1`` one process computes in a lane a core; with ``n_jobs=2`` each worker has one lane, and claims share
the samples out between them. The workers run and have imported featx before the clock starts. Needs the test material
(``FEATX_SHARED``, default ``../shared``).

Expected before tuning: two processes take no longer than one, within a tenth; each sample is computed once in either case.
"""

from __future__ import annotations

import tempfile

import numpy as np
from joblib import Parallel, delayed
from measuring import SHARED, alternating, parser, report
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from featx import EmbeddingStore, ImageFeatures
from featx.heads import make_head

BACKBONE = SHARED / "weights" / "mobilenet_v2"


def cold_search(paths: list[str], y: np.ndarray, n_jobs: int) -> None:
    """Search with an empty cache; every sample must then be stored, once."""
    with tempfile.TemporaryDirectory() as cache:
        features = ImageFeatures(BACKBONE, device="cpu", cache=cache)
        pipeline = Pipeline([("features", features), ("head", make_head("logistic"))])
        grid = {"head__logistic__C": [1e-3, 1e-2]}
        GridSearchCV(pipeline, grid, cv=5, n_jobs=n_jobs, error_score="raise").fit(paths, y)
        (n_rows,) = [s.n_rows for s in EmbeddingStore(cache).spaces() if "space" in (s.description or {})]
    if n_rows != len(paths):
        raise RuntimeError(f"{n_rows} rows stored, expected {len(paths)}")


def get_ready(path: str) -> None:
    """What a worker that has served before has done: imported featx and opened the session."""
    ImageFeatures(BACKBONE, device="cpu", cache=None).fit_transform([path])


def main() -> None:
    given = parser(__doc__, rounds=5).parse_args()
    photographs = sorted((SHARED / "data" / "hymenoptera_small").glob("*/*.jpg"))
    paths = [str(path) for path in photographs]
    y = np.asarray([path.parent.name for path in photographs])
    get_ready(paths[0])
    Parallel(n_jobs=2)(delayed(get_ready)(path) for path in paths[:8])
    taken = alternating(
        {"n_jobs=1": lambda: cold_search(paths, y, 1), "n_jobs=2": lambda: cold_search(paths, y, 2)},
        given.rounds,
    )
    one, two, ratio = taken.median("n_jobs=1"), taken.median("n_jobs=2"), taken.ratio("n_jobs=2", "n_jobs=1")
    print(f"n_jobs=1 {one:.2f} s, n_jobs=2 {two:.2f} s, ratio {ratio:.2f}, others {taken.others:.2f}")
    report(
        __file__,
        given,
        {
            "files": len(paths),
            "n_jobs=1_s": one,
            "n_jobs=2_s": two,
            "two_over_one": ratio,
            "others": taken.others,
        },
    )


if __name__ == "__main__":
    main()
