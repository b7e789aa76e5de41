"""``Augment`` and ``View``: checked on construction, equal where their identities are, refused in words."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx import Augment, ImagePreprocess
from featx.backbones.augment import FILL_MODES, View
from featx.errors import ParameterError, PreprocessError

factors = st.tuples(st.floats(0, 3), st.floats(0, 3)).map(lambda pair: tuple(sorted(pair)))
augments = st.builds(
    Augment,
    rotation_range=st.floats(0, 180),
    width_shift_range=st.floats(0, 40),
    height_shift_range=st.floats(0, 0.99),
    zoom_range=st.floats(0, 0.9) | st.tuples(st.floats(0.1, 1), st.floats(1, 3)),
    shear_range=st.floats(0, 60),
    horizontal_flip=st.booleans(),
    vertical_flip=st.booleans(),
    brightness_range=st.none() | factors,
    contrast_range=st.none() | factors,
    fill_mode=st.sampled_from(FILL_MODES),
)


@given(augments, augments)
def test_identities_are_equal_exactly_where_values_are(one: Augment, other: Augment) -> None:
    assert (json.dumps(one.to_dict()) == json.dumps(other.to_dict())) == (one == other)
    assert Augment.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@given(augments, st.integers(1, 99), st.integers(0, 2**40))
def test_a_view_in_a_preprocessing_reads_back_equal(augment: Augment, number: int, seed: int) -> None:
    given_one = dataclasses.replace(ImagePreprocess.imagenet(), view=View(augment, number, seed))
    config = json.loads(json.dumps(given_one.to_config()))
    assert ImagePreprocess.from_config(config) == given_one
    assert ImagePreprocess(**{k: v for k, v in given_one.to_dict().items() if k != "kind"}) == given_one


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Augment)])
def test_every_parameter_is_part_of_the_identity(field: str) -> None:
    other: dict[str, Any] = {
        "rotation_range": 1,
        "width_shift_range": 0.1,
        "height_shift_range": 3,
        "zoom_range": 0.1,
        "shear_range": 1,
        "horizontal_flip": True,
        "vertical_flip": True,
        "brightness_range": (0.9, 1),
        "contrast_range": (0.9, 1),
        "fill_mode": "wrap",
        "cval": 9,
    }
    base = Augment(fill_mode="constant")
    changed = dataclasses.replace(base, **{field: other[field]})
    assert View(changed, 1).to_dict() != View(base, 1).to_dict()


def test_equal_numbers_of_other_types_give_one_identity() -> None:
    plain = Augment(
        rotation_range=15.0, zoom_range=(0.5, 1.5), horizontal_flip=True, brightness_range=(0.5, 1.0)
    )
    other = Augment(
        rotation_range=np.float32(15),  # type: ignore[arg-type]  # numpy gives these types
        zoom_range=0.5,
        horizontal_flip=np.bool_(True),  # type: ignore[arg-type]
        brightness_range=[0.5, 1],  # type: ignore[arg-type]  # JSON gives lists
    )
    assert (other, hash(other), repr(other)) == (plain, hash(plain), repr(plain))


@pytest.mark.parametrize(
    "nothing",
    [{}, {"zoom_range": 0}, {"zoom_range": (1, 1)}, {"brightness_range": (1, 1)}, {"fill_mode": "wrap"}],
)
def test_ranges_of_nothing_are_the_identity(nothing: dict[str, Any]) -> None:
    assert Augment(**nothing).is_identity


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rotation_range": -5}, "rotation_range: expected degrees, 0 to 180"),
        ({"rotation_range": "15"}, "expected a finite number"),
        ({"rotation_range": float("nan")}, "expected a finite number"),
        ({"width_shift_range": [-1, 1]}, "width_shift_range"),
        ({"zoom_range": 1.0}, "zoom_range"),
        ({"zoom_range": (1.2, 0.8)}, "lower <= upper"),
        ({"shear_range": 90}, "0 to 60"),
        ({"horizontal_flip": 1}, "True or False"),
        ({"brightness_range": 0.2}, r"\(lower, upper\)"),
        ({"contrast_range": (-1, 1)}, "0 and more"),
        ({"fill_mode": "Nearest"}, "Did you mean 'nearest'"),
        ({"cval": 3}, 'with fill_mode="constant" only'),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Augment(**wrong)


def test_an_unknown_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'rotation_range'"):
        Augment.from_dict({"rotation_rang": 3})


@pytest.mark.parametrize(("number", "seed"), [(0, 0), (1.5, 0), (True, 0), (1, -1), (1, None)])
def test_views_are_numbered_from_one_under_a_whole_seed(number: Any, seed: Any) -> None:
    with pytest.raises(ParameterError, match="whole number from"):
        View(Augment(), number, seed)


def test_a_view_of_other_rules_is_refused() -> None:
    config = dataclasses.replace(ImagePreprocess.imagenet(), view=View(Augment(), 1)).to_config()
    config["featx"]["view"]["rules"] += 1
    with pytest.raises(PreprocessError, match="rules"):
        ImagePreprocess.from_config(config)
