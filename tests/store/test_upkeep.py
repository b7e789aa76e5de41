"""Damage is found and removed, leftovers go after a day, and the least used spaces make room."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.store import segments, upkeep
from featx.store.digest import Keys
from featx.store.store import EmbeddingStore

MakeKeys = Callable[..., Keys]
Rows = Callable[..., np.ndarray]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 16
    path.write_bytes(data)


def make_old(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


@pytest.fixture
def filled(store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows) -> EmbeddingStore:
    """Two segments of five rows."""
    keys = make_keys(10)
    for part in np.split(keys, 2):
        store.put("space", part, rows_of(part))
    return store


def test_a_sound_store_verifies(filled: EmbeddingStore) -> None:
    report = filled.verify()
    assert report.ok
    assert report.spaces["space"] == upkeep.SpaceReport(2, 10, (), (), ())
    assert "10 rows in 2 segments, ok" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


@pytest.mark.parametrize("which", ["rows_path", "keys_path"])
def test_a_corrupted_segment_is_found_and_repaired(
    filled: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, which: str
) -> None:
    keys = make_keys(10)
    damaged = segments.list_folder(filled.root / "space").live[0]
    flip_a_bit(getattr(damaged, which))

    report = filled.verify()
    assert not report.ok
    assert report.spaces["space"].corrupt == (damaged.name,)
    assert "DAMAGED" in str(report)
    assert filled.verify() == report, "looking repaired something"

    repaired = filled.verify(repair=True)
    assert repaired.spaces["space"].removed == (damaged.name,)
    assert repaired.spaces["space"].n_rows == 5
    assert filled.verify().ok
    fresh = EmbeddingStore(filled.root)
    assert fresh.get("space", keys)[1].tolist() == [False] * 5 + [True] * 5
    fresh.put("space", keys, rows_of(keys))
    assert (fresh.get("space", keys)[0] == rows_of(keys)).all()


@pytest.mark.parametrize("content", ["", "{"])
def test_a_segment_with_a_damaged_json_is_found_and_repaired(filled: EmbeddingStore, content: str) -> None:
    damaged = segments.list_folder(filled.root / "space").live[0]
    damaged.json_path.write_text(content)
    assert filled.verify().spaces["space"].corrupt == (damaged.name,)
    filled.verify(repair=True)
    assert filled.verify().spaces["space"] == upkeep.SpaceReport(1, 5, (), (), ())


def test_a_segment_without_its_arrays_is_damaged(filled: EmbeddingStore) -> None:
    damaged = segments.list_folder(filled.root / "space").live[0]
    damaged.rows_path.unlink()
    assert filled.verify().spaces["space"].corrupt == (damaged.name,)


def test_leftovers_of_a_crash_go_after_a_day(filled: EmbeddingStore) -> None:
    folder = filled.root / "space"
    left = [".tmp-1-ab.rows.npy", f"{5:020d}-1-ab.rows.npy", f"{5:020d}-1-ab.keys.npy"]
    for name in left:
        (folder / name).write_bytes(b"x")
        make_old(folder / name, days=0.9)
    (folder / "notes.txt").write_text("not the store's")
    make_old(folder / "notes.txt", days=100)

    report = filled.verify(repair=True).spaces["space"]
    assert report.removed == ()
    assert set(report.orphans) == set(left)
    for name in left:
        make_old(folder / name, days=1.1)
    assert set(filled.verify(repair=True).spaces["space"].removed) == set(left)
    assert filled.verify().spaces["space"].orphans == ()
    assert (folder / "notes.txt").exists()


def test_age_goes_by_the_clock_of_the_files(filled: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    left = filled.root / "space" / ".tmp-1-ab.rows.npy"
    left.write_bytes(b"x")
    monkeypatch.setattr(time, "time", lambda: 1e10)  # this machine's clock is centuries ahead
    filled.verify(repair=True)
    assert left.exists()


def test_the_first_put_sweeps_what_earlier_runs_left(
    filled: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows
) -> None:
    left = filled.root / "space" / ".tmp-1-ab.rows.npy"
    left.write_bytes(b"x")
    make_old(left, days=2)
    keys = make_keys(1, 1)
    EmbeddingStore(filled.root).put("space", keys, rows_of(keys))
    assert not left.exists()


@pytest.fixture
def spaces(store: EmbeddingStore, make_keys: MakeKeys) -> EmbeddingStore:
    """Spaces "a", "b" and "c" of 1,000 rows each, "b" used last, "a" before, "c" before that."""
    for name in "abc":
        store.put(name, make_keys(1000), np.zeros((1000, 10), np.float32))
    for days, name in enumerate("bac"):
        make_old(store.root / name / "last-used", days=1 + days)
    return store


def test_spaces_say_what_they_hold(spaces: EmbeddingStore) -> None:
    infos = spaces.spaces()
    assert [(info.id, info.n_rows) for info in infos] == [("a", 1000), ("b", 1000), ("c", 1000)]
    for info, days in zip(infos, (2, 1, 3), strict=True):
        assert 56_000 < info.n_bytes < 58_000  # 1,000 rows of 40 bytes, keys of 16, headers and a .json
        assert info.last_used_s == pytest.approx(time.time() - days * 86400, abs=60)


def test_prune_deletes_the_least_recently_used_first(spaces: EmbeddingStore, make_keys: MakeKeys) -> None:
    assert spaces.prune(200_000) == []
    assert spaces.prune(130_000) == ["c"]
    assert spaces.prune(60_000) == ["a"]
    assert spaces.get("b", make_keys(1000))[1].all()
    assert not spaces.get("a", make_keys(1000))[1].any()
    assert sorted(path.name for path in spaces.root.iterdir()) == ["b", "featx-store.json"]


def test_prune_spares_the_space_to_keep_and_those_in_work(
    spaces: EmbeddingStore, make_keys: MakeKeys
) -> None:
    with EmbeddingStore(spaces.root).claim("a", make_keys(1, 1)):
        assert spaces.prune(0, keep="c") == ["b"]
    assert spaces.prune(0) == ["c", "a"]


def test_reading_counts_as_use(spaces: EmbeddingStore, make_keys: MakeKeys) -> None:
    EmbeddingStore(spaces.root).get("c", make_keys(1))
    assert spaces.prune(60_000) == ["a", "b"]


def test_replaced_files_make_room_first(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SMALL_BYTES", 0)
    for seed in range(2):
        store.put("a", make_keys(1000, seed), np.zeros((1000, 10), np.float32))
    store.merge("a")
    assert store.spaces()[0].n_bytes > 220_000
    assert store.prune(130_000) == []
    assert store.spaces()[0].n_bytes < 120_000


def test_a_capped_store_prunes_as_it_is_written(spaces: EmbeddingStore, make_keys: MakeKeys) -> None:
    capped = EmbeddingStore(spaces.root, max_bytes=150_000)
    capped.put("d", make_keys(1000), np.zeros((1000, 10), np.float32))
    assert [info.id for info in spaces.spaces()] == ["b", "d"]


def test_the_space_being_written_is_never_pruned(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    capped = EmbeddingStore(store.root, max_bytes=10_000)
    for seed in range(3):
        capped.put("a", make_keys(1000, seed), np.zeros((1000, 10), np.float32))
    assert capped.spaces()[0].n_rows == 3000


def test_a_whole_space_can_be_forgotten(spaces: EmbeddingStore, make_keys: MakeKeys) -> None:
    assert spaces.forget("a") == 1000
    assert spaces.forget("a") == 0
    assert not spaces.get("a", make_keys(1000))[1].any()
    spaces.put("a", make_keys(3), np.ones((3, 2), np.float32))
    assert spaces.get("a", make_keys(3))[0].sum() == 6
