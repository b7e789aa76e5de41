"""What runs together is every sample once, within the budget, in arrays of few shapes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.inference.batching import ImageBatching, TokenBatching

lengths_of_texts = st.lists(st.integers(1, 300), max_size=60)
budgets = st.integers(1, 3000)
steps = st.sampled_from([1, 8, 16])


def ids_of(lengths: list[int]) -> list[np.ndarray]:
    return [np.arange(at, at + length, dtype=np.int32) for at, length in enumerate(lengths)]


def padded(length: int, step: int) -> int:
    return -(-length // step) * step


class TestTokenBatching:
    """Texts."""

    @given(lengths_of_texts, budgets, steps)
    def test_batches_are_all_texts_in_their_order_and_within_the_budget(
        self, lengths: list[int], tokens: int, step: int
    ) -> None:
        batches = TokenBatching(tokens, step=step).batches(ids_of(lengths))
        assert [at for batch in batches for at in batch] == list(range(len(lengths)))
        for batch in batches:
            (length,) = {padded(lengths[at], step) for at in batch}
            assert len(batch) == 1 or len(batch) * length <= tokens

    @given(lengths_of_texts, budgets, steps)
    def test_texts_in_order_of_their_lengths_make_as_few_runs_as_can_be(
        self, lengths: list[int], tokens: int, step: int
    ) -> None:
        in_order = sorted(lengths, reverse=True)
        batches = TokenBatching(tokens, step=step).batches(ids_of(in_order))
        counts = Counter(padded(length, step) for length in lengths)
        assert len(batches) == sum(-(-n // max(1, tokens // length)) for length, n in counts.items())

    @given(lengths_of_texts.filter(bool), budgets, steps, st.booleans())
    def test_a_run_holds_the_ids_and_minus_one_behind_their_end(
        self, lengths: list[int], tokens: int, step: int, fixed: bool
    ) -> None:
        batching, ids = TokenBatching(tokens, step=step), ids_of(lengths)
        for batch in batching.batches(ids):
            rows = batching.stacked([ids[at] for at in batch], fixed=fixed)
            length = padded(lengths[batch[0]], step)
            assert rows.dtype == np.int32
            assert rows.shape == (len(batch), length)
            for row, at in zip(rows, batch, strict=True):
                assert row[: lengths[at]].tolist() == ids[at].tolist()
                assert (row[lengths[at] :] == -1).all()

    @given(lengths_of_texts, budgets)
    def test_without_a_step_no_token_is_padding(self, lengths: list[int], tokens: int) -> None:
        batching, ids = TokenBatching(tokens), ids_of(lengths)
        runs = [batching.stacked([ids[at] for at in batch], fixed=False) for batch in batching.batches(ids)]
        assert sum(rows.size for rows in runs) == sum(lengths)

    def test_with_a_step_padding_is_less_than_it(self) -> None:
        rng = np.random.default_rng(0)
        lengths = sorted(np.minimum(rng.lognormal(4, 0.8, 3000).astype(int) + 3, 256).tolist(), reverse=True)
        batching, ids = TokenBatching(4096, step=8), ids_of(lengths)
        n_tokens = sum(
            batching.stacked([ids[at] for at in batch], fixed=False).size for batch in batching.batches(ids)
        )
        # Of 8 lengths one needs none and one needs 7, so 3.5 a text; those that were cut off at 256 need none.
        assert 3 * len(lengths) < n_tokens - sum(lengths) < 3.5 * len(lengths)

    @given(lengths_of_texts, budgets, steps, st.integers(1, 100))
    def test_a_lane_takes_one_run_whatever_its_share(
        self, lengths: list[int], tokens: int, step: int, share: int
    ) -> None:
        batching = TokenBatching(tokens, step=step)
        first = (batching.batches(ids_of(lengths)) or [[]])[0]
        assert batching.n_taken(lengths, share=share) == len(first)

    @given(lengths_of_texts, budgets, st.booleans())
    def test_a_run_is_full_once_something_is_left_for_the_next(
        self, lengths: list[int], tokens: int, single: bool
    ) -> None:
        batching = TokenBatching(tokens, single=single)
        n_runs = len(batching.batches(ids_of(lengths)))
        assert batching.is_full(lengths) == (n_runs > 1 or (single and n_runs == 1))

    @given(budgets, steps)
    def test_halving_ends_in_single_texts(self, tokens: int, step: int) -> None:
        batching = TokenBatching(tokens, step=step)
        for _ in range(20):
            if batching.smallest:
                break
            half = batching.halved()
            assert half.capacity == batching.capacity // 2
            assert half.step == step
            batching = half
        assert batching.smallest
        assert batching.batches(ids_of([3, 3, 3])) == [[0], [1], [2]]
        assert batching.halved().smallest

    @given(lengths_of_texts.filter(bool), budgets, steps)
    def test_alone_a_text_is_not_padded_and_stays_alone(
        self, lengths: list[int], tokens: int, step: int
    ) -> None:
        batching, ids = TokenBatching(tokens, step=step).alone(), ids_of(lengths)
        assert batching.smallest
        assert batching.halved().smallest
        assert batching.batches(ids) == [[at] for at in range(len(ids))]
        assert batching.n_taken(lengths, share=9) == 1
        for fixed in (True, False):
            rows = [batching.stacked([one], fixed=fixed) for one in ids]
            assert [row.tolist() for row in rows] == [[one.tolist()] for one in ids]

    def test_a_graph_that_insists_on_its_length_gets_it(self) -> None:
        batching, ids = TokenBatching(32, step=8, length=12), ids_of([3, 12, 1, 7, 7])
        assert batching.batches(ids) == [[0, 1], [2, 3], [4]]
        assert batching.stacked(ids[:2], fixed=False).shape == (2, 12)
        assert batching.stacked(ids[2:3], fixed=True).shape == (1, 12)
        assert batching.alone().stacked(ids[2:3], fixed=True).shape == (1, 12)
        assert batching.halved().stacked(ids[2:3], fixed=True).shape == (1, 12)

    def test_a_longer_text_than_the_budget_runs_alone(self) -> None:
        batching = TokenBatching(10)
        assert batching.batches(ids_of([11, 11, 5, 5, 5])) == [[0], [1], [2, 3], [4]]
        assert batching.stacked(ids_of([11]), fixed=True).shape == (1, 11)

    @pytest.mark.parametrize("length", [None, 12])
    def test_a_text_without_tokens_breaks_nothing(self, length: int | None) -> None:
        batching = TokenBatching(24, step=8, length=length)
        assert batching.n_taken([0, 0], share=1) == 2
        assert batching.n_taken([], share=1) == 0
        assert (batching.stacked(ids_of([0]), fixed=False) == -1).all()


def pictures(*edges: int) -> list[np.ndarray]:
    return [np.full((edge, edge, 3), at, np.uint8) for at, edge in enumerate(edges)]


class TestImageBatching:
    """Images."""

    @given(st.lists(st.integers(1, 4), max_size=30), st.integers(1, 9))
    def test_batches_are_all_images_once_each_of_one_shape(self, edges: list[int], size: int) -> None:
        batches = ImageBatching(size).batches(pictures(*edges))
        assert sorted(at for batch in batches for at in batch) == list(range(len(edges)))
        assert all(len({edges[at] for at in batch}) == 1 and len(batch) <= size for batch in batches)
        counts = Counter(edges)
        assert len(batches) == sum(-(-n // size) for n in counts.values())

    def test_a_run_is_a_stack_and_with_fixed_shapes_a_full_one(self) -> None:
        given_pictures = pictures(5, 5)
        rows = ImageBatching(4).stacked(given_pictures, fixed=False)
        assert rows.shape == (2, 5, 5, 3)
        np.testing.assert_array_equal(rows, np.stack(given_pictures))
        filled = ImageBatching(4).stacked(given_pictures, fixed=True)
        assert filled.shape == (4, 5, 5, 3)
        np.testing.assert_array_equal(filled[:2], rows)

    def test_one_image_is_not_copied(self) -> None:
        (image,) = pictures(5)
        assert np.shares_memory(ImageBatching(1).stacked([image], fixed=True), image)

    def test_halving_ends_with_one(self) -> None:
        sizes, batching = [], ImageBatching(13)
        while not batching.smallest:
            batching = batching.halved()
            sizes.append(batching.size)
        assert sizes == [6, 3, 1]
        assert batching.halved().size == 1
        assert ImageBatching(13).alone().smallest

    @pytest.mark.parametrize(
        ("size", "n", "share", "taken"),
        [(1, 100, 50, 8), (1, 100, 3, 3), (64, 100, 90, 64), (64, 10, 90, 10)],
    )
    def test_a_lane_takes_a_few_and_no_more_than_its_share(
        self, size: int, n: int, share: int, taken: int
    ) -> None:
        assert ImageBatching(size).n_taken([1] * n, share=share) == taken

    @pytest.mark.parametrize(("n", "full"), [(0, False), (3, False), (4, True), (5, True)])
    def test_a_run_is_full_at_its_size(self, n: int, full: bool) -> None:
        assert ImageBatching(4).is_full([1] * n) is full
        assert ImageBatching(4).capacity == 4


def test_batchings_have_one_protocol() -> None:
    def names(kind: Any) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(TokenBatching) == names(ImageBatching)
