"""One immutable segment of a space: written, published, listed, opened, checked, deleted.

Owns the names and the format of a segment's three files, and every write that the store makes. The invariants: a
segment exists once its ``.json`` does, which is renamed into place last, after its arrays were found still there;
nothing published is ever written to or truncated; every array opens with ``numpy.load(mmap_mode="r")`` alone. It
refuses segments of a format it does not know.

A segment is named ``<time>-<pid>-<random>``: nanoseconds since 1970 in twenty digits, so that names sort by age.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx._version import __version__
from featx.errors import StoreCorruptError, StoreError, StoreFormatError, StoreNotWritableError
from featx.store.digest import DIGEST_BYTES, Keys, digest_file

__all__ = [
    "FORMAT",
    "MERGE_LOCK",
    "MUTEX",
    "SMALL_BYTES",
    "Draft",
    "Segment",
    "check_format",
    "delete",
    "is_intact",
    "is_own_name",
    "list_segments",
    "now_ns",
    "read_keys",
    "read_rows",
    "sync_folder",
    "write_draft",
    "write_file",
    "writing",
]

FORMAT = 1
"""Number of the format, of the store and of each segment. Raising it: keep reading every older number, put a store of
the old format under ``tests/data``, and say in ``CHANGELOG.md`` which featx reads it."""

SMALL_BYTES = 1 << 20
"""Segments up to this many bytes are read into memory, never mapped. Nobody can then be looking at their files,
so replaced ones are deleted at once, on any platform and file system."""

MUTEX = "mutex.lock"
"""File of a space's mutex. It is held for a moment: while a segment is dated and renamed into place, while replaced ones
are deleted, and while a claim is taken."""

MERGE_LOCK = "merge.lock"
"""File of a space's lock on upkeep, held as long as that takes. Who needs both takes this one first."""

_SUFFIXES = (".json", ".rows.npy", ".keys.npy")
_NAME = re.compile(r"\d{20}-\d+-[0-9a-f]+")
_TEMPORARY = ".tmp-"
_WRITE_BYTES = 16 << 20
_NO_ROOM = (
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
)
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


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


class Draft:
    """Rows and keys written and synced under temporary names, not yet part of the space.

    Made by `write_draft`. `publish` makes it a segment; `discard` removes whatever is left of it.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder = folder
        self._record = record
        self._stem = f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        self._published: list[Path] = []

    def path(self, suffix: str) -> Path:
        return self._folder / (self._stem + suffix)

    def publish(self, time_ns: int) -> Segment:
        """Give the files their names, the ``.json`` last.

        Parameters
        ----------
        time_ns : int
            The segment's age; decided by the caller, under the space's mutex.

        Returns
        -------
        Segment

        Raises
        ------
        OSError
            FileNotFoundError when the folder or the temporary files were deleted meanwhile.
        """
        name = f"{time_ns:020d}-{os.getpid()}-{secrets.token_hex(8)}"
        segment = _from_record(self._folder, name, self._record)
        for suffix, target in ((".rows.npy", segment.rows_path), (".keys.npy", segment.keys_path)):
            os.rename(self.path(suffix), target)
            self._published.append(target)
        for target in (segment.rows_path, segment.keys_path):
            os.stat(target)
        os.rename(self.path(".json"), segment.json_path)
        self._published.clear()
        sync_folder(self._folder)
        return segment

    def discard(self) -> None:
        """Remove what was not published; never raises."""
        for path in [*self._published, *(self.path(suffix) for suffix in _SUFFIXES)]:
            with suppress(OSError):
                os.unlink(path)


def write_draft(
    folder: Path,
    keys: Keys,
    blocks: Iterable[np.ndarray],
    *,
    shape: tuple[int, int],
    dtype: np.dtype,
    provenance: Mapping[str, Any] | None = None,
    replaces: Sequence[str] = (),
) -> Draft:
    """Write rows and keys under temporary names and sync them.

    Parameters
    ----------
    folder : Path
        The space's folder; exists.
    keys : (n, 16) uint8
    blocks : iterable of (m, d) arrays
        The rows in order, n in all; one block at a time is in memory.
    shape : (n, d)
    dtype : numpy dtype
        Of the rows; blocks are converted to it.
    provenance : mapping, optional
        Anything JSON can say about how the rows came about.
    replaces : sequence of str
        Names of segments whose rows these are.

    Returns
    -------
    Draft

    Raises
    ------
    OSError
        When a file cannot be written; what was written is removed first.
    """
    n, d = shape
    record: dict[str, Any] = {
        "format": FORMAT,
        "featx": __version__,
        "n": n,
        "d": d,
        "dtype": dtype.str,
        "replaces": list(replaces),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "provenance": dict(provenance or {}),
    }
    draft = Draft(folder, record)
    try:
        rows_path, keys_path = draft.path(".rows.npy"), draft.path(".keys.npy")
        write_file(rows_path, _npy(dtype, shape, blocks))
        write_file(keys_path, _npy(np.dtype(np.uint8), keys.shape, [keys]))
        record["rows_blake3"] = digest_file(rows_path).hex()
        record["keys_blake3"] = digest_file(keys_path).hex()
        write_file(draft.path(".json"), [json.dumps(record, indent=1).encode()])
    except BaseException:
        draft.discard()
        raise
    return draft


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a new file and sync it to disk. The one place where the store writes content."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    fd = os.open(path, flags, 0o666)
    try:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while len(view):
                view = view[os.write(fd, view[:_WRITE_BYTES]) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut, where folders can be synced (not on Windows)."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def is_own_name(file: str) -> bool:
    """Whether a file's name is one that this module gives, to temporary files and to published ones."""
    stem = next((file[: -len(suffix)] for suffix in _SUFFIXES if file.endswith(suffix)), "")
    return file.startswith(_TEMPORARY) or _NAME.fullmatch(stem) is not None


