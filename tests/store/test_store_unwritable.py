"""A disk that is full or may not be written: what is stored stays readable, and a put says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.errors import StoreError, StoreNotWritableError
from featx.store import segments
from featx.store.digest import Keys
from featx.store.store import EmbeddingStore

MakeKeys = Callable[..., Keys]
Rows = Callable[..., np.ndarray]


def test_a_full_disk_is_reported_and_nothing_stored_is_lost(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(100)
    store.put("space", keys[:10], rows_of(keys[:10]))
    write = os.write

    def fill_up(fd: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        with pytest.raises(
            StoreError, match=r"no room for 2,880 more bytes .* free\)\. Nothing stored before"
        ):
            store.put("space", keys[10:], rows_of(keys[10:]))
    assert segments.list_folder(store.root / "space").strays == ()
    assert store.get("space", keys)[1].sum() == 10
    store.put("space", keys, rows_of(keys))
    assert (store.get("space", keys)[0] == rows_of(keys)).all()


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every write as a read-only file system does; chmod does not bind the superuser."""
    real_open, real_mkdir = os.open, os.mkdir

    def refuse_open(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system")
        return real_open(path, flags, *args, **kwargs)  # type: ignore[arg-type]  # passed through

    def refuse_mkdir(path: object, *args: object, **kwargs: object) -> None:
        if os.path.isdir(path):  # type: ignore[arg-type]  # passed through
            return real_mkdir(path, *args, **kwargs)  # type: ignore[arg-type]  # raises FileExistsError
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse_open)
    monkeypatch.setattr(os, "mkdir", refuse_mkdir)


def test_a_read_only_store_is_read_and_a_put_says_so(
    store: EmbeddingStore, make_keys: MakeKeys, rows_of: Rows, request: pytest.FixtureRequest
) -> None:
    keys = make_keys(5)
    store.describe("space", {})
    store.put("space", keys[:3], rows_of(keys[:3]))
    request.getfixturevalue("read_only")
    reader = EmbeddingStore(store.root)
    reader.describe("space", {})
    assert reader.get("space", keys)[1].sum() == 3
    with pytest.raises(StoreNotWritableError, match="cannot be written"):
        reader.put("space", keys, rows_of(keys))
    with pytest.raises(PermissionError):
        reader.describe("other", {})
    assert reader.verify().ok


def test_a_folder_that_cannot_be_made_is_reported_at_the_first_put(
    tmp_path: Path, make_keys: MakeKeys, rows_of: Rows, read_only: None
) -> None:
    store = EmbeddingStore(tmp_path / "new")
    assert not store.get("space", make_keys(2))[1].any()
    with store.claim("space", make_keys(2)) as claim:
        assert claim.mine.all()
    with pytest.raises(StoreNotWritableError, match="cannot be written"):
        store.put("space", make_keys(2), rows_of(make_keys(2)))


def test_a_disk_that_is_full_before_the_store_is_one_leaves_a_folder_that_can_become_one(
    tmp_path: Path, make_keys: MakeKeys, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders can be made on a full disk, their marker not: the next run must not find a space without a store."""

    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    keys = make_keys(2)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        store = EmbeddingStore(tmp_path / "new")
        with store.claim("space", keys) as claim:
            assert claim.mine.all()
        with pytest.raises(StoreError, match="no room for"):
            store.put("space", keys, rows_of(keys))
    again = EmbeddingStore(tmp_path / "new")
    again.put("space", keys, rows_of(keys))
    assert again.get("space", keys)[1].all()
