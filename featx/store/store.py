"""The embedding store: a folder of spaces, each a table from content digests to rows.

Owns the root folder: its marker, the spaces in it, its size. The invariants: what was stored is found again
and never changes; many processes on many machines write to one folder without a server; a folder that is not
a store is never made into one. It knows nothing of images or models.

A store pickles as its root and equals every store with the same root.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.errors import ParameterError, StoreError
from featx.store import disk, merging, segments, upkeep, usage
from featx.store.claims import Claim, unshared_claim
from featx.store.digest import DIGEST_BYTES, Keys, canonical_json
from featx.store.root import check_root, make_root, make_space
from featx.store.space import Space
from featx.store.upkeep import Report, SpaceReport
from featx.store.usage import SpaceInfo

__all__ = ["Claim", "EmbeddingStore", "Report", "SpaceInfo", "SpaceReport"]

logger = logging.getLogger("featx")

_SPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")

# The use of a space is noted to the hour: pruning needs no more, and a warm run must not write all the time.
_NOTED_S = 3600.0
_CHECKS_A_CAP = 20


class EmbeddingStore:
    """Rows found by content, on disk.

    Nothing is written before the first `put` or `describe`.

    Parameters
    ----------
    root : path
        The store's folder. Created when missing, with mode 0700: rows derive from files that may be sensitive.
    max_bytes : int, optional
        Size cap. Past it, the spaces that were not used for longest are deleted as new rows come in, never
        the one being written to, nor one somebody is computing for.
    create : bool
        False refuses a root that does not exist.

    Raises
    ------
    StoreFormatError
        When the folder was written by a newer featx, or holds something else than a store.
    StoreError
        When it does not exist and ``create`` is False.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featx.store.digest import digest_bytes, keys_array
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = EmbeddingStore(folder.name)
    >>> keys = keys_array([digest_bytes(b"one"), digest_bytes(b"two")])
    >>> store.put("space", keys, np.ones((2, 3), np.float32))
    >>> rows, found = store.get("space", keys[::-1])
    >>> rows.shape, found.tolist()
    ((2, 3), [True, True])
    >>> folder.cleanup()
    """

    def __init__(
        self, root: str | os.PathLike[str], *, max_bytes: int | None = None, create: bool = True
    ) -> None:
        if max_bytes is not None and max_bytes < 0:
            raise ParameterError(f"max_bytes={max_bytes}: expected None or a number of bytes >= 0")
        self.root = Path(root).expanduser().resolve()
        self.max_bytes = max_bytes
        self._spaces: dict[str, Space] = {}
        self._noted_s: dict[str, float] = {}
        self._swept: set[str] = set()
        self._n_bytes_unchecked = max_bytes or 0  # the first put of a process always looks at the size
        if not check_root(self.root) and not create:
            raise StoreError(f"{self.root}: no embedding store here")

    def describe(self, space: str, description: Mapping[str, Any]) -> None:
        """Say once what a space means; later calls change nothing.

        Parameters
        ----------
        space : str
            Its id: letters, digits, ``.``, ``_`` and ``-``.
        description : mapping
            What JSON can say.

        Raises
        ------
        ParameterError
            Another id, or not JSON.
        StoreNotWritableError, StoreError
        """
        folder = self._space(space).folder
        path = folder / usage.DESCRIPTION
        if path.exists():
            return
        canonical_json(description)
        data = json.dumps(
            {"format": segments.FORMAT, "space": space, "description": dict(description)}, indent=1
        )
        with disk.writing(self.root, len(data)):
            make_space(self.root, folder)
            disk.write_once(path, data.encode())

    def get(self, space: str, keys: Keys) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
        """Rows of those keys that are stored.

        Parameters
        ----------
        space : str
        keys : (n, 16) uint8

        Returns
        -------
        rows : (m, d)
            Of the m keys found, in their order. A read-only view of the file, without a copy, when one segment holds
            exactly these keys in this order; otherwise a new array. Of shape (0, 0) while the space is empty.
        found : (n,) bool

        Raises
        ------
        StoreCorruptError
            When a file is shorter than it was.
        StoreFormatError
            When a newer featx wrote to the space.
        """
        rows, found = self._space(space).get(_checked_keys(keys))
        if len(rows):
            self._note_use(space)
        return rows, found

    def let_go(self, space: str) -> None:
        """Give back the memory that reading mapped rows took; rows handed out stay valid.

        For whoever copies more rows than should count as this process's memory at one time. Reading them again finds them
        in the system's file cache.

        Parameters
        ----------
        space : str
        """
        self._space(space).let_go()

    def put(
        self, space: str, keys: Keys, rows: np.ndarray, *, provenance: Mapping[str, Any] | None = None
    ) -> None:
        """Store rows; of the same key twice the oldest row stays.

        Parameters
        ----------
        space : str
        keys : (n, 16) uint8
        rows : (n, d)
            Of one d and dtype throughout a space. Values are not judged.
        provenance : mapping, optional
            Noted in the segment: device, versions, anything JSON can say.

        Raises
        ------
        ParameterError
            When the shapes do not fit each other, or the provenance is not JSON.
        StoreError
            Another d or dtype than the space's; no room (nothing stored before is lost).
        StoreNotWritableError
        """
        keys = _checked_keys(keys)
        rows = np.asarray(rows)
        if rows.ndim != 2 or len(rows) != len(keys) or rows.dtype.kind not in "biufc":
            raise ParameterError(
                f"rows of shape {rows.shape} and dtype {rows.dtype}: expected ({len(keys)}, d) numbers, one row "
                "a key"
            )
        rows = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
        canonical_json(dict(provenance or {}))
        if not len(keys):
            return
        at = self._space(space)
        with disk.writing(self.root, rows.nbytes + keys.nbytes):
            make_root(self.root)
        segment = at.put(keys, rows, provenance or {})
        if segment is None:
            return
        self._note_use(space)
        if space not in self._swept:
            self._swept.add(space)
            upkeep.sweep(at.folder)
        while merging.merge_young(at.folder, at.live()):
            pass
        self._keep_below_cap(space, segment.n_bytes)

    def claim(self, space: str, keys: Keys) -> Claim:
        """Claim what is neither stored nor being computed by somebody else.

        Parameters
        ----------
        space : str
        keys : (n, 16) uint8

        Returns
        -------
        Claim
            ``claim.mine`` is True where the caller is to compute the row. Use it in a ``with``: put the rows, call
            ``claim.wait()``, look up the rest. Without working locks every key that is not stored is the caller's.
        """
        keys = _checked_keys(keys)
        try:
            make_root(self.root)
        except StoreError:
            raise
        except OSError:
            # Read-only, or full before it holds its marker. Nothing more is made: a space in a folder without a marker would
            # be taken for somebody else's folder from then on.
            return unshared_claim(keys, self._space(space).stored(keys))
        return self._space(space).claim(keys)

    def export(self, space: str) -> tuple[Keys, np.ndarray]:
        """All keys and rows of a space, oldest first.

        Parameters
        ----------
        space : str

        Returns
        -------
        keys : (n, 16) uint8
        rows : (n, d)
            A read-only view of the file when the space is one segment (`merge`), otherwise a new array.
        """
        return self._space(space).everything()

    def merge(self, space: str) -> int:
        """Merge the segments of a space into one.

        Returns
        -------
        int
            How many there were.

        Raises
        ------
        StoreError
            A damaged segment, or no room.
        """
        folder = self._space(space).folder
        return merging.merge(folder) if folder.is_dir() else 0

    def verify(self, *, repair: bool = False) -> Report:
        """Recompute every checksum.

        Parameters
        ----------
        repair : bool
            Remove damaged segments (their rows are then computed again) and files days old that belong to none.

        Returns
        -------
        Report
        """
        return Report({name: upkeep.verify(self.root / name, repair=repair) for name in self._names()})

    def prune(self, max_bytes: int, *, keep: str | None = None) -> list[str]:
        """Delete the spaces that were not used for longest until the rest fits.

        Parameters
        ----------
        max_bytes : int
        keep : str, optional
            A space to leave alone. Those that somebody is computing for stay as well.

        Returns
        -------
        list of str
            Ids of the deleted spaces.
        """
        with disk.writing(self.root):
            return usage.make_room([self.root / name for name in self._names()], max_bytes, keep=keep)

    def forget(self, space: str, keys: Keys | None = None) -> int:
        """Delete rows for good, or a whole space.

        Parameters
        ----------
        space : str
        keys : (n, 16) uint8, optional
            None deletes the space.

        Returns
        -------
        int
            Rows deleted. Another process that has them mapped sees them until it looks again.

        Raises
        ------
        StoreError
        """
        at = self._space(space)
        if keys is not None:
            return merging.forget(at.folder, _checked_keys(keys)) if at.folder.is_dir() else 0
        n_rows = sum(segment.n for segment in segments.list_folder(at.folder).live)
        with disk.writing(self.root):
            usage.delete_space(at.folder)
        return n_rows

    def spaces(self) -> list[SpaceInfo]:
        """What the store holds, by id.

        Returns
        -------
        list of SpaceInfo
        """
        return [usage.space_info(self.root / name) for name in self._names()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmbeddingStore) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        cap = "" if self.max_bytes is None else f", max_bytes={self.max_bytes}"
        return f"EmbeddingStore({str(self.root)!r}{cap})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_store, (str(self.root), self.max_bytes)

    def _space(self, name: str) -> Space:
        try:
            return self._spaces[name]
        except KeyError:
            if not _SPACE_NAME.fullmatch(name):
                raise ParameterError(
                    f"{name!r} cannot name a space: expected letters, digits, '.', '_' and '-'"
                ) from None
            return self._spaces.setdefault(name, Space(self.root / name, self.root))

    def _names(self) -> list[str]:
        try:
            entries = list(os.scandir(self.root))
        except FileNotFoundError:
            return []
        return sorted(entry.name for entry in entries if _SPACE_NAME.fullmatch(entry.name) and entry.is_dir())

    def _note_use(self, space: str) -> None:
        now_s = time.monotonic()
        if now_s - self._noted_s.get(space, -_NOTED_S) >= _NOTED_S:
            self._noted_s[space] = now_s
            usage.note_use(self.root / space)

    def _keep_below_cap(self, space: str, n_written: int) -> None:
        if self.max_bytes is None:
            return
        self._n_bytes_unchecked += n_written
        if self._n_bytes_unchecked * _CHECKS_A_CAP >= self.max_bytes:
            self._n_bytes_unchecked = 0
            try:
                self.prune(self.max_bytes, keep=space)
            except StoreError as error:  # the rows are stored all the same
                logger.debug("%s: not pruned: %s", self.root, error)


def _open_store(root: str, max_bytes: int | None) -> EmbeddingStore:
    return EmbeddingStore(root, max_bytes=max_bytes)


def _checked_keys(keys: Keys) -> Keys:
    array = np.asarray(keys)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != DIGEST_BYTES:
        raise ParameterError(
            f"keys of shape {array.shape} and dtype {array.dtype}: expected (n, {DIGEST_BYTES}) uint8"
        )
    return np.ascontiguousarray(array)
