"""Keeping a space in order: merging, checking, sweeping, forgetting.

Owns everything that makes published files go away. The invariants: no row is lost to upkeep, for a merged segment is
published before what it replaces is deleted; files that somebody may have mapped live a day longer than they are
needed; what a checksum does not hold for is never merged into something that looks sound. It refuses to work
beside another upkeep of the same space, where locks work.

Merging goes by size. After a put, the longest row of youngest segments is merged in which none holds more than a
quarter of the bytes: each time a row is copied its segment grows at least fourfold, so a row is copied O(log n) times,
and O(log n) segments remain.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from featx.errors import StoreError
from featx.store import locks, segments
from featx.store.digest import Keys
from featx.store.index import Index, as_words, first_occurrences
from featx.store.segments import Segment

__all__ = ["SpaceReport", "forget", "merge", "merge_young", "plan_merge", "sweep", "verify"]

logger = logging.getLogger("featx")

MIN_MERGED = 8
MAX_MERGED_BYTES = 512 << 20
"""Segments past this are merged by `merge` only, so that no put copies for long."""

DAY_S = 86_400.0
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class SpaceReport:
    """What `verify` found in one space.

    Attributes
    ----------
    n_segments, n_rows : int
        Of the segments that are sound.
    corrupt : tuple of str
        Names of segments whose checksums do not hold; gone after a repair.
    orphans : tuple of str
        Files that belong to no segment, such as a crash leaves.
    removed : tuple of str
        Files that the repair removed.
    """

    n_segments: int
    n_rows: int
    corrupt: tuple[str, ...]
    orphans: tuple[str, ...]
    removed: tuple[str, ...]


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
    for position in range(len(sizes) - 1, -1, -1):
        total += sizes[position]
        largest = max(largest, sizes[position])
        if total > MAX_MERGED_BYTES:
            break
        if len(sizes) - position >= MIN_MERGED and 4 * largest <= total:
            start = position
    return start


def merge_young(folder: Path) -> bool:
    """Merge small young segments if there are enough of them; whether it did.

    Does nothing while another process merges. Never raises for want of room: the rows are stored as they are.
    """
    with locks.exclusive(folder / segments.MERGE_LOCK, wait=False) as free:
        if free is None:
            return False
        live, _ = segments.list_segments(folder)
        start = plan_merge([segment.n_bytes for segment in live])
        if start is None:
            return False
        try:
            _merge(folder, live[start:])
            sweep(folder)
        except (OSError, StoreError) as error:
            logger.debug("%s: merging put off: %s", folder, error)
            return False
        return True


def merge(folder: Path) -> int:
    """Merge all segments into one; how many there were.

    Raises
    ------
    StoreError
        One is damaged, or no room.
    """
    with locks.exclusive(folder / segments.MERGE_LOCK):
        live, _ = segments.list_segments(folder)
        if len(live) > 1:
            with segments.writing(folder, sum(s.n_bytes for s in live)):
                _merge(folder, live)
        sweep(folder)
    return len(live)


def verify(folder: Path, *, repair: bool = False) -> SpaceReport:
    """Recompute the checksums of a space.

    Parameters
    ----------
    folder : Path
    repair : bool
        Remove damaged segments, whose rows are then computed again, and orphans and replaced files that are days old.

    Returns
    -------
    SpaceReport
    """
    live, replaced = segments.list_segments(folder)
    corrupt = [segment for segment in live if not _intact_or_gone(segment)]
    removed: list[str] = []
    if repair:
        with locks.exclusive(folder / segments.MERGE_LOCK):
            removed += [segment.name for segment in corrupt if segments.delete(segment)]
            removed += sweep(folder)
        live, replaced = segments.list_segments(folder)
    sound = [segment for segment in live if segment not in corrupt]
    return SpaceReport(
        n_segments=len(sound),
        n_rows=sum(segment.n for segment in sound),
        corrupt=tuple(segment.name for segment in corrupt),
        orphans=tuple(sorted(_orphans(folder, [*live, *replaced]))),
        removed=tuple(removed),
    )


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
        No room, not writable, or damaged segments.
    """
    unwanted = Index.empty().updated({0: (as_words(keys), (0, ""))})
    n_removed = 0
    with locks.exclusive(folder / segments.MERGE_LOCK):
        live, replaced = segments.list_segments(folder)
        for segment in replaced:  # they hold the same rows once more
            segments.delete(segment)
        for segment in live:
            keep = unwanted.locate(segments.read_keys(segment)).segment < 0
            if keep.all():
                continue
            n_removed += int((~keep).sum())
            if keep.any():
                with segments.writing(folder, segment.n_bytes):
                    _rewrite(folder, [segment], [np.flatnonzero(keep)])
            with locks.exclusive(folder / segments.MUTEX):
                segments.delete(segment)
    return n_removed


