"""How accurate are frozen features of one encoder on real texts, with each head, beside words counted?

    python benchmarks/text_accuracy.py --data FOLDER --backbone minilm [--search]

Each set is judged by macro-F1 in five folds that keep groups together (authors of airline_tweets, articles of ade_corpus):
StratifiedGroupKFold(5, shuffle=True, random_state=0), the same folds for every column. ``tf-idf`` is TfidfVectorizer(ngram_range=
(1, 2), sublinear_tf=True, min_df=2) and a balanced logistic regression. With ``--search`` its C and each head's
``featx.param_grid`` are searched inside every training part, by groups as well; else heads are as ``featx.make_head`` makes them.
``--both`` puts the vectors beside the counted words, in one logistic regression (slow: its columns are dense and many).

Expected before anything was run: words counted reach 0.742 (airline_tweets) and 0.796 (ade_corpus); frozen MiniLM vectors about
0.73 and 0.78, as 384 numbers of a general encoder know less of single telling words; both together ahead of either.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import featx
from featx.heads import HEAD_NAMES

SETS = ("airline_tweets", "ade_corpus")
COSTS = (0.3, 1.0, 3.0, 10.0)


def chosen(model: Any, grid: dict[str, Any], X: Any, y: np.ndarray, groups: np.ndarray) -> Any:
    """The model with the parameters that do best in three folds of the training part."""
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=1)
    search = GridSearchCV(model, grid, scoring="f1_macro", cv=list(folds.split(X, y, groups)), n_jobs=2)
    with threadpool_limits(1):
        return search.fit(X, y).best_estimator_


def counted(texts: list[str], train: np.ndarray) -> Any:
    """Counted words and pairs of all texts, weighted by what the training part says of them."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    words.fit([texts[i] for i in train])
    return words.transform(texts)


def beside(words: Any, vectors: np.ndarray, train: np.ndarray) -> Any:
    """Counted words and standardised vectors, each kind of the same length a text."""
    scaled = StandardScaler().fit(vectors[train]).transform(vectors)
    return sparse.hstack([words, sparse.csr_array(scaled / np.sqrt(vectors.shape[1]))]).tocsr()


def judge(
    data: featx.Dataset, vectors: np.ndarray, columns: list[str], *, search: bool
) -> dict[str, list[float]]:
    """Macro-F1 of every column, a fold each."""
    y, groups = np.asarray(data.labels), np.asarray(data.groups)
    logistic = LogisticRegression(class_weight="balanced", max_iter=2000)
    scores: dict[str, list[float]] = {name: [] for name in columns}
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(vectors, y, groups):
        words = counted(data.samples, train)
        for name in scores:
            X = words if name == "tf-idf" else beside(words, vectors, train) if name == "both" else vectors
            plain = name in ("tf-idf", "both")
            model = logistic if plain else featx.make_head(name)
            grid: dict[str, Any] = {}
            if search:
                grid = {"C": COSTS} if plain else featx.param_grid(name, n_samples=len(train))
            fitted = (
                chosen(model, grid, X[train], y[train], groups[train])
                if grid
                else clone(model).fit(X[train], y[train])
            )
            scores[name].append(float(f1_score(y[test], fitted.predict(X[test]), average="macro")))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument(
        "--search", action="store_true", help="search each head's parameters inside the folds"
    )
    parser.add_argument("--both", action="store_true", help="vectors and counted words together")
    parser.add_argument("--heads", nargs="+", default=list(HEAD_NAMES))
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    columns = ["tf-idf", *arguments.heads, *(["both"] if arguments.both else [])]
    figures = {}
    print(f"{'set':16}" + "".join(f"{name:>18}" for name in columns))
    for name in SETS:
        data = featx.read_dataset(arguments.data / name / f"{name}.csv")
        vectors = featx.TextFeatures(arguments.backbone, verbose=True).fit_transform(data.samples)
        found = judge(data, vectors, columns, search=arguments.search)
        figures[name] = {column: [round(value, 4) for value in found[column]] for column in columns}
        cells = [f"{np.mean(found[column]):.3f} ±{np.std(found[column]):.3f}" for column in columns]
        print(f"{name:16}" + "".join(f"{cell:>18}" for cell in cells))
    if arguments.save is not None:
        command = f"python benchmarks/text_accuracy.py --data FOLDER --backbone {arguments.backbone}"
        command += " --search" * arguments.search
        result = {"command": command, "macro_f1": figures}
        arguments.save.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