def now_ns() -> int:
    """This machine's time, for naming segments."""
    return time.time_ns()


def list_segments(
    folder: Path, known: Mapping[str, Segment] | None = None
) -> tuple[list[Segment], list[Segment]]:
    """Segments in a folder.

    Parameters
    ----------
    folder : Path
        May be missing.
    known : mapping of name -> Segment, optional
        Segments listed before, which never change: their files are not read again.

    Returns
    -------
    live : list of Segment
        Oldest first.
    replaced : list of Segment
        Still there, but their rows are in a live one.

    Raises
    ------
    StoreFormatError
        When one was written in a newer format.
    """
    try:
        names = set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    found: list[Segment] = []
    for file in names:
        stem = file[: -len(".json")]
        if not file.endswith(".json") or not _NAME.fullmatch(stem):
            continue
        if f"{stem}.rows.npy" not in names or f"{stem}.keys.npy" not in names:
            continue
        segment = (known or {}).get(stem) or _read_segment(folder, stem)
        if segment is not None:
            found.append(segment)
    found.sort()
    dead = {name for segment in found for name in segment.replaces}
    return [s for s in found if s.name not in dead], [s for s in found if s.name in dead]


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


def delete(segment: Segment) -> bool:
    """Delete a segment's files, its ``.json`` first; False when one of them is in use (Windows)."""
    deleted = True
    for path in (segment.json_path, segment.rows_path, segment.keys_path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except PermissionError:
            deleted = False
    return deleted


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


@contextmanager
def writing(root: Path, n_bytes: int) -> Iterator[None]:
    """Turn the errors of a write below ``root`` into the store's own.

    Parameters
    ----------
    root : Path
        Named in messages.
    n_bytes : int
        How much the write needs.

    Raises
    ------
    StoreNotWritableError, StoreError
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreError(
                f"{root}: no room left for {n_bytes:,} bytes ({_free_words(root)}). Nothing stored before is lost. "
                "Free some space (`featx cache prune` gives back what was not used lately), or name another "
                "cache folder"
            ) from error
        if error.errno in _REFUSED:
            raise StoreNotWritableError(
                f"{root}: the store cannot be written ({error.strerror}). Make the folder writable, name another "
                "one, or pass cache=None to go without"
            ) from error
        raise StoreError(f"{root}: writing failed: {error}. Nothing stored before is lost") from error


def _free_words(root: Path) -> str:
    try:
        return f"{shutil.disk_usage(root).free:,} bytes are free"
    except OSError:
        return "the file system is full"


def _npy(
    dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> Iterator[bytes | memoryview]:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    yield header.getvalue()
    for block in blocks:
        if block.size:
            yield memoryview(np.ascontiguousarray(block, dtype=dtype).reshape(-1).view(np.uint8))


def _open_array(segment: Segment, path: Path, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode=None if segment.is_small else "r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise StoreCorruptError(_corrupt_words(path, str(error))) from error
    if array.shape != shape or array.dtype != dtype:
        raise StoreCorruptError(
            _corrupt_words(
                path, f"expected {dtype} of shape {shape}, found {array.dtype} of shape {array.shape}"
            )
        )
    array.flags.writeable = False
    return array.view(np.ndarray)  # a memmap's own bookkeeping costs time on every slice


def _corrupt_words(path: Path, what: str) -> str:
    return f"{path}: damaged ({what}). Run `featx cache verify --repair`: its rows are then computed again"


def _read_segment(folder: Path, name: str) -> Segment | None:
    """None when it was deleted meanwhile, or was cut short by a crash of the machine."""
    path = folder / f"{name}.json"
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    check_format(record, path)
    return _from_record(folder, name, record)


def _from_record(folder: Path, name: str, record: Mapping[str, Any]) -> Segment:
    return Segment(
        time_ns=int(name.partition("-")[0]),
        name=name,
        folder=folder,
        n=record["n"],
        d=record["d"],
        dtype=record["dtype"],
        rows_digest=record["rows_blake3"],
        keys_digest=record["keys_blake3"],
        replaces=tuple(record["replaces"]),
    )
