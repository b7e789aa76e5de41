"""A feature space is everything that decides a vector's value."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from featx.backbones.feature_space import FeatureSpace

SPACE = FeatureSpace(backbone_digest="0f" * 16, tap="pooled", pooling="none", preprocess='{"size":[8,8]}')


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone_digest", "f0" * 16),
        ("tap", "stage1"),
        ("pooling", "avg"),
        ("preprocess", '{"size":[8,9]}'),
        ("precision", "float16"),
        ("rules", 2),
    ],
)
def test_every_field_makes_another_space_and_is_named_as_what_differs(field: str, value: object) -> None:
    other = dataclasses.replace(SPACE, **{field: value})
    assert other.id != SPACE.id
    (difference,) = SPACE.differences(other)
    assert difference.startswith(f"{field}: ")


def test_a_space_comes_back_from_its_plain_values() -> None:
    assert FeatureSpace.from_dict(SPACE.to_dict()) == SPACE
    assert SPACE.differences(SPACE) == []


def test_the_space_without_a_view_is_that_of_the_pictures_as_they_are() -> None:
    viewed = dataclasses.replace(SPACE, preprocess='{"size":[8,8],"view":{"number":1}}')
    assert viewed.without_view() == SPACE
    assert SPACE.without_view() == SPACE


def test_estimators_pickled_when_spaces_lived_beside_backbones_can_be_read() -> None:
    former = pickle.dumps(SPACE, protocol=0).replace(b"backbones.feature_space", b"backbones.backbone")
    assert b"featx.backbones.backbone" in former
    assert pickle.loads(former) == SPACE
