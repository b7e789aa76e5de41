"""What is set aside to choose by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from featx import FineTuneClassifier
from featx.errors import DatasetError
from featx.finetuning import fitting
from featx.finetuning.preparing import validation_part

CLASSES = np.asarray(["ant", "bee", "wasp"])


def test_no_unit_is_on_both_sides_and_every_sample_is_on_one() -> None:
    rng = np.random.default_rng(0)
    y, units = CLASSES[rng.integers(0, 3, 90)], rng.integers(0, 30, 90)
    training, validation = validation_part(y, units, 0.2, seed=0)
    assert not set(units[training]) & set(units[validation])
    assert sorted([*training, *validation]) == list(range(90))
    assert 10 < len(validation) < 26


def test_ten_patients_give_a_validation_part_of_several() -> None:
    units = np.repeat(np.arange(10), 4)
    _, validation = validation_part(CLASSES[units % 2], units, 0.1, seed=0)
    assert len(np.unique(units[validation])) >= 3


def test_many_units_are_divided_whole_and_stratified() -> None:
    rng = np.random.default_rng(0)
    units = rng.integers(0, 3_000, 9_000)
    y = CLASSES[rng.choice(3, 9_000, p=(0.9, 0.07, 0.03))]
    training, validation = validation_part(y, units, 0.1, seed=0)
    assert not set(units[training]) & set(units[validation])
    assert len(validation) == pytest.approx(900, rel=0.1)
    # Of units of three some vary; three times the error of a share of 270 in 9,000 by drawing 900.
    assert np.mean(y[validation] == "wasp") == pytest.approx(0.03, abs=0.017)


def test_few_patients_with_slices_of_both_classes_are_divided() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        units = np.repeat(np.arange(10), rng.integers(2, 41, 10))
        y = CLASSES[(rng.random(len(units)) < rng.beta(0.3, 0.6, 10)[units]).astype(int)]
        if len({tuple(sorted(set(y[units == unit]))) for unit in range(10)}) < 2:
            continue  # all patients alike
        training, validation = validation_part(y, units, 0.1, seed=0)
        assert set(y[training]) == set(y[validation]) == set(y)
        assert 2 <= len(np.unique(units[validation])) <= 5


def test_a_rare_class_is_trained_on_and_does_not_take_half_of_the_data() -> None:
    y = np.asarray(["common"] * 100 + ["frequent"] * 100 + ["rare"] * 2)
    training, validation = validation_part(y, np.arange(202), 0.1, seed=0)
    assert {200, 201} <= set(training.tolist())
    assert len(validation) == 20


def test_a_small_class_of_two_is_validated_with_more_of_both() -> None:
    y = np.asarray(["common"] * 100 + ["small"] * 4)
    training, validation = validation_part(y, np.arange(104), 0.1, seed=0)
    assert set(y[validation]) == set(y[training]) == {"common", "small"}
    assert len(validation) == 26


def test_where_one_unit_at_most_could_be_set_aside_it_is_refused() -> None:
    units = np.repeat(np.arange(2), 10)
    with pytest.raises(DatasetError, match="validation_fraction=None"):
        validation_part(np.tile(CLASSES[:2], 10), units, 0.1, seed=0)


def test_copies_tie_groups_together(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    tuner: Callable[..., FineTuneClassifier],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = []

    def watched(labels: np.ndarray, units: np.ndarray, *rest: object, **more: object) -> object:
        given.append(units)
        return validation_part(labels, units, *rest, **more)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(fitting, "validation_part", watched)
    # Every picture twice, each time in a group of its own.
    tuner(network, epochs=1).fit(pictures[:24] * 2, np.tile(labels[:24], 2), groups=np.arange(48))
    np.testing.assert_array_equal(given[0][:24], given[0][24:])
    assert len(np.unique(given[0])) == 24
