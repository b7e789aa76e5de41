"""The store's root folder: is it a store, and making it one.

Owns the marker file and its format number. The invariants: a folder that holds something else is never made
into a store; a store that somebody deletes while others write to it is still one afterwards.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from featx._version import __version__
from featx.errors import StoreError, StoreFormatError
from featx.store import disk
from featx.store.segments import FORMAT, check_format

__all__ = ["MARKER", "check_root", "make_root", "make_space"]

MARKER = "featx-store.json"

_ATTEMPTS = 8
# What a deletion beside running writers leaves: spaces of featx's own, with nothing in them but the store's own files.
_SPACE = re.compile(r"[0-9a-f]{32}|file-digests")
_IN_SPACE = re.compile(r"\..*|space\.json|last-used|claims|(mutex|merge)\.lock|\d{20}-\d+-[0-9a-f]+\..*")


def check_root(root: Path) -> bool:
    """Whether there is a store.

    Parameters
    ----------
    root : Path

    Returns
    -------
    bool
        False when the folder is missing, or empty but for hidden files and for spaces that lost their marker.

    Raises
    ------
    StoreFormatError
        When a newer featx wrote it, or it is something else.
    StoreError
        When it cannot be looked at.
    """
    marker = root / MARKER
    try:
        record = json.loads(marker.read_bytes())
    except FileNotFoundError:
        foreign = _foreign_name(root)
        if foreign is None:
            return False
        if marker.exists():  # made between the two looks
            return check_root(root)
        raise StoreFormatError(
            f"{root}: not an embedding store: it holds {foreign!r} but no {MARKER}. Name a new or an empty folder"
        ) from None
    except NotADirectoryError as error:
        raise StoreFormatError(f"{root}: not a folder, expected the folder of an embedding store") from error
    except ValueError as error:
        raise StoreFormatError(
            f'{marker}: not readable as JSON ({error}). If this is a featx store, write {{"format": 1}} to it'
        ) from error
    except OSError as error:
        raise StoreError(f"{root}: cannot be read ({error.strerror}). Name another cache folder") from error
    check_format(record if isinstance(record, dict) else {}, marker)
    return True


def make_root(root: Path) -> None:
    """Create the folder, with mode 0700, and the marker, unless they are there.

    Parameters
    ----------
    root : Path

    Raises
    ------
    StoreFormatError
        As `check_root`.
    OSError
        When it cannot be written.
    """
    marker = root / MARKER
    if marker.exists():
        return
    if not root.exists():
        os.makedirs(root, mode=0o700, exist_ok=True)
    check_root(root)
    _mark(root)


def make_space(root: Path, folder: Path) -> None:
    """Create the folder of a space, and the root around it, unless they are there.

    Parameters
    ----------
    root : Path
    folder : Path
        In the root.

    Raises
    ------
    StoreFormatError
        As `check_root`.
    OSError
        When it cannot be written.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            make_root(root)
            folder.mkdir(exist_ok=True)
            # Whoever deleted the root in between may have taken the marker and been stopped by the new folder.
            if not (root / MARKER).exists():
                _mark(root)
            return
        except FileNotFoundError:
            if not left:
                raise


def _mark(root: Path) -> None:
    disk.write_once(root / MARKER, json.dumps({"format": FORMAT, "featx": __version__}).encode())


def _foreign_name(root: Path) -> str | None:
    """The first name in a folder that no store would have there; None where there is none."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{root}: cannot be read ({error.strerror}). Name another cache folder") from error
    foreign = (name for name in names if not name.startswith(".") and not _is_own_space(root / name))
    return next(foreign, None)


def _is_own_space(folder: Path) -> bool:
    """Whether it is a folder that featx itself made for a feature space, with nothing else in it."""
    if not _SPACE.fullmatch(folder.name):
        return False
    try:
        return all(_IN_SPACE.fullmatch(name) for name in os.listdir(folder))
    except FileNotFoundError:
        return True  # deleted since it was listed
    except OSError:
        return False
