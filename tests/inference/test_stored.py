"""The way between vectors of several spaces and the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import EmbeddingStore, FeatureSpace
from featx.errors import FeatxWarning, StoreNotWritableError
from featx.inference.accounts import Accounts
from featx.inference.stored import Stored

SPACES = [
    FeatureSpace(backbone_digest="0" * 32, tap=tap, pooling="avg", preprocess="{}") for tap in ("a", "b")
]
KEYS = np.arange(4 * 16, dtype=np.uint8).reshape(4, 16)


class ReadOnlyStore(EmbeddingStore):
    """A store in a folder that cannot be written."""

    def put(self, *given: Any, **named: Any) -> None:
        raise StoreNotWritableError("the folder cannot be written.")


def stored(store: EmbeddingStore | None, *, required: bool = True) -> Stored:
    return Stored(store, SPACES, required=required, description={}, provenance={})


def filled(found: Stored, indices: Sequence[int]) -> Accounts:
    known = np.ones(len(KEYS), dtype=bool)
    accounts = Accounts(KEYS.copy(), known, widths=(2, 3), name_of=str, advance=lambda n: None, raises=False)
    found.fill(accounts, np.asarray(indices))
    return accounts


@pytest.mark.parametrize("indices", [[0, 1, 2], [0, 2], [2]], ids=str)
def test_a_sample_is_found_where_every_space_has_its_vector(tmp_path: Path, indices: list[int]) -> None:
    found = stored(EmbeddingStore(tmp_path))
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    found.put(SPACES[0], KEYS, rows[:, :2])
    found.put(SPACES[1], KEYS[1:], rows[1:])
    accounts = filled(found, indices)
    there = [i for i in indices if i >= 1]
    np.testing.assert_array_equal(np.flatnonzero(accounts.done), there)
    np.testing.assert_array_equal(accounts.vectors[there], np.hstack([rows[there, :2], rows[there]]))


def test_without_a_store_nothing_is_found_and_nothing_kept() -> None:
    found = stored(None)
    found.put(SPACES[0], KEYS, np.ones((4, 2), np.float32))
    found.remember(KEYS, KEYS)
    assert not filled(found, [0, 1]).done.any()


def test_a_store_that_is_required_and_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreNotWritableError):
        stored(ReadOnlyStore(tmp_path)).put(SPACES[0], KEYS, np.ones((4, 2), np.float32))


def test_a_default_store_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    found = stored(ReadOnlyStore(tmp_path), required=False)
    with pytest.warns(FeatxWarning, match="cannot be written. Going on without storing"):
        found.put(SPACES[0], KEYS, np.ones((4, 2), np.float32))
    assert found.store is None
    found.put(SPACES[1], KEYS, np.ones((4, 3), np.float32))  # a second warning would be an error here
