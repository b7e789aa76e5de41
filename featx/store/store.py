"""The embedding store: a folder of spaces, each a table from content digests to rows.

Owns the root folder: its marker, the spaces in it, its size. The invariants: what was stored is found again and never
changes; many processes on many machines write to one folder without a server; a folder that is not a store is never made
into one. It knows nothing of images or models.

A store pickles as its root and equals every store with the same root.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featx._version import __version__
from featx.errors import ParameterError, StoreError, StoreFormatError
from featx.store import claims, locks, segments, upkeep
from featx.store.claims import Claim
from featx.store.digest import DIGEST_BYTES, Keys, canonical_json
from featx.store.space import Space
from featx.store.upkeep import SpaceReport

__all__ = ["Claim", "EmbeddingStore", "Report", "SpaceInfo", "SpaceReport"]

MARKER = "featx-store.json"
_DESCRIPTION = "space.json"
_LAST_USED = "last-used"
_TRASH = ".trash-"
_SPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")

# The use of a space is noted to the hour: pruning needs no more, and a warm run must not write for each window.
_NOTED_S = 3600.0
_PRUNE_SHARE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceInfo:
    """What a space holds.

    Attributes
    ----------
    id : str
    n_rows : int
    n_bytes : int
        Of all its files on disk.
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


