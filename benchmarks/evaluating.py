"""What does `featx.evaluate` cost on 5,000 stored pictures of 1,280 columns, beside fitting the head on the same folds alone?

    python benchmarks/evaluating.py [--backbone REF] [--heads logistic svm xgboost]

Pictures of tiny_imagenet, ten classes of them in two heaps, with vectors of `--backbone` that a first call stores. Then, by
turns: `featx.evaluate` from the store (look for leaks, 5 folds, thresholds and 2,000 bootstrap draws for every figure), and
scikit-learn's `cross_val_predict` with the same head on the vectors.

Expected before it was run: under a minute with every head, and logistic regression mostly the looking for leaks.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable

import numpy as np
from measuring import SHARED, alternating, parser, report
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

import featx

N_DRAWS = 2_000


def pictures(n: int) -> tuple[list[bytes], np.ndarray]:
    """``n`` encoded pictures of some classes, and which half of these classes each is of."""
    found: list[bytes] = []
    labels: list[str] = []
    with zipfile.ZipFile(SHARED / "data" / "tiny_imagenet_199.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("train/") and name[-1] != "/")
        classes = sorted({name.split("/")[1] for name in names})
        heap = {name: "even" if at % 2 == 0 else "odd" for at, name in enumerate(classes)}
        for name in names[:n]:
            found.append(archive.read(name))
            labels.append(heap[name.split("/")[1]])
    return found, np.asarray(labels)


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--backbone", help="default: mobilenet_v2 of the test material")
    arguments.add_argument("--heads", nargs="+", default=["logistic", "svm", "xgboost"])
    arguments.add_argument("--n", type=int, default=5_000)
    args = arguments.parse_args()
    X, y = pictures(args.n)
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        features = featx.ImageFeatures(args.backbone or SHARED / "weights" / "mobilenet_v2", cache=folder)
        vectors = features.fit(X).transform(X)
        for head in args.heads:
            rounds = alternating(works(features, head, X, y, vectors), args.rounds)
            figures[head] = {
                "evaluate_s": round(rounds.median("evaluate"), 2),
                "folds_alone_s": round(rounds.median("folds alone"), 2),
                "ratio": round(rounds.ratio("evaluate", "folds alone"), 2),
                "others": round(rounds.others, 3),
            }
            print(f"{head:10}", figures[head], flush=True)
    settings = {"samples": len(X), "columns": int(vectors.shape[1]), "draws": N_DRAWS}
    report(__file__, args, {**settings, **figures})


def works(
    features: featx.ImageFeatures, head: str, X: list[bytes], y: np.ndarray, vectors: np.ndarray
) -> dict[str, Callable[[], object]]:
    def evaluate() -> None:
        pipeline = Pipeline([("features", features), ("head", featx.make_head(head))])
        found = featx.evaluate(pipeline, X, y, n_bootstrap=N_DRAWS)
        assert found.n_samples == len(X)

    def alone() -> None:
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        with threadpool_limits(1):
            cross_val_predict(featx.make_head(head), vectors, y, cv=folds, method="predict_proba", n_jobs=2)

    return {"evaluate": evaluate, "folds alone": alone}


if __name__ == "__main__":
    main()
