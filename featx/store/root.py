"""The store's root folder: is it a store, and making it one.

Owns the marker file and its format number. The invariant: a folder that holds something else is never made
into a store.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from featx._version import __version__
from featx.errors import StoreError, StoreFormatError
from featx.store import disk
from featx.store.segments import FORMAT, check_format

__all__ = ["MARKER", "check_root", "make_root"]

MARKER = "featx-store.json"


def check_root(root: Path) -> bool:
    """Whether there is a store.

    Parameters
    ----------
    root : Path

    Returns
    -------
    bool
        False when the folder is missing, or empty but for hidden files.

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
        _refuse_foreign(root)
        return False
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
    disk.write_once(marker, json.dumps({"format": FORMAT, "featx": __version__}).encode())


def _refuse_foreign(root: Path) -> None:
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{root}: cannot be read ({error.strerror}). Name another cache folder") from error
    foreign = [name for name in names if not name.startswith(".")]
    if foreign:
        raise StoreFormatError(
            f"{root}: not an embedding store: it holds {foreign[0]!r} but no {MARKER}. Name a new or an empty folder"
        )