@dataclass(frozen=True, slots=True)
class Report:
    """What `EmbeddingStore.verify` found, space by space."""

    spaces: Mapping[str, SpaceReport]

    @property
    def ok(self) -> bool:
        """Whether every checksum holds."""
        return not any(report.corrupt for report in self.spaces.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {"ok": self.ok, "spaces": {name: asdict(report) for name, report in self.spaces.items()}}

    def __str__(self) -> str:
        lines = []
        for name, report in self.spaces.items():
            state = "ok" if not report.corrupt else f"{len(report.corrupt)} DAMAGED: {', '.join(report.corrupt)}"
            lines.append(f"{name}: {report.n_rows:,} rows in {report.n_segments} segments, {state}")
            if report.orphans:
                lines.append(f"  {len(report.orphans)} files belong to no segment")
            if report.removed:
                lines.append(f"  removed {len(report.removed)}")
        return "\n".join(lines) or "no spaces"


class EmbeddingStore:
    """Rows found by content, on disk.

    Nothing is written before the first `put` or `describe`.

    Parameters
    ----------
    root : path
        The store's folder. Created when missing, with mode 0700: rows derive from files that may be sensitive.
    max_bytes : int, optional
        Size cap. Past it, the spaces that were not used for longest are deleted as new rows come in, never the one
        being written to, nor one somebody is computing for.
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
        self._create = create
        self._spaces: dict[str, Space] = {}
        self._noted_s: dict[str, float] = {}
        self._n_bytes_unchecked = 0
        if not _check_root(self.root) and not create:
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
        path = folder / _DESCRIPTION
        if path.exists():
            return
        canonical_json(description)
        data = json.dumps(
            {"format": segments.FORMAT, "space": space, "description": dict(description)}, indent=1
        )
        with segments.writing(self.root, len(data)):
            self._make_root()
            folder.mkdir(exist_ok=True)
            _write_once(path, data.encode())

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
        if rows.ndim != 2 or len(rows) != len(keys) or rows.dtype.hasobject:
            raise ParameterError(
                f"rows of shape {rows.shape} and dtype {rows.dtype}: expected ({len(keys)}, d) numbers, one row a key"
            )
        canonical_json(dict(provenance or {}))
        if not len(keys):
            return
        at = self._space(space)
        with segments.writing(self.root, rows.nbytes + keys.nbytes):
            self._make_root()
        segment = at.put(keys, rows, provenance or {})
        if segment is None:
            return
        self._note_use(space)
        while upkeep.merge_young(at.folder):
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
        with suppress(OSError):
            self._make_root()
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
        return upkeep.merge(folder) if folder.is_dir() else 0

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
        infos = sorted(self.spaces(), key=lambda info: info.last_used_s)
        total = sum(info.n_bytes for info in infos)
        if total > max_bytes:
            for info in infos:
                upkeep.sweep(self.root / info.id, older_than_s=0.0)
            total = sum(_folder_bytes(self.root / info.id) for info in infos)
        deleted = []
        for info in infos:
            if total <= max_bytes:
                break
            folder = self.root / info.id
            if info.id == keep or claims.has_live_claims(folder):
                continue
            size = _folder_bytes(folder)
            self._delete_space(info.id)
            total -= size
            deleted.append(info.id)
        return deleted

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
            return upkeep.forget(at.folder, _checked_keys(keys)) if at.folder.is_dir() else 0
        n_rows = sum(segment.n for segment in segments.list_segments(at.folder)[0])
        with segments.writing(self.root, 0):
            self._delete_space(space)
        return n_rows

    def spaces(self) -> list[SpaceInfo]:
        """What the store holds, by id.

        Returns
        -------
        list of SpaceInfo
        """
        return [self._info(name) for name in self._names()]

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

    def _info(self, name: str) -> SpaceInfo:
        folder = self.root / name
        description: Mapping[str, Any] = {}
        with suppress(FileNotFoundError, json.JSONDecodeError):
            description = json.loads((folder / _DESCRIPTION).read_bytes())["description"]
        return SpaceInfo(
            id=name,
            n_rows=sum(segment.n for segment in segments.list_segments(folder)[0]),
            n_bytes=_folder_bytes(folder),
            last_used_s=_last_used_s(folder),
            description=description,
        )

    def _make_root(self) -> None:
        """Create the root and its marker, unless they are there."""
        marker = self.root / MARKER
        if marker.exists():
            return
        if not self.root.exists():
            os.makedirs(self.root, mode=0o700, exist_ok=True)
        _check_root(self.root)
        _write_once(marker, json.dumps({"format": segments.FORMAT, "featx": __version__}).encode())

    def _note_use(self, space: str) -> None:
        now_s = time.monotonic()
        if now_s - self._noted_s.get(space, -_NOTED_S) < _NOTED_S:
            return
        self._noted_s[space] = now_s
        with suppress(OSError):  # a read-only store is still read
            (self.root / space / _LAST_USED).touch()

    def _keep_below_cap(self, space: str, n_written: int) -> None:
        if self.max_bytes is None:
            return
        self._n_bytes_unchecked += n_written
        if self._n_bytes_unchecked * _PRUNE_SHARE >= self.max_bytes:
            self._n_bytes_unchecked = 0
            self.prune(self.max_bytes, keep=space)

    def _delete_space(self, space: str) -> None:
        """Move the folder out of sight in one step, then delete it."""
        folder = self.root / space
        trash = self.root / f"{_TRASH}{secrets.token_hex(8)}"
        try:
            with locks.exclusive(folder / segments.MERGE_LOCK), locks.exclusive(folder / segments.MUTEX):
                os.rename(folder, trash)
        except FileNotFoundError:
            return
        except PermissionError:
            if os.name == "posix":
                raise
            trash = folder  # Windows renames no folder with a file in use: delete what can be
        shutil.rmtree(trash, ignore_errors=True)


def _open_store(root: str, max_bytes: int | None) -> EmbeddingStore:
    return EmbeddingStore(root, max_bytes=max_bytes)


def _check_root(root: Path) -> bool:
    """Whether there is a store at ``root``; an error when there is something else."""
    marker = root / MARKER
    try:
        record = json.loads(marker.read_bytes())
    except NotADirectoryError as error:
        raise StoreFormatError(f"{root}: is a file, expected a folder for the embedding store") from error
    except json.JSONDecodeError as error:
        raise StoreFormatError(
            f'{marker}: not readable as JSON ({error}). If this is a featx store, write {{"format": 1}} to it'
        ) from error
    except FileNotFoundError:
        foreign = [name for name in _listed(root) if not name.startswith(".")]
        if foreign:
            raise StoreFormatError(
                f"{root}: not an embedding store: it holds {foreign[0]!r} but no {MARKER}. Name a new or empty folder"
            ) from None
        return False
    segments.check_format(record, marker)
    return True


def _listed(root: Path) -> list[str]:
    try:
        return sorted(os.listdir(root))
    except FileNotFoundError:
        return []


def _write_once(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; whoever comes second replaces it by the same."""
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        segments.write_file(temporary, [data])
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _folder_bytes(folder: Path) -> int:
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


def _checked_keys(keys: Keys) -> Keys:
    array = np.asarray(keys)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != DIGEST_BYTES:
        raise ParameterError(
            f"keys of shape {array.shape} and dtype {array.dtype}: expected (n, {DIGEST_BYTES}) uint8"
        )
    return np.ascontiguousarray(array)
