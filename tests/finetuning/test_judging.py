"""The figures that a training is chosen by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from featx.finetuning.judging import losses, paired_gain, refined_losses


@pytest.fixture
def logits() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(60, 3))


def test_the_losses_are_those_of_scikit_learn(logits: NDArray[np.float64]) -> None:
    codes = np.arange(60) % 3
    odds = np.exp(logits)
    expected = log_loss(codes, odds / odds.sum(axis=1, keepdims=True))
    assert losses(logits, codes).mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [0.05, 1.0, 20.0])
def test_the_refined_loss_does_not_depend_on_how_sure_a_model_is(
    logits: NDArray[np.float64], factor: float
) -> None:
    codes = np.where(np.arange(60) % 4 == 0, (np.arange(60) + 1) % 3, logits.argmax(axis=1))
    ones = np.ones(60)
    expected = refined_losses(logits, codes, ones).mean()
    # The search over temperatures ends at 1e-5 of its logarithm.
    assert refined_losses(logits * factor, codes, ones).mean() == pytest.approx(expected, abs=1e-6)
    assert expected <= losses(logits, codes).mean()


def test_a_model_that_ranks_worse_has_the_greater_refined_loss(logits: NDArray[np.float64]) -> None:
    codes, ones = logits.argmax(axis=1), np.ones(60)
    noisy = logits + np.random.default_rng(1).normal(size=logits.shape)
    assert refined_losses(noisy, codes, ones).mean() > refined_losses(logits, codes, ones).mean()


def test_logits_that_are_not_finite_are_the_worst_there_is() -> None:
    assert refined_losses(np.asarray([[0.0, np.nan]]), np.asarray([0]), np.ones(1)) == [math.inf]


def test_the_standard_error_is_that_of_a_mean_of_differences() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.exponential(size=(2, 40))
    gain = paired_gain(before, after, weights=np.full(40, 3.0), units=np.arange(40))
    each = before - after
    assert gain.value == pytest.approx(each.mean())
    assert gain.standard_error == pytest.approx(each.std(ddof=1) / math.sqrt(40))


def test_slices_of_one_patient_are_one_observation() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.exponential(size=(2, 10))
    alone = paired_gain(before, after, weights=np.ones(10), units=np.arange(10))
    fourfold = paired_gain(
        np.repeat(before, 4), np.repeat(after, 4), weights=np.ones(40), units=np.repeat(np.arange(10), 4)
    )
    assert fourfold.value == pytest.approx(alone.value)
    assert fourfold.standard_error == pytest.approx(alone.standard_error)


def test_one_unit_is_never_clear() -> None:
    gain = paired_gain(np.ones(5), np.zeros(5), weights=np.ones(5), units=np.zeros(5))
    assert gain.value == 1.0
    assert not gain.is_clear


def test_what_is_left_of_losses_near_zero_is_no_gain() -> None:
    gain = paired_gain(np.full(5, 1e-6), np.zeros(5), weights=np.ones(5), units=np.arange(5))
    assert gain.value > gain.standard_error
    assert not gain.is_clear
