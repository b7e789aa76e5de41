"""Leaks between training and held-out parts: each kind found, counted and shown; nothing found where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.evaluation.leaks import Leak, content_groups, copy_leaks, group_leaks, mixed_groups
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


def test_empty_texts_are_no_copies_of_each_other() -> None:
    texts = keys_array([digest_text(text) for text in ("", "", "good", "good")])
    leaks = copy_leaks(texts, names=names(4), labels=["x", "y", "x", "y"], split=["train", "val"] * 2)
    assert [(leak.kind, leak.n) for leak in leaks] == [
        ("copy across split", 1),
        ("copy with another label", 1),
    ]
    assert all("2.png and 3.png" in str(leak) or "2.png ('x')" in str(leak) for leak in leaks)


def test_a_leak_says_where_all_of_its_samples_stand() -> None:
    keys = keys_of("a", "b", "a", "c", "b", "a")
    split = ["train", "train", "train", "val", "val", "val"]
    (across,) = copy_leaks(keys, names=names(6), split=split)
    assert across.samples == ((1, 4), (0, 2, 5))  # as they meet the other part
    (labels,) = copy_leaks(keys, names=names(6), labels=["x", "x", "y", "x", "x", "x"])
    assert (labels.samples, labels.labels) == (((0, 2, 5),), (("x", "y", "x"),))
    leaks = group_leaks(["p1", "p2", "p2", "p2", "p1", "p3"], split)
    assert leaks[0].samples == ((0, 4), (1, 3))
    assert all(len(leak.samples) == leak.n for leak in (across, labels, *leaks))


def test_a_message_has_three_examples_and_none_without_names() -> None:
    groups = [f"p{i}" for i in range(5)] * 2
    (leak,) = group_leaks(groups, ["train"] * 5 + ["test"] * 5)
    assert "for example 'p0'; 'p1'; 'p2': the scores on test" in leak.message
    assert leak.anonymous.startswith("5 groups are in both train and test: the scores on test")
    assert "p0" not in leak.anonymous


def test_plain_values_name_samples_only_where_names_are_given() -> None:
    leak = Leak(kind="copy", n=1, message="Jane.png", samples=((1, 0),), labels=(("x", "y"),))
    rows, places = [3, 7], ["a.csv, line 5", "a.csv, line 9"]
    plain = {
        "kind": "copy",
        "n": 1,
        "rows": [[7, 3]],
        "labels": [["x", "y"]],
        "places": [["a.csv, line 9", "a.csv, line 5"]],
    }
    assert leak.to_dict(rows=rows, places=places) == plain
    named = leak.to_dict(rows=rows, places=places, names=["Jane.png", "Joe.png"])
    assert named == {**plain, "names": [["Joe.png", "Jane.png"]], "message": "Jane.png"}
    assert leak.at([4, 9]).samples == ((9, 4),)


def test_groups_with_several_labels_are_counted_with_two_samples_of_each() -> None:
    found = mixed_groups(["p", "q", "p", "q", "q"], ["x", "x", "y", "x", "y"], names=names(5))
    assert found is not None
    assert (found.n, found.samples, found.labels) == (2, ((0, 2), (1, 4)), (("x", "y"), ("x", "y")))
    assert "'p': 0.png ('x') and 2.png ('y')" in found.message
    assert mixed_groups(["p", "q", "p"], ["x", "y", "x"], names=names(3)) is None
