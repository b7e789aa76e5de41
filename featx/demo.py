"""``featx demo``: the main job on pictures that every installation has, start to end, with nothing downloaded.

The pictures are from scikit-learn's copy of the UCI handwritten digits (Alpaydin and Kaynak 1998), scans of 8 x 8 pixels, written
out as PNG files a folder a class, as a user's own pictures would lie. Raw pixels are a strong baseline on them, and say so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from featx.evaluation.compare import compare_heads
from featx.inputs.images import write_png
from featx.predicting import predict
from featx.store.store import EmbeddingStore
from featx.training import Training, train

__all__ = ["DemoResult", "run_demo"]

_PER_CLASS = 60
_SCALE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration measured.

    Parameters
    ----------
    training : Training
        On the vectors of the backbone.
    pixel_accuracy : float
        The same folds on raw pixels.
    first_s, second_s : float
        Seconds of the first run and of the same run again.
    n_computed_again : int
        Images that met the network in the second run.
    """

    training: Training
    pixel_accuracy: float
    first_s: float
    second_s: float
    n_computed_again: int


def run_demo(show: Callable[[str], None], *, backbone: str = "compact", device: str = "auto") -> DemoResult:
    """Embed digits, compare heads, save and use a model; say at each step what happens.

    Parameters
    ----------
    show : callable
        Takes a line.
    backbone : str
        See :class:`featx.ImageFeatures`.
    device : str
        Where to compute.
    """
    with tempfile.TemporaryDirectory(prefix="featx-demo-") as scratch:
        folder = Path(scratch)
        pixels, labels = _write_digits(folder / "digits")
        store = EmbeddingStore(folder / "cache")
        show(
            f"{len(labels)} handwritten digits (scikit-learn's copy of the UCI set), a folder a class, as PNG files."
        )

        started_s = time.perf_counter()
        training = train(
            folder / "digits",
            backbone=backbone,
            heads=("logistic",),
            out=folder / "model",
            cache=store,
            device=device,
        )
        first_s = time.perf_counter() - started_s
        show("")
        show(
            f"First run: {training.n_computed} images embedded, heads compared, model saved in {first_s:.1f} s."
        )

        started_s = time.perf_counter()
        again = train(folder / "digits", backbone=backbone, cache=store, device=device)
        second_s = time.perf_counter() - started_s
        show(f"Again, with two more heads: {again.n_computed} images embedded, {second_s:.1f} s.")
        show("")
        show(again.comparison.format_table())
        baseline = compare_heads(pixels, labels, heads=("logistic",))
        pixel_accuracy = baseline.results[0].mean.accuracy
        show(
            f"Raw pixels with the same logistic head and folds: accuracy {pixel_accuracy:.3f}. Digits of 8 x 8 px are easy for\n"
            "pixels, and photographs are not: here only the steps are to be seen."
        )

        image = next((folder / "digits" / "three").iterdir())
        found = predict(folder / "model", [image], cache=store)
        show("")
        show(f"The saved model on {image.parent.name}/{image.name}: {found.labels[0]}.")
    show("")
    show("On your own pictures, a folder a class or a CSV with file, label and, where there is one, group:")
    show("  featx train FOLDER --out MODEL")
    show("  featx predict MODEL IMAGES...")
    show("  featx embed FOLDER -o vectors.npy")
    return DemoResult(
        training=again,
        pixel_accuracy=pixel_accuracy,
        first_s=first_s,
        second_s=second_s,
        n_computed_again=again.n_computed,
    )


_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _write_digits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the first scans of each digit as PNG files; return their raw pixels (n, 64) and labels."""
    digits = load_digits()
    pixels, labels = [], []
    for value, name in enumerate(_NAMES):
        (folder / name).mkdir(parents=True)
        for at in np.flatnonzero(digits.target == value)[:_PER_CLASS].tolist():
            grey = (digits.images[at] * (255 / 16)).astype(np.uint8)
            write_png(
                folder / name / f"{at:04}.png", np.kron(grey, np.ones((_SCALE, _SCALE), dtype=np.uint8))
            )
            pixels.append(digits.data[at])
            labels.append(name)
    return np.asarray(pixels, dtype=np.float32), np.asarray(labels)
