"""Nearest pairs by blocks are those that sorting finds; whitening takes out what all samples share."""

from __future__ import annotations

import numpy as np
import pytest

from featx.evaluation import neighbours
from featx.evaluation.neighbours import nearest_pairs, unit_rows, whiten


def by_sorting(similar: np.ndarray, apart: np.ndarray, k: int, at_least: float) -> set[tuple[int, int]]:
    similar = similar.copy()
    similar[apart[:, np.newaxis] == apart] = -np.inf
    found = set()
    for i, row in enumerate(similar):
        for j in np.argsort(-row, kind="stable")[:k].tolist():
            if row[j] > at_least:
                found.add((min(i, j), max(i, j)))
    return found


@pytest.mark.parametrize("block", [7, 64, 1000])
@pytest.mark.parametrize("k", [1, 5, 200])
def test_pairs_are_those_that_sorting_finds(monkeypatch: pytest.MonkeyPatch, block: int, k: int) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.standard_normal((150, 8)).astype(np.float32))
    apart = rng.integers(0, 60, 150)
    found = nearest_pairs(lambda one, other: rows[one] @ rows[other].T, apart, k, 0.3)
    assert set(map(tuple, found.tolist())) == by_sorting(rows @ rows.T, apart, k, 0.3)
    assert (found[:, 0] < found[:, 1]).all()
    assert len(np.unique(found, axis=0)) == len(found)


def test_samples_of_one_group_take_no_place_among_the_nearest() -> None:
    rows = unit_rows(np.array([[1, 0], [1, 0.01], [1, 0.02], [1, 0.5]], dtype=np.float32))
    found = nearest_pairs(lambda one, other: rows[one] @ rows[other].T, np.array([0, 0, 0, 1]), 1, 0.0)
    assert found.tolist() == [[0, 3], [1, 3], [2, 3]]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_samples_have_few_pairs(n: int) -> None:
    rows = np.ones((n, 3), dtype=np.float32)
    found = nearest_pairs(lambda one, other: rows[one] @ rows[other].T, np.arange(n), 5, 0.5)
    assert found.shape == (n // 2, 2)


def test_whitened_rows_tell_copies_from_samples_that_share_a_direction() -> None:
    rng = np.random.default_rng(0)
    rows = 10 + rng.standard_normal((300, 40)).astype(np.float32) * np.geomspace(
        5, 0.05, 40, dtype=np.float32
    )
    rows[150:] = rows[:150] + rng.normal(0, 0.01, (150, 40)).astype(np.float32)
    white = whiten(rows)
    alike = white @ white.T
    copies = np.diagonal(alike[:150, 150:])
    others = alike[~np.eye(300, dtype=bool) & (np.arange(300)[:, np.newaxis] % 150 != np.arange(300) % 150)]
    assert copies.min() > 0.9 > others.max()
    raw = unit_rows(rows) @ unit_rows(rows).T
    assert raw.min() > 0.5  # the cosine as it is tells nothing


def test_rows_with_nan_are_similar_to_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    rows[3, 2] = np.nan
    white = whiten(rows)
    assert np.isfinite(white).all()
    assert not white[3].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(white, 3, axis=0), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "rows", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((9, 4)), np.full((3, 2), np.nan)]
)
def test_rows_that_do_not_differ_are_similar_to_nothing(rows: np.ndarray) -> None:
    white = whiten(rows.astype(np.float32))
    assert white.shape[0] == len(rows)
    assert not white.any()


def test_axes_fitted_on_some_rows_serve_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, 16)).astype(np.float32) @ rng.standard_normal((16, 16)).astype(
        np.float32
    )
    whole = whiten(rows)
    monkeypatch.setattr(neighbours, "_MOST_FITTED", 500)
    some = whiten(rows)
    # Products differ by the sampling error of a covariance of 500 rows: 1 / sqrt(500), and five times that at the most.
    np.testing.assert_allclose(some[:200] @ some[:200].T, whole[:200] @ whole[:200].T, atol=0.25)
