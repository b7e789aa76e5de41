"""The training pictures: read from zips once, seen by the teacher once, varied anew for every batch.

Invariant: everything here is a function of the files, the seed and the number of the batch, so a run that was
stopped goes on exactly as it would have.
"""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger("compact")

PICTURE_PX = 64
TEACHER_PX = 160  # twice as fast as the 224 px it was trained for, and 64 px hold no more detail
# Mean and standard deviation of ImageNet's RGB values in [0, 1], as every torchvision classifier uses them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """One split: ``pixels`` uint8 (n, 64, 64, 3), ``labels`` int64 (n,), ``classes`` sorted WordNet ids."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.labels):
            raise ValueError(f"{len(self.pixels)} pictures, but {len(self.labels)} labels")

    def of_classes(self, first: int, last: int) -> Pictures:
        """Return the pictures with ``first <= label < last``; labels are counted from ``first``."""
        rows = np.flatnonzero((self.labels >= first) & (self.labels < last))
        return Pictures(
            pixels=self.pixels[rows], labels=self.labels[rows] - first, classes=self.classes[first:last]
        )


def read_pictures(data: Path, split: str, cache: Path) -> Pictures:
    """Read ``<split>/<class>/<name>`` of every ``tiny_imagenet*.zip`` in ``data``, ordered by name.

    The decoded pixels are kept in ``cache`` as one memory-mapped array.

    Raises
    ------
    FileNotFoundError
        Where ``data`` has no such zip, or the zips have no such split.
    """
    pixels_path, labels_path = cache / f"{split}.npy", cache / f"{split}.json"
    if not labels_path.exists():
        _decode_zips(data, split, pixels_path, labels_path)
    described = json.loads(labels_path.read_text(encoding="utf-8"))
    return Pictures(
        pixels=np.load(pixels_path, mmap_mode="r"),
        labels=np.asarray(described["labels"], dtype=np.int64),
        classes=tuple(described["classes"]),
    )


def _decode_zips(data: Path, split: str, pixels_path: Path, labels_path: Path) -> None:
    from PIL import Image

    members = []
    for path in sorted(data.glob("tiny_imagenet*.zip")):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith(f"{split}/") and name[-1] != "/"]
        members += [(name, path) for name in names]
    if not members:
        raise FileNotFoundError(f"{data}: no tiny_imagenet*.zip with a folder {split}/ in it")
    members.sort()
    classes = sorted({name.split("/")[1] for name, _ in members})
    number = {name: i for i, name in enumerate(classes)}
    pixels = np.empty((len(members), PICTURE_PX, PICTURE_PX, 3), np.uint8)
    archives = {path: zipfile.ZipFile(path) for path in {path for _, path in members}}
    for i, (name, path) in enumerate(members):
        with Image.open(io.BytesIO(archives[path].read(name))) as image:
            pixels[i] = np.asarray(image.convert("RGB"))
    for archive in archives.values():
        archive.close()
    np.save(pixels_path, pixels)
    labels = [number[name.split("/")[1]] for name, _ in members]
    labels_path.write_text(json.dumps({"classes": classes, "labels": labels}), encoding="utf-8")
    logger.info("%s: %d pictures of %d classes", split, len(members), len(classes))


def teacher_logits(teacher: Path, pixels: np.ndarray, cache: Path, *, threads: int) -> np.ndarray:
    """Return what the teacher says of every picture, float16 (n, classes), kept in ``cache``.

    The teacher sees the whole picture, enlarged to 160 px; crops are held to what it said of the
    whole. That is less exact than asking it about every crop, and thousands of times cheaper.

    Parameters
    ----------
    teacher : Path
        Folder with ``model.onnx`` (one input (n, 3, h, w), normalised RGB, any size; one output of logits)
        and ``preprocessor_config.json`` (its mean and standard deviation).
    pixels : array of uint8, (n, 64, 64, 3)
    cache : Path
    threads : int
    """
    kept = cache / "teacher.npy"
    if kept.exists():
        return np.load(kept, mmap_mode="r")
    import onnx
    import onnxruntime as ort

    model = onnx.load(teacher / "model.onnx")
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # many runs of one thread are faster on a CPU than one run of many
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    config = json.loads((teacher / "preprocessor_config.json").read_text(encoding="utf-8"))

    def ask(start: int) -> np.ndarray:
        batch = as_tensor(pixels[start : start + 8])
        batch = functional.interpolate(batch, size=(TEACHER_PX, TEACHER_PX), mode="bicubic").clamp(0, 1)
        batch = normalise(batch, mean=config["image_mean"], std=config["image_std"])
        if start % 6400 == 0:
            logger.info("teacher: %d of %d pictures", start, len(pixels))
        (rows,) = session.run(None, {source: batch.numpy()})
        return rows.astype(np.float16)

    with ThreadPoolExecutor(threads) as pool:
        logits = list(pool.map(ask, range(0, len(pixels), 8)))
    _save_whole(kept, np.concatenate(logits))
    return np.load(kept, mmap_mode="r")


