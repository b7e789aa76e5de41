"""The last section is enough to do it again, and names no folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from featx.reporting.evaluations import Evaluation
from featx.reporting.repeating import without_folders


def test_backbone_space_and_every_parameter_are_named(
    pictured: Evaluation, page_of: Callable[..., str]
) -> None:
    text = page_of(pictured)
    (features,) = pictured.settings["features"]
    assert f"{features['backbone']}, digest {features['backbone_digest']}" in text
    assert "tap pooled, pooling " in text
    assert "ImageFeatures(backbone=PosixPath" in text or "ImageFeatures(backbone=" in text
    assert "C=0.01" in text  # a default of featx's
    assert "solver=" in text  # one of scikit-learn's
    assert pictured.data_digest in text


def test_what_was_searched_is_said_to_be(
    two: Evaluation, right: Evaluation, page_of: Callable[..., str]
) -> None:
    assert "not what was used: logistic__C." in page_of(two)
    assert "Searched" not in page_of(right)


def test_the_command_is_shown_where_there_is_one(right: Evaluation, page_of: Callable[..., str]) -> None:
    assert "<pre>featx evaluate …/pets</pre>" in page_of(right, command="featx evaluate …/pets")
    assert "At the command line" not in page_of(right)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a(b='/home/jane/tiny')", "a(b='…/tiny')"),
        ('a(b="C:\\\\users\\\\jane\\\\tiny")', 'a(b="…/tiny")'),
        ("a(b='tiny', c='hub:owner/name')", "a(b='tiny', c='hub:owner/name')"),
    ],
)
def test_paths_keep_their_last_part(text: str, shown: str) -> None:
    assert without_folders(text) == shown
