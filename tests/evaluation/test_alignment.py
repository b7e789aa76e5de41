"""Small pictures laid on each other: copies agree in their details, other pictures do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.evaluation.alignment import SIDE_PX, coarse, compare


def pictures(n: int, seed: int = 0, side: int = 2 * SIDE_PX) -> np.ndarray:
    """Pictures with shapes of every size, (n, side, side) float in 0 to 255."""
    rng = np.random.default_rng(seed)
    at = np.linspace(-1, 1, side)
    x, y, r = rng.uniform(-1, 1, (3, n, 60, 1, 1))
    width = 0.04 + 0.3 * rng.random((n, 60, 1, 1)) ** 2
    bumps = np.exp(-((at - x) ** 2 + (at[:, np.newaxis] - y) ** 2) / (2 * width**2))  # (n, 60, side, side)
    mixed = (r * bumps).sum(axis=1)
    low, high = mixed.min(axis=(1, 2), keepdims=True), mixed.max(axis=(1, 2), keepdims=True)
    return 20 + 200 * (mixed - low) / (high - low)


def small(large: np.ndarray) -> np.ndarray:
    """Thumbnails, by the mean of the area that a pixel covers."""
    rows, columns = (area_means(side) for side in large.shape[1:])
    return np.clip(rows @ large @ columns.T + 0.5, 0, 255).astype(np.uint8)


def area_means(side: int) -> np.ndarray:
    edges, pixels = np.linspace(0, side, SIDE_PX + 1)[:, np.newaxis], np.arange(side)
    covered = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    weights = np.clip(covered, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


EDITS = {
    "same": lambda large: large,
    "darker": lambda large: 0.85 * large,
    "lighter": lambda large: np.clip(1.15 * large, 0, 255),
    "mirrored": lambda large: large[:, :, ::-1],
    "cropped at a corner": lambda large: large[:, 5:, 5:],
    "cropped at each edge": lambda large: large[:, 5:-5, 5:-5],
    "stretched": lambda large: large[:, :, 8:],
    "noisy": lambda large: large + np.random.default_rng(1).normal(0, 4, large.shape),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_one_picture_with_its_original(edit: str) -> None:
    large = pictures(12)
    found = compare(small(large), small(EDITS[edit](large)))
    assert found.copies.all()
    assert (found.details > 0.9).all()


@pytest.mark.parametrize(
    "edit",
    [
        lambda large: large[:, ::-1],  # upside down
        lambda large: large.transpose(0, 2, 1),
        lambda large: np.roll(large, 1, axis=0),  # another picture
        lambda large: large[:, 20:-20, 20:-20],  # three fifths of it, each way
    ],
    ids=["upside down", "transposed", "another", "heavily cropped"],
)
def test_what_is_not_seen_is_no_copy(edit: object) -> None:
    large = pictures(12)
    assert not compare(small(large), small(edit(large))).copies.any()  # type: ignore[operator]


def test_pictures_that_differ_in_details_only_are_two() -> None:
    """As neighbouring slices do: the same outline, other vessels."""
    outline = pictures(8, side=SIDE_PX)
    outline = np.stack(
        [np.kron(coarse(one[np.newaxis].astype(np.uint8))[0], np.ones((3, 3))) for one in outline]
    )
    rng = np.random.default_rng(0)
    one, other = (
        (outline + rng.normal(0, 15, outline.shape)).clip(0, 255).astype(np.uint8) for _ in range(2)
    )
    found = compare(one, other)
    assert (found.whole > 0.85).all()
    assert not found.copies.any()


def test_blank_pictures_are_no_copies_of_each_other() -> None:
    blank = np.full((2, SIDE_PX, SIDE_PX), 255, dtype=np.uint8)
    blank[1] = 3
    ramp = np.tile(np.linspace(100, 101, SIDE_PX), (2, SIDE_PX, 1)).astype(np.uint8)
    assert not compare(blank, blank).copies.any()
    assert not compare(ramp, ramp).copies.any()


def test_a_faint_picture_is_found_under_the_noise_of_compression() -> None:
    large = 120 + 0.15 * (pictures(12) - 120)
    noise = np.random.default_rng(0).normal(0, 1, (12, SIDE_PX, SIDE_PX))
    copied = np.clip(small(large) + noise, 0, 255).astype(np.uint8)
    found = compare(small(large), copied)
    assert found.details.min() < 0.9
    assert found.copies.all()
    assert not compare(small(large), np.roll(copied, 1, axis=0)).copies.any()


def test_no_pairs_give_no_agreement() -> None:
    none = np.zeros((0, SIDE_PX, SIDE_PX), dtype=np.uint8)
    assert compare(none, none).copies.shape == (0,)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_a_copy_is_found_wherever_it_was_cut(seed: int, left: int, top: int, mirrored: bool) -> None:
    large = pictures(2, seed)
    cut = large[:, top : 96 - 8 + top, left : 96 - 8 + left]
    assert compare(small(large), small(cut[:, :, ::-1] if mirrored else cut)).copies.all()