def _save_whole(path: Path, array: np.ndarray) -> None:
    """Save under another name first, so that a file of this name is always complete."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    np.save(unfinished, array)
    os.replace(unfinished, path)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """Turn uint8 (n, h, w, 3) into float32 (n, 3, h, w) in [0, 1], channels last in memory."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255


def normalise(
    pixels: Tensor,
    *,
    mean: tuple[float, ...] | list[float] = MEAN,
    std: tuple[float, ...] | list[float] = STD,
) -> Tensor:
    """Return (pixels - mean) / std for (n, 3, h, w) in [0, 1]."""
    shape = (1, 3, 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)


def vary(pixels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crop, stretch, flip and recolour each picture: (n, 3, h, w) in [0, 1] to (n, 3, size, size).

    A crop covers 45 to 100 % of the picture with sides between 3:4 and 4:3 (the usual random resized crop,
    milder than its 8 % because the pictures have 64 px and the teacher saw the whole). One picture in ten
    loses its colour: medical pictures are often grey.
    """
    n = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(n, generator=generator)).to(pixels.device)

    area, stretch = uniform(0.45, 1.0), torch.exp(uniform(-0.2877, 0.2877))  # ln(4/3) = 0.2877
    width = torch.sqrt(area * stretch).clamp(max=1)
    height = torch.sqrt(area / stretch).clamp(max=1)
    left, top = (1 - width) * uniform(-1, 1), (1 - height) * uniform(-1, 1)
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(width)
    # Row 1 maps output x to input x, row 2 output y to input y, both in [-1, 1].
    maps = torch.stack([flip * width, zero, left, zero, height, top], dim=1).view(n, 2, 3)  # (n, 2, 3)
    grid = functional.affine_grid(maps, [n, 3, size, size], align_corners=False)
    views = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)

    def per_picture(values: Tensor) -> Tensor:
        return values.view(n, 1, 1, 1)

    grey = views.mean(dim=1, keepdim=True)  # (n, 1, h, w)
    colour = torch.where(uniform(0, 1) < 0.1, 0.0, uniform(0.6, 1.4))
    views = grey + (views - grey) * per_picture(colour)
    middle = views.mean(dim=(1, 2, 3), keepdim=True)
    views = middle * per_picture(uniform(0.6, 1.4)) + (views - middle) * per_picture(uniform(0.6, 1.4))
    return views.clamp(0, 1)


def mix(pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Mix every picture with another one of the batch, by blending or by pasting a rectangle.

    Returns the pictures (n, 3, h, w), the order of the partners (n,), and the share of the original that is
    left (mixup: Zhang et al. 2018; CutMix: Yun et al. 2019). Three batches in four come back as they
    are, with share 1.
    """
    n, _, height, width = pixels.shape
    order = torch.randperm(n, generator=generator).to(pixels.device)
    kind, share, x, y = torch.rand(4, generator=generator).tolist()
    if kind < 0.75:
        return pixels, order, 1.0
    if kind < 0.875:
        share = 0.5 + 0.5 * share  # a blend is symmetric: below one half it would be the partner's picture
        return share * pixels + (1 - share) * pixels[order], order, share
    side = (1 - share) ** 0.5
    rows, columns = round(height * side), round(width * side)
    top, left = round((height - rows) * y), round((width - columns) * x)
    mixed = pixels.clone()
    mixed[:, :, top : top + rows, left : left + columns] = pixels[
        order, :, top : top + rows, left : left + columns
    ]
    return mixed, order, 1 - rows * columns / (height * width)
