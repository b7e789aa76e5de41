"""Bytes onto disk: files written whole and synced, npy arrays block by block, errors in the store's own words.

Owns every write of content that the store makes. The invariant: a file written here is complete and on disk
when the call returns. It refuses to overwrite.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from featx.errors import StoreError, StoreNotWritableError

__all__ = ["TEMPORARY", "npy_chunks", "sync_folder", "write_file", "write_once", "writing"]

TEMPORARY = ".tmp-"
"""How the names of unfinished files begin."""

_WRITE_BYTES = 16 << 20
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a new file and sync it.

    Parameters
    ----------
    path : Path
        Of no existing file.
    chunks : iterable of bytes-like
        Its content.

    Raises
    ------
    OSError
        What was written stays: the caller removes it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    fd = os.open(path, flags, 0o666)
    try:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while len(view):
                view = view[os.write(fd, view[:_WRITE_BYTES]) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def write_once(path: Path, data: bytes) -> None:
    """Write a small file that appears whole or not at all; of two writers the later one wins.

    Raises
    ------
    OSError
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        write_file(temporary, [data])
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def npy_chunks(
    dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> Iterator[bytes | memoryview]:
    """The content of an npy file, without ever holding the whole array.

    Parameters
    ----------
    dtype : numpy dtype
    shape : tuple of int
    blocks : iterable of arrays
        One below the other they are the array.

    Yields
    ------
    bytes-like
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    yield header.getvalue()
    for block in blocks:
        if block.size:
            yield np.ascontiguousarray(block, dtype=dtype).reshape(-1).view(np.uint8).data


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut, where folders can be synced (not on Windows)."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def writing(root: Path, n_bytes: int = 0) -> Iterator[None]:
    """Turn the errors of writing below ``root`` into the store's own.

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
                f"{root}: no room for {n_bytes:,} more bytes ({_free_words(root)}). Nothing stored before is lost. "
                "Free some space (`featx cache prune` gives back what was not used lately), or name another "
                "cache folder"
            ) from error
        if error.errno in _REFUSED:
            raise StoreNotWritableError(
                f"{root}: the store cannot be written ({error.strerror}). Make the folder writable, name another "
                "one, or pass cache=None to go without"
            ) from error
        raise StoreError(f"{root}: writing failed ({error}). Nothing stored before is lost") from error


def _free_words(root: Path) -> str:
    try:
        return f"{shutil.disk_usage(root).free:,} bytes are free"
    except OSError:
        return "the file system is full"
