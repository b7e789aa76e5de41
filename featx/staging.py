"""Folders in the making: written beside their place under a hidden name, then there whole, or not at all.

Owns the way of a folder to its place: artefacts and backbones, exported or pulled, all take it. What may be replaced is the
caller's to say. The invariant: at the place there is a whole folder or the one before, but for a process killed between the two
renames of a replacement, which leaves the old one beside it, whole, as ``.<name>.<random>.old``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from featx.store.disk import sync_folder

__all__ = ["publish", "staged", "why_lost", "why_no_place"]

_PARTIAL, _ASIDE = ".partial", ".old"
_MOST_NAMED = 3
_ABANDONED_S = 24 * 3600.0
"""Age at which a folder in the making belongs to nobody any more: the longest export takes minutes."""


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give an empty hidden folder on the same disk as ``target``, gone afterwards unless it was published.

    What killed processes left for the same target a day ago and earlier is removed.

    Parameters
    ----------
    target : Path
        Absolute. Its parents are made.

    Raises
    ------
    OSError
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    stage = _beside(target, _PARTIAL)
    try:
        stage.mkdir()
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def publish(stage: Path, target: Path) -> None:
    """Put a finished folder in its place; what is there steps aside, and back if the new one cannot come.

    Parameters
    ----------
    stage : Path
        From :func:`staged`.
    target : Path
        What is there is deleted. Of a link only the link is.

    Raises
    ------
    OSError
    """
    _sync(stage)
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        target.rmdir()
    if not os.path.lexists(target):
        stage.rename(target)
    else:
        aside = _beside(target, _ASIDE)  # a folder cannot be renamed over a full one
        target.rename(aside)
        try:
            stage.rename(target)
        except OSError:
            aside.rename(target)
            raise
        _remove(aside)
    sync_folder(target.parent)


def why_no_place(target: Path, example: str) -> str | None:
    """The words for a place that no folder may ever take: a file, or the folder that the process works in.

    Parameters
    ----------
    target : Path
        Absolute.
    example : str
        Name of a new folder to suggest.
    """
    if os.path.lexists(target) and not target.is_dir():
        return f"{target}: there is a file of that name. Choose another folder."
    if target.is_dir() and _working_folder().is_relative_to(target.resolve()):
        # Its place is taken by another folder, and whoever is in it would then be nowhere.
        return f"{target}: is the current working folder, or lies above it. Name a new folder, such as {target / example}."
    return None


def why_lost(target: Path, others: Sequence[str], what: str) -> str | None:
    """The words for a place whose files would be lost with what is replaced there; None where there are no others.

    Parameters
    ----------
    target : Path
    others : sequence of str
        Names of files below it that do not belong to what is replaced.
    what : str
        What is replaced, with its article.
    """
    if not others:
        return None
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return (
        f"{target}: holds files that are not part of {what} and would be lost: {', '.join(others[:_MOST_NAMED])}{more}. Move "
        "them away, or choose another folder."
    )


def _working_folder() -> Path:
    try:
        return Path.cwd().resolve()
    except OSError:  # deleted, so nothing can take its place
        return Path(os.devnull)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{suffix}")


def _sweep(target: Path) -> None:
    """Remove what killed processes left. An old folder that stepped aside is kept while nothing has taken its place."""
    suffixes = (_PARTIAL, _ASIDE) if target.exists() else (_PARTIAL,)
    with suppress(OSError):
        for left in target.parent.iterdir():
            mine = left.name.startswith(f".{target.name}.") and left.name.endswith(suffixes)
            if mine and time.time() - left.stat().st_mtime > _ABANDONED_S:
                _remove(left)


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        with suppress(OSError):
            left.unlink()


def _sync(folder: Path) -> None:
    """Have the files on the disk before their folder gets its name."""
    for place, _, names in os.walk(folder):
        for name in names:
            # Windows flushes only handles that may write.
            with open(os.path.join(place, name), "r+b") as file:
                os.fsync(file.fileno())
