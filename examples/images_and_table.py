"""Images beside the columns of a table, in one scikit-learn pipeline.

    pip install pandas
    python images_and_table.py [CSV COLUMN...]

CSV has ``file`` (relative to itself), ``label``, perhaps ``group``, and the numeric columns named after it. Without
one, scikit-learn's digits are written to ``digits/`` with two columns measured on them. The model goes to ``mixed-model/``.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

import featx
from featx.demo_data import read_digits, write_digits


def digits_table() -> Path:
    """A table to begin with: how much ink a digit takes, and over how many rows."""
    ink = read_digits().pixels
    table = pd.read_csv(write_digits("digits") / "labels.csv")
    table["ink"] = ink.mean(axis=(1, 2))
    table["rows"] = (ink.max(axis=2) > 0).sum(axis=1)
    table.to_csv("digits/table.csv", index=False)
    return Path("digits/table.csv")


threadpool_limits(1)  # fits this small are many times slower on several BLAS threads where cores are busy

csv = Path(sys.argv[1]) if len(sys.argv) > 1 else digits_table()
numbers = sys.argv[2:] or ["ink", "rows"]
table = pd.read_csv(csv)
table["file"] = [str(csv.parent / name) for name in table["file"]]

pictures = ("pictures", featx.ImageFeatures("compact"), "file")
measured = ("measured", SimpleImputer(), numbers)
groups = table.get("group")
folds = (StratifiedKFold if groups is None else StratifiedGroupKFold)(5, shuffle=True, random_state=0)

for name, columns in (("pictures", [pictures]), ("columns", [measured]), ("both", [pictures, measured])):
    model = Pipeline([("columns", ColumnTransformer(columns)), ("head", featx.make_head("logistic"))])
    scores = cross_val_score(
        model, table, table["label"], groups=groups, cv=folds, scoring="balanced_accuracy"
    )
    print(f"{name:8} balanced accuracy {scores.mean():.3f} ± {scores.std(ddof=1):.3f}")

featx.save(model.fit(table, table["label"]), "mixed-model", overwrite=True)
print(featx.load("mixed-model").predict(table.head(3)))
