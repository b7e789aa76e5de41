"""A space looked after: damage found and removed, leftovers swept.

Owns checking and sweeping. The invariants: files that somebody may have mapped live a day longer than they
are needed, and what a living writer may be about to publish is left alone for a day. Two upkeeps of one space
never run side by side where locks work. Merging and forgetting are in ``merging.py``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featx.store import disk, locks, segments
from featx.store.segments import Segment

__all__ = ["Report", "SpaceReport", "sweep", "verify"]

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SpaceReport:
    """What `verify` found in one space.

    Attributes
    ----------
    n_segments, n_rows : int
        Of the segments that are sound.
    corrupt : tuple of str
        Names of segments that are damaged; gone after a repair.
    orphans : tuple of str
        Files that belong to no segment: of writers at work now, or left by a crash.
    removed : tuple of str
        Segments and files that the repair removed.
    """

    n_segments: int
    n_rows: int
    corrupt: tuple[str, ...]
    orphans: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What `EmbeddingStore.verify` found.

    Attributes
    ----------
    spaces : mapping of space id -> SpaceReport
    """

    spaces: Mapping[str, SpaceReport]

    @property
    def ok(self) -> bool:
        """Whether every checksum held."""
        return not any(report.corrupt for report in self.spaces.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {"ok": self.ok, "spaces": {name: asdict(report) for name, report in self.spaces.items()}}

    def __str__(self) -> str:
        lines = []
        for name, report in self.spaces.items():
            state = (
                "ok" if not report.corrupt else f"{len(report.corrupt)} DAMAGED: {', '.join(report.corrupt)}"
            )
            lines.append(f"{name}: {report.n_rows:,} rows in {report.n_segments} segments, {state}")
            if report.orphans:
                lines.append(f"  {len(report.orphans)} files belong to no segment")
            if report.removed:
                lines.append(f"  removed {len(report.removed)}")
        return "\n".join(lines) or "no spaces"


def verify(folder: Path, *, repair: bool = False) -> SpaceReport:
    """Recompute the checksums of a space.

    Parameters
    ----------
    folder : Path
    repair : bool
        Remove damaged segments, whose rows are then computed again, and orphans and replaced files that are a day old.

    Returns
    -------
    SpaceReport

    Raises
    ------
    StoreNotWritableError
        When it is to repair and may not.
    """
    listing = segments.list_folder(folder)
    corrupt = {segment.name: segment for segment in listing.live if not _intact_or_gone(segment)}
    # A segment that is being published or deleted looks like one without its .json or arrays, for a moment:
    # only what looks so twice, and has a .json, is damaged.
    again = segments.list_folder(folder)
    unreadable = {
        stray.removesuffix(".json")
        for stray in again.strays
        if stray.endswith(".json") and stray in listing.strays and not stray.startswith(".")
    }
    removed: list[str] = []
    if repair:
        with disk.writing(folder), locks.exclusive(folder / segments.MERGE_LOCK):
            for name in sorted(corrupt.keys() | unreadable):
                segments.delete(folder, name)
                removed.append(name)
            removed += sweep(folder)
        again = segments.list_folder(folder)
    sound = [segment for segment in again.live if segment.name not in corrupt]
    return SpaceReport(
        n_segments=len(sound),
        n_rows=sum(segment.n for segment in sound),
        corrupt=tuple(sorted(corrupt.keys() | unreadable)),
        orphans=again.strays,
        removed=tuple(removed),
    )


def sweep(folder: Path, *, replaced_older_than_s: float = DAY_S) -> list[str]:
    """Delete what is no longer needed, by the clock of the file system that dates it.

    Never raises: what cannot be deleted now is left for the next sweep.

    Parameters
    ----------
    folder : Path
    replaced_older_than_s : float
        Seconds since the replacement was published. Files that belong to no segment are always given a day: a
        living writer may be about to publish them.

    Returns
    -------
    list of str
        Names of the segments and files deleted.
    """
    listing = segments.list_folder(folder)
    if not listing.replaced and not listing.strays:
        return []
    now_s = _clock_s(folder)
    if now_s is None:
        return []
    # A replaced segment may have replaced others that are still there: the live one names them all.
    age_s = {name: now_s - _mtime_s(s.json_path, now_s) for s in listing.live for name in s.replaces}
    removed: list[str] = []
    for segment in listing.replaced:
        if age_s.get(segment.name, 0.0) >= replaced_older_than_s:
            with suppress(OSError):
                segments.delete(folder, segment.name)
                removed.append(segment.name)
    for stray in listing.strays:
        if now_s - _mtime_s(folder / stray, now_s) >= DAY_S:
            with suppress(OSError):
                os.unlink(folder / stray)
                removed.append(stray)
    return removed


def _intact_or_gone(segment: Segment) -> bool:
    try:
        return segments.is_intact(segment)
    except FileNotFoundError:
        return not segment.json_path.exists()


def _clock_s(folder: Path) -> float | None:
    """Now, by the clock that dates the folder's files; None where it cannot be written."""
    probe = folder / f"{disk.TEMPORARY}clock-{secrets.token_hex(8)}"
    try:
        disk.write_file(probe, [])
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
