"""Where a network can be divided with one tensor crossing."""

from __future__ import annotations

import pytest
from onnx import NodeProto, helper

from featx.errors import ParameterError
from featx.finetuning.chain import Candidate, choose_by_share, dominator_chain


def node(taken: str, *made: str) -> NodeProto:
    return helper.make_node("Any", taken.split(), list(made))


RESIDUAL = [
    node("x w0", "a"),
    node("a w1", "b"),
    node("b w2", "c"),
    node("a c", "d"),
    node("d w3", "e"),
]
SIZES = {"w0": 1, "w1": 10, "w2": 100, "w3": 1000}


def test_branches_are_passed_over_and_weights_counted_behind_each() -> None:
    chain = dominator_chain(RESIDUAL, "e", {"a", "b", "c", "d", "e"}, SIZES)
    assert chain == [("a", 1110), ("d", 1000), ("e", 0)]


def test_what_takes_no_weights_does_not_stand_in_the_way() -> None:
    masked = [
        node("x", "mask"),
        node("x w0", "a"),
        node("a mask w1", "b"),
        node("b mask w2", "c"),
        node("c w3", "e"),
    ]
    chain = dominator_chain(masked, "e", {"a", "b", "c", "e"}, SIZES)
    assert [tensor for tensor, _ in chain] == ["a", "b", "c", "e"]


def test_a_weight_that_is_read_before_and_behind_counts_as_before() -> None:
    tied = [node("x w1", "a"), node("a w0", "b"), node("b w1", "c")]
    assert dominator_chain(tied, "c", {"a", "b", "c"}, SIZES) == [("a", 1), ("b", 0), ("c", 0)]


def test_two_beginnings_have_no_common_one() -> None:
    embedded = [node("x w0", "a"), node("x w1", "b"), node("a b", "c"), node("c w2", "d")]
    assert dominator_chain(embedded, "d", {"a", "b", "c", "d"}, SIZES) == [("c", 100), ("d", 0)]


def test_of_equal_shares_the_smallest_then_the_last_is_taken() -> None:
    found = [
        Candidate("a", 50, 9),
        Candidate("b", 40, 9),
        Candidate("c", 40, 4),
        Candidate("d", 40, 4),
        Candidate("e", 5, 1),
    ]
    assert choose_by_share(found, 0.45, 100) == "d"
    assert choose_by_share(found, 0.5, 100) == "a"
    with pytest.raises(ParameterError, match=r"holds 0\.05 of the weights"):
        choose_by_share(found, 0.01, 100)