def sweep(folder: Path, *, older_than_s: float = DAY_S) -> list[str]:
    """Delete replaced segments and orphans of some age, by the clock of the file system they lie on.

    Parameters
    ----------
    folder : Path
    older_than_s : float
        Seconds since the replacement was published, or the orphan written.

    Returns
    -------
    list of str
        Names of what was deleted.
    """
    live, replaced = segments.list_segments(folder)
    orphans = _orphans(folder, [*live, *replaced])
    if not replaced and not orphans:
        return []
    now_s = _clock_s(folder)
    if now_s is None:
        return []
    removed: list[str] = []
    # A replaced segment that replaced others itself may go before them: the live one names them all.
    age_s = {name: now_s - _mtime_s(s.json_path, now_s) for s in live for name in s.replaces}
    for segment in replaced:
        if age_s.get(segment.name, 0.0) >= older_than_s and segments.delete(segment):
            removed.append(segment.name)
    for path in orphans.values():
        if now_s - _mtime_s(path, now_s) >= older_than_s:
            with suppress(OSError):
                os.unlink(path)
                removed.append(path.name)
    return removed


def _merge(folder: Path, sources: Sequence[Segment]) -> None:
    for segment in sources:
        if not segments.is_intact(segment):
            raise StoreError(
                f"{segment.rows_path}: its checksum does not hold; not merged. Run `featx cache verify --repair`"
            )
    words = np.concatenate([as_words(segments.read_keys(segment)) for segment in sources])
    first = np.zeros(len(words), bool)
    first[first_occurrences(words)] = True  # the oldest segment comes first
    bounds = np.cumsum([0, *(segment.n for segment in sources)])
    kept = [np.flatnonzero(first[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    _rewrite(folder, sources, kept)
    small = [segment for segment in sources if segment.is_small]
    with locks.exclusive(folder / segments.MUTEX):
        for segment in small:
            segments.delete(segment)


def _rewrite(folder: Path, sources: Sequence[Segment], kept: Sequence[npt.NDArray[np.intp]]) -> Segment:
    """Publish the kept rows of neighbours in age as one segment of the oldest's age, which replaces them."""
    present = {segment.name for group in segments.list_segments(folder) for segment in group}
    # What the sources replaced, and is still there, must not come back when the sources go.
    inherited = (name for segment in sources for name in segment.replaces if name in present)
    keys = np.concatenate(
        [segments.read_keys(segment)[at] for segment, at in zip(sources, kept, strict=True)]
    )
    draft = segments.write_draft(
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


def _intact_or_gone(segment: Segment) -> bool:
    try:
        return segments.is_intact(segment)
    except FileNotFoundError:
        return True


def _orphans(folder: Path, known: Sequence[Segment]) -> dict[str, Path]:
    """Files in a space's folder that no segment owns, without the store's own."""
    owned = {path.name for s in known for path in (s.json_path, s.rows_path, s.keys_path)}
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return {}
    return {
        entry.name: Path(entry.path)
        for entry in entries
        if entry.name not in owned and segments.is_own_name(entry.name) and entry.is_file()
    }


def _clock_s(folder: Path) -> float | None:
    """Now, by the clock that dates the folder's files; None where it cannot be written."""
    probe = folder / f".tmp-clock-{secrets.token_hex(8)}"
    try:
        segments.write_file(probe, [])
        now_s = os.stat(probe).st_mtime
        os.unlink(probe)
    except OSError:
        return None
    return now_s


def _mtime_s(path: Path, default: float) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return default
