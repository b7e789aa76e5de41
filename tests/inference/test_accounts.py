"""Every sample is accounted for once."""

from __future__ import annotations

import numpy as np
import pytest

from featx.errors import SampleError, UnreadableSampleError
from featx.inference.accounts import Accounts


def accounts_of(n: int, *, told: list[int], raises: bool = False) -> Accounts:
    return Accounts(
        np.zeros((n, 16), dtype=np.uint8),
        np.zeros(n, dtype=bool),
        widths=(2, 3),
        name_of=lambda i: f"{i}.png",
        advance=told.append,
        raises=raises,
    )


def test_every_sample_is_told_of_once() -> None:
    told: list[int] = []
    accounts = accounts_of(6, told=told)
    accounts.finish(np.asarray([0, 1]))
    accounts.fail(2, SampleError("is broken."))
    told.append(1)  # as the lane does that computes the vector of 3
    accounts.hand_out([np.ones(2, np.float32), np.full(3, 2, np.float32)], [3, 5])
    np.testing.assert_array_equal(accounts.left(), [4])
    assert sum(told) == 5


def test_a_vector_goes_to_all_samples_of_its_content_a_part_a_space() -> None:
    accounts = accounts_of(3, told=[])
    accounts.hand_out([np.ones(2, np.float32), np.full(3, 2, np.float32)], [0, 2])
    np.testing.assert_array_equal(accounts.vectors[[0, 2]], [[1, 1, 2, 2, 2]] * 2)


def test_failures_that_are_allowed_are_nan_and_named() -> None:
    accounts = accounts_of(3, told=[])
    accounts.fail(1, UnreadableSampleError("is broken."))
    accounts.settle()
    assert np.isnan(accounts.vectors[1]).all()
    assert isinstance(accounts.errors[1], UnreadableSampleError)
    assert str(accounts.errors[1]) == "1.png (index 1): is broken."


def test_the_first_failure_is_raised_with_the_number_of_the_others() -> None:
    accounts = accounts_of(4, told=[], raises=True)
    accounts.settle()
    accounts.fail(3, SampleError("is late."))
    accounts.fail(1, SampleError("is broken."))
    with pytest.raises(SampleError, match=r"^1\.png \(index 1\): is broken\. \(1 more failed\.\)$"):
        accounts.settle()
