"""One's own ONNX file as a backbone: what it offers, and how well each of its stages serves.

    python own_onnx.py [FILE.onnx FOLDER SIZE]

FOLDER as for image_folder.py; SIZE is the edge in pixels of the square that the network takes. Without them, the
bundled network plays the part of a file of one's own, copied to ``my_network.onnx``, and scikit-learn's digits are
written to ``digits/``.
"""

import shutil
import sys
from pathlib import Path

from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

import featx
from featx.demo_data import write_digits

threadpool_limits(1)  # fits this small are many times slower on several BLAS threads where cores are busy

if len(sys.argv) > 3:
    network, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
else:
    network = Path(shutil.copy(featx.Backbone.open("compact").model_path, "my_network.onnx"))
    folder, size = write_digits("digits"), 96

# A bare file does not say how pixels become its input: these are the values that the network was trained with.
preprocess = featx.ImagePreprocess(
    size=(size, size), scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

backbone = featx.Backbone.open(network, preprocess=preprocess)
for tap in backbone.info.taps:
    print(f"{tap.name:8} {tap.kind:6} {tap.channels} channels")

data = featx.read_dataset(folder)
kind = StratifiedKFold if data.groups is None else StratifiedGroupKFold
folds = kind(5, shuffle=True, random_state=0)
for tap in backbone.info.taps:
    features = featx.ImageFeatures(backbone, tap=tap.name)
    model = Pipeline([("features", features), ("head", featx.make_head("logistic"))])
    scores = cross_val_score(
        model, data.samples, data.labels, groups=data.groups, cv=folds, scoring="balanced_accuracy"
    )
    print(f"{tap.name:8} balanced accuracy {scores.mean():.3f} ± {scores.std(ddof=1):.3f}")
