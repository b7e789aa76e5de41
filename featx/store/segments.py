"""One immutable segment of a space: listed, opened, checked, deleted.

Owns the names and the format of a segment's three files. The invariants: a segment exists once its ``.json``
does; nothing published is ever written to or truncated; every array opens with ``numpy.load(mmap_mode="r")``
alone. It refuses segments of a format it does not know. Writing them is in ``drafts.py``.

A segment is named ``<time>-<pid>-<random>``: nanoseconds since 1970 in twenty digits, so that names sort by age.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx._version import __version__
from featx.errors import StoreCorruptError, StoreFormatError
from featx.store import disk
from featx.store.digest import DIGEST_BYTES, Keys, digest_file

__all__ = [
    "FORMAT",
    "MERGE_LOCK",
    "MUTEX",
    "SMALL_BYTES",
    "SUFFIXES",
    "Listing",
    "Segment",
    "check_format",
    "corrupt_error",
    "delete",
    "from_record",
    "is_intact",
    "let_go",
    "list_folder",
    "read_keys",
    "read_rows",
]

FORMAT = 1
"""Number of the format, of the store and of each segment. Raising it: keep reading every older number, put a
store of the old format under ``tests/data``, and say in ``CHANGELOG.md`` which featx reads it."""

SMALL_BYTES = 1 << 20
"""Segments up to this many bytes are read into memory, never mapped. Nobody can then be looking at their
files, so replaced ones are deleted at once, on any platform and file system."""

MUTEX = "mutex.lock"
"""File of a space's mutex. It is held for a moment: while a segment is dated and renamed into place, while
replaced ones are deleted, and while a claim is taken."""

MERGE_LOCK = "merge.lock"
"""File of a space's lock on upkeep, held as long as that takes. Who needs both takes this one first."""

SUFFIXES = (".json", ".rows.npy", ".keys.npy")
"""Of a segment's files, in the order in which they are deleted."""

