"""One space: its folder seen as a table from keys to rows.

Owns reading and adding rows. The invariants: a row once read stays the same, because the oldest segment with
its key wins and segments are dated under the space's mutex, each later than all before; what `get` hands out
is never changed afterwards. Merging is in ``merging.py``,
checking and sweeping in ``upkeep.py``.

A space in memory is a snapshot: segments listed, indexed and opened. A new listing makes a new snapshot, so
threads share a `Space` without a lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.errors import StoreCorruptError, StoreError
from featx.store import claims, disk, locks, segments
from featx.store.digest import DIGEST_BYTES, Keys
from featx.store.drafts import write_draft
from featx.store.index import Index, Location, as_words, first_occurrences, groups
from featx.store.root import make_space
from featx.store.segments import Segment

__all__ = ["Space"]

_GATHER_BYTES = 512 << 10
_ATTEMPTS = 8
# Reading piece by piece is given up when the first few pieces are short on average.
_FEW_PIECES = 4
_LONG_PIECE = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    """Segments by number; rows are opened when they are first asked for."""

    index: Index = field(default_factory=Index.empty)
    listed: Mapping[int, Segment] = field(default_factory=dict)
    rows: dict[int, np.ndarray] = field(default_factory=dict)
    changed_ns: int = -1
    next_number: int = 0


class Space:
    """A space's folder, which need not exist yet.

    Parameters
    ----------
    folder : Path
    root : Path
        The store's, for messages.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self._snapshot = _Snapshot()

    def get(self, keys: Keys) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
        """Rows of those keys that are stored.

        Parameters
        ----------
        keys : (n, 16) uint8

        Returns
        -------
        rows : (m, d)
            Of the keys found, in their order. Read-only and mapped from disk, without a copy, when one segment holds
            exactly these keys in this order; otherwise a new array. Of shape (0, 0) while the space is empty.
        found : (n,) bool
        """
        snapshot = self._snapshot
        if snapshot.changed_ns != self._changed_ns():
            snapshot = self._refresh()
        for _ in range(_ATTEMPTS):
            try:
                rows = self._in_order(snapshot, keys)
                if rows is not None:
                    return rows, np.ones(len(keys), bool)
                location = snapshot.index.locate(keys)
                if (location.segment < 0).any():
                    newer = self._refresh()
                    if newer.listed != snapshot.listed:
                        snapshot = newer
                        location = snapshot.index.locate(keys)
                return self._gather(snapshot, location)
            except FileNotFoundError:
                # Merged and deleted by somebody since it was listed.
                snapshot = self._refresh()
        raise StoreError(
            f"{self.folder}: its files vanish while they are being read; is something deleting them?"
        )

    def let_go(self) -> None:
        """Give back the memory of mapped rows that were read."""
        for rows in list(self._snapshot.rows.values()):
            segments.let_go(rows)

    def live(self) -> tuple[Segment, ...]:
        """Segments by a fresh listing, oldest first."""
        return tuple(sorted(self._refresh().listed.values()))

    def everything(self) -> tuple[Keys, np.ndarray]:
        """All keys and their rows, oldest first."""
        snapshot = self._refresh()
        numbers = sorted(snapshot.index.age, key=snapshot.index.age.__getitem__)
        words = np.concatenate(
            [snapshot.index.words[number] for number in numbers] or [np.zeros((0, 2), np.uint64)]
        )
        first = first_occurrences(words)
        keys = (words if len(first) == len(words) else words[first]).view(np.uint8).reshape(-1, DIGEST_BYTES)
        return keys, self.get(keys)[0]

    def stored(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which keys are stored, by a fresh listing; ``(n,)`` bool."""
        return self._refresh().index.locate(keys).segment >= 0

    def put(self, keys: Keys, rows: np.ndarray, provenance: Mapping[str, Any]) -> Segment | None:
        """Store rows of keys that are not stored yet.

        Parameters
        ----------
        keys : (n, 16) uint8
            Of the same key twice the first row is taken.
        rows : (n, d)
        provenance : mapping

        Returns
        -------
        Segment or None
            None when everything was stored before.

        Raises
        ------
        StoreError
            Another d or dtype than the space's; no room; not writable.
        """
        first = first_occurrences(as_words(keys))
        n_vanished = 0
        with disk.writing(self.root, rows.nbytes + keys.nbytes):
            # Each round that publishes nothing has found keys that others stored meanwhile, so there is a last one.
            while True:
                now = self._refresh()
                self._check_shape(now, rows)
                first = first[now.index.locate(keys[first]).segment < 0]
                if not len(first):
                    return None
                everything = len(first) == len(keys)
                try:
                    segment = self._publish(
                        keys if everything else keys[first], rows if everything else rows[first], provenance
                    )
                except FileNotFoundError:
                    n_vanished += 1  # the space was deleted while we wrote to it
                    if n_vanished == _ATTEMPTS:
                        raise
                    continue
                if segment is not None:
                    return segment

    def claim(self, keys: Keys) -> claims.Claim:
        """Claim the keys that are neither stored nor being computed."""
        try:
            make_space(self.root, self.folder)
            with self.mutex() as held:
                stored = self.stored(keys)
                if held:
                    return claims.take_claim(self.folder, keys, stored)
                return claims.unshared_claim(keys, stored)
        except StoreError:
            raise
        except OSError:
            # A read-only store is still read.
            return claims.unshared_claim(keys, self.stored(keys))

    @contextmanager
    def mutex(self) -> Iterator[bool]:
        """Hold the space's mutex; False when only this process's threads are kept out."""
        with locks.exclusive(self.folder / segments.MUTEX) as held:
            yield bool(held)

    def _publish(self, keys: Keys, rows: np.ndarray, provenance: Mapping[str, Any]) -> Segment | None:
        """Write, then publish under the mutex; None when somebody stored one of the keys meanwhile."""
        make_space(self.root, self.folder)
        draft = write_draft(
            self.folder, keys, [rows], shape=rows.shape, dtype=rows.dtype, provenance=provenance
        )
        try:
            with self.mutex():
                now = self._refresh()
                if (now.index.locate(keys).segment >= 0).any():
                    return None
                newest = max((s.time_ns for s in now.listed.values()), default=0)
                return draft.publish(max(time.time_ns(), newest + 1))
        finally:
            draft.discard()

    def _check_shape(self, snapshot: _Snapshot, rows: np.ndarray) -> None:
        for segment in snapshot.listed.values():
            if segment.d != rows.shape[1] or np.dtype(segment.dtype) != rows.dtype:
                raise StoreError(
                    f"{self.folder}: holds rows of {segment.d} x {segment.dtype}, was given {rows.shape[1]} x "
                    f"{rows.dtype.str}. Rows of one feature space have one length: forget the space "
                    f"(`featx cache forget {self.folder.name}`), or use another one"
                )

    def _changed_ns(self) -> int:
        try:
            return os.stat(self.folder).st_mtime_ns
        except OSError:
            return -1

    def _refresh(self) -> _Snapshot:
        """List the folder again; the snapshot changes only when the segments did."""
        for _ in range(_ATTEMPTS):
            old = self._snapshot
            changed_ns = self._changed_ns()
            before = {segment.name: segment for segment in old.listed.values()}
            live = segments.list_folder(self.folder, before).live
            names = {segment.name for segment in live}
            removed = [number for number, segment in old.listed.items() if segment.name not in names]
            added = [segment for segment in live if segment.name not in before]
            if added and len({(segment.d, segment.dtype) for segment in live}) > 1:
                raise StoreCorruptError(
                    f"{self.folder}: holds rows of different lengths or dtypes. Forget the space "
                    f"(`featx cache forget {self.folder.name}`)"
                )
            try:
                opened = {
                    old.next_number + i: (
                        as_words(segments.read_keys(segment)),
                        (segment.time_ns, segment.name),
                    )
                    for i, segment in enumerate(added)
                }
            except FileNotFoundError:
                continue
            listed = {n: s for n, s in old.listed.items() if n not in removed}
            listed |= {old.next_number + i: segment for i, segment in enumerate(added)}
            rows = {n: r for n, r in old.rows.items() if n in listed}
            index = old.index.updated(opened, removed) if opened or removed else old.index
            self._snapshot = _Snapshot(index, listed, rows, changed_ns, old.next_number + len(added))
            return self._snapshot
        raise StoreError(
            f"{self.folder}: its files vanish while they are being read; is something deleting them?"
        )

    def _in_order(self, snapshot: _Snapshot, keys: Keys) -> np.ndarray | None:
        """Rows of keys that follow each other as they lie on disk, piece by piece; None when they do not.

        One piece is a view. It costs a search a piece and one comparison of the keys, instead of a search a key.
        """
        asked = as_words(keys)
        pieces: list[np.ndarray] = []
        done = 0
        while done < len(asked):
            if len(pieces) >= _FEW_PIECES and done < _LONG_PIECE * len(pieces):
                return None
            start = snapshot.index.locate(keys[done : done + 1])
            number, row = int(start.segment[0]), int(start.row[0])
            if number < 0 or number in snapshot.index.overlapping:
                return None
            there = snapshot.index.words[number][row : row + len(asked) - done]
            n_alike = _n_alike(there, asked[done : done + len(there)])
            pieces.append(self._rows(snapshot, number)[row : row + n_alike])
            done += n_alike
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else None

    def _gather(self, snapshot: _Snapshot, location: Location) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
        found = location.segment >= 0
        some = next(iter(snapshot.listed.values()), None)
        if some is None:
            return np.empty((0, 0), np.float32), found
        segment, row = location.segment[found], location.row[found]
        out = np.empty((len(row), some.d), np.dtype(some.dtype))
        # Rows pass through a buffer that stays in the processor's cache: numpy has no copy from places to places.
        buffer = np.empty((max(1, _GATHER_BYTES // max(1, out.itemsize * some.d)), some.d), out.dtype)
        for number, where in groups(segment):
            rows, at = self._rows(snapshot, number), row[where]
            if isinstance(where, slice):
                np.take(rows, at, axis=0, out=out, mode="clip")
                continue
            for start in range(0, len(at), len(buffer)):
                some_rows = at[start : start + len(buffer)]
                into = buffer[: len(some_rows)]
                out[where[start : start + len(buffer)]] = np.take(
                    rows, some_rows, axis=0, out=into, mode="clip"
                )
        return out, found

    def _rows(self, snapshot: _Snapshot, number: int) -> np.ndarray:
        rows = snapshot.rows.get(number)
        if rows is None:
            rows = snapshot.rows[number] = segments.read_rows(snapshot.listed[number])
        return rows


def _n_alike(some: np.ndarray, others: np.ndarray) -> int:
    """How many keys are alike from the beginning; at least the first one is."""
    # The last one first: of keys in another order it nearly always differs, and nothing else need be read.
    if (some[-1] == others[-1]).all() and np.array_equal(some, others):
        return len(some)
    n, step = 1, 64
    while n < len(some):
        alike = (some[n : n + step] == others[n : n + step]).all(axis=1)
        if not alike.all():
            return n + int(alike.argmin())
        n, step = n + step, 2 * step
    return len(some)
