"""A segment is published whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.store import segments
from featx.store.digest import Keys
from featx.store.drafts import Draft, write_draft


@pytest.fixture
def draft(tmp_path: Path, make_keys: Callable[..., Keys], rows_of: Callable[..., np.ndarray]) -> Draft:
    """Five rows, written but not published."""
    keys = make_keys(5)
    rows = rows_of(keys)
    return write_draft(tmp_path, keys, [rows[:2], rows[2:]], shape=rows.shape, dtype=rows.dtype)


def test_an_unpublished_draft_is_no_segment(tmp_path: Path, draft: Draft) -> None:
    listing = segments.list_folder(tmp_path)
    assert listing.live == ()
    assert len(listing.strays) == 3


def test_a_published_segment_opens_with_numpy_alone(
    tmp_path: Path, draft: Draft, make_keys: Callable[..., Keys], rows_of: Callable[..., np.ndarray]
) -> None:
    segment = draft.publish(7)
    rows = np.load(segment.rows_path, mmap_mode="r")
    keys = np.load(segment.keys_path, mmap_mode="r")
    assert (keys == make_keys(5)).all()
    assert (rows == rows_of(make_keys(5))).all()
    assert (rows.dtype, keys.dtype) == (np.float32, np.uint8)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in (segment.rows_path, segment.keys_path, segment.json_path)
    )


def test_the_json_says_what_the_segment_is(draft: Draft) -> None:
    segment = draft.publish(7)
    record = json.loads(segment.json_path.read_bytes())
    assert (record["format"], record["n"], record["d"], record["dtype"]) == (1, 5, 4, "<f4")
    assert record["replaces"] == []
    assert {"rows_blake3", "keys_blake3", "created", "provenance", "featx"} <= record.keys()
    assert segments.is_intact(segment)


def test_names_sort_by_age(tmp_path: Path, make_keys: Callable[..., Keys]) -> None:
    rows = np.zeros((1, 2), np.float32)
    times = [10**18, 3, 2**60]
    for time_ns in times:
        write_draft(tmp_path, make_keys(1), [rows], shape=(1, 2), dtype=rows.dtype).publish(time_ns)
    listed = segments.list_folder(tmp_path).live
    assert [segment.time_ns for segment in listed] == sorted(times)
    assert [segment.name for segment in listed] == sorted(segment.name for segment in listed)


@pytest.mark.parametrize("n_renames", [0, 1, 2])
def test_a_crash_while_publishing_leaves_no_segment(
    tmp_path: Path, draft: Draft, monkeypatch: pytest.MonkeyPatch, n_renames: int
) -> None:
    renamed: list[Path] = []
    rename = os.rename

    def rename_some(source: Path, target: Path) -> None:
        if len(renamed) == n_renames:
            raise KeyboardInterrupt
        rename(source, target)
        renamed.append(target)

    monkeypatch.setattr(os, "rename", rename_some)
    with pytest.raises(KeyboardInterrupt):
        draft.publish(7)
    assert segments.list_folder(tmp_path).live == ()
    draft.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_after_the_last_rename_keeps_the_segment(
    tmp_path: Path, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def rename_then_stop(source: Path, target: Path) -> None:
        rename(source, target)
        if str(target).endswith(".json"):
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", rename_then_stop)
    with pytest.raises(KeyboardInterrupt):
        draft.publish(7)
    draft.discard()
    (segment,) = segments.list_folder(tmp_path).live
    assert segments.is_intact(segment)


def test_arrays_swept_away_before_publishing_publish_nothing(tmp_path: Path, draft: Draft) -> None:
    draft.path(".keys.npy").unlink()
    with pytest.raises(FileNotFoundError):
        draft.publish(7)
    assert segments.list_folder(tmp_path).live == ()
