"""Units: what is given stays together, pairs join while units stay small, the surest first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featx.evaluation.units import join_units, largest_unit

NO_PAIRS = np.zeros((0, 2), dtype=np.intp)


def test_samples_that_share_a_number_anywhere_are_one_unit() -> None:
    groups, contents = np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8])
    assert join_units(5, [groups, contents], NO_PAIRS).tolist() == [0, 0, 0, 1, 2]


def test_a_chain_of_near_copies_is_cut_where_the_unit_would_become_too_large() -> None:
    chain = np.column_stack([np.arange(99), np.arange(1, 100)])
    units = join_units(100, [np.arange(100)], chain)
    assert np.bincount(units).max() == largest_unit(100, 1) == 11
    assert units[:11].tolist() == [0] * 11
    assert units[11] == 1


def test_the_surest_pairs_are_joined_first() -> None:
    chain = np.column_stack([np.arange(99), np.arange(1, 100)])
    units = join_units(100, [np.arange(100)], chain[::-1])
    assert len(set(units[-11:].tolist())) == 1


def test_a_large_group_does_not_keep_its_copies_out() -> None:
    groups = np.array([0] * 60 + list(range(1, 41)))
    units = join_units(100, [groups], np.array([[0, 60], [0, 61]]))
    assert np.bincount(units).max() == 62


def test_two_large_groups_stay_apart() -> None:
    groups = np.repeat([0, 1], 50)
    assert join_units(100, [groups], np.array([[0, 99]])).tolist() == groups.tolist()


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 8), min_size=n, max_size=n),
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30),
        )
    )
)
def test_units_are_the_connected_components_while_all_are_small(
    drawn: tuple[list[int], list[tuple[int, int]]],
) -> None:
    numbers, pairs = np.asarray(drawn[0]), np.asarray(drawn[1], dtype=np.intp).reshape(-1, 2)
    n = len(numbers)
    units = join_units(n, [numbers], pairs)
    together = numbers[:, np.newaxis] == numbers
    together[pairs[:, 0], pairs[:, 1]] = together[pairs[:, 1], pairs[:, 0]] = True
    for middle in range(n):  # Warshall
        together |= together[:, [middle]] & together[[middle]]
    expected = together.sum(axis=1).max() <= largest_unit(n, int(np.bincount(numbers).max()))
    if expected:
        assert ((units[:, np.newaxis] == units) == together).all()
    assert list(dict.fromkeys(units.tolist())) == list(range(units.max() + 1))
