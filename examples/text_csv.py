"""Texts from a CSV in a scikit-learn pipeline, beside counted words on the same folds.

    featx backbones pull minilm
    python text_csv.py [CSV] [ENCODER]

CSV has columns ``text,label`` and, where texts belong together, ``group``, such as their author. Without one,
the sentences that come with featx are read. The model goes to ``text-model/``.
"""

import sys

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

import featx
from featx.demo_data import sentences_path

threadpool_limits(1)  # fits this small are many times slower on several BLAS threads where cores are busy

data = featx.read_dataset(sys.argv[1] if len(sys.argv) > 1 else sentences_path())
encoder = sys.argv[2] if len(sys.argv) > 2 else "minilm"
featx.Backbone.open(encoder)  # says here what to run where it has not been pulled
print(data)

model = Pipeline([("features", featx.TextFeatures(encoder)), ("head", featx.make_head("logistic"))])
words = make_pipeline(
    TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(class_weight="balanced", max_iter=1000)
)

# Texts of one group are never on both sides of a fold.
kind = StratifiedKFold if data.groups is None else StratifiedGroupKFold
folds = kind(5, shuffle=True, random_state=0)
for name, estimator in (("frozen encoder", model), ("counted words", words)):
    scores = cross_val_score(
        estimator, data.samples, data.labels, groups=data.groups, cv=folds, scoring="f1_macro"
    )
    print(f"{name:15} macro F1 {scores.mean():.3f} ± {scores.std(ddof=1):.3f}")

model.fit(data.samples, data.labels)
featx.save(model, "text-model", overwrite=True)
texts = ["I loved every minute of it.", "The shop opens at nine."]
print(featx.load("text-model").predict(texts))
