"""A folder per class, or a CSV -> one :class:`Dataset` of paths, labels, groups and splits.

Checks what can be checked without opening an image, and reports rows by their line in the file. Files that a CSV
lists and the disk lacks are no error here: whoever reads them reports each, and :func:`count_missing` counts them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from featx.errors import DatasetError
from featx.inputs.tables import Table, is_missing, read_table

__all__ = ["IMAGE_SUFFIXES", "Dataset", "count_missing", "read_dataset"]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
)
_CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_LABELS_FILE = "labels.csv"
# Spellings people use -> the three that Dataset.split holds
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLITS |= {"dev": "val", "test": "test", "testing": "test"}
_SHOWN = 5  # names that a message lists


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Samples and what is known of them; every array has one entry a sample, in the same order.

    Attributes
    ----------
    samples : list of str
        Paths of the files.
    labels : ndarray of str, shape (n_samples,), or None
    groups : ndarray of str, shape (n_samples,), or None
        What must not be parted by a fold: a patient, a source image.
    split : ndarray of str, shape (n_samples,), or None
        "train", "val" or "test"; "" where the file gives none.
    name : str
        The folder's name, or the CSV's.
    root : str
        What the paths in the file were relative to.
    skipped : tuple of str
        Files of a folder that are no images by their suffix, or lie in no class, relative to `root`.
    """

    samples: list[str]
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    split: np.ndarray | None = None
    name: str
    root: str
    skipped: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for what, values in (("labels", self.labels), ("groups", self.groups), ("split", self.split)):
            if values is not None and len(values) != len(self.samples):
                raise DatasetError(f"{what}: expected {len(self.samples)} values, found {len(values)}.")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def classes(self) -> list[str]:
        """The distinct labels, sorted; none where there are no labels."""
        return [] if self.labels is None else sorted(set(self.labels.tolist()))


