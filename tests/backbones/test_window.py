"""``Window``: what it takes, its forms, and its place in a feature space."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from featx import FeatureSpace, ImagePreprocess, Window
from featx.errors import ParameterError, PreprocessError
from featx.store.digest import canonical_json


@pytest.mark.parametrize("window", [Window(-600, 1500), Window(0.5, 1), Window.percentiles(2.5, 99)])
def test_every_form_gives_an_equal_window_back(window: Window) -> None:
    assert Window.from_dict(json.loads(json.dumps(window.to_dict()))) == window
    assert eval(repr(window), {"Window": Window}) == window


def test_numbers_of_any_kind_are_equal_windows() -> None:
    assert Window(np.int16(40), np.float32(400)) == Window(40, 400)
    assert hash(Window(40, 400)) == hash(Window(40.0, 400.0))
    assert canonical_json(Window(-0.0, 1).to_dict()) == canonical_json(Window(0, 1).to_dict())


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("-600,1500", Window(-600, 1500)),
        (" 40 , 400 ", Window(40, 400)),
        ("percentiles", Window.percentiles()),
        ("percentiles:0.5,99.5", Window.percentiles(0.5, 99.5)),
    ],
)
def test_words_of_a_command_line_are_windows(text: str, window: Window) -> None:
    assert Window.parse(text) == window


@pytest.mark.parametrize(
    "text",
    ["", "lung", "40", "40,400,1", "40;400", "percentile", "percentiles:", "center:40,400", "nan,1", ":1,2"],
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="window"):
        Window.parse(text)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"center": 40},
        {"width": 40},
        {"center": 40, "low": 1},
        {"center": 40, "width": 400, "low": 1, "high": 99},
        {"center": 40, "width": 0},
        {"center": 40, "width": -1},
        {"center": float("inf"), "width": 1},
        {"center": "40", "width": 1},
        {"center": True, "width": 1},
        {"low": 99, "high": 1},
        {"low": -1, "high": 50},
        {"low": 1, "high": 101},
    ],
)
def test_windows_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="window: expected"):
        Window(**values)


def test_a_window_survives_a_preprocessor_config() -> None:
    for window in (None, Window(40, 400), Window.percentiles()):
        pixels = dataclasses.replace(ImagePreprocess.imagenet(), window=window)
        assert ImagePreprocess.from_config(json.loads(json.dumps(pixels.to_config()))) == pixels


@pytest.mark.parametrize("window", ["40,400", (40, 400), 3, {"level": 40}, {"center": 40}])
def test_what_is_no_window_is_refused_in_a_preprocessing(window: Any) -> None:
    with pytest.raises(ParameterError, match="window: expected"):
        dataclasses.replace(ImagePreprocess.imagenet(), window=window)
    config = ImagePreprocess.imagenet().to_config()
    config["featx"]["window"] = window
    with pytest.raises(PreprocessError, match="window: expected"):
        ImagePreprocess.from_config(config)


def test_spaces_from_before_there_were_windows_keep_their_ids() -> None:
    """The literal is what the version without windows computed; vectors stored under such ids must be found."""

    def space(pixels: ImagePreprocess) -> FeatureSpace:
        described = canonical_json(pixels.to_dict())
        return FeatureSpace(backbone_digest="0" * 32, tap="pooled", pooling="none", preprocess=described)

    plain = ImagePreprocess.imagenet()
    assert space(plain).id == "e6a1aba4d4bf5eafa0942b154952401c"
    assert "window" not in plain.to_dict()
    ids = {
        space(dataclasses.replace(plain, window=window)).id
        for window in (
            None,
            Window(40, 400),
            Window(40, 401),
            Window.percentiles(),
            Window.percentiles(2, 99),
        )
    }
    assert len(ids) == 5
