"""Pretrain ``compact``: ``python models/compact/train.py --data FOLDER --teacher FOLDER --out FOLDER``.

``--data`` holds ``tiny_imagenet*.zip`` (``train/<class>/*`` and ``val/<class>/*``, 64 px), ``--teacher`` an
ImageNet classifier as ``model.onnx`` and ``preprocessor_config.json``. Needs torch, onnx, onnxruntime, pillow
and scikit-learn.

``--out`` receives ``curve.csv``, ``checkpoint.pt`` and, at the end, ``model.onnx``. The same command goes on
where a stopped run was; it may name fewer or more ``--epochs``, which moves the schedule. While a file
``PAUSE`` lies in ``--out`` the run sleeps. With ``--hold-back 20`` the last 20 classes are not trained on,
and the run ends by telling how well a logistic regression on the frozen features knows them at several input
sizes: the measure by which options are chosen.
"""

from __future__ import annotations

import argparse
import copy
import csv
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lanes import Lanes, open_lanes
from measure import top1, transfer_top1
from network import Compact, export
from pictures import Pictures, read_pictures, teacher_logits
from recipe import Settings, learning_rate, picture_size_px

logger = logging.getLogger("compact")

SAVE_EVERY_S = 60
PROBE_SIZES_PX = (64, 80, 96, 112, 128)


@dataclass(slots=True)
class Run:
    """Everything that changes while training, and that a checkpoint keeps."""

    network: Compact
    average: Compact
    optimiser: torch.optim.SGD
    step: int = 0
    elapsed_s: float = 0.0

    def save(self, path: Path, settings: Settings) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "settings": asdict(settings),
        }
        unfinished = path.with_suffix(".unfinished")
        torch.save(state, unfinished)
        os.replace(unfinished, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def new_run(settings: Settings, n_classes: int, n_teacher: int, device: torch.device) -> Run:
    torch.manual_seed(settings.seed)
    network = Compact(n_classes, n_teacher).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]  # norms and biases are not decayed
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=settings.peak_rate, momentum=0.9, nesterov=True)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return Run(network=network, average=average, optimiser=optimiser)


def update_average(run: Run, decay: float) -> None:
    """Move the averaged weights towards the present ones, faster at first to forget the start."""
    decay = min(decay, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        for mean, now in zip(
            run.average.state_dict().values(), run.network.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)


def wait_while_paused(out: Path) -> float:
    """Sleep while ``out/PAUSE`` exists; return the seconds slept."""
    started = time.perf_counter()
    while (out / "PAUSE").exists():
        time.sleep(1)
    return time.perf_counter() - started


def log_row(path: Path, row: dict[str, float | int]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def train(run: Run, lanes: Lanes, val: Pictures, out: Path) -> None:
    """Train from ``run.step`` to the last epoch, writing the curve and checkpoints into ``out``."""
    settings, n_pictures = lanes.settings, len(lanes.pictures.labels)
    per_epoch = n_pictures // settings.batch
    total = per_epoch * settings.epochs
    saved = time.perf_counter()
    while run.step < total:
        epoch, first = divmod(run.step, per_epoch)
        order = np.random.default_rng([settings.seed, epoch]).permutation(n_pictures)
        sums, started, paused = np.zeros(2), time.perf_counter(), 0.0
        for batch in range(first, per_epoch):
            paused += wait_while_paused(out)
            rows = order[batch * settings.batch : (batch + 1) * settings.batch]
            progress = run.step / total
            for group in run.optimiser.param_groups:
                group["lr"] = learning_rate(progress, settings.peak_rate)
            run.optimiser.zero_grad(set_to_none=True)
            sums += lanes.add_gradients(rows, step=run.step, progress=progress)
            run.optimiser.step()
            run.step += 1
            update_average(run, settings.average_decay)
            if time.perf_counter() - saved > SAVE_EVERY_S:
                _count_time(run, started, paused)
                started, paused, saved = time.perf_counter(), 0.0, time.perf_counter()
                run.save(out / "checkpoint.pt", settings)
                logger.info(
                    "epoch %d, batch %d of %d, %.0f s", epoch + 1, batch + 1, per_epoch, run.elapsed_s
                )
        _count_time(run, started, paused)
        progress = (run.step - 1) / total
        label_loss, teacher_loss = (sums / (per_epoch - first)).tolist()
        row = {
            "epoch": epoch + 1,
            "of_epochs": settings.epochs,
            "size_px": picture_size_px(progress),
            "rate": round(learning_rate(progress, settings.peak_rate), 5),
            "label_loss": round(label_loss, 4),
            "teacher_loss": round(teacher_loss, 4),
            "val_top1_64px": round(top1(run.average, val, 64), 4),
            "elapsed_s": round(run.elapsed_s),
        }
        log_row(out / "curve.csv", row)
        logger.info("%s", row)
        run.save(out / "checkpoint.pt", settings)


def _count_time(run: Run, started: float, paused: float) -> None:
    run.elapsed_s += time.perf_counter() - started - paused


def parse_args(argv: list[str] | None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with tiny_imagenet*.zip")
    parser.add_argument("--teacher", type=Path, required=True, help="folder with the teacher's model.onnx")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the curve, checkpoints and model.onnx"
    )
    parser.add_argument("--cache", type=Path, help="folder for decoded pictures, default OUT/cache")
    parser.add_argument(
        "--lanes", type=int, default=os.cpu_count() or 1, help="threads that train side by side"
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peak-rate", type=float, default=0.25)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--teacher-weight", type=float, default=0.5, help="0: labels alone, 1: teacher alone")
    parser.add_argument("--average-decay", type=float, default=0.998)
    parser.add_argument("--hold-back", type=int, default=0, help="classes kept for the transfer check")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    settings = Settings(**{name: getattr(args, name) for name in Settings.__dataclass_fields__})
    return args, settings


def main(argv: list[str] | None = None) -> None:
    args, settings = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cache = args.cache or args.out / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)

    pictures, val = (read_pictures(args.data, split, cache) for split in ("train", "val"))
    taught = teacher_logits(args.teacher, pictures.pixels, cache, threads=args.lanes)
    n_classes = len(pictures.classes)
    n_trained = n_classes - settings.hold_back
    held, held_val = pictures.of_classes(n_trained, n_classes), val.of_classes(n_trained, n_classes)
    if settings.hold_back:
        taught = taught[pictures.labels < n_trained]
        pictures, val = pictures.of_classes(0, n_trained), val.of_classes(0, n_trained)

    run = new_run(settings, n_trained, taught.shape[1], device)
    if (args.out / "checkpoint.pt").exists():
        run.load(args.out / "checkpoint.pt")
        logger.info("going on at step %d", run.step)
    n_lanes = 1 if device.type == "cuda" else args.lanes
    lanes = open_lanes(run.network, n_lanes, settings, pictures, taught)
    train(run, lanes, val, args.out)

    for size in PROBE_SIZES_PX:
        line = f"{size} px: top-1 on val {top1(run.average, val, size):.4f}"
        if settings.hold_back:
            transfer = transfer_top1(run.average, held, held_val, size)
            line += f", on {settings.hold_back} classes held back {transfer:.4f}"
        logger.info("%s", line)
    worst = export(run.average, args.out / "model.onnx")
    logger.info("model.onnx written, largest difference to torch %.1e of the largest logit", worst)


if __name__ == "__main__":
    main()
