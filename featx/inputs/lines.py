"""A plain text file (``.txt``) as one text a line.

Reads UTF-8 (a byte order mark is ignored); lines end as on any system. An empty line is an empty text, so that a row is known by
its line. Refuses what seems to be a table: its commas would be read as text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from featx.errors import DatasetError
from featx.inputs.tables import unreadable

__all__ = ["LINES_SUFFIX", "read_lines"]

LINES_SUFFIX = ".txt"


def read_lines(path: Path, *, columns: Collection[str] = ()) -> list[str]:
    """The texts of a file, one a line.

    Parameters
    ----------
    path : Path
    columns : collection of str
        Names by which the first line is known for that of a table: two or more cells, one of them such a name.

    Raises
    ------
    DatasetError
        If the file is no text in UTF-8, holds nothing, or seems to be a table.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, "text", error) from error
    if not content:
        raise DatasetError(f"{path}: expected one text a line, found none.")
    # Not splitlines: form feeds and U+2028 stand inside of texts.
    lines = content.removesuffix("\n").split("\n")
    cells = [cell.strip().strip('"') for cell in re.split("[,;\t]", lines[0])]
    named = [cell for cell in cells if cell in columns]
    if len(cells) > 1 and named:
        raise DatasetError(
            f"{path}: seems to be a table, as its first line names a column {named[0]!r}, and a {LINES_SUFFIX} file is one text "
            "a line. Rename it to .csv or .tsv; or, if it is no table, put another line first."
        )
    return lines
