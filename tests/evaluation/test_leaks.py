"""Leaks between training and held-out parts: each kind found, counted and shown; nothing found where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.evaluation.leaks import content_groups, copy_leaks, group_leaks
from featx.evaluation.near_leaks import in_training, near_copy_leaks
from featx.store.digest import digest_bytes, digest_text, keys_array


def keys_of(*contents: str) -> np.ndarray:
    return keys_array([digest_bytes(content.encode()) for content in contents])


def names(n: int) -> list[str]:
    return [f"{i}.png" for i in range(n)]


def test_distinct_samples_need_no_groups() -> None:
    assert content_groups(keys_of("a", "b", "c")) is None


def test_copies_share_a_number_in_order_of_appearance() -> None:
    found = content_groups(keys_of("a", "b", "a", "c", "b"))
    assert found is not None
    assert found.tolist() == [0, 1, 0, 2, 1]


def test_a_group_on_both_sides_is_counted_a_part_with_an_example() -> None:
    groups = ["p1", "p2", "p3", "p2", "p3", "p1", "p9"]
    split = ["train", "train", "train", "val", "val", "test", ""]
    leaks = group_leaks(groups, split)
    assert [(leak.kind, leak.n) for leak in leaks] == [("group across split", 1), ("group across split", 2)]
    assert str(leaks[0]).startswith("1 group is in both train and test, for example 'p1'")
    assert str(leaks[1]).startswith("2 groups are in both train and val, for example 'p2'")


@pytest.mark.parametrize(
    ("groups", "split"),
    [
        (["p1", "p2"], ["train", "test"]),
        (["p1", "p1"], ["val", "test"]),  # neither is trained on
        (["p1", "p1"], ["train", ""]),  # in no part: never predicted
        (["p1", "p1"], ["train", "train"]),
    ],
)
def test_groups_that_are_not_parted_are_no_leak(groups: list[str], split: list[str]) -> None:
    assert group_leaks(groups, split) == ()


def test_numbers_as_groups_are_compared_as_numbers() -> None:
    leaks = group_leaks(np.array([1, 2, 1]), np.array(["train", "train", "test"]))
    assert leaks[0].message.startswith("1 group is in both train and test, for example 1:")


def test_a_copy_on_both_sides_is_found() -> None:
    leaks = copy_leaks(
        keys_of("a", "b", "a", "b", "c"), names=names(5), split=["train", "train", "val", "val", "test"]
    )
    assert [(leak.kind, leak.n) for leak in leaks] == [("copy across split", 2)]
    assert "2 samples are in both train and val, for example 0.png and 2.png" in str(leaks[0])


def test_copies_on_one_side_are_no_leak() -> None:
    assert (
        copy_leaks(keys_of("a", "a", "b", "b"), names=names(4), split=["train", "train", "val", "val"]) == ()
    )


def test_a_copy_with_another_label_is_found_wherever_it_is() -> None:
    leaks = copy_leaks(
        keys_of("a", "b", "a"), names=names(3), labels=["ant", "bee", "bee"], split=["val", "train", "val"]
    )
    assert [(leak.kind, leak.n) for leak in leaks] == [("copy with another label", 1)]
    assert "1 sample is there with different labels, for example 0.png ('ant') and 2.png ('bee')" in str(
        leaks[0]
    )


def test_three_copies_are_one_sample() -> None:
    (leak,) = copy_leaks(keys_of("a", "a", "a"), names=names(3), labels=["x", "y", "z"])
    assert leak.n == 1


def test_a_copy_in_another_group_is_found_in_the_training_part_only() -> None:
    keys, groups = keys_of("a", "a", "b", "b"), ["p1", "p2", "p3", "p4"]
    leaks = copy_leaks(keys, names=names(4), groups=groups, split=["train", "train", "val", "val"])
    assert [(leak.kind, leak.n) for leak in leaks] == [("copy across groups", 1)]
    assert "0.png ('p1') and 1.png ('p2')" in str(leaks[0])


def test_several_kinds_are_reported_beside_each_other() -> None:
    leaks = copy_leaks(
        keys_of("a", "a", "a"),
        names=names(3),
        labels=["x", "x", "y"],
        groups=["p", "q", "p"],
        split=["train", "train", "test"],
    )
    assert {leak.kind for leak in leaks} == {
        "copy across split",
        "copy across groups",
        "copy with another label",
    }


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["train", "val", ""])), min_size=1, max_size=30))
def test_copies_across_the_split_are_those_that_sets_find(rows: list[tuple[int, str]]) -> None:
    keys = keys_of(*(str(content) for content, _ in rows))
    train, val = ({c for c, part in rows if part == name} for name in ("train", "val"))
    leaks = copy_leaks(keys, names=names(len(rows)), split=[part for _, part in rows])
    assert sum(leak.n for leak in leaks) == len(train & val)


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


def test_empty_texts_are_no_copies_of_each_other() -> None:
    texts = keys_array([digest_text(text) for text in ("", "", "good", "good")])
    leaks = copy_leaks(texts, names=names(4), labels=["x", "y", "x", "y"], split=["train", "val"] * 2)
    assert [(leak.kind, leak.n) for leak in leaks] == [
        ("copy across split", 1),
        ("copy with another label", 1),
    ]
    assert all("2.png and 3.png" in str(leak) or "2.png ('x')" in str(leak) for leak in leaks)
