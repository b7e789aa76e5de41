"""What counts as a segment, and what is told of one that is damaged or too new."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.errors import StoreCorruptError, StoreFormatError
from featx.store import segments
from featx.store.digest import Keys
from featx.store.drafts import write_draft
from featx.store.segments import SMALL_BYTES, Segment


@pytest.fixture
def segment(tmp_path: Path, make_keys: Callable[..., Keys], rows_of: Callable[..., np.ndarray]) -> Segment:
    keys = make_keys(6)
    rows = rows_of(keys)
    return write_draft(tmp_path, keys, [rows], shape=rows.shape, dtype=rows.dtype).publish(1)


def edit(segment: Segment, **fields: object) -> None:
    record = json.loads(segment.json_path.read_bytes())
    segment.json_path.write_text(json.dumps(record | fields))


def test_a_missing_folder_lists_as_empty(tmp_path: Path) -> None:
    assert segments.list_folder(tmp_path / "nowhere") == segments.Listing((), (), ())


def test_files_of_others_are_neither_segments_nor_strays(tmp_path: Path, segment: Segment) -> None:
    for name in ["notes.json", "space.json", "mutex.lock", "1-2-3.rows.npy.bak", "last-used"]:
        (tmp_path / name).write_text("")
    assert segments.list_folder(tmp_path).strays == ()


@pytest.mark.parametrize("suffix", [".json", ".rows.npy", ".keys.npy"])
def test_a_segment_without_one_of_its_files_is_none(tmp_path: Path, segment: Segment, suffix: str) -> None:
    (tmp_path / (segment.name + suffix)).unlink()
    listing = segments.list_folder(tmp_path)
    assert listing.live == ()
    assert len(listing.strays) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "\x00\xff"])
def test_a_damaged_json_makes_no_segment(tmp_path: Path, segment: Segment, content: str) -> None:
    segment.json_path.write_text(content, encoding="latin-1")
    listing = segments.list_folder(tmp_path)
    assert listing.live == ()
    assert segment.json_path.name in listing.strays


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path, segment: Segment) -> None:
    edit(segment, format=2, featx="9.1")
    with pytest.raises(
        StoreFormatError, match=r"format 2, written by featx 9\.1; .* reads format 1.*Upgrade"
    ):
        segments.list_folder(tmp_path)


def test_replaced_segments_are_not_live(
    tmp_path: Path, segment: Segment, make_keys: Callable[..., Keys]
) -> None:
    rows = np.zeros((1, 4), np.float32)
    newer = write_draft(
        tmp_path, make_keys(1, 1), [rows], shape=(1, 4), dtype=rows.dtype, replaces=[segment.name, "gone"]
    ).publish(1)
    listing = segments.list_folder(tmp_path)
    assert listing.live == (newer,)
    assert listing.replaced == (segment,)


@pytest.mark.parametrize("large", [False, True])
def test_arrays_are_read_only_and_small_ones_are_not_mapped(
    tmp_path: Path, large: bool, make_keys: Callable[..., Keys]
) -> None:
    n = 1 + SMALL_BYTES // (16 + 4) if large else 3
    rows = np.ones((n, 1), np.float32)
    segment = write_draft(tmp_path, make_keys(n), [rows], shape=rows.shape, dtype=rows.dtype).publish(1)
    for array in (segments.read_rows(segment), segments.read_keys(segment)):
        assert not array.flags.writeable
        assert isinstance(array.base, np.memmap) == large


@pytest.mark.parametrize("n_cut", [1, 10_000])
@pytest.mark.parametrize("large", [False, True])
def test_a_file_cut_short_is_reported_by_name(
    tmp_path: Path, n_cut: int, large: bool, make_keys: Callable[..., Keys]
) -> None:
    n = 1 + SMALL_BYTES // (16 + 4) if large else 3
    rows = np.ones((n, 1), np.float32)
    segment = write_draft(tmp_path, make_keys(n), [rows], shape=rows.shape, dtype=rows.dtype).publish(1)
    data = segment.rows_path.read_bytes()
    segment.rows_path.write_bytes(data[: max(0, len(data) - n_cut)])
    with pytest.raises(StoreCorruptError, match=rf"{segment.rows_path.name}: damaged .*verify --repair"):
        segments.read_rows(segment)


def test_an_array_of_another_shape_is_reported(segment: Segment) -> None:
    np.save(segment.rows_path, np.zeros((5, 4), np.float32))
    with pytest.raises(
        StoreCorruptError, match=r"expected float32 of shape \(6, 4\), found float32 of shape \(5, 4\)"
    ):
        segments.read_rows(segment)


@pytest.mark.parametrize("which", ["rows_path", "keys_path"])
def test_one_flipped_bit_breaks_the_checksum(segment: Segment, which: str) -> None:
    path: Path = getattr(segment, which)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert not segments.is_intact(segment)


def test_a_pickle_in_place_of_an_array_is_not_loaded(segment: Segment) -> None:
    np.save(segment.rows_path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StoreCorruptError, match="pickle"):
        segments.read_rows(segment)
