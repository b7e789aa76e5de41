"""Folders that a training is to write, asked before it whether they can be: hours later is late to hear that they cannot."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from featx.errors import OutputError

__all__ = ["check_place"]


def check_place(folder: Path, what: str) -> None:
    """Refuse a folder that files cannot be made in, as found out by making one; afterwards all is as before.

    Parameters
    ----------
    folder : Path
        Its parents and itself need not be there.
    what : str
        What is to be kept there, for the message.

    Raises
    ------
    OutputError
    """
    made: list[Path] = []
    try:
        for each in (*reversed(folder.parents), folder):
            with suppress(FileExistsError):
                if not each.is_dir():
                    each.mkdir()
                    made.append(each)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{folder}: {what} cannot be kept there ({reason}). Choose another folder, or make room and this one writable."
        ) from error
    finally:
        for each in reversed(made):
            with suppress(OSError):  # somebody else uses it already
                each.rmdir()
