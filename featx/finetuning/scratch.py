"""A folder among the temporary files that is gone with its object, or at the end of the process.

Of a process that was killed it stays, and may be large; the next one that is made sweeps it away. Whether anybody still uses a
folder is asked of the operating system, by a lock on a file in it, which ends with its owner however that ended. A process's
number would not tell: the next process may have it, and those of another container count from 1 as well. Where locks do not
work nothing is swept, and nothing ever that featx did not make under this user.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path

from featx.errors import OutputError
from featx.store.locks import FileLock, try_lock

__all__ = ["PREFIXES", "ScratchFolder"]

PREFIXES = ("featx-rows-", "featx-tuned-")
"""What the names of scratch folders begin with; nothing else is ever swept."""

_OWNER = ".featx-owner"
"""The locked file in every scratch folder."""

_OURS = re.compile(f"(?:{'|'.join(map(re.escape, PREFIXES))})[a-z0-9_]{{8}}")  # what mkdtemp appends
_UNCLAIMED_S = 60.0
"""Younger folders are left alone: between the making of one and its lock lies a moment."""

_own: set[Path] = set()
"""Of this process. Where locks are emulated (NFS), looking at one's own would free them."""


class ScratchFolder:
    """A folder of one's own for as long as this object lives; where files of it are still mapped (Windows), they are left.

    Parameters
    ----------
    prefix : str
        What its name begins with, one of :data:`PREFIXES`.

    Attributes
    ----------
    path : Path

    Raises
    ------
    OutputError
        There is no temporary folder, or nothing can be written there.
    """

    def __init__(self, prefix: str) -> None:
        if prefix not in PREFIXES:
            raise ValueError(f"{prefix!r}: expected one of {PREFIXES}, by which what was left is found again")
        root: Path | None = None
        try:
            root = Path(tempfile.gettempdir())
            _sweep(root)
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        except OSError as error:
            where = root or "the temporary folder"
            raise OutputError(
                f"{where}: nothing can be kept there while a backbone is tuned ({error.strerror or error}). Make room, or set "
                "the environment variable TMPDIR (on Windows TEMP) to a folder that can be written."
            ) from error
        _own.add(self.path)
        weakref.finalize(self, _remove, self.path, _claimed(self.path), os.getpid())


def _claimed(folder: Path) -> FileLock | None:
    """The lock that says that the folder is in use; None where locks do not work, and then nobody sweeps it."""
    path = folder / _OWNER
    lock: FileLock | bool | None = None
    with suppress(OSError):
        lock = try_lock(path)
    if isinstance(lock, FileLock):
        return lock
    with suppress(OSError):
        path.unlink()
    return None


def _remove(folder: Path, lock: FileLock | None, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child, whose parent still uses it
    if lock is not None and os.name != "posix":
        lock.release()  # Windows deletes no open file
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        lock.release()
    _own.discard(folder)


def _sweep(root: Path) -> None:
    """Delete the scratch folders of processes that ended without doing so."""
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    _sweep_one(Path(entry.path))


def _sweep_one(folder: Path) -> None:
    if folder in _own:
        return
    found = folder.lstat()
    ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    if not (ours and stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > _UNCLAIMED_S):
        return
    lock = try_lock(folder / _OWNER, create=False)
    if isinstance(lock, FileLock):  # nobody's any more
        _remove(folder, lock, os.getpid())
