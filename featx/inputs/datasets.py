"""A folder per class, or a CSV -> one :class:`Dataset` of paths, labels, groups and splits.

Checks what can be checked without opening an image, and reports rows by their line in the file. Files that a CSV
lists and the disk lacks are no error here: whoever reads them reports each, and :func:`count_missing` counts them.
"""

from __future__ import annotations

import csv
import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from featx.errors import DatasetError

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
# What pandas and numpy write for a missing value. "none" and "NA" are not here: they name real classes.
_MISSING = {"", "nan", "<na>"}
_SHOWN = 5  # rows or names that a message lists


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
    table = _read_table(place)
    root = place.parent if image_root is None else Path(image_root)
    files = _column(table, file_column, place)
    _refuse_missing(files, file_column, table, place)
    labels = None
    if label_column is not None:
        labels = _column(table, label_column, place)
        _refuse_missing(labels, label_column, table, place)
    groups = _optional_column(table, group_column, "group", place)
    if groups is not None:
        _refuse_missing(groups, group_column or "group", table, place)
    split = _optional_column(table, split_column, "split", place)
    dataset = Dataset(
        samples=[os.path.join(root, file) for file in files],
        labels=None if labels is None else np.array(labels),
        groups=None if groups is None else np.array(groups),
        split=None if split is None else np.array(_splits(split, split_column or "split", table, place)),
        name=place.resolve().parent.name if place.name == _LABELS_FILE else place.stem,
        root=str(root),
    )
    _refuse_conflicts(dataset, table, place)
    _refuse_one_class(dataset, place)
    return dataset


def count_missing(dataset: Dataset) -> int:
    """How many of the samples are not files on this disk."""
    return sum(not os.path.isfile(sample) for sample in dataset.samples)


@dataclass(frozen=True, slots=True)
class _Table:
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]  # where each row ends in the file; rows may span lines


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


def _read_table(path: Path) -> _Table:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            # The header decides: data cells may hold any of the separators.
            delimiter = max(",;\t", key=head.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            rows, lines = [], []
            for row in reader:
                if row:
                    rows.append([cell.strip() for cell in row])
                    lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a CSV in UTF-8 ({error}).") from error
    if len(rows) < 2:
        raise DatasetError(
            f"{path}: expected a line of column names and at least one row, found {len(rows)} lines."
        )
    table = _Table(columns=rows[0], rows=rows[1:], lines=lines[1:])
    ragged = [
        line for row, line in zip(table.rows, table.lines, strict=True) if len(row) != len(table.columns)
    ]
    if ragged:
        raise DatasetError(
            f"{path}: {len(table.columns)} columns are named ({', '.join(table.columns)}), and another number of cells "
            f"stands in {_lines(ragged)}. A cell with the separator {delimiter!r} in it must be quoted."
        )
    doubled = [name for name, count in Counter(table.columns).items() if count > 1]
    if doubled:
        raise DatasetError(f"{path}: column {doubled[0]!r} occurs twice.")
    return table


def _column(table: _Table, name: str, path: Path) -> list[str]:
    if name not in table.columns:
        near = difflib.get_close_matches(
            name.lower(), [column.lower() for column in table.columns], n=1, cutoff=0.5
        )
        close = [column for column in table.columns if near and column.lower() == near[0]]
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise DatasetError(
            f"{path}: no column {name!r}; found {', '.join(map(repr, table.columns))}.{meant} "
            "Name the columns with file_column=, label_column=, group_column= and split_column=."
        )
    at = table.columns.index(name)
    return [row[at] for row in table.rows]


def _optional_column(table: _Table, name: str | None, usual: str, path: Path) -> list[str] | None:
    if name is None and usual not in table.columns:
        return None
    return _column(table, name or usual, path)


def _refuse_missing(values: Sequence[str], column: str, table: _Table, path: Path) -> None:
    missing = [line for value, line in zip(values, table.lines, strict=True) if value.lower() in _MISSING]
    if missing:
        raise DatasetError(
            f"{path}: column {column!r} is empty in {len(missing)} of {len(values)} rows ({_lines(missing)}). "
            "Fill them in, or remove those rows."
        )


def _splits(values: Sequence[str], column: str, table: _Table, path: Path) -> list[str]:
    known = [_SPLITS.get(value.lower(), "" if value.lower() in _MISSING else None) for value in values]
    unknown = [line for name, line in zip(known, table.lines, strict=True) if name is None]
    if unknown:
        found = sorted({value for value, name in zip(values, known, strict=True) if name is None})
        raise DatasetError(
            f"{path}: column {column!r} holds {', '.join(map(repr, found[:_SHOWN]))} ({_lines(unknown)}); "
            "expected train, val (valid, validation, dev) or test."
        )
    return [name or "" for name in known]


def _refuse_conflicts(dataset: Dataset, table: _Table, path: Path) -> None:
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
                    f"{path}: {sample} has two {what}, {values[earlier]!s} in line {table.lines[earlier]} and "
                    f"{values[index]!s} in line {table.lines[index]}. Keep one of them."
                )


def _refuse_one_class(dataset: Dataset, path: Path) -> None:
    if len(dataset.classes) == 1:
        raise DatasetError(
            f"{path}: all {len(dataset)} samples are {dataset.classes[0]!r}; expected at least two classes."
        )


def _lines(lines: Iterable[int]) -> str:
    every = list(lines)
    shown = ", ".join(map(str, every[:_SHOWN]))
    return f"line {shown}" if len(every) == 1 else f"lines {shown}{', ...' if len(every) > _SHOWN else ''}"
