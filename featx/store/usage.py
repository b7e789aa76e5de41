"""What spaces take, when they were last used, and making room.

Owns the note of a space's last use, and deleting whole spaces. The invariant: the spaces not used for longest
go first, and one that somebody is computing for stays.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.store import claims, locks, segments
from featx.store.upkeep import sweep

__all__ = ["DESCRIPTION", "SpaceInfo", "delete_space", "make_room", "note_use", "space_info"]

DESCRIPTION = "space.json"
_LAST_USED = "last-used"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceInfo:
    """What a space holds.

    Attributes
    ----------
    id : str
    n_rows : int
    n_bytes : int
        Of all its files on disk, also of those that were replaced and are deleted a day later.
    last_used_s : float
        Seconds since 1970 of its last use, to the hour.
    description : mapping
        What `EmbeddingStore.describe` was given; empty when it never was.
    """

    id: str
    n_rows: int
    n_bytes: int
    last_used_s: float
    description: Mapping[str, Any]


def space_info(folder: Path) -> SpaceInfo:
    """Look at a space.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    StoreFormatError
        When a newer featx wrote to it.
    """
    description: Mapping[str, Any] = {}
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        description = json.loads((folder / DESCRIPTION).read_bytes())["description"]
    return SpaceInfo(
        id=folder.name,
        n_rows=sum(segment.n for segment in segments.list_folder(folder).live),
        n_bytes=_n_bytes(folder),
        last_used_s=_last_used_s(folder),
        description=description,
    )


def note_use(folder: Path) -> None:
    """Note that a space is used now; a read-only store goes without."""
    with suppress(OSError):
        (folder / _LAST_USED).touch()


def make_room(folders: Sequence[Path], max_bytes: int, *, keep: str | None = None) -> list[str]:
    """Delete spaces until the rest takes no more than ``max_bytes``.

    Replaced segments go first, without waiting for their day: whoever asks for room needs it now.

    Parameters
    ----------
    folders : sequence of Path
        Of the spaces.
    max_bytes : int
    keep : str, optional
        Name of a space that stays.

    Returns
    -------
    list of str
        Names of the spaces deleted.

    Raises
    ------
    OSError
    """
    if sum(map(_n_bytes, folders)) <= max_bytes:
        return []
    for folder in folders:
        sweep(folder, replaced_older_than_s=0.0)
    sizes = {folder: _n_bytes(folder) for folder in folders}
    total = sum(sizes.values())
    deleted = []
    for folder in sorted(folders, key=_last_used_s):
        if total <= max_bytes:
            break
        if folder.name == keep or _in_work(folder):
            continue
        delete_space(folder)
        total -= sizes[folder]
        deleted.append(folder.name)
    return deleted


def delete_space(folder: Path) -> None:
    """Move a space out of sight in one step, then delete it; nothing happens when there is none.

    Raises
    ------
    OSError
        When it may not be moved.
    """
    trash = folder.with_name(f".trash-{secrets.token_hex(8)}")
    try:
        if os.name == "posix":
            with locks.exclusive(folder / segments.MERGE_LOCK), locks.exclusive(folder / segments.MUTEX):
                os.rename(folder, trash)
        else:
            trash = folder  # Windows renames no folder that has a file in use: delete what can be
    except FileNotFoundError:
        return
    shutil.rmtree(trash, ignore_errors=True)


def _in_work(folder: Path) -> bool:
    with locks.exclusive(folder / segments.MUTEX):
        return claims.has_live_claims(folder)


def _n_bytes(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total


def _last_used_s(folder: Path) -> float:
    for path in (folder / _LAST_USED, folder):
        with suppress(OSError):
            return os.stat(path).st_mtime
    return 0.0
