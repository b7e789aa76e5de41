"""A search over backbones, the layers they are read at, and the head's regularisation.

    python grid_search.py [FOLDER BACKBONE...]

FOLDER as for image_folder.py; backbones are names (``featx backbones list``), folders or ``.onnx`` files. Without
any, ``compact`` is searched on scikit-learn's digits, written to ``digits/``.
"""

import sys

from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

import featx
from featx.demo_data import write_digits


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else write_digits("digits")
    backbones = sys.argv[2:] or ["compact"]
    data = featx.read_dataset(folder)

    model = Pipeline([("features", featx.ImageFeatures()), ("head", featx.make_head("logistic"))])
    grid = {
        "features__backbone": backbones,
        "features__tap": ["stage3", "pooled", ["stage3", "pooled"]],
        "head__logistic__C": [0.001, 0.01, 0.1],
    }
    kind = StratifiedKFold if data.groups is None else StratifiedGroupKFold
    folds = kind(5, shuffle=True, random_state=0)

    # Whatever the folds and values of C: an image meets each network once for a list of taps, and two processes share that.
    search = GridSearchCV(model, grid, scoring="balanced_accuracy", cv=folds, n_jobs=2)
    search.fit(data.samples, data.labels, groups=data.groups)

    found = search.cv_results_
    for at in found["rank_test_score"].argsort()[:5]:
        print(f"{found['mean_test_score'][at]:.3f}  {found['params'][at]}")
    print("The best of many flatters itself: judge it on data that took no part in the search.")


if __name__ == "__main__":  # n_jobs=2 starts processes, which read this file too
    main()
