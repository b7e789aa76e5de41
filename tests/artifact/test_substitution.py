"""A copy with some members replaced: complete, and the original untouched."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from featx.artifact.substitution import members, substitute

Pair = namedtuple("Pair", "one two")


class Mark:
    pass


@dataclass(frozen=True)
class Frozen:
    inner: Any


class Estimator(BaseEstimator):
    def __init__(self, inner: Any = None) -> None:
        self.inner = inner


class Finalised:
    """Two of these would free the same thing twice."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __del__(self) -> None:
        pass


class Slotted:
    __slots__ = ("__dict__", "hidden")


def unmarked(root: Any) -> Any:
    return substitute(root, lambda member: "replaced" if isinstance(member, Mark) else member)


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda m: [0, m], lambda r: r[1]),
        (lambda m: (0, m), lambda r: r[1]),
        (lambda m: Pair(0, m), lambda r: r.two),
        (lambda m: {m}, lambda r: next(iter(r))),
        (lambda m: {"a": {"b": m}}, lambda r: r["a"]["b"]),
        (lambda m: OrderedDict(a=m), lambda r: r["a"]),
        (lambda m: defaultdict(list, a=m), lambda r: r["a"]),
        (lambda m: Bunch(a=m), lambda r: r.a),
        (lambda m: Estimator(m), lambda r: r.inner),
        (lambda m: Frozen([m]), lambda r: r.inner[0]),
        (lambda m: np.array([[m, 1]], dtype=object), lambda r: r[0, 0]),
        (lambda m: np.array(m, dtype=object), lambda r: r[()]),
        (
            lambda m: np.ma.MaskedArray(np.array([m, 1], dtype=object), mask=[True, False]),
            lambda r: r.data[0],
        ),
    ],
)
def test_a_member_is_replaced_wherever_it_is(wrap: Any, unwrap: Any) -> None:
    mark = Mark()
    root = wrap(mark)
    copy = unmarked(root)
    assert type(copy) is type(root)
    assert unwrap(copy) == "replaced"
    assert unwrap(root) is mark


def test_a_default_factory_and_a_mask_are_kept() -> None:
    assert unmarked(defaultdict(list, a=Mark()))["new"] == []
    array = np.ma.MaskedArray(np.array([Mark(), 1], dtype=object), mask=[True, False])
    np.testing.assert_array_equal(unmarked(array).mask, [True, False])


def test_shared_members_stay_shared_and_circles_stay_circles() -> None:
    shared = [Mark()]
    circle = Estimator([shared, shared])
    circle.inner.append(circle)
    copy = unmarked(circle)
    assert copy is not circle
    assert copy.inner[0] is copy.inner[1]
    assert copy.inner[2] is copy


def test_numbers_functions_classes_and_what_owns_something_are_leaves() -> None:
    leaves = [
        np.arange(3),
        len,
        Estimator,
        np.arcsinh,
        Finalised(Mark()),
        Slotted(),
        np.random.RandomState(0),
        lambda: 1,
    ]
    copy = unmarked(leaves)
    assert all(new is old for new, old in zip(copy, leaves, strict=True))


def test_replace_meets_each_member_once() -> None:
    shared = Mark()
    met: list[Any] = []
    substitute([shared, (shared,), {"a": shared}], lambda member: met.append(member) or member)
    assert sum(member is shared for member in met) == 1


def test_members_are_all_that_is_met() -> None:
    inner = Estimator()
    found = members([inner, {"a": 1.5}])
    assert inner in found
    assert 1.5 in found
