"""The samples that words of a command line mean: image files, folders and patterns, or texts, and tables of either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featx.errors import DatasetError, did_you_mean
from featx.inputs.dataset import Dataset, warn_of_empty_texts
from featx.inputs.datasets import is_manifest_of_texts, read_samples
from featx.inputs.folders import image_files, is_image
from featx.inputs.lines import LINES_SUFFIX
from featx.inputs.tables import read_columns

__all__ = ["column_of", "images_of", "texts_of"]

_TABLES = (".csv", ".tsv")
_LABELS_FILE = "labels.csv"


def column_of(
    path: str | os.PathLike[str], *, column: str | None, learned: str | None, parameter: str
) -> str | None:
    """The column that holds the samples of a data set, for a model that was trained on one.

    Parameters
    ----------
    path : path
        A table, or a folder, in which ``labels.csv`` is one.
    column : str or None
        The column asked for; None takes ``learned``, or where that is None ``text`` or ``file``.
    learned : str or None
        The column that held the samples of the model's training.
    parameter : {"text_column", "file_column"}

    Returns
    -------
    str or None
        ``column`` where there is no table.

    Raises
    ------
    DatasetError
        The table has no such column: another one is never taken in its place.
    """
    if not isinstance(path, str | os.PathLike):  # refused in words by whoever reads
        return column
    place = Path(path)
    table = place / _LABELS_FILE if place.is_dir() else place
    if _suffix(str(table)) not in _TABLES or not table.is_file():
        return column
    columns = read_columns(table)
    of_texts = parameter == "text_column"
    if column is None and of_texts and is_manifest_of_texts(columns):
        return "digest"
    default = "text" if of_texts else "file"
    return _chosen(table, columns, column, learned, default=default, parameter=parameter)


def images_of(
    words: Sequence[str],
    *,
    column: str | None = None,
    learned: str | None = None,
    image_root: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Image files, in the order of the words.

    Parameters
    ----------
    words : sequence of str
        A CSV stands for the files that it lists.
    column : str or None
        The column that lists them; None takes ``learned``, or where that is None ``file``.
    learned : str or None
        The column that listed the images of the model's training.
    image_root : path or None
        What the files of a CSV are relative to; None means the CSV's folder.

    Raises
    ------
    DatasetError
        A folder without images, a pattern that nothing matches, or a CSV that lists no files.
    """
    found: list[str] = []
    for word in words:
        if _suffix(word) in _TABLES and os.path.isfile(word):
            found += _listed_images(Path(word), column, learned, image_root)
        else:
            found += image_files([word])
    return found


def texts_of(words: Sequence[str], *, column: str | None = None, learned: str | None = None) -> list[str]:
    """Texts, in the order of the words.

    Parameters
    ----------
    words : sequence of str
        A CSV stands for the texts in it; a ``.txt`` file for one text a line; any other word is a text itself, one of several
        words too that ends like the name of a file but names none.
    column : str or None
        The column of texts; None takes ``learned``, or where that is None ``text``.
    learned : str or None
        The column that held the texts of the model's training.

    Raises
    ------
    DatasetError
        A file of such a name is not there, or cannot be read.

    Warns
    -----
    FeatxWarning
        Texts of a file are empty.
    """
    found: list[str] = []
    for word in words:
        suffix = _suffix(word)
        named = suffix in (*_TABLES, LINES_SUFFIX) and (os.path.isfile(word) or len(word.split()) == 1)
        if not named and (os.path.exists(word) or is_image(word)):
            raise DatasetError(
                f"{word}: is the name of a file or folder, and the model takes texts. Give texts, a CSV with a column of them, "
                f"or a {LINES_SUFFIX} file with one a line."
            )
        if not named:
            found.append(word)
            continue
        dataset = _listed_texts(Path(word), column, learned)
        warn_of_empty_texts(dataset)
        found += dataset.samples
    return found


def _suffix(word: str) -> str:
    return os.path.splitext(word)[1].lower()


def _listed_images(
    table: Path, column: str | None, learned: str | None, image_root: str | os.PathLike[str] | None
) -> list[str]:
    columns = read_columns(table)
    if column is None and learned is None and "file" not in columns and "text" in columns:
        raise DatasetError(
            f"{table}: lists texts, in its column 'text', and images are expected, in a column 'file'. Name a backbone of texts."
        )
    chosen = _chosen(table, columns, column, learned, default="file", parameter="file_column")
    root = None if image_root is None else os.fspath(image_root)
    return read_samples(table, label_column=None, file_column=chosen, image_root=root).samples


def _listed_texts(path: Path, column: str | None, learned: str | None) -> Dataset:
    if not path.is_file():
        raise DatasetError(
            f"{path}: no such file. Give texts, a CSV with a column of them, or a {LINES_SUFFIX} file with one a line."
        )
    chosen = column_of(path, column=column, learned=learned, parameter="text_column")
    return read_samples(path, label_column=None, text_column=chosen or learned or "text")


def _chosen(
    table: Path,
    columns: Sequence[str],
    column: str | None,
    learned: str | None,
    *,
    default: str,
    parameter: str,
) -> str:
    """The column to read: the one asked for, that of the training, or the usual one; never another that is there."""
    chosen = column or learned or default
    if chosen not in columns:
        why = ", which held the samples that the model was trained on" if column is None and learned else ""
        raise DatasetError(
            f"{table}: no column {chosen!r}{why}; found {', '.join(map(repr, columns))}.{did_you_mean(chosen, columns)} Name the "
            f"column with {parameter}=."
        )
    return chosen
