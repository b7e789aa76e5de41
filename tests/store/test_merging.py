"""Merging keeps every row, its age and few files; forgetting leaves no copy."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import StoreCorruptError
from featx.store import merging, segments
from featx.store.digest import Keys
from featx.store.merging import MAX_MERGED_BYTES, MAX_SEGMENTS, MIN_MERGED, plan_merge
from featx.store.store import EmbeddingStore
from featx.store.upkeep import sweep

Rows = Callable[..., np.ndarray]
MakeKeys = Callable[..., Keys]


def after_puts(puts: Iterable[int]) -> tuple[list[int], int]:
    """Sizes of the segments that puts of these sizes leave, and how many bytes were copied."""
    sizes: list[int] = []
    n_copied = 0
    for size in puts:
        sizes.append(size)
        while (start := plan_merge(sizes)) is not None:
            n_copied += sum(sizes[start:])
            sizes[start:] = [sum(sizes[start:])]
    return sizes, n_copied


@given(st.lists(st.integers(1, 10_000), max_size=MAX_SEGMENTS))
def test_each_row_is_copied_few_times(puts: list[int]) -> None:
    sizes, n_copied = after_puts(puts)
    total = max(1, sum(puts))
    assert sum(sizes) == sum(puts)
    # A copy grows a row's segment at least fourfold, from 1 byte to all of them at most.
    assert n_copied <= total * (1 + math.log(total, 4))


def test_sizes_made_up_against_merging_leave_no_more_than_the_limit() -> None:
    def unbalanced(total: int) -> list[int]:
        part = 3 * total // 8
        return [total] if total < 4 else [*unbalanced(part), total - 2 * part, *unbalanced(part)]

    puts = unbalanced(100_000)
    assert len(puts) > 1000
    assert MIN_MERGED < len(after_puts(puts)[0]) <= MAX_SEGMENTS


@pytest.mark.parametrize("n_puts", [100, 3000, 20_000])
def test_equal_puts_leave_as_many_segments_as_digits(n_puts: int) -> None:
    assert len(after_puts([1] * n_puts)[0]) <= MIN_MERGED * (1 + math.log(n_puts, 8))


def test_a_put_never_merges_more_than_the_limit() -> None:
    half = MAX_MERGED_BYTES // 2
    assert plan_merge([half] * 8) is None
    assert plan_merge([half, *[MAX_MERGED_BYTES // 16] * 8]) == 1


def test_2000_one_row_puts_leave_few_files(store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows) -> None:
    keys = make_keys(2000)
    rows = rows_of(keys, 384)
    most = 0
    for at in range(2000):
        store.put("space", keys[at : at + 1], rows[at : at + 1])
        if at % 50 == 0:
            most = max(most, len(os.listdir(store.root / "space")))
    most = max(most, len(os.listdir(store.root / "space")))
    # 3 files a segment, at most 7 segments in each of log8(2000) = 3.7 sizes, replaced ones of over 1 MiB for a day,
    # and the space's own few.
    assert most <= 3 * 7 * 4 + 20
    found, all_found = EmbeddingStore(store.root).get("space", keys)
    assert all_found.all()
    assert (found == rows).all()


@pytest.fixture
def segmented(store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows) -> EmbeddingStore:
    """Five segments of ten rows."""
    keys = make_keys(50)
    for part in np.split(keys, 5):
        store.put("space", part, rows_of(part))
    return store


def test_a_merge_keeps_rows_order_and_the_oldest_age(
    segmented: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows
) -> None:
    folder = segmented.root / "space"
    before = segments.list_folder(folder).live
    assert segmented.merge("space") == len(before) == 5
    (after,) = segments.list_folder(folder).live
    assert after.time_ns == before[0].time_ns
    assert after.replaces == tuple(segment.name for segment in before)
    assert (np.load(after.keys_path) == make_keys(50)).all()
    assert (np.load(after.rows_path) == rows_of(make_keys(50))).all()


def test_after_a_merge_the_whole_reads_as_one_view(segmented: EmbeddingStore, make_keys: MakeKeys) -> None:
    rows, _ = segmented.get("space", make_keys(50))
    assert rows.flags.writeable
    segmented.merge("space")
    rows, _ = segmented.get("space", make_keys(50))
    assert not rows.flags.writeable


def test_small_replaced_segments_go_at_once(segmented: EmbeddingStore) -> None:
    segmented.merge("space")
    listing = segments.list_folder(segmented.root / "space")
    assert (len(listing.live), listing.replaced, listing.strays) == (1, (), ())


@pytest.fixture
def mapped(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> tuple[EmbeddingStore, Keys]:
    """Three segments that are mapped."""
    monkeypatch.setattr(segments, "SMALL_BYTES", 0)
    keys = make_keys(30)
    for part in np.split(keys, 3):
        store.put("space", part, part.astype(np.float32))
    return store, keys


def test_mapped_replaced_segments_stay_for_a_day(mapped: tuple[EmbeddingStore, Keys]) -> None:
    store, keys = mapped
    folder = store.root / "space"
    view, _ = store.get("space", keys[:10])
    store.merge("space")
    (merged,) = segments.list_folder(folder).live
    assert len(segments.list_folder(folder).replaced) == 3
    assert (view == keys[:10]).all()

    yesterday = time.time() - 23.9 * 3600
    os.utime(merged.json_path, (yesterday, yesterday))
    assert sweep(folder) == []
    os.utime(merged.json_path, (yesterday - 1000, yesterday - 1000))
    assert len(sweep(folder)) == 3
    assert segments.list_folder(folder).replaced == ()
    assert (store.get("space", keys)[0] == keys).all()


def test_what_a_replaced_segment_replaced_does_not_come_back(mapped: tuple[EmbeddingStore, Keys]) -> None:
    store, keys = mapped
    folder = store.root / "space"
    store.merge("space")
    (first,) = segments.list_folder(folder).live
    extra = 255 - keys[:1]
    store.put("space", extra, extra.astype(np.float32))
    store.merge("space")
    segments.delete(folder, first.name)  # as a sweep may do before the others
    (live,) = segments.list_folder(folder).live
    assert live.n == 31


def test_a_damaged_segment_is_not_merged_into_a_sound_one(segmented: EmbeddingStore) -> None:
    damaged = segments.list_folder(segmented.root / "space").live[2]
    data = bytearray(damaged.rows_path.read_bytes())
    data[-1] ^= 1
    damaged.rows_path.write_bytes(data)
    with pytest.raises(StoreCorruptError, match=damaged.name):
        segmented.merge("space")
    assert len(segments.list_folder(segmented.root / "space").live) == 5


def test_a_put_succeeds_when_the_merge_after_it_cannot(
    segmented: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging, "write_draft", no_room)
    keys = make_keys(50, 1)
    for part in np.split(keys, 5):
        segmented.put("space", part, rows_of(part))
    assert len(segments.list_folder(segmented.root / "space").live) == 10
    assert segmented.get("space", keys)[1].all()


def test_duplicates_of_racing_writers_are_merged_into_the_oldest(
    store: EmbeddingStore, make_keys: MakeKeys, tmp_path: Path
) -> None:
    from featx.store.drafts import write_draft

    keys = make_keys(4)
    folder = store.root / "space"
    store.put("space", keys, np.full((4, 2), 1, np.float32))
    for value, time_ns in ((2, 2**62), (0, 5)):  # one younger, one older than the first
        rows = np.full((2, 2), value, np.float32)
        write_draft(folder, keys[1:3], [rows], shape=rows.shape, dtype=rows.dtype).publish(time_ns)
    expected = [1, 0, 0, 1]
    assert store.get("space", keys)[0][:, 0].tolist() == expected
    assert store.get("space", keys[1:3])[0][:, 0].tolist() == expected[1:3]
    store.merge("space")
    assert store.get("space", keys)[0][:, 0].tolist() == expected
    assert segments.list_folder(folder).live[0].n == 4


def test_forgotten_rows_are_gone_from_every_file(mapped: tuple[EmbeddingStore, Keys], rows_of: Rows) -> None:
    store, keys = mapped
    store.merge("space")
    assert store.forget("space", keys[5:15]) == 10
    found = store.get("space", keys)[1]
    assert found.tolist() == [True] * 5 + [False] * 10 + [True] * 15
    assert EmbeddingStore(store.root).get("space", keys)[1].tolist() == found.tolist()
    secret = keys[7].tobytes()
    assert all(secret not in path.read_bytes() for path in (store.root / "space").iterdir() if path.is_file())


def test_forgetting_all_rows_of_a_segment_leaves_the_others(
    segmented: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(50)
    assert segmented.forget("space", keys[10:20]) == 10
    assert segmented.forget("space", keys[10:20]) == 0
    assert segmented.forget("space", keys[:0]) == 0
    assert segmented.get("space", keys)[1].sum() == 40
    assert len(segments.list_folder(segmented.root / "space").live) == 4
