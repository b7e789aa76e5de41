"""The index against a dict, with keys that collide as real digests never do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.store.digest import Keys
from featx.store.index import Index, as_words, first_occurrences, groups


def colliding_key(number: int) -> bytes:
    """One of a few keys; those with like ``number // 4`` share their first eight bytes."""
    return bytes([number // 4]) * 8 + bytes([number % 4]) * 8


def as_keys(numbers: list[int]) -> Keys:
    return np.frombuffer(b"".join(map(colliding_key, numbers)), np.uint8).reshape(-1, 16)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[int], int | None]]:
    """Segments of distinct colliding keys, each with the number of an earlier one to remove or None."""
    segments = draw(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=8, unique=True), max_size=8))
    return [(keys, draw(st.none() | st.integers(0, max(0, i - 1)))) for i, keys in enumerate(segments)]


@given(histories(), st.permutations(range(8)), st.lists(st.integers(0, 13), max_size=20))
def test_the_oldest_segment_with_all_sixteen_bytes_wins(
    history: list[tuple[list[int], int | None]], ages: list[int], asked: list[int]
) -> None:
    index = Index.empty()
    live: dict[int, list[int]] = {}
    for number, (keys, gone) in enumerate(history):
        removed = [gone] if gone is not None and gone in live else []
        index = index.updated({number: (as_words(as_keys(keys)), (ages[number], ""))}, removed)
        for old in removed:
            del live[old]
        live[number] = keys

    found = index.locate(as_keys(asked))

    for position, key in enumerate(asked):
        holders = [number for number, keys in live.items() if key in keys]
        if holders:
            oldest = min(holders, key=lambda number: ages[number])
            assert (found.segment[position], found.row[position]) == (oldest, live[oldest].index(key))
        else:
            assert found.segment[position] == -1


@given(histories())
def test_segments_that_share_a_key_are_known(history: list[tuple[list[int], int | None]]) -> None:
    index = Index.empty()
    for number, (keys, _) in enumerate(history):
        index = index.updated({number: (as_words(as_keys(keys)), (number, ""))})
    all_keys = [keys for keys, _ in history]
    for number, keys in enumerate(all_keys):
        others = {key for other, more in enumerate(all_keys) if other != number for key in more}
        if others & set(keys):
            assert number in index.overlapping


def test_an_index_costs_at_most_24_bytes_a_key(make_keys: Callable[..., Keys]) -> None:
    n, n_segments = 200_000, 20
    words = as_words(make_keys(n))
    parts = np.split(words, n_segments)
    tracemalloc.start()
    try:
        index = Index.empty()
        for number, part in enumerate(parts):
            index = index.updated({number: (part, (number, ""))})
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.locate(words[:3].view(np.uint8)).row.tolist() == [0, 1, 2]
    assert used <= 24 * n


def test_many_small_segments_make_few_runs(make_keys: Callable[..., Keys]) -> None:
    words = as_words(make_keys(1000))
    index = Index.empty()
    for number in range(1000):
        index = index.updated({number: (words[number : number + 1], (number, ""))})
    assert len(index._runs) <= 6  # log4(1000) = 5, and the one that was just begun
    assert (index.locate(words.view(np.uint8)).segment == np.arange(1000)).all()


def test_an_index_does_not_change_when_it_is_updated(make_keys: Callable[..., Keys]) -> None:
    keys = make_keys(20)
    before = Index.empty().updated({0: (as_words(keys[:10]), (0, ""))})
    after = before.updated({1: (as_words(keys[10:]), (1, ""))}, removed=[0])
    assert (before.locate(keys).segment >= 0).tolist() == [True] * 10 + [False] * 10
    assert (after.locate(keys).segment >= 0).tolist() == [False] * 10 + [True] * 10


@given(st.lists(st.integers(0, 11), max_size=30))
def test_first_occurrences_are_those_of_a_dict(numbers: list[int]) -> None:
    expected = list({number: position for position, number in reversed(list(enumerate(numbers)))}.values())
    assert first_occurrences(as_words(as_keys(numbers))).tolist() == sorted(expected)


@pytest.mark.parametrize("numbers", [[], [3, 3], [2, 0, 2, 1, 0]])
def test_groups_cover_every_position_once(numbers: list[int]) -> None:
    array = np.array(numbers, np.int64)
    covered = np.full(len(array), -1)
    for number, where in groups(array):
        covered[where] = number
    assert covered.tolist() == numbers
