"""How accurate are frozen features of one backbone on real image sets, with each head?

    python benchmarks/accuracy.py --data FOLDER --backbone mobilenet_v2

Expected, with mobilenet_v2 (ImageNet weights) and the reference head (standardised, logistic regression, C=0.001, balanced,
untuned): hymenoptera_small 0.948 on the official validation part, bccd_crops 0.990 in five folds by source image,
covid_ct_small 0.728 in five folds by patient. The heads of ``featx.make_head`` stand beside it, untuned, and a baseline on
pixels: grey and colour thumbnails, PCA to 100 columns, the reference head. Folds are StratifiedGroupKFold(5, shuffle=True,
random_state=0); those of ``featx train`` also keep copies of one picture together, so its figures differ by the luck of folds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import featx
from featx.heads import HEAD_NAMES
from featx.inputs.images import decode

SETS = (("hymenoptera_small", "val"), ("bccd_crops", "folds"), ("covid_ct_small", "folds"))


def splits(data: featx.Dataset, judged: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The official part, or five folds by group."""
    assert data.labels is not None
    if judged != "folds":
        assert data.split is not None
        yield np.flatnonzero(data.split == "train"), np.flatnonzero(data.split == judged)
        return
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    yield from folds.split(data.samples, data.labels, data.groups)


def accuracy(head: object, X: np.ndarray, data: featx.Dataset, judged: str) -> float:
    """Mean accuracy over the splits."""
    assert data.labels is not None
    y = np.asarray(data.labels)
    scores = [
        float((clone(head).fit(X[train], y[train]).predict(X[test]) == y[test]).mean())
        for train, test in splits(data, judged)
    ]
    return float(np.mean(scores))


def thumbnails(paths: list[str]) -> np.ndarray:
    """Grey 32 x 32 and colour 8 x 8 pixels of every picture, (n, 1216) float32."""
    rows = []
    for path in paths:
        content = Path(path).read_bytes()
        views = [
            decode(content, featx.ImagePreprocess(size=(s, s), mean=(0, 0, 0), std=(1, 1, 1)))
            for s in (32, 8)
        ]
        rows.append(np.concatenate([views[0].mean(axis=2).ravel(), views[1].ravel()]))
    return np.asarray(rows, dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the three sets")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()

    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=1000)
    )
    pixels = make_pipeline(StandardScaler(), PCA(100, random_state=0), clone(reference))
    columns = ["pixels", "reference head", *HEAD_NAMES]
    figures = {}
    print(f"{'set':20} {'judged on':12}" + "".join(f"{name:>16}" for name in columns))
    for name, judged in SETS:
        data = featx.read_dataset(arguments.data / name)
        vectors = featx.ImageFeatures(arguments.backbone, verbose=True).fit_transform(data.samples)
        with threadpool_limits(1):
            found = [accuracy(pixels, thumbnails(data.samples), data, judged)]
            found += [accuracy(reference, vectors, data, judged)]
            found += [accuracy(featx.make_head(head), vectors, data, judged) for head in HEAD_NAMES]
        figures[name] = dict(zip(columns, (round(value, 4) for value in found), strict=True))
        print(f"{name:20} {judged:12}" + "".join(f"{value:16.3f}" for value in found), flush=True)
    if arguments.save:
        arguments.save.write_text(
            json.dumps({"backbone": str(arguments.backbone), "accuracy": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
