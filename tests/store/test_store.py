"""The store as its users see it: what is put is found, once and unchanged."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.errors import ParameterError, StoreError
from featx.store import segments
from featx.store.digest import Keys
from featx.store.store import EmbeddingStore

MakeKeys = Callable[..., Keys]
Rows = Callable[..., np.ndarray]


def test_rows_come_back_in_the_order_asked(store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows) -> None:
    keys = make_keys(40)
    for part in np.split(keys, [3, 4, 30]):
        store.put("space", part, rows_of(part))
    order = np.random.default_rng(1).permutation(40)
    asked = np.concatenate([keys[order], make_keys(5, 1), keys[:2]])
    rows, found = store.get("space", asked)
    assert found.tolist() == [True] * 40 + [False] * 5 + [True] * 2
    assert (rows == rows_of(asked[found])).all()
    assert rows.dtype == np.float32


def test_an_unknown_space_holds_nothing(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    rows, found = store.get("space", make_keys(3))
    assert rows.shape == (0, 0)
    assert not found.any()
    assert not store.root.exists()


def test_no_keys_at_all(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    store.put("space", make_keys(0), np.zeros((0, 3), np.float32))
    assert store.spaces() == []
    store.put("space", make_keys(2), np.zeros((2, 3), np.float32))
    rows, found = store.get("space", make_keys(0))
    assert rows.shape == (0, 3)
    assert found.shape == (0,)


def test_the_first_row_of_a_key_stays(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    keys = make_keys(2)
    store.put("space", keys[[0, 1, 0]], np.array([[1], [2], [3]], np.float32))
    store.put("space", keys, np.array([[4], [5]], np.float32))
    assert store.get("space", keys)[0].ravel().tolist() == [1, 2]
    assert store.spaces()[0].n_rows == 2


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux to say what is in memory"
)
def test_rows_let_go_take_no_memory_and_stay_readable(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows
) -> None:
    keys = make_keys(4000)
    wide = rows_of(keys, d=2048)
    store.put("space", keys, wide)
    view, _ = store.get("space", keys)

    def mapped_kb() -> int:
        """Of the rows' file, in this process's memory."""
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        return sum(
            int(next(field for field in lines if field.startswith("Rss:")).split()[1])
            for line in lines
            if str(store.root) in line and line.endswith(".rows.npy")
        )

    assert (view == wide).all()
    assert mapped_kb() * 1024 >= view.nbytes
    store.let_go("space")
    assert mapped_kb() * 1024 < view.nbytes / 100
    assert (view == wide).all()


def test_a_put_of_some_stored_keys_adds_the_others_only(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    keys = make_keys(10)
    store.put("space", keys[:6], np.zeros((6, 1), np.float32))
    store.put("space", keys, np.ones((10, 1), np.float32))
    assert store.get("space", keys)[0].ravel().tolist() == [0] * 6 + [1] * 4
    assert store.spaces()[0].n_rows == 10


def test_rows_are_kept_bit_by_bit(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    rows = np.array([[np.nan, -0.0], [np.inf, np.float32(1e-45)]], np.float32)
    store.put("space", make_keys(2), rows)
    assert store.get("space", make_keys(2))[0].tobytes() == rows.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "<f2", "<f8", ">f4"])
def test_rows_of_any_numbers_are_kept(store: EmbeddingStore, make_keys: MakeKeys, dtype: str) -> None:
    rows = np.arange(6).reshape(2, 3).astype(dtype)
    store.put("space", make_keys(2), rows)
    store.put("space", make_keys(2, 1), rows)
    got, _ = store.get("space", np.concatenate([make_keys(2, 1), make_keys(2)]))
    assert got.tolist() == [*rows.tolist(), *rows.tolist()]
    assert got.dtype.itemsize == rows.itemsize


def test_keys_that_share_eight_bytes_are_told_apart(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    keys = make_keys(6)
    keys[:, :8] = keys[0, :8]
    rows = np.arange(6, dtype=np.float32)[:, None]
    store.put("space", keys[:3], rows[:3])
    store.put("space", keys[3:5], rows[3:5])
    got, found = store.get("space", keys[::-1])
    assert found.tolist() == [False, True, True, True, True, True]
    assert got.ravel().tolist() == [4, 3, 2, 1, 0]
    assert store.get("space", keys[:3])[0].ravel().tolist() == [0, 1, 2]


def test_keys_in_order_come_back_as_a_read_only_view_of_the_file(
    store: EmbeddingStore, make_keys: MakeKeys
) -> None:
    keys = make_keys(30_000)
    rows = np.random.default_rng(0).normal(size=(30_000, 16)).astype(np.float32)
    store.put("space", keys, rows)
    for part in (slice(None), slice(7, 20_000), slice(29_999, None)):
        got, _ = store.get("space", keys[part])
        assert not got.flags.owndata
        assert not got.flags.writeable
        assert (got == rows[part]).all()
    base = got
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("asked", [[0, 1, 3], [1, 0], [0, 0], [4, 5]])
def test_keys_out_of_order_are_gathered(store: EmbeddingStore, make_keys: MakeKeys, asked: list[int]) -> None:
    keys = make_keys(6)
    store.put("space", keys[:5], np.arange(5, dtype=np.float32)[:, None])
    got, found = store.get("space", keys[asked])
    assert got.flags.writeable
    assert got.ravel().tolist() == [at for at in asked if at < 5]
    assert found.tolist() == [at < 5 for at in asked]


def test_what_another_instance_stores_is_found(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows
) -> None:
    keys = make_keys(20)
    other = EmbeddingStore(store.root)
    assert not store.get("space", keys)[1].any()
    other.put("space", keys, rows_of(keys))
    assert (store.get("space", keys)[0] == rows_of(keys)).all()


def test_what_was_read_survives_merges_by_others(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SMALL_BYTES", 0)
    keys = make_keys(40)
    for part in np.split(keys, 4):
        store.put("space", part, rows_of(part))
    views = [store.get("space", part)[0] for part in np.split(keys, 4)]
    other = EmbeddingStore(store.root)
    other.merge("space")
    for name in segments.list_folder(store.root / "space").replaced:
        segments.delete(store.root / "space", name.name)
    assert all((view == rows_of(part)).all() for view, part in zip(views, np.split(keys, 4), strict=True))
    assert (store.get("space", keys)[0] == rows_of(keys)).all()


def test_a_reader_that_finds_a_file_gone_lists_again(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(8)
    store.put("space", keys[:4], rows_of(keys[:4]))
    store.put("space", keys[4:], rows_of(keys[4:]))
    reader = EmbeddingStore(store.root)
    assert reader.get("space", keys[:1])[1].all()  # listed both, opened one
    monkeypatch.setattr(type(reader._space("space")), "_changed_ns", lambda self: self._snapshot.changed_ns)
    store.merge("space")
    assert (reader.get("space", keys)[0] == rows_of(keys)).all()


def test_threads_share_a_store(store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows) -> None:
    keys = make_keys(200)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for at in np.random.default_rng(seed).permutation(20):
                part = keys[10 * at : 10 * at + 10]
                store.put("space", part, rows_of(part))
                rows, found = store.get("space", part)
                assert found.all()
                assert (rows == rows_of(part)).all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.spaces()[0].n_rows == 200


def test_each_segment_is_younger_than_all_before_also_when_the_clock_goes_back(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    times = iter([10**18, 10**18 - 5, 3, 10**18 + 100])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    for at in range(4):
        store.put("space", make_keys(1, at), np.full((1, 1), at, np.float32))
    listed = segments.list_folder(store.root / "space").live
    assert [s.time_ns - 10**18 for s in listed] == [0, 1, 2, 100]
    assert [int(np.load(s.rows_path)[0, 0]) for s in listed] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        (np.zeros((2, 16), np.uint8), np.zeros((3, 4), np.float32)),
        (np.zeros((2, 16), np.uint8), np.zeros(2, np.float32)),
        (np.zeros((2, 16), np.uint8), np.array([["a"], ["b"]])),
        (np.zeros((2, 15), np.uint8), np.zeros((2, 4), np.float32)),
        (np.zeros((2, 16), np.int8), np.zeros((2, 4), np.float32)),
    ],
)
def test_wrong_shapes_are_refused(store: EmbeddingStore, keys: np.ndarray, rows: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="expected"):
        store.put("space", keys, rows)


@pytest.mark.parametrize("rows", [np.zeros((1, 5), np.float32), np.zeros((1, 4), np.float64)])
def test_rows_of_another_length_or_dtype_are_refused(
    store: EmbeddingStore, make_keys: MakeKeys, rows: np.ndarray
) -> None:
    store.put("space", make_keys(1), np.zeros((1, 4), np.float32))
    with pytest.raises(StoreError, match="holds rows of 4 x <f4, was given"):
        store.put("space", make_keys(1, 1), rows)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 200])
def test_names_that_are_no_space_are_refused(store: EmbeddingStore, make_keys: MakeKeys, name: str) -> None:
    with pytest.raises(ParameterError, match="cannot name a space"):
        store.get(name, make_keys(1))


def test_provenance_is_kept_and_must_be_json(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    rows = np.zeros((1, 1), np.float32)
    store.put("space", make_keys(1), rows, provenance={"device": "cpu"})
    (segment,) = segments.list_folder(store.root / "space").live
    assert '"device": "cpu"' in segment.json_path.read_text()
    with pytest.raises(ParameterError, match="not expressible as JSON"):
        store.put("space", make_keys(1, 1), rows, provenance={"device": object()})


def test_a_description_is_written_once(store: EmbeddingStore) -> None:
    store.describe("space", {"backbone": "one"})
    store.describe("space", {"backbone": "two"})
    assert store.spaces()[0].description == {"backbone": "one"}


def test_export_gives_everything_once_oldest_first(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows
) -> None:
    keys = make_keys(12)
    for part in np.split(keys, 3):
        store.put("space", part, rows_of(part))
    got_keys, got_rows = store.export("space")
    assert (got_keys == keys).all()
    assert (got_rows == rows_of(keys)).all()
    assert store.export("empty")[0].shape == (0, 16)


def test_a_store_pickles_as_its_root(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    store.put("space", make_keys(1), np.zeros((1, 1), np.float32))
    store.max_bytes = 10**9
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert hash(copy) == hash(store)
    assert copy.max_bytes == 10**9
    assert copy.get("space", make_keys(1))[1].all()
    assert len(pickle.dumps(store)) < 300 + len(str(store.root))


def test_stores_are_equal_when_their_roots_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert EmbeddingStore("a") == EmbeddingStore(tmp_path / "x" / ".." / "a")
    assert EmbeddingStore("a") != EmbeddingStore("b")


def test_a_space_deleted_while_it_is_written_is_written_again(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.store import space as space_module

    other = EmbeddingStore(store.root)
    write_draft = space_module.write_draft
    calls = []

    def write_then_delete(*args: object, **kwargs: object) -> object:
        draft = write_draft(*args, **kwargs)  # type: ignore[arg-type]  # passed through
        calls.append(draft)
        if len(calls) == 1:
            other.forget("space")
        return draft

    monkeypatch.setattr(space_module, "write_draft", write_then_delete)
    keys = make_keys(4)
    store.put("space", keys, rows_of(keys))
    assert len(calls) == 2
    assert (EmbeddingStore(store.root).get("space", keys)[0] == rows_of(keys)).all()


def test_a_key_stored_by_another_while_ours_is_written_is_not_stored_twice(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.store import space as space_module

    other = EmbeddingStore(store.root)
    keys = make_keys(4)
    write_draft = space_module.write_draft

    def write_then_race(*args: object, **kwargs: object) -> object:
        draft = write_draft(*args, **kwargs)  # type: ignore[arg-type]  # passed through
        monkeypatch.setattr(space_module, "write_draft", write_draft)
        other.put("space", keys[:1], np.full((1, 4), -1, np.float32))
        return draft

    monkeypatch.setattr(space_module, "write_draft", write_then_race)
    store.put("space", keys, rows_of(keys))
    rows, _ = store.get("space", keys)
    assert (rows[0] == -1).all()
    assert (rows[1:] == rows_of(keys[1:])).all()
    assert store.spaces()[0].n_rows == 4
    assert segments.list_folder(store.root / "space").strays == ()