def read_dataset(
    path: str | os.PathLike[str],
    *,
    file_column: str = "file",
    label_column: str | None = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    image_root: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read an image data set.

    Parameters
    ----------
    path : path
        A folder with one subfolder a class, or with ``train``, ``val`` and ``test`` above those; a folder that
        holds a ``labels.csv``, which is then read, as it may know groups and splits; or a CSV file (UTF-8,
        separated by commas, semicolons or tabs).
    file_column, label_column : str
        Columns of the CSV. ``label_column=None`` reads without labels: every image below a folder, or the files
        of a CSV.
    group_column, split_column : str or None
        None takes ``group`` and ``split`` where the CSV has them. Splits are train, val (valid, validation, dev) and
        test.
    image_root : path or None
        What relative paths of the CSV are relative to; None means the CSV's folder.

    Returns
    -------
    dataset : Dataset
        In the CSV's order, or sorted by class and path.

    Raises
    ------
    DatasetError
        If there is nothing to read, fewer than two classes, a column or a label is missing, one file has two labels,
        or a split is unknown; rows are named by their line.
    """
    place = Path(path)
    if place.is_dir():
        if not (place / _LABELS_FILE).is_file():
            return _read_folder(place, labelled=label_column is not None)
        place = place / _LABELS_FILE
    if not place.exists():
        raise DatasetError(
            f"{place}: no such folder or file. Give a folder with one subfolder a class, or a CSV."
        )
    if place.suffix.lower() not in _CSV_SUFFIXES:
        raise DatasetError(
            f"{place}: expected a folder or a CSV ({', '.join(_CSV_SUFFIXES)}), found a {place.suffix or 'plain'} file."
        )
    table = read_table(place)
    root = place.parent if image_root is None else Path(image_root)
    files = table.column(file_column)
    labels = None if label_column is None else table.column(label_column)
    groups = split = None
    if group_column is not None or "group" in table.columns:
        groups = table.column(group_column or "group")
    if split_column is not None or "split" in table.columns:
        split = _splits(table, split_column or "split")
    dataset = Dataset(
        samples=[os.path.join(root, file) for file in files],
        labels=None if labels is None else np.array(labels),
        groups=None if groups is None else np.array(groups),
        split=None if split is None else np.array(split),
        name=place.resolve().parent.name if place.name == _LABELS_FILE else place.stem,
        root=str(root),
    )
    _refuse_conflicts(dataset, table)
    _refuse_one_class(dataset, place)
    return dataset


def count_missing(dataset: Dataset) -> int:
    """How many of the samples are not files on this disk."""
    return sum(not os.path.isfile(sample) for sample in dataset.samples)


def _read_folder(folder: Path, *, labelled: bool) -> Dataset:
    samples: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    skipped: list[str] = []
    for split, top in _class_folders(folder, skipped) if labelled else [("", folder)]:
        for file in _files(top):
            if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES:
                samples.append(file)
                labels.append(top.name)
                splits.append(split)
            else:
                skipped.append(os.path.relpath(file, folder))
    if not samples:
        raise DatasetError(
            f"{folder}: no images found ({_skipped_words(skipped)}). Expected one subfolder a class, with files such "
            f"as .jpg or .png inside, or a {_LABELS_FILE}."
        )
    dataset = Dataset(
        samples=samples,
        labels=np.array(labels) if labelled else None,
        split=np.array(splits) if any(splits) else None,
        name=folder.resolve().name,
        root=str(folder),
        skipped=tuple(skipped),
    )
    _refuse_one_class(dataset, folder)
    return dataset


def _class_folders(folder: Path, skipped: list[str]) -> list[tuple[str, Path]]:
    """(split, folder of one class), in order; notes the files beside them as skipped."""
    found = [("", entry) for entry in _subfolders(folder, folder, skipped)]
    if not all(entry.name.lower() in _SPLITS for _, entry in found):
        return found
    return [
        (_SPLITS[part.name.lower()], entry)
        for _, part in found
        for entry in _subfolders(part, folder, skipped)
    ]


def _subfolders(folder: Path, root: Path, skipped: list[str]) -> list[Path]:
    entries = sorted(
        (entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda e: e.name
    )
    skipped += [str(entry.relative_to(root)) for entry in entries if not entry.is_dir()]
    return [entry for entry in entries if entry.is_dir()]


def _files(top: Path) -> Iterator[str]:
    """Every file below, sorted; nothing hidden."""
    for parent, subfolders, names in os.walk(top, onerror=_refuse_unlisted):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(names) if not name.startswith("."))


def _refuse_unlisted(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: cannot be listed ({error.strerror}).") from error


def _skipped_words(skipped: Sequence[str]) -> str:
    if not skipped:
        return "it is empty"
    kinds = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in skipped)
    return "skipped " + ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(_SHOWN))


def _splits(table: Table, column: str) -> list[str]:
    cells = table.column(column, complete=False)
    unknown = sorted({cell for cell in cells if cell.lower() not in _SPLITS and not is_missing(cell)})
    if unknown:
        raise DatasetError(
            f"{table.path}: column {column!r} holds {', '.join(map(repr, unknown[:_SHOWN]))} on "
            f"{table.where(cells, lambda cell: cell in unknown)}; expected train, val (valid, validation, dev) or test."
        )
    return [_SPLITS.get(cell.lower(), "") for cell in cells]


def _refuse_conflicts(dataset: Dataset, table: Table) -> None:
    """One file with two labels, groups or splits: a mistake that no model can learn its way out of."""
    first: dict[str, int] = {}
    columns = (("labels", dataset.labels), ("groups", dataset.groups), ("splits", dataset.split))
    for index, sample in enumerate(dataset.samples):
        earlier = first.setdefault(os.path.normpath(sample), index)
        if earlier == index:
            continue
        for what, values in columns:
            if values is not None and values[earlier] != values[index]:
                raise DatasetError(
                    f"{table.path}: {sample} has two {what}, {values[earlier]!s} in line {table.lines[earlier]} and "
                    f"{values[index]!s} in line {table.lines[index]}. Keep one of them."
                )


def _refuse_one_class(dataset: Dataset, path: Path) -> None:
    if len(dataset.classes) == 1:
        raise DatasetError(
            f"{path}: all {len(dataset)} samples are {dataset.classes[0]!r}; expected at least two classes."
        )
