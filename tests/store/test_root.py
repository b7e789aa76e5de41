"""A folder becomes a store only when it is new, empty, or one already."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.errors import ParameterError, StoreError, StoreFormatError
from featx.store.digest import Keys, digest_bytes, keys_array
from featx.store.store import EmbeddingStore

MakeKeys = Callable[..., Keys]
FEATURES = "0123456789abcdef" * 2
OLD = Path(__file__).parent.parent / "data" / "store_v1"


def fill(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    store.put("space", make_keys(2), np.zeros((2, 3), np.float32))


def test_a_new_root_is_private(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    if sys.platform == "win32":
        pytest.skip("no POSIX modes")
    fill(store, make_keys)
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700


def test_an_existing_root_keeps_its_mode(tmp_path: Path, make_keys: MakeKeys, unsynced: None) -> None:
    if sys.platform == "win32":
        pytest.skip("no POSIX modes")
    root = tmp_path / "shared"
    root.mkdir(mode=0o755)
    root.chmod(0o750)
    fill(EmbeddingStore(root), make_keys)
    assert stat.S_IMODE(root.stat().st_mode) == 0o750


def test_opening_writes_nothing(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path, make_keys: MakeKeys) -> None:
    (tmp_path / "thesis.docx").write_text("")
    with pytest.raises(StoreFormatError, match=r"holds 'thesis\.docx' but no featx-store\.json"):
        EmbeddingStore(tmp_path)


def test_a_folder_filled_meanwhile_is_refused_at_the_first_put(
    store: EmbeddingStore, make_keys: MakeKeys
) -> None:
    store.root.mkdir()
    (store.root / "thesis.docx").write_text("")
    with pytest.raises(StoreFormatError):
        fill(store, make_keys)
    with pytest.raises(StoreFormatError):
        store.claim("space", make_keys(1))
    assert [path.name for path in store.root.iterdir()] == ["thesis.docx"]


def test_hidden_files_do_not_make_a_folder_foreign(
    tmp_path: Path, make_keys: MakeKeys, unsynced: None
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / ".DS_Store").write_text("")
    fill(EmbeddingStore(root), make_keys)
    assert EmbeddingStore(root).get("space", make_keys(2))[1].all()


def test_spaces_that_lost_their_marker_are_still_a_store(
    store: EmbeddingStore, make_keys: MakeKeys, unsynced: None
) -> None:
    keys, rows = make_keys(2), np.ones((2, 3), np.float32)
    for space in (FEATURES, "file-digests"):
        store.describe(space, {})
        with store.claim(space, keys) as claim:
            assert claim.mine.all()
            store.put(space, keys, rows)
        store.merge(space)
        assert store.get(space, keys)[1].all()  # notes its use
    store.verify(repair=True)
    (store.root / ("0" * 32)).mkdir()
    (store.root / "featx-store.json").unlink()
    again = EmbeddingStore(store.root)
    assert again.get(FEATURES, keys)[1].all()
    again.put(FEATURES, make_keys(1, seed=1), rows[:1])
    assert (store.root / "featx-store.json").exists()


@pytest.mark.parametrize("name", [f"{FEATURES}/thesis.docx", "space/space.json", FEATURES])
def test_what_only_resembles_a_space_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(StoreFormatError, match="not an embedding store"):
        EmbeddingStore(tmp_path)


@pytest.mark.parametrize("action", ["describe", "put", "claim"])
def test_a_root_deleted_while_a_space_is_made_has_its_marker_again(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    make_folder = Path.mkdir

    def deleted_meanwhile(path: Path, *args: object, **kwargs: object) -> None:
        make_folder(path, *args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        if path.name == "space":
            (store.root / "featx-store.json").unlink(missing_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", deleted_meanwhile)
        if action == "describe":
            store.describe("space", {})
        elif action == "put":
            fill(store, make_keys)
        else:
            with store.claim("space", make_keys(1)):
                pass
    assert (store.root / "featx-store.json").exists()
    fill(EmbeddingStore(store.root), make_keys)


def test_a_store_made_while_it_is_looked_at_is_not_foreign(
    store: EmbeddingStore, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.listdir

    def list_late(path: str) -> list[str]:
        monkeypatch.setattr(os, "listdir", look)
        fill(store, make_keys)
        return look(path)

    monkeypatch.setattr(os, "listdir", list_late)
    assert EmbeddingStore(store.root, create=False).get("space", make_keys(2))[1].all()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFormatError, match="not a folder"):
        EmbeddingStore(tmp_path / "file")


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}"])
def test_a_damaged_marker_is_refused(store: EmbeddingStore, make_keys: MakeKeys, content: str) -> None:
    fill(store, make_keys)
    (store.root / "featx-store.json").write_text(content)
    with pytest.raises(StoreFormatError, match=r"featx-store\.json"):
        EmbeddingStore(store.root)


def test_a_newer_store_is_refused_with_what_to_do(store: EmbeddingStore, make_keys: MakeKeys) -> None:
    fill(store, make_keys)
    (store.root / "featx-store.json").write_text(json.dumps({"format": 2, "featx": "3.0"}))
    with pytest.raises(StoreFormatError, match=r"written by featx 3\.0.*Upgrade featx"):
        EmbeddingStore(store.root)


def test_a_missing_store_can_be_refused(tmp_path: Path, store: EmbeddingStore, make_keys: MakeKeys) -> None:
    with pytest.raises(StoreError, match="no embedding store here"):
        EmbeddingStore(tmp_path / "none", create=False)
    fill(store, make_keys)
    EmbeddingStore(store.root, create=False)


def test_a_negative_cap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="max_bytes=-1"):
        EmbeddingStore(tmp_path / "a", max_bytes=-1)


def test_a_store_of_format_1_stays_readable(tmp_path: Path) -> None:
    """``tests/data/store_v1`` was written by featx 0.1 with format 1 and is never written again.

    It holds a space "v1" of the keys digest(b"0") ... digest(b"11"): two puts of four rows merged into one segment,
    whose second source was left behind as a day-old reader would find it, and a third put. Row i is (i, i / 2, -i).
    """
    root = tmp_path / "store"
    shutil.copytree(OLD, root)  # the note of its last use is written into it
    store = EmbeddingStore(root)
    keys = keys_array(digest_bytes(str(i).encode()) for i in range(13))
    rows, found = store.get("v1", keys)
    assert found.tolist() == [True] * 12 + [False]
    numbers = np.arange(12, dtype=np.float32)[:, None]
    assert (rows == numbers * [[1, 0.5, -1]]).all()
    assert store.verify().ok
    (info,) = store.spaces()
    assert (info.n_rows, info.description) == (12, {"backbone": "none", "tap": "pooled"})
    store.put("v1", keys, np.zeros((13, 3), np.float32))
    assert store.merge("v1") == 3
    assert (store.get("v1", keys[:12])[0] == rows).all()
