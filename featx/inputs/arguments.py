"""The samples that words of a command line mean: image files, folders and patterns, or texts, and tables of either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featx.errors import DatasetError
from featx.inputs.datasets import read_samples
from featx.inputs.folders import image_files, is_image

__all__ = ["images_of", "texts_of"]

_TABLES = (".csv", ".tsv")
_LINES = ".txt"


def images_of(words: Sequence[str]) -> list[str]:
    """Image files, in the order of the words; a CSV stands for the files of its column ``file``.

    Raises
    ------
    DatasetError
        A folder without images, a pattern that nothing matches, or a CSV that lists no files.
    """
    found: list[str] = []
    for word in words:
        found += _listed_images(word) if _is_table(word) else image_files([word])
    return found


def texts_of(words: Sequence[str], *, text_column: str | None = None) -> list[str]:
    """Texts, in the order of the words.

    Parameters
    ----------
    words : sequence of str
        A CSV stands for the texts of its column ``text``, or of ``text_column``; a ``.txt`` file for one text a line; any other
        word is a text itself, one of several words too that ends like the name of a file but names none.
    text_column : str or None

    Raises
    ------
    DatasetError
        A file of such a name is not there, or cannot be read.
    """
    found: list[str] = []
    for word in words:
        suffix = _suffix(word)
        named = suffix in (*_TABLES, _LINES) and (os.path.isfile(word) or len(word.split()) == 1)
        if not named and (os.path.exists(word) or is_image(word)):
            raise DatasetError(
                f"{word}: is the name of a file or folder, and the model takes texts. Give texts, a CSV with a column of them, "
                f"or a {_LINES} file with one a line."
            )
        if not named:
            found.append(word)
        elif suffix == _LINES:
            found += _lines(Path(word))
        else:
            found += read_samples(word, label_column=None, text_column=text_column or "text").samples
    return found


def _suffix(word: str) -> str:
    return os.path.splitext(word)[1].lower()


def _is_table(word: str) -> bool:
    return _suffix(word) in _TABLES and os.path.isfile(word)


def _listed_images(table: str) -> list[str]:
    dataset = read_samples(table, label_column=None)
    if dataset.modality != "image":
        raise DatasetError(
            f"{table}: lists texts, in its column 'text', and images are expected, in a column 'file'. Name a backbone of texts."
        )
    return dataset.samples


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text in UTF-8 ({error}).") from error
    if not content:
        raise DatasetError(f"{path}: expected one text a line, found none.")
    # Not splitlines: form feeds and U+2028 stand inside of texts.
    return content.removesuffix("\n").split("\n")
