"""Measure ``compact`` against ``mobilenet_v2`` and raw pixels.

Run ``python models/compact/quality.py --data FOLDER --teacher FOLDER --cache FOLDER``.

``--data`` holds ``tiny_imagenet*.zip`` and the folders ``hymenoptera_small``, ``bccd_crops`` and
``covid_ct_small``, each with a ``labels.csv`` of ``file,label[,group][,split]``. Nothing here was used to
choose anything about the network.

Every row of the table has the same head on frozen features, featx's default (StandardScaler +
LogisticRegression(C=0.01, class_weight="balanced")), and the same folds: five, shuffled five times, and the
mean over all of them, since one shuffle moves covid_ct_small by a point. Speed is the network alone, one picture at a
time on one thread, in pictures per second of processor time: two such threads side by side are how featx uses
a CPU, and processor time is fair where other work runs beside.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pictures import MEAN, STD, Pictures, read_pictures
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from threadpoolctl import threadpool_limits

from featx import ImageFeatures
from featx.backbones.backbone import Backbone
from featx.backbones.preprocess import ImagePreprocess
from featx.heads import make_head

HERE = Path(__file__).resolve().parent
SIZES_PX = (64, 80, 96, 104, 112, 128, 160)
SHUFFLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An image data set; ``groups`` and ``split`` are empty arrays where it has none."""

    paths: list[Path]
    labels: np.ndarray
    groups: np.ndarray
    split: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A way from pictures to vectors, (n,) paths to (n, d) float32.

    ``top1`` and ``speed`` are absent where they mean nothing: accuracy of the network's own head, and
    pictures per second of one core.
    """

    name: str
    of: Callable[[list[Path]], np.ndarray]
    top1: Callable[[Pictures], float] | None = None
    speed: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; accuracies from 0 to 1."""

    features: str
    val_top1: float | None
    hymenoptera: float
    bccd: float
    covid: float
    pictures_per_s: float | None

    def as_markdown(self) -> str:
        scores = (self.val_top1, self.hymenoptera, self.bccd, self.covid)
        cells = [self.features, *("" if score is None else f"{score:.3f}" for score in scores)]
        cells.append("" if self.pictures_per_s is None else f"{self.pictures_per_s:.0f}")
        return f"| {' | '.join(cells)} |"


def read_table(folder: Path) -> Table:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows if name in row])

    return Table(
        paths=[folder / row["file"] for row in rows],
        labels=column("label"),
        groups=column("group"),
        split=column("split"),
    )


def new_head() -> BaseEstimator:
    """Return featx's own default head; what it is was decided on other backbones than this one."""
    return make_head("logistic")


def centred(px: int) -> ImagePreprocess:
    """Resize the shorter side to ``px``, cut out the centre, normalise as in training."""
    return ImagePreprocess(size=px, crop=(px, px), mean=MEAN, std=STD)


def network_features(
    name: str, folder: Path, preprocess: ImagePreprocess, *, top1: Callable[[Pictures], float] | None = None
) -> Features:
    height, width = preprocess.output_size or (224, 224)

    def of(paths: list[Path]) -> np.ndarray:
        return ImageFeatures(folder, preprocess=preprocess, cache=None).fit_transform(paths)

    def speed() -> float:
        session = open_session(folder / "model.onnx")
        (source,) = session.get_inputs()
        pixels = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
        rounds = []
        for _ in range(10):
            started = time.thread_time()
            for _ in range(20):
                session.run(None, {source.name: pixels})
            rounds.append(20 / (time.thread_time() - started))
        return float(np.median(rounds))

    return Features(name=name, of=of, top1=top1, speed=speed)


def pixel_features() -> Features:
    def of(paths: list[Path]) -> np.ndarray:
        rows = []
        for path in paths:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
            rows.append(np.asarray(small, np.float32).ravel() / 255)
        return np.stack(rows)

    return Features(name="pixels, 32 x 32", of=of)


def open_session(model: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def own_top1(model: Path, px: int, val: Pictures) -> float:
    """Return the accuracy of the network's own head on the zips' ``val``, enlarged to ``px``."""
    session = open_session(model)
    right = 0
    for pixels, label in zip(val.pixels, val.labels, strict=True):
        image = Image.fromarray(pixels).resize((px, px), Image.Resampling.BILINEAR)
        x = (np.asarray(image, np.float32) / 255 - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
        (logits,) = session.run(None, {"pixel_values": x.transpose(2, 0, 1)[None]})
        right += int(logits.argmax() == label)
    return right / len(val.labels)


def official_score(x: np.ndarray, table: Table, *, ask: str) -> float:
    """Fit on the split ``train``, return the accuracy on the split ``ask``."""
    known, asked = table.split == "train", table.split == ask
    return float(new_head().fit(x[known], table.labels[known]).score(x[asked], table.labels[asked]))


def grouped_score(x: np.ndarray, table: Table) -> float:
    """Return the mean accuracy over ``SHUFFLES`` times five folds that keep groups together."""
    scores = []
    with threadpool_limits(1):
        for seed in range(SHUFFLES):
            folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
            scores.append(cross_val_score(new_head(), x, table.labels, groups=table.groups, cv=folds).mean())
    return float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of mobilenet_v2")
    parser.add_argument("--model", type=Path, default=HERE, help="folder of compact")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded pictures")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES_PX)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)

    tables = {
        name: read_table(args.data / name) for name in ("hymenoptera_small", "bccd_crops", "covid_ct_small")
    }
    model = args.model / "model.onnx"
    rivals = [
        network_features(f"compact, {px} px", args.model, centred(px), top1=partial(own_top1, model, px))
        for px in args.sizes
    ]
    rival_pixels = Backbone.open(args.teacher).pixels()
    rivals.append(network_features("mobilenet_v2, 224 px", args.teacher, rival_pixels))
    rivals.append(pixel_features())

    print("| features | top-1 on val | hymenoptera | bccd | covid | pictures / s, one core |")
    print("|---|---|---|---|---|---|")
    rows = []
    for rival in rivals:
        row = measure(rival, tables, args)
        rows.append(asdict(row))
        print(row.as_markdown(), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measure(rival: Features, tables: dict[str, Table], args: argparse.Namespace) -> Row:
    x = {name: rival.of(table.paths) for name, table in tables.items()}
    return Row(
        features=rival.name,
        val_top1=None if rival.top1 is None else rival.top1(read_pictures(args.data, "val", args.cache)),
        hymenoptera=official_score(x["hymenoptera_small"], tables["hymenoptera_small"], ask="val"),
        bccd=grouped_score(x["bccd_crops"], tables["bccd_crops"]),
        covid=grouped_score(x["covid_ct_small"], tables["covid_ct_small"]),
        pictures_per_s=None if rival.speed is None else rival.speed(),
    )


if __name__ == "__main__":
    main()
