"""How windows grow, and shrink where others want the same samples."""

from __future__ import annotations

import pytest

from featx.inference.windows import ROWS_BYTES, WindowSize


def size_of(n_samples: int = 100_000, *, n_features: int = 64, batch_size: int = 1) -> WindowSize:
    return WindowSize(n_samples, n_features=n_features, batch_size=batch_size, content_bytes=8 << 20)


def test_a_first_window_leaves_most_of_the_samples_to_others() -> None:
    assert size_of(400).n == 50
    assert size_of().n == 128


def test_a_window_grows_until_it_takes_two_seconds() -> None:
    size = size_of()
    sizes = []
    for _ in range(6):
        size.grow(n_computed=size.n, took_s=size.n / 400, mean_bytes=1000.0)
        sizes.append(size.n)
    assert sizes == [256, 512, 800, 800, 800, 800]


def test_a_window_without_computation_says_nothing_of_the_pace() -> None:
    size = size_of()
    size.grow(n_computed=0, took_s=1e-5, mean_bytes=1000.0)
    assert size.n == 128


@pytest.mark.parametrize(("n_features", "largest"), [(64, 4096), (1280, 819), (100_000, 16)])
def test_vectors_of_a_window_stay_within_their_bound(n_features: int, largest: int) -> None:
    size = size_of(n_features=n_features)
    for _ in range(10):
        size.grow(n_computed=10_000, took_s=1.0, mean_bytes=1.0)
    assert size.n == largest
    assert size.n == 16 or 4 * n_features * size.n <= ROWS_BYTES


def test_large_files_make_small_windows() -> None:
    size = size_of()
    size.grow(n_computed=128, took_s=0.1, mean_bytes=500_000.0)
    assert size.n == 16


def test_a_quarter_of_what_is_left_is_taken_among_others() -> None:
    size = size_of()
    size.share(n_left=200)
    assert size.n == 50
    size.share(n_left=8)
    assert size.n == 16


def test_no_window_is_smaller_than_a_batch() -> None:
    size = size_of(100, batch_size=64)
    size.share(n_left=10)
    assert size.n == 64
