"""Learning rates over steps and depth, groups for the optimiser, and the order of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx import Backbone
from featx.finetuning import split_backbone
from featx.finetuning.schedule import batch_order, rate_factor, weight_depths, weight_groups
from featx.testing import tiny_backbone
from featx.testing_texts import tiny_text_backbone


@given(st.integers(1, 500))
def test_the_rate_rises_once_to_one_and_then_falls_towards_nothing(n_steps: int) -> None:
    rates = [rate_factor(step, n_steps) for step in range(n_steps)]
    top = int(np.argmax(rates))
    assert max(rates) == 1
    assert all(rate > 0 for rate in rates)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_weights_are_deeper_the_more_stages_end_behind_them(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path, channels=(4, 5, 6, 7)))
    depths = weight_depths(split_backbone(backbone, backbone.space(), None))
    assert [depths[f"conv{at}.weight"] for at in (1, 2, 3, 4)] == sorted(
        (depths[f"conv{at}.weight"] for at in (1, 2, 3, 4)), reverse=True
    )
    assert depths["conv4.weight"] == 0
    assert depths["conv1.weight"] > depths["conv4.weight"]


@pytest.mark.parametrize("boundary", [None, "stage1"])
def test_every_trained_weight_is_in_one_group_and_vectors_do_not_decay(
    tmp_path: Path, boundary: str | None
) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path, channels=(4, 5, 6, 7)))
    split = split_backbone(backbone, backbone.space(), boundary)
    groups = weight_groups(split, 0.5)
    assert sorted(name for group in groups for name in group.names) == sorted(split.trainable)
    assert max(group.factor for group in groups) == 1
    for group in groups:
        assert group.decays == all(name.endswith("weight") for name in group.names)


def test_without_decay_all_weights_learn_equally_fast(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path))
    groups = weight_groups(split_backbone(backbone, backbone.space(), None), 1.0)
    assert {group.factor for group in groups} == {1.0}


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 5),
    epoch=st.integers(1, 5),
    texts=st.booleans(),
)
def test_an_epoch_sees_every_sample_once_in_an_order_that_repeats(
    n: int, batch_size: int, seed: int, epoch: int, texts: bool
) -> None:
    indices = np.arange(n) * 3
    lengths = np.random.default_rng(n).integers(1, 30, 3 * n) if texts else None

    def order() -> list[np.ndarray]:
        return batch_order(indices, batch_size, seed=seed, epoch=epoch, lengths=lengths)

    batches = order()
    assert sorted(np.concatenate(batches).tolist()) == indices.tolist()
    assert max(map(len, batches)) <= batch_size
    assert all(np.array_equal(a, b) for a, b in zip(batches, order(), strict=True))


def test_epochs_differ_in_their_order() -> None:
    first, second = (batch_order(np.arange(50), 50, seed=0, epoch=epoch, lengths=None)[0] for epoch in (1, 2))
    assert first.tolist() != second.tolist()


def test_texts_of_a_batch_are_of_about_one_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 512)
    batches = batch_order(np.arange(512), 32, seed=0, epoch=1, lengths=lengths)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    plain = sum(len(batch) * lengths[batch].max() for batch in np.split(np.arange(512), 16))
    # Sorted in spans of 16 batches: padding falls from about 90 % of the tokens to a few.
    assert padded < 1.15 * lengths.sum() < plain
