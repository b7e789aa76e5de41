"""Measure ``compact`` against ``mobilenet_v2`` and raw pixels.

Run ``python models/compact/quality.py --data FOLDER --teacher FOLDER --cache FOLDER``.

``--data`` holds ``tiny_imagenet*.zip`` and the folders ``hymenoptera_small``, ``bccd_crops`` and
``covid_ct_small``, each with a ``labels.csv`` of ``file,label[,group][,split]``. Nothing here was used to
choose anything about the network.

Every row of the table has the same head, StandardScaler + LogisticRegression(C=1e-3,
class_weight="balanced"), on frozen features, and the same folds. Speed is the network alone, one picture at a
time on one thread, in pictures per second of processor time: two such threads side by side are how featx uses
a CPU, and processor time is fair where other work runs beside.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from pictures import MEAN, STD, Pictures, read_pictures
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
SIZES_PX = (64, 80, 96, 112, 128, 160)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An image data set; ``groups`` and ``split`` are empty arrays where it has none."""

    paths: list[Path]
    labels: np.ndarray
    groups: np.ndarray
    split: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A way from one RGB picture to one vector.

    ``top1`` and ``speed`` are absent where they mean nothing: accuracy of the network's own head, and
    pictures per second of one core.
    """

    name: str
    of: Callable[[Image.Image], np.ndarray]
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


def new_head() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=5000))


def network_input(image: Image.Image, shortest: int, crop: int) -> np.ndarray:
    """Resize the shorter side, cut out the centre, normalise: float32 (1, 3, crop, crop)."""
    factor = shortest / min(image.size)
    size = (max(crop, round(image.width * factor)), max(crop, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - crop) // 2, (image.height - crop) // 2
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float32) / 255
    pixels = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return pixels.transpose(2, 0, 1)[None]


def open_session(model: Path, tensor: str | None) -> ort.InferenceSession:
    """Open a graph on one thread, ending at ``tensor``, or at what its last dense layer reads."""
    graph = onnx.load(model)
    if tensor is None:
        tensor = next(node for node in reversed(graph.graph.node) if node.op_type == "Gemm").input[0]
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def network_features(name: str, model: Path, shortest: int, crop: int) -> Features:
    session = open_session(model, None)
    source = session.get_inputs()[0].name

    def of(image: Image.Image) -> np.ndarray:
        return session.run(None, {source: network_input(image, shortest, crop)})[0].ravel()

    def speed() -> float:
        pixels = np.random.default_rng(0).standard_normal((1, 3, crop, crop)).astype(np.float32)
        rounds = []
        for _ in range(10):
            started = time.thread_time()
            for _ in range(20):
                session.run(None, {source: pixels})
            rounds.append(20 / (time.thread_time() - started))
        return float(np.median(rounds))

    return Features(name=name, of=of, speed=speed)


def pixel_features() -> Features:
    def of(image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.float32).ravel() / 255

    return Features(name="pixels, 32 x 32", of=of)


def own_top1(model: Path, size: int, val: Pictures) -> float:
    """Return the accuracy of the network's own head on the zips' ``val``, enlarged to ``size`` px."""
    session = open_session(model, "logits")
    right = 0
    for pixels, label in zip(val.pixels, val.labels, strict=True):
        x = network_input(Image.fromarray(pixels), size, size)
        right += int(session.run(None, {"pixel_values": x})[0].argmax() == label)
    return right / len(val.labels)


def embed(features: Features, table: Table) -> np.ndarray:
    """Return (n, d) float32."""
    rows = []
    for path in table.paths:
        with Image.open(path) as image:
            rows.append(features.of(image.convert("RGB")))
    return np.stack(rows)


def official_score(x: np.ndarray, table: Table, *, ask: str) -> float:
    """Fit on the split ``train``, return the accuracy on the split ``ask``."""
    known, asked = table.split == "train", table.split == ask
    return float(new_head().fit(x[known], table.labels[known]).score(x[asked], table.labels[asked]))


def grouped_score(x: np.ndarray, table: Table) -> float:
    """Return the mean accuracy over five folds that keep groups together."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(new_head(), x, table.labels, groups=table.groups, cv=folds).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of mobilenet_v2")
    parser.add_argument("--model", type=Path, default=HERE / "model.onnx")
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded pictures")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES_PX)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)

    tables = {
        name: read_table(args.data / name) for name in ("hymenoptera_small", "bccd_crops", "covid_ct_small")
    }
    rivals = [
        replace(
            network_features(f"compact, {px} px", args.model, px, px),
            top1=partial(own_top1, args.model, px),
        )
        for px in args.sizes
    ]
    rivals.append(network_features("mobilenet_v2, 224 px", args.teacher / "model.onnx", 232, 224))
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
    x = {name: embed(rival, table) for name, table in tables.items()}
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
