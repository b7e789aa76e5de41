"""How the commands print: tables for people, JSON and CSV for programs, errors in one line.

Everything for a program goes to standard output, plain, whole and nothing else with it; what only a person wants to know goes to
standard error. Cells are shortened on a terminal only: a pipe gets them whole.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from featx.errors import OutputError, SampleError, without_advice

__all__ = [
    "close_output",
    "finish_output",
    "one_line",
    "print_csv",
    "print_error",
    "print_json",
    "print_table",
    "readable_bytes",
    "say",
    "say_skipped",
    "skipped_as_rows",
]

_NARROWEST = 8  # characters that a shortened column keeps
_GAP = "  "


def say(text: str = "") -> None:
    """Print a line on standard output; control characters in it are made visible."""
    _write("\n".join(_visible(line) for line in text.split("\n")) + "\n")


def say_skipped(errors: Iterable[SampleError]) -> None:
    """Print a line for each sample that was left out, without advice: leaving them out was asked for."""
    for error in errors:
        say(f"skipped {one_line(without_advice(str(error)))}")


def skipped_as_rows(errors: Iterable[SampleError]) -> list[dict[str, Any]]:
    """What :func:`say_skipped` says, for :func:`print_json`: a row of file, index, place and reason for each sample."""
    return [
        {
            "file": error.name,
            "index": error.index,
            "place": error.place,
            "reason": one_line(error.message),
        }
        for error in errors
    ]


def print_error(message: str) -> None:
    """Print one line on standard error, in the words of the command line."""
    with suppress(OSError):  # nobody is there to be told
        sys.stderr.write(f"featx: {one_line(message)}\n")


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output; what JSON cannot say becomes null or a string."""
    _write(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same columns as CSV on standard output; None is an empty cell, numbers have six digits."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    _write(text.getvalue())


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()
) -> None:
    """Print a table, columns in ``right`` to the right; on a terminal the widest cells give way until a row fits a line."""
    cells = [list(columns), *([_visible(str(value)) for value in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    if _is_terminal():
        _shrink(widths, shutil.get_terminal_size().columns)
    for row in cells:
        parts = [
            _padded(_shortened(cell, width), width, name in right)
            for cell, width, name in zip(row, widths, columns, strict=True)
        ]
        _write(_GAP.join(parts).rstrip() + "\n")


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value  # more digits differ from machine to machine


def readable_bytes(n: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def finish_output() -> None:
    """Flush standard output while its errors can still be told."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _refuse(error)


def close_output() -> None:
    """Give up standard output, so that the interpreter does not try to flush it at its end and complain."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# What a message of the library says in Python, and how the command line says it.
_FLAGS = {
    'on_error="nan"': "--skip-unreadable",
    "skip_unreadable=True": "--skip-unreadable",
    "image_root=": "--image-root",
    "overwrite=True": "--overwrite",
    "max_length,": "--max-length,",
    "max_length must": "--max-length must",
    "force=True": "--force",
    "folder=...": "--to FOLDER",
    "ignore_split=True": "--ignore-split",
    "validation_fraction=None": "--validation-fraction 0",
    "cache=None": "--cache none",
    "preprocess=ImagePreprocess(...)": "--preprocess FILE",
    "window=featx.Window(center, width)": "--window CENTER,WIDTH",
    "window=featx.Window.percentiles()": "--window percentiles",
}
_RENAMED = {"heads": "--head", "random_state": "--seed"}
_BEGINS = r"(?<![^\s(])"  # of a word: a path may hold anything
_VALUED = (
    "aggregate|at_sensitivity|at_specificity|cache|calibrate|cv|device|file_column|folds|freeze_until|group_column|heads|"
    "label_column|learning_curve|max_length|on_leak|pooling|positive|preprocess|random_state|split_column|tap|text_column|window"
)
_RANGED = "batch_size|epochs|freeze_until|learning_rate|patience|validation_fraction"


def one_line(message: str) -> str:
    """A message of the library's as one line that names options instead of parameters.

    Examples
    --------
    >>> one_line('a.png: not an image. Remove it, or pass on_error="nan".')
    'a.png: not an image. Remove it, or pass --skip-unreadable.'
    >>> one_line("cv=1: expected at least 2.")
    '--cv 1: expected at least 2.'
    """
    text = _without_preprocess_help(message)
    for python, option in _FLAGS.items():
        text = re.sub(_BEGINS + re.escape(python), option, text)
    text = re.sub(rf"""{_BEGINS}({_VALUED})=(?:(["'])(.*?)\2|([\w:.-]*\w)?)""", _with_option, text)
    text = re.sub(rf"{_BEGINS}({_RANGED})(?= must )", lambda found: f"--{found[1].replace('_', '-')}", text)
    return _visible(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def _with_option(found: re.Match[str]) -> str:
    name = _RENAMED.get(found[1]) or f"--{found[1].replace('_', '-')}"
    value = found[3] or found[4] or ""
    opens = found.string[found.end() : found.end() + 1] in ("(", "[")
    return f"{name} {value}" if value or opens else name


def _without_preprocess_help(message: str) -> str:
    """Of the table of fields that the library shows for a bare .onnx file, only the beginning: here a file is given."""
    start = message.find("Say how pixels become")
    if start < 0:
        return message
    return f"{message[:start]}Put the publisher's preprocessor_config.json beside it, or give one with --preprocess FILE."


def _write(text: str) -> None:
    # A name that the terminal's encoding lacks is shown escaped: no reason to fail at the end of the work.
    if hasattr(sys.stdout, "reconfigure") and sys.stdout.errors != "backslashreplace":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(text)
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> None:
    # Windows calls a closed pipe an invalid argument.
    if isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL):
        raise BrokenPipeError from error  # without a number, or typer ends the process with a status of its own
    raise OutputError(
        f"standard output: cannot be written ({error.strerror}). Free some space, or send it elsewhere."
    ) from error


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _width(text: str) -> int:
    """Cells of a terminal: East Asian wide characters take two, combining ones none (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _shrink(widths: list[int], room: int) -> None:
    """Take from the widest columns, in place, until they fit into ``room`` or are as narrow as is of use."""
    while (excess := sum(widths) + len(_GAP) * (len(widths) - 1) - room) > 0:
        widest = max(widths)
        if widest <= _NARROWEST:
            return
        second = max((w for w in widths if w < widest), default=0)
        at = widths.index(widest)
        widths[at] = max(_NARROWEST, widest - excess, second if widths.count(widest) == 1 else widest - 1)


def _shortened(cell: str, width: int) -> str:
    """The cell in at most ``width`` cells; its middle goes: a path is told apart by its ends."""
    if _width(cell) <= width:
        return cell
    head, tail = cell[: (width - 1) // 3], ""
    for c in reversed(cell):
        if _width(head) + 1 + _width(c + tail) > width:
            break
        tail = c + tail
    return f"{head}…{tail}"


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _plain(value: Any) -> Any:
    """A value as JSON can say it: NaN and infinity are null, numpy's values Python's, anything else its text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    # numpy's scalars and arrays know themselves as plain values; numpy need not be here.
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)