_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]+")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A published segment, as its ``.json`` describes it; segments sort by age, oldest first."""

    time_ns: int
    name: str
    folder: Path
    n: int
    d: int
    dtype: str
    rows_digest: str
    keys_digest: str
    replaces: tuple[str, ...] = ()

    @property
    def rows_path(self) -> Path:
        return self.folder / f"{self.name}.rows.npy"

    @property
    def keys_path(self) -> Path:
        return self.folder / f"{self.name}.keys.npy"

    @property
    def json_path(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def n_bytes(self) -> int:
        """Of rows and keys."""
        return self.n * (self.d * np.dtype(self.dtype).itemsize + DIGEST_BYTES)

    @property
    def is_small(self) -> bool:
        return self.n_bytes <= SMALL_BYTES


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a space's folder.

    Attributes
    ----------
    live : tuple of Segment
        Oldest first.
    replaced : tuple of Segment
        Still there, but their rows are in a live one.
    strays : tuple of str
        Files that belong to no segment: of writers at work or ended, or of a segment whose ``.json`` is damaged.
    """

    live: tuple[Segment, ...]
    replaced: tuple[Segment, ...]
    strays: tuple[str, ...]


def list_folder(folder: Path, known: Mapping[str, Segment] | None = None) -> Listing:
    """What lies in a space's folder.

    Parameters
    ----------
    folder : Path
        May be missing.
    known : mapping of name -> Segment, optional
        Segments listed before, which never change: their files are not read again.

    Returns
    -------
    Listing

    Raises
    ------
    StoreFormatError
        When a segment was written in a newer format.
    """
    try:
        files = set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        files = set()
    found: list[Segment] = []
    strays = {file for file in files if file.startswith(disk.TEMPORARY)}
    for stem, suffixes in _stems(files).items():
        segment = None
        if len(suffixes) == len(SUFFIXES):
            segment = (known or {}).get(stem) or _read_segment(folder, stem)
        if segment is not None:
            found.append(segment)
        else:
            strays.update(stem + suffix for suffix in suffixes)
    found.sort()
    gone = {name for segment in found for name in segment.replaces}
    return Listing(
        live=tuple(segment for segment in found if segment.name not in gone),
        replaced=tuple(segment for segment in found if segment.name in gone),
        strays=tuple(sorted(strays)),
    )


def _stems(files: Iterable[str]) -> dict[str, list[str]]:
    """Suffixes of the files there are of each segment's name."""
    stems: dict[str, list[str]] = {}
    for file in files:
        stem, dot, suffix = file.partition(".")
        if dot + suffix in SUFFIXES and _NAME.fullmatch(stem):
            stems.setdefault(stem, []).append(dot + suffix)
    return stems


def read_keys(segment: Segment) -> Keys:
    """A segment's keys, ``(n, 16)`` uint8, read-only; mapped unless the segment is small.

    Raises
    ------
    FileNotFoundError
        When the segment was replaced and deleted meanwhile: list again.
    StoreCorruptError
        When the file is not what the ``.json`` says.
    """
    return _open_array(segment, segment.keys_path, (segment.n, DIGEST_BYTES), np.dtype(np.uint8))


def read_rows(segment: Segment) -> np.ndarray:
    """A segment's rows, ``(n, d)``, read-only; mapped unless the segment is small.

    Raises
    ------
    FileNotFoundError, StoreCorruptError
        As `read_keys`.
    """
    return _open_array(segment, segment.rows_path, (segment.n, segment.d), np.dtype(segment.dtype))


def let_go(rows: np.ndarray) -> None:
    """Give back the memory of mapped rows: they are in memory again when they are next looked at.

    What was read of a mapped file counts as the process's memory until the system is short of it, though it is only the
    system's copy of the file. Does nothing for rows that are not mapped, nor where the system has no such call (Windows).
    """
    base: object = rows
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def is_intact(segment: Segment) -> bool:
    """Whether both files hold what was written, by their checksums.

    Raises
    ------
    FileNotFoundError
        When the segment was deleted meanwhile.
    """
    return (
        digest_file(segment.rows_path).hex() == segment.rows_digest
        and digest_file(segment.keys_path).hex() == segment.keys_digest
    )


def delete(folder: Path, name: str) -> None:
    """Delete a segment: its ``.json``, and from then on it is gone, then its arrays.

    Arrays that are in use stay (Windows); they belong to nothing and are swept later.

    Raises
    ------
    OSError
        When the ``.json`` cannot be deleted.
    """
    for suffix in SUFFIXES:
        try:
            os.unlink(folder / (name + suffix))
        except FileNotFoundError:
            continue
        except PermissionError:
            if suffix == ".json":
                raise


def check_format(record: Mapping[str, Any], where: Path) -> None:
    """Refuse what a newer featx wrote.

    Raises
    ------
    StoreFormatError
    """
    number = record.get("format")
    if number == FORMAT:
        return
    writer = record.get("featx", "another featx")
    raise StoreFormatError(
        f"{where}: store format {number!r}, written by featx {writer}; featx {__version__} reads format {FORMAT}. "
        "Upgrade featx (pip install --upgrade featx), or name another cache folder"
    )


def corrupt_error(path: Path, what: str) -> StoreCorruptError:
    """The error for a damaged file."""
    return StoreCorruptError(
        f"{path}: damaged ({what}). Run `featx cache verify --repair`: its rows are then computed again"
    )


def _open_array(segment: Segment, path: Path, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode=None if segment.is_small else "r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise corrupt_error(path, str(error)) from error
    if array.shape != shape or array.dtype != dtype:
        raise corrupt_error(
            path, f"expected {dtype} of shape {shape}, found {array.dtype} of shape {array.shape}"
        )
    array.flags.writeable = False
    return array.view(np.ndarray)  # a memmap's own bookkeeping costs time on every slice


def _read_segment(folder: Path, name: str) -> Segment | None:
    """None when it was deleted meanwhile or is damaged."""
    path = folder / f"{name}.json"
    try:
        record = json.loads(path.read_bytes())
        check_format(record, path)
        return from_record(folder, name, record)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def from_record(folder: Path, name: str, record: Mapping[str, Any]) -> Segment:
    """The segment that a ``.json`` describes.

    Raises
    ------
    KeyError, TypeError, ValueError
        When the record is not one.
    """
    np.dtype(record["dtype"])
    return Segment(
        time_ns=int(name.partition("-")[0]),
        name=name,
        folder=folder,
        n=int(record["n"]),
        d=int(record["d"]),
        dtype=record["dtype"],
        rows_digest=record["rows_blake3"],
        keys_digest=record["keys_blake3"],
        replaces=tuple(record["replaces"]),
    )
