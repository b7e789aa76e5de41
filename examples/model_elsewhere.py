"""Embeddings modelled where there is no featx: numpy, pandas and scikit-learn read what embed_here.py wrote.

    pip install pandas
    python model_elsewhere.py [VECTORS.npy]

The manifest beside the vectors has a row for each of theirs: ``row,file,digest[,label][,group][,split]``. Its file names say
what the samples were called: drop that column before it leaves, where names tell too much.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

threadpool_limits(1)  # fits this small are many times slower on several BLAS threads where cores are busy

path = Path(sys.argv[1] if len(sys.argv) > 1 else "vectors.npy")
vectors = np.load(path)
table = pd.read_csv(path.with_suffix(".manifest.csv"))

read = ~np.isnan(vectors).any(axis=1)
vectors, table = vectors[read], table[read]
groups = table.get("group")

model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
folds = (StratifiedKFold if groups is None else StratifiedGroupKFold)(5, shuffle=True, random_state=0)
predicted = cross_val_predict(model, vectors, table["label"], groups=groups, cv=folds)
print(classification_report(table["label"], predicted, digits=3))
