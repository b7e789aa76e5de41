"""Segments written anew: merged, or without the rows that are to be forgotten.

Owns how published segments replace each other. The invariants: a segment is published before what it replaces
is deleted, so no row is ever missing in between; a merge takes neighbours in age and the result has the age
of the oldest, so a row once read stays the same; what a checksum does not hold for is never written into
something that looks sound.

Merging goes by size. After a put, the longest row of youngest segments is merged in which none holds more than a
quarter of the bytes: each time a row is copied its segment grows at least fourfold, so a row is copied O(log n) times.
Of puts of like size O(log n) segments remain. Sizes can be made up so that hardly anything is ever balanced, so beyond
64 segments all are merged. Replaced segments that were small enough never to be mapped are deleted at once, the others
a day later, by `upkeep.sweep`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from featx.errors import StoreCorruptError
from featx.store import disk, locks, segments
from featx.store.digest import Keys
from featx.store.drafts import write_draft
from featx.store.index import Index, as_words, first_occurrences
from featx.store.segments import Segment
from featx.store.upkeep import sweep

__all__ = ["forget", "merge", "merge_young", "plan_merge"]

logger = logging.getLogger("featx")

MIN_MERGED = 8
"""Fewer segments than this are left alone."""

MAX_SEGMENTS = 64
"""More than this are merged, balanced or not, as far as `MAX_MERGED_BYTES` allows."""

MAX_MERGED_BYTES = 512 << 20
"""What a put merges stays below this, so that no put copies for long. `merge` knows no limit."""

_BLOCK_BYTES = 8 << 20
_reported: set[str] = set()


def plan_merge(sizes: Sequence[int]) -> int | None:
    """Which of the youngest segments to merge.

    Parameters
    ----------
    sizes : sequence of int
        Bytes of each segment, oldest first.

    Returns
    -------
    int or None
        All from this position on are to be merged.

    Examples
    --------
    >>> plan_merge([100, 1, 1, 1, 1, 1, 1, 1, 1])
    1
    >>> plan_merge([100, 1, 1, 1]) is None
    True
    """
    start, total, largest = None, 0, 0
    n = len(sizes)
    for position in range(n - 1, -1, -1):
        total += sizes[position]
        largest = max(largest, sizes[position])
        if total > MAX_MERGED_BYTES:
            break
        balanced = n - position >= MIN_MERGED and 4 * largest <= total
        if balanced or n - position > MAX_SEGMENTS:
            start = position
    return start


def merge_young(folder: Path, live: Sequence[Segment]) -> bool:
    """Merge young segments if there are enough of like size.

    Never raises: the rows are stored as they are. Does nothing while somebody else merges.

    Parameters
    ----------
    folder : Path
    live : sequence of Segment
        As last listed, oldest first.

    Returns
    -------
    bool
        Whether it merged.
    """
    if plan_merge([segment.n_bytes for segment in live]) is None:
        return False
    try:
        with locks.exclusive(folder / segments.MERGE_LOCK, wait=False) as free:
            if free is None:
                return False
            live = segments.list_folder(folder, {segment.name: segment for segment in live}).live
            start = plan_merge([segment.n_bytes for segment in live])
            if start is None:
                return False
            _merge(folder, live[start:])
            sweep(folder)
    except StoreCorruptError as error:
        if str(error) not in _reported:
            _reported.add(str(error))
            logger.warning("%s", error)
        return False
    except OSError as error:  # no room, or deleted by another upkeep
        logger.debug("%s: merging put off: %s", folder, error)
        return False
    return True


def merge(folder: Path) -> int:
    """Merge all segments into one.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    StoreError
        One is damaged, or no room.
    """
    with disk.writing(folder), locks.exclusive(folder / segments.MERGE_LOCK):
        live = segments.list_folder(folder).live
        if len(live) > 1:
            with disk.writing(folder, sum(segment.n_bytes for segment in live)):
                _merge(folder, live)
        sweep(folder)
    return len(live)


def forget(folder: Path, keys: Keys) -> int:
    """Delete rows for good: the segments that hold them are written anew without them.

    Parameters
    ----------
    folder : Path
    keys : (n, 16) uint8

    Returns
    -------
    int
        Rows removed.

    Raises
    ------
    StoreError
        No room, not writable, or a damaged segment.
    """
    unwanted = Index.empty().updated({0: (as_words(keys), (0, ""))})
    n_removed = 0
    with disk.writing(folder), locks.exclusive(folder / segments.MERGE_LOCK):
        listing = segments.list_folder(folder)
        for segment in listing.replaced:  # they hold the same rows once more
            segments.delete(folder, segment.name)
        for segment in listing.live:
            keep = unwanted.locate(segments.read_keys(segment)).segment < 0
            if keep.all():
                continue
            _require_intact(segment)
            n_removed += int((~keep).sum())
            if keep.any():
                with disk.writing(folder, segment.n_bytes):
                    _rewrite(folder, [segment], [np.flatnonzero(keep)])
            with locks.exclusive(folder / segments.MUTEX):
                segments.delete(folder, segment.name)
    return n_removed


def _merge(folder: Path, sources: Sequence[Segment]) -> None:
    for segment in sources:
        _require_intact(segment)
    words = np.concatenate([as_words(segments.read_keys(segment)) for segment in sources])
    first = np.zeros(len(words), bool)
    first[first_occurrences(words)] = True  # the oldest segment comes first
    bounds = np.cumsum([0, *(segment.n for segment in sources)])
    kept = [np.flatnonzero(first[start:stop]) for start, stop in itertools.pairwise(bounds)]
    _rewrite(folder, sources, kept)
    with locks.exclusive(folder / segments.MUTEX):
        for segment in sources:
            if segment.is_small:  # never mapped
                segments.delete(folder, segment.name)


def _rewrite(folder: Path, sources: Sequence[Segment], kept: Sequence[npt.NDArray[np.intp]]) -> Segment:
    """Publish the kept rows of neighbours in age as one segment of the oldest's age, which replaces them."""
    listing = segments.list_folder(folder)
    present = {segment.name for segment in (*listing.live, *listing.replaced)}
    # What the sources replaced, and is still there, must not come back when the sources go.
    inherited = (name for segment in sources for name in segment.replaces if name in present)
    keys = np.concatenate([segments.read_keys(s)[at] for s, at in zip(sources, kept, strict=True)])
    draft = write_draft(
        folder,
        keys,
        _blocks(sources, kept),
        shape=(len(keys), sources[0].d),
        dtype=np.dtype(sources[0].dtype),
        provenance={"merged": len(sources)},
        replaces=[*dict.fromkeys([*(segment.name for segment in sources), *inherited])],
    )
    try:
        with locks.exclusive(folder / segments.MUTEX):
            return draft.publish(sources[0].time_ns)
    finally:
        draft.discard()


def _blocks(sources: Sequence[Segment], kept: Sequence[npt.NDArray[np.intp]]) -> Iterator[np.ndarray]:
    for segment, at in zip(sources, kept, strict=True):
        rows = segments.read_rows(segment)
        step = max(1, _BLOCK_BYTES // max(1, rows.itemsize * segment.d))
        for start in range(0, len(at), step):
            yield rows[at[start : start + step]]


def _require_intact(segment: Segment) -> None:
    if not segments.is_intact(segment):
        raise segments.corrupt_error(segment.rows_path, "its checksum does not hold")
