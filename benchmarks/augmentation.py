"""Does training a head on augmented views help frozen features, and what does it cost?

    python benchmarks/augmentation.py --backbones mobilenet_v2 compact [--search]

A logistic head on pictures as they are, the same head on 8 views of each training sample, and that with predictions on the mean
over 8 views (test-time augmentation). hymenoptera_small: fitted on the official training part, judged on its validation part.
covid_ct_small: five folds by patient. The same folds and bootstrap draws for all, so that differences are paired; intervals are
95 %, over patients where there are any. With ``--search`` C is searched inside every training part for each of them, as an
augmented head may want another.

Expected before anything was run: little. A frozen backbone that was itself trained on flipped and cropped pictures gives vectors
that hardly move with them; torchvision's transfer-learning tutorial gains a point or two, within the interval of 153 photographs.
More on CT, which these networks have not seen, and more from test-time augmentation than from training.
Seconds: cold, a view costs what a picture costs, less most of its decoding.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from typing import Any

from measuring import SHARED, parser, report
from sklearn.pipeline import Pipeline

import featx
from featx.heads import param_grid

AUGMENT = featx.Augment(rotation_range=15, zoom_range=0.15, horizontal_flip=True, brightness_range=(0.8, 1.2))
SETS = ("hymenoptera_small", "covid_ct_small")
GROUPED = {"covid_ct_small"}
FIGURES = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss")


def models(backbone: str, cache: str, n_views: int) -> dict[str, Any]:
    """The three that are compared, around the same head."""
    features, head = featx.ImageFeatures(backbone, cache=cache), featx.make_head("logistic")
    augmented = featx.AugmentedClassifier(features, head, AUGMENT, n_views=n_views)
    return {
        "as they are": Pipeline([("features", features), ("head", head)]),
        "on views": augmented,
        "on views, tta": featx.AugmentedClassifier(features, head, AUGMENT, n_views=n_views, tta=True),
    }


def measure(name: str, backbone: str, n_views: int, search: bool) -> dict[str, Any]:
    """Figures of the three on one set, their differences, and seconds."""
    dataset = featx.read_dataset(SHARED / "data" / name)
    split = None if name in GROUPED else dataset.split
    path = SHARED / "weights" / backbone
    reference = str(path) if path.is_dir() else backbone
    with tempfile.TemporaryDirectory() as cache:
        compared = models(reference, cache, n_views)
        seconds = {}
        for title, model in (("pictures", compared["as they are"]), ("views", compared["on views"])):
            started_s = time.perf_counter()
            if title == "pictures":
                model[0].fit(None).transform(dataset.samples)
            else:
                model.vectors_of(model.parts(fitted=False)[0].fit(None), dataset.samples, training=True)
            seconds[title] = time.perf_counter() - started_s
        grids = {title: param_grid("logistic", prefix="head__") for title in compared} if search else None
        found = featx.compare(
            compared,
            dataset.samples,
            dataset.labels,
            groups=dataset.groups,
            split=split,
            param_grids=grids,
            at_specificity=None,
            at_sensitivity=None,
        )
    rows = {}
    for evaluation in found.evaluations:
        rows[evaluation.name] = {
            **{figure: evaluation[figure].to_dict() for figure in FIGURES},
            "fit_s": sum(fit.fit_time_s for fit in evaluation.fits) / len(evaluation.fits),
        }
        print(
            f"{name:18} {backbone:13} {evaluation.name:14}",
            *(f"{figure} {evaluation[figure]}" for figure in FIGURES),
            f"fit {rows[evaluation.name]['fit_s']:.2f} s",
            sep="   ",
            flush=True,
        )
    gains = {
        f"{title} - as they are": {
            figure: found.difference(title, "as they are", figure).to_dict() for figure in FIGURES
        }
        for title in list(compared)[1:]
    }
    for title, gain in gains.items():
        print(
            f"  {title}:",
            *(f"{k} {v['value']:+.3f} ({v['low']:+.3f}, {v['high']:+.3f})" for k, v in gain.items()),
        )
    n = len(dataset.samples)
    print(
        f"  cold: {n} pictures {seconds['pictures']:.1f} s; {n_views - 1} views of each {seconds['views']:.1f} s",
        flush=True,
    )
    return {"models": rows, "differences": gains, "cold_s": seconds}


def main() -> None:
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("--backbones", nargs="+", default=["mobilenet_v2", "compact"])
    arguments.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    arguments.add_argument("--n-views", type=int, default=8)
    arguments.add_argument("--search", action="store_true")
    given = arguments.parse_args()
    warnings.simplefilter("ignore", featx.errors.FeatxWarning)  # copies in these sets are known
    figures = {
        f"{name} {backbone}": measure(name, backbone, given.n_views, given.search)
        for name in given.sets
        for backbone in given.backbones
    }
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
