"""The state of a training on disk, so that a killed one goes on where it was, and what came of it, so that it is not done again.

A state lies in a folder named by a digest of everything that decides the run, so no other run can take it up. It is written
whole or not at all, behind a digest of its own: torch reads a file with a flipped bit as if nothing were amiss. What nobody came
back for in two weeks is swept away by the next training, and of what has ended no more than 2 GiB are kept, used last kept
longest; folders and files beside them are none of ours. A finished state is the best weights alone, without the optimiser's.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from featx.errors import FeatxWarning, OutputError
from featx.store.digest import DIGEST_BYTES, digest_bytes
from featx.store.disk import TEMPORARY, write_once

__all__ = ["Checkpoints"]

_STATE, _ENDED = "state.pt", "ended.pt"
_HEADER = b"featx run 1\n"  # the number is that of the fields in a state
_RUN = re.compile(r"[0-9a-f]{32}")
_MOST_BYTES = 2 * 2**30
_ABANDONED_S = 14 * 24 * 3600.0


class Checkpoints:
    """Where the state of one run is kept.

    Parameters
    ----------
    root : Path or None
        The folder of all runs; None keeps nothing.
    run : str
        Digest of what decides the run.
    required : bool
        Whether a folder that cannot be written is an error (it was asked for) or a warning (it is the default one).
    """

    def __init__(self, root: Path | None, run: str, *, required: bool = True) -> None:
        self.folder = None if root is None else root / run
        self._required = required

    def load(self) -> dict[str, Any] | None:
        """The state kept last, its tensors on the CPU; None where there is none that can be read."""
        if self.folder is None:
            return None
        _sweep(self.folder.parent)
        ended = _read(self.folder / _ENDED)
        if ended is not None:
            with suppress(OSError):
                os.utime(self.folder)
            return ended
        return _read(self.folder / _STATE)

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state in place of the one before.

        Raises
        ------
        OutputError
            The folder cannot be written, and is required.
        """
        self._write(_STATE, state)

    def end(self, state: Mapping[str, Any]) -> None:
        """The run came to its end: keep what came of it, and let go of the oldest where there is too much.

        Raises
        ------
        OutputError
            As of :meth:`save`.
        """
        self._write(_ENDED, state)
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / _STATE).unlink(missing_ok=True)
            _let_go(self.folder.parent, keep=self.folder.name)

    def _write(self, name: str, state: Mapping[str, Any]) -> None:
        if self.folder is None:
            return
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getvalue()
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.mkdir(exist_ok=True, mode=0o700)
            write_once(self.folder / name, _HEADER + digest_bytes(content) + content)
        except OSError as error:
            message = (
                f"{self.folder}: the state of the training cannot be written ({error.strerror or error}). Make room, or pass "
                "checkpoints=None to train without."
            )
            if self._required:
                raise OutputError(message) from error
            warnings.warn(message, FeatxWarning, stacklevel=2)
            self.remove()
            self.folder = None

    def remove(self) -> None:
        """The run came to nothing."""
        if self.folder is not None:
            _remove(self.folder)


def _read(path: Path) -> dict[str, Any] | None:
    """What was kept; None where it is not there, damaged, or of another version: the run then begins anew."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    content = found[len(_HEADER) + DIGEST_BYTES :]
    if found[: -len(content) or None] != _HEADER + digest_bytes(content):
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError):
        return None
    return state


def _runs(root: Path) -> list[Path]:
    """The folders that are runs."""
    with suppress(OSError):
        return [path for path in root.iterdir() if _RUN.fullmatch(path.name) and path.is_dir()]
    return []


def _remove(folder: Path) -> None:
    """A run: its own files, and the folder where nothing else is in it."""
    with suppress(OSError):
        for path in (folder / _STATE, folder / _ENDED, *folder.glob(f"{TEMPORARY}*")):
            path.unlink(missing_ok=True)
        folder.rmdir()


def _let_go(root: Path, *, keep: str) -> None:
    """Of runs that ended the oldest, down to the cap."""
    found = []
    for folder in _runs(root):
        with suppress(OSError):
            found.append((folder.stat().st_mtime, folder, (folder / _ENDED).stat().st_size))
    total = sum(size for _, _, size in found)
    for _, folder, size in sorted(found):
        if total <= _MOST_BYTES:
            return
        if folder.name != keep:
            _remove(folder)
            total -= size


def _sweep(root: Path) -> None:
    now = time.time()
    for folder in _runs(root):
        with suppress(OSError):
            if now - folder.stat().st_mtime > _ABANDONED_S:
                _remove(folder)
