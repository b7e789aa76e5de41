"""Texts that were cut off are remembered with their vectors, and never by their words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import StoreNotWritableError
from featx.inference.cut_texts import SPACE, CutTexts, forget_told
from featx.store.digest import digest_text, keys_array
from featx.store.store import EmbeddingStore

TEXT = TextPreprocess(tokenizer="0" * 32, max_length=8)


def keys_of(*texts: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return keys_array(map(digest_text, texts))


@pytest.fixture(params=["store", "no store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddingStore | None:
    return EmbeddingStore(tmp_path / "store") if request.param == "store" else None


def test_what_was_cut_off_is_counted_as_often_as_it_is_there(store: EmbeddingStore | None) -> None:
    cut = CutTexts(TEXT, store)
    assert cut.count(keys_of("long")) == 0
    cut.remember([])
    cut.remember([digest_text("long")])
    cut.remember([digest_text("longer")])
    assert cut.count(keys_of("short", "long", "longer", "long")) == 3
    assert cut.count(keys_of()) == 0


def test_a_later_run_knows_it_too(tmp_path: Path) -> None:
    CutTexts(TEXT, EmbeddingStore(tmp_path)).remember([digest_text("long")])
    assert CutTexts(TEXT, EmbeddingStore(tmp_path)).count(keys_of("long", "short")) == 1


@pytest.mark.parametrize(
    "change", [{"max_length": 9}, {"prompt": "p"}, {"lowercase": True}, {"tokenizer": "1" * 32}]
)
def test_what_decides_the_length_decides_what_is_remembered(tmp_path: Path, change: dict[str, Any]) -> None:
    store = EmbeddingStore(tmp_path)
    CutTexts(TEXT, store).remember([digest_text("long")])
    assert CutTexts(dataclasses.replace(TEXT, **change), store).count(keys_of("long")) == 0


def test_what_does_not_decide_it_shares_the_memory(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path)
    CutTexts(TEXT, store).remember([digest_text("long")])
    assert CutTexts(dataclasses.replace(TEXT, normalize=True), store).count(keys_of("long")) == 1
    assert [space.id for space in store.spaces()] == [SPACE]


def test_a_store_that_cannot_be_written_leaves_the_count_of_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: Any, **named: Any) -> None:
        raise StoreNotWritableError("no space left")

    store = EmbeddingStore(tmp_path)
    monkeypatch.setattr(EmbeddingStore, "put", full)
    cut = CutTexts(TEXT, store)
    cut.remember([digest_text("long")])
    assert cut.count(keys_of("long", "short")) == 1


def test_more_digests_than_are_looked_up_in_one_call(tmp_path: Path) -> None:
    cut = CutTexts(TEXT, EmbeddingStore(tmp_path))
    cut.remember([digest_text("long")])
    assert cut.count(np.repeat(keys_of("long"), 200_000, axis=0)) == 200_000


def test_a_process_is_told_of_a_text_once(store: EmbeddingStore | None) -> None:
    forget_told()
    cut = CutTexts(TEXT, store)
    cut.remember(map(digest_text, ["long", "longer", "longest"]))
    assert cut.count_untold(keys_of("short", "long", "longer", "long")) == 3
    assert cut.count_untold(keys_of("longer", "long", "short")) == 0
    assert cut.count_untold(keys_of("longer", "longest")) == 2
    assert cut.count_untold(keys_of()) == 0
    other = CutTexts(dataclasses.replace(TEXT, max_length=7), store)
    other.remember([digest_text("long")])
    assert other.count_untold(keys_of("long")) == 1
    forget_told()
    assert cut.count_untold(keys_of("long")) == 1
