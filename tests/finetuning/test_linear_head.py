"""The linear head: taken from scikit-learn's probe, on standardised columns and on vectors as they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from featx.finetuning.judging import losses
from featx.finetuning.linear_head import StandardHead, without_dead_columns
from featx.heads import make_head


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    found = rng.normal(5, 3, (90, 12)).astype(np.float32)
    found[:, 3] = 7  # a column that says nothing
    found[:, 4] *= 1e-4  # and one that hardly moves
    return found


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_head_of_a_probe_predicts_as_the_probe(vectors: NDArray[np.float32], n_classes: int) -> None:
    y = np.arange(90) % n_classes
    probe = make_head("logistic", C=1.0).fit(vectors, y)
    head = StandardHead.of_probe(probe).folded()
    # float64 throughout, summed in another order
    np.testing.assert_allclose(head.probabilities(vectors), probe.predict_proba(vectors), atol=1e-7)
    assert head.weight.shape == (n_classes, 12)
    assert losses(head.logits(vectors), y).mean() == pytest.approx(
        log_loss(y, probe.predict_proba(vectors)), abs=1e-6
    )
    if n_classes == 2:
        np.testing.assert_allclose(head.decision_values(vectors), probe.decision_function(vectors), atol=1e-6)


def test_a_column_that_hardly_moved_is_not_blown_up(vectors: NDArray[np.float32]) -> None:
    head = StandardHead.of_probe(make_head("logistic").fit(vectors, np.arange(90) % 2))
    assert head.scale.min() >= 0.1 * np.median(head.scale)


def test_a_head_of_nothing_finds_all_classes_equally_likely(vectors: NDArray[np.float32]) -> None:
    found = StandardHead.of_nothing(vectors, 3).folded().probabilities(vectors)
    np.testing.assert_allclose(found, 1 / 3)


def test_a_column_that_does_not_move_has_no_weight() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    vectors[:, 3] = rng.normal(size=60) * 1e-33  # as three columns of all-MiniLM-L6-v2
    labels = np.where(vectors[:, 0] > 0, "b", "a")
    living = without_dead_columns(vectors)
    assert not living[:, 3].any()
    assert np.array_equal(np.delete(living, 3, axis=1), np.delete(vectors, 3, axis=1))
    probe = make_head("logistic").fit(living, labels)
    head = StandardHead.of_probe(probe).folded()
    assert not head.weight[:, 3].any()
    assert np.abs(head.weight).max() < 10
    np.testing.assert_allclose(head.probabilities(vectors), probe.predict_proba(living), atol=1e-6)


def test_vectors_without_dead_columns_stay_as_they_are() -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32) * [1, 1e-2, 50]
    assert without_dead_columns(vectors) is vectors
