"""The command line as it was given, to repeat what it made: with the last part of every path, for pages and files travel."""

from __future__ import annotations

import ntpath
import shlex
from collections.abc import Collection, Iterator
from typing import Any

import typer

__all__ = ["shown_command"]


def shown_command(context: typer.Context, *, paths: Collection[str]) -> str:
    """The command with what was given to it, in the order of its help.

    Parameters
    ----------
    context : typer.Context
    paths : collection of str
        Names of parameters that are paths, or may be. Folders are named after people and projects: of ``/home/jane/scans.csv``
        there is ``…/scans.csv``.
    """
    words = ["featx", str(context.info_name)]
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE":
            value = context.params[str(parameter.name)]
            words += _words(parameter, value, is_path=parameter.name in paths)
    return " ".join(_quoted(word) for word in words)


def _words(parameter: Any, value: Any, *, is_path: bool) -> Iterator[str]:
    option = "" if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
    if isinstance(value, bool):
        yield option if value else max(parameter.secondary_opts, key=len, default=option)
        return
    for one in value if isinstance(value, list | tuple) else [value]:
        if option:
            yield option
        yield _last_part(str(one)) if is_path else str(one)


def _last_part(path: str) -> str:
    """``…/scans.csv`` of a path with folders; references to a model hub are none."""
    if path.startswith("hub:"):
        return path
    stripped = path.rstrip("/\\")
    last = ntpath.basename(stripped)  # of paths of Windows and of others
    return last if last == stripped else f"…/{last}"


def _quoted(word: str) -> str:
    return word if "…" in word and " " not in word else shlex.quote(word)
