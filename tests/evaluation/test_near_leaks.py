"""Near-copies where they should not be: each kind found and counted, and where all of its samples stand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featx.evaluation.near_leaks import in_training, left_apart, near_copy_leaks
from featx.store.digest import digest_bytes, keys_array


def keys_of(*contents: str) -> np.ndarray:
    return keys_array([digest_bytes(content.encode()) for content in contents])


def names(n: int) -> list[str]:
    return [f"{i}.png" for i in range(n)]


def test_near_copies_across_a_split_are_counted_by_held_out_sample() -> None:
    pairs, units = np.array([[0, 3], [1, 3], [2, 4]]), np.array([0, 0, 1, 0, 1, 2])
    split = ["train", "train", "train", "test", "val", "test"]
    leaks = near_copy_leaks(pairs, units, names=names(6), split=split)
    assert [(leak.kind, leak.n) for leak in leaks] == [("near-copy across split", 1)] * 2
    assert str(leaks[0]).startswith("1 sample of test has a near-copy in train, for example 0.png and 3.png")
    assert str(leaks[1]).startswith("1 sample of val has a near-copy in train, for example 2.png and 4.png")


def test_a_chain_of_near_copies_reaches_across_the_split() -> None:
    """The nearest of a held-out sample are held out too; one of them has its near-copy in training."""
    pairs, units = np.array([[1, 2], [0, 1]]), np.array([0, 0, 0])
    (leak,) = near_copy_leaks(pairs, units, names=names(3), split=["train", "test", "test"])
    assert leak.n == 2
    assert "2 samples of test have near-copies in train, for example 0.png and 1.png" in str(leak)
    (leak,) = near_copy_leaks(pairs[:1], units, names=names(3), split=["train", "", "test"])
    assert "for example 0.png and 2.png" in str(leak)


def test_exact_copies_across_a_split_are_not_counted_again() -> None:
    keys, units = keys_of("a", "b", "a"), np.array([0, 0, 0])
    leaks = near_copy_leaks(
        np.array([[0, 1]]), units, names=names(3), keys=keys, split=["train", "test", "test"]
    )
    assert [leak.n for leak in leaks] == [1]


def test_pairs_that_were_kept_apart_count_across_a_split() -> None:
    found = in_training(["train", "test", "train", "", "test"], np.arange(5), np.array([[0, 1], [2, 3]]))
    assert found.tolist() == [False, True, False, True, False]


def test_near_copies_across_groups_and_labels_show_the_surest_example() -> None:
    pairs, units = np.array([[1, 2], [0, 3]]), np.array([0, 1, 1, 0])
    leaks = near_copy_leaks(
        pairs, units, names=names(4), labels=["x", "y", "x", "x"], groups=["p", "q", "r", "s"]
    )
    assert [(leak.kind, leak.n) for leak in leaks] == [
        ("near-copy across groups", 2),
        ("near-copy with another label", 1),
    ]
    assert "2 pairs of near-copies are in different groups, for example 1.png ('q') and 2.png ('r')" in str(
        leaks[0]
    )
    assert (
        "1 pair of near-copies is there with different labels, for example 1.png ('y') and 2.png ('x')"
        in str(leaks[1])
    )


def test_near_copies_across_groups_matter_in_the_training_part_only() -> None:
    found = near_copy_leaks(
        np.array([[0, 1]]), np.zeros(2, int), names=names(2), groups=["p", "q"], split=["val", "val"]
    )
    assert found == ()


def test_without_pairs_there_is_no_near_copy_leak() -> None:
    none = np.zeros((0, 2), dtype=np.intp)
    assert near_copy_leaks(none, np.arange(2), names=names(2), labels=[0, 1], split=["train", "test"]) == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["train", "val", ""])), min_size=1, max_size=20))
def test_what_is_in_training_is_what_sets_find(rows: list[tuple[int, str]]) -> None:
    units, split = np.array([unit for unit, _ in rows]), [part for _, part in rows]
    trained = {unit for unit, part in rows if part == "train"}
    found = in_training(split, units, np.zeros((0, 2), dtype=np.intp))
    assert found.tolist() == [unit in trained and part != "train" for unit, part in rows]


def test_every_held_out_sample_stands_behind_one_of_training() -> None:
    """One by a pair of its own, of which the surest counts; one by a chain; and pairs that matter nowhere."""
    pairs, units = np.array([[1, 3], [0, 3], [3, 4], [2, 5]]), np.array([0, 0, 1, 0, 0, 1])
    (leak,) = near_copy_leaks(
        pairs, units, names=names(6), split=["train", "train", "", "test", "test", "test"]
    )
    assert leak.samples == ((1, 3), (0, 4))
    assert leak.n == 2


def test_pairs_across_groups_and_labels_are_all_listed() -> None:
    pairs, units = np.array([[1, 2], [0, 3]]), np.array([0, 1, 1, 0])
    groups, labels = near_copy_leaks(
        pairs, units, names=names(4), labels=["x", "y", "x", "x"], groups=["p", "q", "r", "s"]
    )
    assert groups.samples == ((1, 2), (0, 3))
    assert (labels.samples, labels.labels) == (((1, 2),), (("y", "x"),))


def test_pairs_left_apart_are_those_of_two_units() -> None:
    (leak,) = left_apart(np.array([[0, 1], [1, 2]]), np.array([0, 0, 1]), names=names(3))
    assert leak.samples == ((1, 2),)
    assert leak.anonymous.startswith("1 pair of near-copies is in chains too large")
