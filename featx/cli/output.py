"""How the commands print: tables for people, JSON for programs, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

__all__ = ["console", "print_error", "print_json", "print_table", "readable_bytes"]


def console() -> Console:
    """Standard output as rich sees it now; plain where it is no terminal."""
    return Console(highlight=False, soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; numbers to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    cells = [[str(value) for value in row] for row in rows]
    for at, column in enumerate(columns):
        numeric = bool(cells) and all(row[at][:1].isdigit() or row[at] in ("", "-") for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console().print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def print_error(message: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"featx: {message}\n")


def readable_bytes(n: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
