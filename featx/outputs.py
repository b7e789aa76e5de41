"""Files that a user asked for: refused in words before the work, whole or not there after it.

Owns the way from a result to a file with a name of the user's. An old file stays until the new one is whole.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from featx.errors import FeatxError, OutputError

__all__ = ["check_output", "json_bytes", "make_output", "npy_path", "write_output"]


def npy_path(out: str | os.PathLike[str]) -> Path:
    """``out``, with ``.npy`` at its end where it has another.

    Raises
    ------
    OutputError
        It is a folder, or no name that a file can have.
    """
    given = Path(out).expanduser()
    _refuse_name(given)
    if given.is_dir():
        raise OutputError(f"{given}: is a folder. Give the name of a file, such as {given / 'vectors.npy'}.")
    return given if given.suffix == ".npy" else given.with_name(f"{given.name}.npy")


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a file that cannot be written, or is there already.

    Raises
    ------
    OutputError
        No file can have its name, there is no folder for it, the folder may not be written, a folder has its name, or the file
        exists and ``overwrite`` is not given.
    """
    _refuse_name(path)
    parent = path.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{path}: there is no folder {parent}. Make it, or choose another place.")
    if path.is_dir():
        raise OutputError(
            f"{path}: is a folder, and a file of that name is to be written. Choose another name."
        )
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: exists. Choose another name, or pass overwrite=True to replace it.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {parent} cannot be written. Make it writable, or choose another place.")


def write_output(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and move it there.

    Parameters
    ----------
    path : Path
        Replaced where it exists.
    write : callable
        Gets a binary file.

    Raises
    ------
    OutputError
        The disk refuses; what was at ``path`` before is still there.
    """
    # Its own name is not part of it: with that, a name that the file system just takes would become too long.
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, path)
    except FeatxError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Check the free space and the permissions of its folder, "
            "or choose another place. Vectors that the cache holds are not lost."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _refuse_name(path: Path) -> None:
    """Refuse what no file can be called here: asked of the file system, which alone knows its limits."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:  # too long a name; a sign that Windows does not take
        raise OutputError(
            f"{str(path)[:80]!r}: cannot be the name of a file here ({error.strerror or error}). Choose another."
        ) from error
    except ValueError as error:  # a null character, or one that the file system's encoding has not
        raise OutputError(
            f"{str(path)[:80]!r}: cannot be the name of a file ({error}). Choose another."
        ) from error


def make_output(path: str | os.PathLike[str], make: Callable[[], bytes], *, overwrite: bool = False) -> None:
    """Write what is made now: a place that would refuse it is refused before the work.

    Raises
    ------
    OutputError
    """
    target = Path(path)
    check_output(target, overwrite=overwrite)
    content = make()
    write_output(target, lambda file: file.write(content))


def json_bytes(value: Any) -> bytes:
    """JSON for people and programs, UTF-8; NaN, which JSON does not have, is a ValueError."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
