"""Segments in the making: written under temporary names, published in one step or not at all.

Owns how a segment comes to be. The invariant: its ``.json`` is renamed into place last, after its arrays were synced,
renamed and found still there, so a crash at any moment leaves at worst files that belong to no segment.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from featx._version import __version__
from featx.store import disk
from featx.store.digest import Keys, digest_file
from featx.store.segments import FORMAT, SUFFIXES, Segment, from_record

__all__ = ["Draft", "write_draft"]


class Draft:
    """Rows and keys written and synced under temporary names, not yet part of the space.

    Made by `write_draft`. `publish` makes it a segment; `discard` removes whatever is left of it.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder = folder
        self._record = record
        self._stem = f"{disk.TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        self._renamed: list[Path] = []
        self._segment: Segment | None = None

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
            FileNotFoundError when the folder or the files were deleted meanwhile.
        """
        name = f"{time_ns:020d}-{os.getpid()}-{secrets.token_hex(8)}"
        segment = self._segment = from_record(self._folder, name, self._record)
        for suffix, target in ((".rows.npy", segment.rows_path), (".keys.npy", segment.keys_path)):
            os.rename(self.path(suffix), target)
            self._renamed.append(target)
        for target in self._renamed:
            os.stat(target)
        os.rename(self.path(".json"), segment.json_path)
        disk.sync_folder(self._folder)
        return segment

    def discard(self) -> None:
        """Remove what was not published; never raises."""
        left = [self.path(suffix) for suffix in SUFFIXES]
        # Asked of the disk: an interruption can fall between the last rename and any note of it.
        if self._segment is not None and not self._segment.json_path.exists():
            left += self._renamed
        for path in left:
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
        disk.write_file(rows_path, disk.npy_chunks(dtype, shape, blocks))
        disk.write_file(keys_path, disk.npy_chunks(np.dtype(np.uint8), keys.shape, [keys]))
        record["rows_blake3"] = digest_file(rows_path).hex()
        record["keys_blake3"] = digest_file(keys_path).hex()
        disk.write_file(draft.path(".json"), [json.dumps(record, indent=1).encode()])
    except BaseException:
        draft.discard()
        raise
    return draft
