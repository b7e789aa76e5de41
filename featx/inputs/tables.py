"""A CSV file as columns of strings, with errors that name the line.

Reads UTF-8 (a byte order mark is ignored) separated by commas, semicolons or tabs; white space around a cell is
dropped. Refuses rows of another length than the header, and a column that is asked for and named twice.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from featx.errors import DatasetError, did_you_mean

__all__ = ["Table", "is_missing", "read_columns", "read_table", "unreadable"]

# What pandas and numpy write for a missing value. "none" and "NA" are not here: they name real classes.
_MISSING = {"", "nan", "<na>"}
_LINES_SHOWN = 5
_LARGEST_LIMIT = 2**31 - 1  # csv keeps it in a C long, which has 32 bits on Windows
_BEFORE_HEADER = {"", "sep=,", "sep=;", "sep="}  # "sep=" and a tab, stripped


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a CSV file.

    Attributes
    ----------
    path : Path
    columns : list of str
    rows : list of list of str
        One string a column.
    lines : list of int
        The line of the file on which each row ends, counted from 1; a row with quoted newlines spans several.
    """

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str, *, complete: bool = True) -> list[str]:
        """The cells of one column.

        Raises
        ------
        DatasetError
            If there is no such column, or `complete` is asked for and a cell is missing.
        """
        if name not in self.columns:
            raise DatasetError(
                f"{self.path}: no column {name!r}; found {', '.join(map(repr, self.columns))}."
                f"{did_you_mean(name, self.columns)} Name the columns with file_column= or text_column=, label_column=, "
                "group_column= and split_column=."
            )
        if self.columns.count(name) > 1:
            raise DatasetError(
                f"{self.path}: column {name!r} occurs {self.columns.count(name)} times. Rename or remove all but one of them."
            )
        at = self.columns.index(name)
        cells = [row[at] for row in self.rows]
        missing = [line for cell, line in zip(cells, self.lines, strict=True) if is_missing(cell)]
        if complete and missing:
            raise DatasetError(
                f"{self.path}: column {name!r} is empty in {len(missing)} of {len(cells)} rows "
                f"({_line_words(missing)}). Fill them in, or remove those rows."
            )
        return cells

    def where(self, cells: list[str], refused: Callable[[str], bool]) -> str:
        """The lines on which a cell is refused, in words; "" where there are none."""
        lines = [line for cell, line in zip(cells, self.lines, strict=True) if refused(cell)]
        return _line_words(lines) if lines else ""


def is_missing(cell: str) -> bool:
    """Whether a cell is what pandas or numpy write for a missing value."""
    return cell.lower() in _MISSING


def read_columns(path: Path) -> list[str]:
    """The names of a CSV's columns; its rows are not read.

    Raises
    ------
    DatasetError
        If the file is not a CSV in UTF-8, or is empty.
    """
    with closing(_read(path)) as rows:
        columns, _ = next(rows, (None, 0))
    if columns is None:
        raise _too_short(path, 0)
    return columns


def read_table(path: Path) -> Table:
    """Read a CSV file with a line of column names.

    Raises
    ------
    DatasetError
        If the file is not a CSV in UTF-8, has no rows, or a row has another number of cells than there are columns.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    for row, line in _read(path):
        rows.append(row)
        lines.append(line)
    if len(rows) < 2:
        raise _too_short(path, len(rows))
    table = Table(path=path, columns=rows[0], rows=rows[1:], lines=lines[1:])
    width = len(table.columns)
    ragged = [line for row, line in zip(table.rows, table.lines, strict=True) if len(row) != width]
    if ragged:
        raise DatasetError(
            f"{path}: expected {width} cells a row ({', '.join(table.columns)}), found another number on "
            f"{_line_words(ragged)}. Quote cells that hold a separator (comma, semicolon or tab)."
        )
    return table


def unreadable(path: Path, what: str, error: Exception) -> DatasetError:
    """The error of a file that cannot be read as what it should be."""
    advice = ""
    if isinstance(error, UnicodeDecodeError):
        advice = ' Save it as UTF-8; spreadsheets call that "CSV UTF-8" or ask for the character set.'
    return DatasetError(f"{path}: cannot be read as {what} in UTF-8 ({error}).{advice}")


def _read(path: Path) -> Generator[tuple[list[str], int]]:
    """Rows with the line on which each ends, that of the column names first; empty lines are left out."""
    line = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file, _cells_of_any_size(path):
            # The header decides, as cells may hold any of the separators; Excel may name it in a line before.
            header, n_before = file.readline(), 0
            while header.strip() in _BEFORE_HEADER:
                header, n_before = file.readline(), n_before + 1
                if not header:
                    break
            delimiter = max(",;\t", key=header.count)
            file.seek(0)
            for _ in range(n_before):
                file.readline()
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                line = n_before + reader.line_num
                if row:
                    yield [cell.strip() for cell in row], line
    except csv.Error as error:
        raise DatasetError(
            f"{path}: cannot be read as a CSV ({error}, in the row after line {line}). Look for a quotation mark that is not "
            "doubled or not closed."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, "a CSV", error) from error


@contextmanager
def _cells_of_any_size(path: Path) -> Iterator[None]:
    """No limit on a cell but the file's size, in place of the 128 KiB that Python's csv sets for the whole process."""
    largest = min(path.stat().st_size, _LARGEST_LIMIT)
    before = csv.field_size_limit(max(csv.field_size_limit(), largest))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _too_short(path: Path, n_rows: int) -> DatasetError:
    return DatasetError(f"{path}: expected column names and at least one row, found {n_rows} rows in all.")


def _line_words(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:_LINES_SHOWN]))
    if len(lines) == 1:
        return f"line {shown}"
    return f"lines {shown}, ..." if len(lines) > _LINES_SHOWN else f"lines {shown}"
