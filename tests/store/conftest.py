"""Keys, rows that follow from their keys, and a store that does not wait for the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.store.digest import Keys
from featx.store.store import EmbeddingStore


@pytest.fixture
def make_keys() -> Callable[..., Keys]:
    """``make_keys(n, seed=0)``: n distinct random keys."""

    def make(n: int, seed: int = 0) -> Keys:
        return np.random.default_rng(seed).integers(0, 256, (n, 16), dtype=np.uint8)

    return make


@pytest.fixture
def rows_of() -> Callable[..., np.ndarray]:
    """``rows_of(keys, d=4)``: the row that belongs to each key, so that a wrong one is seen without a second copy."""

    def rows(keys: Keys, d: int = 4) -> np.ndarray:
        return np.tile(keys.astype(np.float32), (1, -(-d // 16)))[:, :d]

    return rows


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the disk out of it: syncing costs milliseconds a file, and no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def store(tmp_path: Path, unsynced: None) -> EmbeddingStore:
    """An empty store."""
    return EmbeddingStore(tmp_path / "store")
