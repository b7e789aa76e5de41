"""A folder per class, or a CSV -> one :class:`Dataset` of paths or texts, labels, groups and splits.

Checks what can be checked without opening an image, and reports rows by their line in the file. Files that a CSV
lists and the disk lacks are no error here: whoever reads them reports each, and :func:`count_missing` counts them.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import DatasetError, FeatxWarning, ParameterError, did_you_mean
from featx.inputs.dataset import Dataset, count_missing
from featx.inputs.folders import SPLITS, images_below, images_by_class, is_image
from featx.inputs.frames import file_of
from featx.inputs.lines import LINES_SUFFIX, read_lines
from featx.inputs.patients import patient_groups, pseudonyms
from featx.inputs.tables import Table, is_missing, read_columns, read_table

__all__ = ["is_manifest_of_texts", "read_dataset", "read_samples"]

PATIENT_ID = "PatientID"
_CSV_SUFFIXES = (".csv", ".tsv")
_LABELS_FILE = "labels.csv"
_DIGEST_PREFIX = (
    "digest:"  # of samples known by their content only, as in the manifest that featx embed writes
)
_SHOWN = 5  # names that a message lists
_HOW_TO_LABEL = (
    "To train on texts, give a CSV: a first line text,label and then a text and its label on each line; a text that holds a "
    "comma or a new line stands between quotation marks."
)


def read_dataset(
    path: str | os.PathLike[str],
    *,
    file_column: str = "file",
    label_column: str | None = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    text_column: str | None = None,
    image_root: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a data set of images or texts.

    Parameters
    ----------
    path : path
        A folder with one subfolder a class, or with ``train``, ``val`` and ``test`` above those; a folder that
        holds a ``labels.csv``, which is then read, as it may know groups and splits; or a CSV file (UTF-8,
        separated by commas, semicolons or tabs). Without labels also a ``.txt`` file (UTF-8): one text a line.
    file_column, label_column : str
        Columns of the CSV. ``label_column=None`` reads without labels: every image below a folder, or the files
        of a CSV.
    group_column, split_column : str or None
        None takes ``group`` and ``split`` where the CSV has them. ``"PatientID"`` groups by patient, under pseudonyms: from that
        column, or where there is none from the headers of DICOM files, also of a folder. Splits are train, val (valid,
        validation, dev) and test.
    text_column : str or None
        The column that holds texts; None takes ``text`` where the CSV has no column of files.
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
    dataset = _read(
        path,
        file_column=file_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        text_column=text_column,
        image_root=image_root,
    )
    if len(dataset.classes) == 1:
        raise DatasetError(
            f"{path}: all {len(dataset)} samples are {dataset.classes[0]!r}; expected at least two classes."
        )
    return dataset


def read_samples(
    path: str | os.PathLike[str], *, label_column: str | None = "label", **columns: str | None
) -> Dataset:
    """Read a data set whose labels are welcome and not needed.

    Parameters
    ----------
    path : path
        As for :func:`read_dataset`; a folder need not have subfolders, a CSV needs no labels, and one class will do. A ``.txt``
        file is one text a line.
    label_column : str or None
    **columns
        ``file_column``, ``group_column``, ``split_column`` of :func:`read_dataset`.

    Raises
    ------
    DatasetError

    Warns
    -----
    FeatxWarning
        Labels are there and left out, as they cannot be used.
    """
    place = _path(path)
    table = place / _LABELS_FILE if (place / _LABELS_FILE).is_file() else place
    given: dict[str, Any] = {name: column for name, column in columns.items() if column is not None}
    if place.suffix.lower() == LINES_SUFFIX:
        return _read(place, label_column=None, **given)
    reason = ""
    try:
        dataset = _read(place, label_column=label_column, **given)
        loose = [name for name in dataset.skipped if is_image(name)]
        if not loose:
            return dataset
        reason = f"{_images(len(loose))} in no class, for example {loose[0]}"
    except DatasetError as error:
        # A folder without classes has no labels to lose, nor has a CSV without the column.
        is_table = table.is_file() and table.suffix.lower() in _CSV_SUFFIXES
        if is_table and label_column is not None and label_column in read_columns(table):
            reason = str(error).removeprefix(f"{table}: ")
    dataset = _read(place, label_column=None, **given)
    if reason:
        warnings.warn(f"{table}: read without its labels. {reason}", FeatxWarning, stacklevel=2)
    return dataset


def _read(
    path: str | os.PathLike[str],
    *,
    file_column: str = "file",
    label_column: str | None = "label",
    group_column: str | None = None,
    split_column: str | None = None,
    text_column: str | None = None,
    image_root: str | os.PathLike[str] | None = None,
) -> Dataset:
    place = _path(path)
    if place.is_dir():
        if not (place / _LABELS_FILE).is_file():
            by_patient = group_column == PATIENT_ID
            asked = {"group_column": None if by_patient else group_column, "split_column": split_column}
            _refuse_columns(
                place, [f"{name}={column!r}" for name, column in asked.items() if column is not None]
            )
            found = _read_folder(place, labelled=label_column is not None)
            return replace(found, groups=patient_groups(found.samples)) if by_patient else found
        place = place / _LABELS_FILE
    if not place.exists():
        raise DatasetError(
            f"{place}: no such folder or file. Give a folder with one subfolder a class, or a CSV."
        )
    if place.suffix.lower() == LINES_SUFFIX:
        names = {file_column, label_column, text_column, group_column, split_column, "text", "digest"}
        return _read_texts(
            place, {name for name in names if name is not None}, labelled=label_column is not None
        )
    if is_image(place.name):
        raise DatasetError(
            f"{place}: is one image, and a data set is a folder of them or a CSV that lists them in a column 'file'. Name its "
            "folder, or list it."
        )
    if place.suffix.lower() not in _CSV_SUFFIXES:
        raise DatasetError(
            f"{place}: expected a folder or a CSV ({', '.join(_CSV_SUFFIXES)}), found a {place.suffix or 'plain'} file. Save it "
            "as a CSV in UTF-8, or rename it if it is one."
        )
    table = read_table(place)
    root = place.parent if image_root is None else Path(image_root)
    listed = Path(path).is_dir()
    if (
        text_column is None
        and file_column == "file"
        and "file" not in table.columns
        and "text" in table.columns
    ):
        text_column = "text"
    if text_column is None and file_column in ("file", "digest") and is_manifest_of_texts(table.columns):
        text_column = "digest"
    if text_column is None and file_column == "file" and "file" not in table.columns:
        raise DatasetError(
            f"{place}: no column 'file' or 'text'; found {', '.join(map(repr, table.columns))}."
            f"{did_you_mean('file', table.columns) or did_you_mean('text', table.columns)} Name the column of files with "
            "file_column=, or that of texts with text_column=."
        )
    if text_column is not None:
        samples = table.column(text_column, complete=False)
    else:
        # A sample without a digest could not be read when it was embedded; whoever reads it now says so too.
        files = table.column(file_column, complete=file_column != "digest")
        samples = [file if _is_no_path(file) else os.path.join(root, file) for file in files]
    if label_column is not None and label_column == (text_column or file_column):
        kind = "file_column" if text_column is None else "text_column"
        raise DatasetError(
            f"{place}: {label_column!r} is to hold the samples and their labels. Name two columns with {kind}= and label_column=."
        )
    labels = None if label_column is None else table.column(label_column)
    groups = split = None
    if group_column is not None or "group" in table.columns:
        groups = _groups(table, group_column or "group", samples if text_column is None else None)
    if split_column is not None or "split" in table.columns:
        split = _splits(table, split_column or "split")
    dataset = Dataset(
        samples=samples,
        labels=None if labels is None else np.array(labels),
        groups=None if groups is None else np.array(groups),
        split=None if split is None else np.array(split),
        name=place.resolve().parent.name if place.name == _LABELS_FILE else place.stem,
        root=str(root),
        column=text_column or file_column,
        places=[f"{place.name}, line {line}" for line in table.lines],
        modality="image" if text_column is None else "text",
        skipped=tuple(_unlisted(root, samples)) if listed and text_column is None else (),
    )
    if dataset.modality == "text":  # two people may well write the same and mean something else
        return dataset
    _refuse_conflicts(dataset, table)
    if file_column == "file" and "digest" in table.columns and count_missing(dataset) == len(dataset):
        raise DatasetError(
            f"{place}: none of its {len(dataset)} files is here, {dataset.samples[0]} for one. If featx embed wrote it, "
            'file_column="digest" takes vectors from the cache; or say with image_root= where the files lie.'
        )
    return dataset


def _groups(table: Table, column: str, files: Sequence[str] | None) -> Sequence[str]:
    """A column of groups; patients under pseudonyms, from the headers of files where there is no such column."""
    if column != PATIENT_ID:
        return table.column(column)
    if column in table.columns or files is None:
        return pseudonyms(table.column(column)).tolist()
    return patient_groups(files).tolist()


def is_manifest_of_texts(columns: Sequence[str]) -> bool:
    """Whether these are the columns that ``featx embed`` writes for texts: digests, and none that says what they are of."""
    return {"row", "digest"} <= set(columns) and not {"file", "text"} & set(columns)


def _is_no_path(file: str) -> bool:
    """A digest, nothing, or an address, which whoever reads samples refuses in words."""
    return not file or file.startswith(_DIGEST_PREFIX) or "://" in file


def _unlisted(root: Path, samples: Sequence[str]) -> list[str]:
    """Images below a folder that its list does not name."""
    known = {os.path.normpath(file_of(sample)) for sample in samples}
    return [
        os.path.relpath(file, root)
        for file in images_below(root).files
        if os.path.normpath(file) not in known
    ]


def _read_folder(folder: Path, *, labelled: bool) -> Dataset:
    found = images_by_class(folder) if labelled else images_below(folder)
    if not found.files:
        expected = "one subfolder a class, with files" if labelled else "files"
        raise DatasetError(
            f"{folder}: no images found ({_skipped_words(found.skipped)}). Expected {expected} such as .jpg or .png inside, "
            f"or a {_LABELS_FILE}.{_loose_words(found.skipped)}"
        )
    return Dataset(
        samples=found.files,
        labels=np.array(found.labels) if labelled else None,
        split=np.array(found.splits) if any(found.splits) else None,
        name=folder.resolve().name,
        root=str(folder),
        skipped=tuple(found.skipped),
    )


def _path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ParameterError(
            f"expected the path of a folder or a CSV, got {type(path).__name__}. Samples in memory go into ImageFeatures or "
            "TextFeatures, or into a featx.Dataset."
        )
    return Path(path)


def _read_texts(path: Path, columns: set[str], *, labelled: bool) -> Dataset:
    texts = read_lines(path, columns=columns)
    if labelled:
        raise DatasetError(
            f"{path}: a {LINES_SUFFIX} file is one text a line, without labels. {_HOW_TO_LABEL}"
        )
    return Dataset(
        samples=texts,
        name=path.stem,
        root=str(path.parent),
        places=[f"{path.name}, line {line}" for line in range(1, len(texts) + 1)],
        modality="text",
    )


def _images(n: int) -> str:
    return "1 image lies" if n == 1 else f"{n} images lie"


def _skipped_words(skipped: Sequence[str]) -> str:
    if not skipped:
        return "it is empty"
    kinds = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in skipped)
    return "skipped " + ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(_SHOWN))


def _loose_words(skipped: Sequence[str]) -> str:
    n = sum(map(is_image, skipped))
    return f" {_images(n)} in no class: make a subfolder for each, and move them there." if n else ""


def _splits(table: Table, column: str) -> list[str]:
    cells = table.column(column, complete=False)
    unknown = sorted({cell for cell in cells if cell.lower() not in SPLITS and not is_missing(cell)})
    if unknown:
        raise DatasetError(
            f"{table.path}: column {column!r} holds {', '.join(map(repr, unknown[:_SHOWN]))} on "
            f"{table.where(cells, lambda cell: cell in unknown)}; expected train, val (valid, validation, dev) or test."
        )
    return [SPLITS.get(cell.lower(), "") for cell in cells]


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


def _refuse_columns(folder: Path, asked: Sequence[str]) -> None:
    if asked:
        raise DatasetError(
            f"{folder}: has no {_LABELS_FILE}, so there are no columns for {', '.join(asked)}. Give a CSV, or put a "
            f"{_LABELS_FILE} into the folder."
        )
