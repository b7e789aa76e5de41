"""Intervals: they hold the truth as often as they say, draw whole units, and pair what is compared."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featx.errors import ParameterError
from featx.evaluation.bootstrap import Estimate, bootstrap, difference, draw_weights
from featx.evaluation.figures import measure
from featx.evaluation.outcomes import Outcomes


def mean_of(values: NDArray[np.float64]):  # type: ignore[no-untyped-def]  # a closure for the tests below
    def measured(weights: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
        weights = np.ones((len(values), 1)) if weights is None else weights
        return {"mean": values @ weights / weights.sum(axis=0)}

    return measured


def test_units_are_drawn_whole() -> None:
    units = np.asarray([0, 0, 0, 1, 2, 2])
    for weights in draw_weights(units, 100, random_state=0):
        assert (weights[0] == weights[1]).all()
        assert (weights[0] == weights[2]).all()
        assert (weights[4] == weights[5]).all()
        assert (weights[[0, 3, 4]].sum(axis=0) == 3).all()


def test_a_draw_depends_on_its_number_and_the_seed_alone() -> None:
    units = np.arange(7)
    few = np.concatenate(list(draw_weights(units, 10, 3)), axis=1)
    many = np.concatenate(list(draw_weights(units, 100, 3)), axis=1)
    np.testing.assert_array_equal(many[:, :10], few)
    assert not np.array_equal(many, np.concatenate(list(draw_weights(units, 100, 4)), axis=1))


def test_intervals_of_a_mean_of_groups_hold_the_truth_about_as_often_as_they_say() -> None:
    """100 groups of 1 to 5 values that share an effect; 400 trials, so 95 % is 92.8 to 97.2 % in 19 of 20 runs of such a test.

    Drawing values instead of groups would hold it in about three of four trials.
    """
    rng = np.random.default_rng(0)
    held = {"groups": 0, "values": 0}
    for trial in range(400):
        sizes = rng.integers(1, 6, 100)
        units = np.repeat(np.arange(100), sizes)
        values = rng.exponential(size=100)[units] + 0.3 * rng.normal(size=len(units))
        for name, drawn in (("groups", units), ("values", np.arange(len(units)))):
            found = bootstrap(mean_of(values), drawn, n_draws=300, random_state=trial)["mean"]
            assert found.low is not None
            assert found.high is not None
            held[name] += found.low <= 1.0 <= found.high
    assert 0.92 <= held["groups"] / 400 <= 0.975
    assert held["values"] / 400 < 0.85


def test_all_right_is_no_certainty() -> None:
    """Of 30 out of 30 Clopper and Pearson say at least 0.884 (0.025 ** (1 / 30))."""
    found = bootstrap(mean_of(np.ones(30)), np.arange(30), n_draws=100, shares=frozenset(["mean"]))["mean"]
    assert found.low == pytest.approx(0.8843, abs=1e-4)
    assert found.high == 1.0
    none = bootstrap(mean_of(np.zeros(30)), np.arange(30), n_draws=100, shares=frozenset(["mean"]))["mean"]
    assert none.high == pytest.approx(0.1157, abs=1e-4)


def test_an_interval_holds_its_own_value_where_every_draw_is_above_it() -> None:
    """Average precision of equal scores in folds of equal shares: other shares can only raise it."""
    n = 60
    equal = Outcomes(
        truth=np.arange(n) % 3,
        predicted=np.zeros(n, dtype=int),
        folds=np.arange(n) // 20,
        units=np.arange(n),
        samples=np.arange(n),
        classes=np.arange(3),
        scores=np.full((n, 3), 1 / 3),
        proba=np.full((n, 3), 1 / 3),
    )
    found = bootstrap(lambda weights: measure(equal, weights), equal.units)["average_precision"]
    assert (found.draws >= found.value).mean() > 0.99
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_an_interval_of_a_figure_both_skewed_and_biased_is_in_order() -> None:
    """One value in thirty is far out and all draws lie below the figure: 1 - a (z + t) below zero would turn the bounds round."""
    far = np.concatenate([np.zeros(29), [1000.0]])

    def measured(weights: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
        found = mean_of(far)(weights)["mean"]
        return {"biased": 9 * found if weights is None else found}

    found = bootstrap(measured, np.arange(30), n_draws=1000)["biased"]
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found.high >= found.draws.max()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_number_for_it(value: float) -> None:
    found = bootstrap(
        lambda weights: {"odd": np.full(1 if weights is None else weights.shape[1], value)}, np.arange(9)
    )
    assert found["odd"].to_dict() == {"value": None, "low": None, "high": None}


def test_what_cannot_be_told_has_no_interval() -> None:
    one_unit = bootstrap(mean_of(np.asarray([0.0, 1.0])), np.asarray([5, 5]), n_draws=100)["mean"]
    assert (one_unit.value, one_unit.low, one_unit.high) == (0.5, None, None)
    constant = bootstrap(mean_of(np.full(20, 3.0)), np.arange(20), n_draws=100)["mean"]
    assert constant.low is None

    def often_undefined(weights: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
        if weights is None:
            return {"rare": np.asarray([0.5])}
        return {"rare": np.where(weights[0] > 0, weights[0] / 10, np.nan)}

    assert bootstrap(often_undefined, np.arange(20), n_draws=200)["rare"].low is None


def test_a_paired_difference_is_narrower_than_its_parts() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=200)
    b = a - 0.05 + 0.05 * rng.normal(size=200)
    first, second = (bootstrap(mean_of(v), np.arange(200), n_draws=500)["mean"] for v in (a, b))
    gap = difference(first, second)
    assert gap.value == pytest.approx((a - b).mean())
    assert gap.low is not None
    assert first.low is not None
    assert gap.low > 0.03
    assert first.low < second.value  # the intervals themselves overlap widely


def test_differences_of_other_draws_are_refused() -> None:
    short = bootstrap(mean_of(np.arange(9.0)), np.arange(9), n_draws=100)["mean"]
    long = bootstrap(mean_of(np.arange(9.0)), np.arange(9), n_draws=200)["mean"]
    with pytest.raises(ParameterError, match="same draws"):
        difference(short, long)


@pytest.mark.parametrize("given", [{"n_draws": 10}, {"n_draws": True}, {"level": 95}, {"level": 0.1}])
def test_odd_settings_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="expected"):
        bootstrap(mean_of(np.arange(9.0)), np.arange(9), **given)  # type: ignore[arg-type]  # that is the point


def test_an_estimate_reads_as_people_write_it() -> None:
    draws = np.zeros(1)
    assert (
        str(Estimate(value=0.5, low=0.4, high=0.61, draws=draws, left_out=draws)) == "0.500 (0.400 to 0.610)"
    )
    assert Estimate(value=float("nan"), low=None, high=None, draws=draws, left_out=draws).to_dict() == {
        "value": None,
        "low": None,
        "high": None,
    }
