"""What is kept of a training: network and head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from featx.finetuning.choosing import Labelled, choose, fit_probe
from featx.finetuning.linear_head import LinearHead

N, D = 120, 6
CODES = np.arange(N) % 2


def _vectors(distance: float, seed: int) -> NDArray[np.float32]:
    """Two clouds so far apart in their first column."""
    found = np.random.default_rng(seed).normal(size=(N, D))
    found[:, 0] += distance * CODES
    return found.astype(np.float32)


@pytest.fixture
def known() -> Labelled:
    return Labelled(
        labels=np.asarray(["ant", "bee"])[CODES],
        codes=CODES,
        training=np.arange(80),
        validation=np.arange(80, N),
        units=np.arange(N),
        class_weight="balanced",
        class_weights=np.ones(2),
    )


def _start(vectors: NDArray[np.float32], known: Labelled) -> LinearHead:
    return fit_probe(vectors[known.training], known.labels[known.training], "balanced").folded()


BAD = LinearHead(np.zeros((2, D)), np.zeros(2))


def test_a_network_that_is_clearly_better_is_kept_with_a_head_fitted_anew_on_everything(
    known: Labelled,
) -> None:
    frozen, tuned = _vectors(0.5, 0), _vectors(4.0, 1)
    head, choice = choose(frozen, tuned, _start(frozen, known), BAD, known, refit=True)
    assert (choice.network, choice.head) == ("tuned", "refitted")
    assert choice.gain is not None
    assert choice.gain.value == pytest.approx(choice.frozen.refined_loss - choice.tuned.refined_loss)
    expected = fit_probe(tuned, known.labels, "balanced").folded()
    np.testing.assert_array_equal(head.weight, expected.weight)


def test_the_head_trained_along_is_kept_where_it_is_the_better_one_or_no_other_is_asked_for(
    known: Labelled,
) -> None:
    frozen, tuned = _vectors(0.5, 0), _vectors(4.0, 1)
    # Where the clouds are in truth, as no probe of 80 samples knows.
    weight = np.zeros((2, D))
    weight[:, 0] = -2.0, 2.0
    trained = LinearHead(weight, np.asarray([4.0, -4.0]))
    for refit in (True, False):
        head, choice = choose(frozen, tuned, _start(frozen, known), trained, known, refit=refit)
        assert (choice.network, choice.head) == ("tuned", "trained")
        assert head is trained


def test_a_network_that_is_not_clearly_better_is_left_and_the_probe_has_all_samples(known: Labelled) -> None:
    frozen = _vectors(1.0, 0)
    tuned = frozen + np.float32(0.05) * np.random.default_rng(2).normal(size=frozen.shape).astype(np.float32)
    head, choice = choose(frozen, tuned, _start(frozen, known), BAD, known, refit=True)
    assert (choice.network, choice.head) == ("frozen", "probe")
    np.testing.assert_array_equal(head.weight, fit_probe(frozen, known.labels, "balanced").folded().weight)


def test_a_network_that_is_only_surer_of_itself_is_not_better(known: Labelled) -> None:
    frozen = _vectors(1.0, 0)
    start = _start(frozen, known)
    surer = LinearHead(start.weight * 1.5, start.bias * 1.5)
    _, choice = choose(frozen, frozen, start, surer, known, refit=False)
    assert choice.tuned.loss < choice.frozen.loss
    assert choice.network == "frozen"


def test_what_is_clear_of_many_samples_is_not_clear_of_one_patient(known: Labelled) -> None:
    frozen, tuned = _vectors(0.5, 0), _vectors(4.0, 1)
    one_patient = replace(known, units=np.zeros(N, dtype=np.intp))
    _, choice = choose(frozen, tuned, _start(frozen, known), BAD, one_patient, refit=True)
    assert choice.network == "frozen"


@pytest.mark.parametrize(("refit", "kept"), [(True, "refitted"), (False, "trained")])
def test_without_a_validation_part_the_tuned_network_is_kept(known: Labelled, refit: bool, kept: str) -> None:
    frozen = _vectors(1.0, 0)
    all_of_it = replace(known, training=np.arange(N), validation=np.arange(0))
    _, choice = choose(frozen, frozen, _start(frozen, all_of_it), BAD, all_of_it, refit=refit)
    assert (choice.network, choice.head, choice.gain) == ("tuned", kept, None)


def test_where_no_epoch_came_to_its_end_the_frozen_probe_is_what_there_is(known: Labelled) -> None:
    frozen = _vectors(1.0, 0)
    head, choice = choose(frozen, None, _start(frozen, known), BAD, known, refit=True)
    assert (choice.network, choice.head) == ("frozen", "probe")
    assert np.abs(head.weight).max() > 0
