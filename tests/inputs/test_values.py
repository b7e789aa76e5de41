"""Measured values become the same 8-bit pixels whatever type they are stored in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featx.backbones.window import Window
from featx.errors import SampleError
from featx.inputs.values import Values, linear, pixels_of, refuse_no_number


@given(
    stored=hnp.arrays(
        st.sampled_from(["u1", "i1", "<u2", ">u2", "<i2", ">i2"]), (3, 4), elements=st.integers(0, 127)
    ),
    slope=st.sampled_from([1.0, 0.5, -2.0]),
    inverted=st.booleans(),
)
def test_a_table_of_small_integers_gives_what_arithmetic_gives(
    stored: np.ndarray, slope: float, inverted: bool
) -> None:
    values = Values(stored=stored, slope=slope, intercept=-10, inverted=inverted)
    as_floats = dataclasses.replace(values, stored=stored.astype(np.float64))
    for window in (Window(20, 60), Window.percentiles(10, 90)):
        np.testing.assert_array_equal(pixels_of(values, window), pixels_of(as_floats, window))


def test_a_window_is_black_up_to_its_lower_end_and_white_from_its_upper_one() -> None:
    stored = np.array([[-1000, -160, 40, 240, 3000]], np.int16)  # Window(40, 400) is -160 to 240
    assert pixels_of(Values(stored=stored), Window(40, 400)).tolist() == [[0, 0, 128, 255, 255]]
    assert pixels_of(Values(stored=stored, inverted=True), Window(40, 400)).tolist() == [
        [255, 255, 128, 0, 0]
    ]
    rescaled = Values(stored=stored + 1024, slope=1, intercept=-1024)
    assert pixels_of(rescaled, Window(40, 400)).tolist() == [[0, 0, 128, 255, 255]]


def test_percentiles_are_of_measurements_whatever_the_sign_of_the_slope() -> None:
    stored = np.arange(101, dtype=np.int16).reshape(1, 101)
    up = pixels_of(Values(stored=stored), Window.percentiles(10, 90))
    down = pixels_of(Values(stored=stored, slope=-3, intercept=7), Window.percentiles(10, 90))
    assert (up[0, [0, 10, 50, 90, 100]] == [0, 0, 128, 255, 255]).all()
    assert (down[0, [0, 10, 50, 90, 100]] == [255, 255, 128, 0, 0]).all()


def test_padding_and_what_is_not_finite_do_not_count() -> None:
    padded = np.array([[-2000, -2000, -2000, 0, 100]], np.int16)
    plain = Values(stored=padded, padding=(-2000.0, -2000.0))
    assert pixels_of(plain, Window.percentiles(0, 100)).tolist() == [[0, 0, 0, 0, 255]]
    holes = np.array([[np.nan, np.inf, -np.inf, 0, 100]], np.float32)
    assert pixels_of(Values(stored=holes), Window.percentiles(0, 100)).tolist() == [[0, 0, 0, 0, 255]]
    assert pixels_of(Values(stored=holes, inverted=True), Window(50, 100)).tolist() == [[0, 0, 0, 255, 0]]


@pytest.mark.parametrize("value", [7, np.nan])
def test_a_picture_of_one_value_is_a_picture(value: float) -> None:
    flat = Values(stored=np.full((2, 2), value, np.float32))
    assert pixels_of(flat, Window.percentiles()).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "values",
    [
        Values(stored=np.array([[np.nan, np.inf], [-np.inf, np.nan]], np.float32)),
        Values(stored=np.ones((2, 2), np.int16), slope=float("nan")),
        Values(stored=np.ones((2, 2), np.int16), slope=float("inf")),
        Values(stored=np.ones((2, 2), np.int16), intercept=float("-inf")),
        Values(stored=np.array([[0, 20]], np.int16), slope=1e307),
    ],
    ids=["all NaN", "slope NaN", "slope inf", "intercept -inf", "beyond float64"],
)
def test_a_picture_without_a_number_is_refused(values: Values) -> None:
    with pytest.raises(SampleError, match=r"finite number.*\. Remove it, or pass on_error=\"nan\"\.$"):
        refuse_no_number(values)


def test_one_number_is_enough_and_a_steep_slope_warns_of_nothing() -> None:
    one = Values(stored=np.array([[np.nan, 3.0]], np.float32))
    assert refuse_no_number(one) is one
    steep = Values(
        stored=np.array([[0, 2]], np.int16), slope=1e305
    )  # other values of 16 bits are beyond float64
    assert pixels_of(refuse_no_number(steep), Window(1e305, 2e305)).tolist() == [[0, 255]]


def test_without_a_window_the_error_says_what_the_values_span() -> None:
    stored = np.array([[-2000, 0, 1024, 2048]], np.int16)
    values = Values(stored=stored, slope=1, intercept=-1024, padding=(-2000.0, -2000.0))
    with pytest.raises(
        SampleError, match=r"16-bit values from -1024 to 1024, and no window.*window=featx\.Window\("
    ):
        pixels_of(values, None)
    with pytest.raises(SampleError, match="holds values from none to none"):
        pixels_of(Values(stored=np.full((1, 1), np.nan)), None)


def test_the_window_asked_for_comes_before_that_of_the_file() -> None:
    values = Values(stored=np.array([[0, 10]], np.uint8), own=linear(0, 255))
    assert pixels_of(values, None).tolist() == [[0, 10]]
    assert pixels_of(values, Window(5, 10)).tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("spacing", "size"),
    [
        ((1, 1), (10, 20)),
        ((2, 1), (20, 20)),
        ((0.5, 2), (10, 80)),
        ((1.005, 1), (10, 20)),
        ((0, 1), (10, 20)),
        ((float("nan"), 1), (10, 20)),
        ((1e9, 1), (10, 20)),
        ((-2, 1), (10, 20)),
    ],
)
def test_oblong_pixels_become_square_and_nonsense_is_ignored(
    spacing: tuple[float, float], size: tuple[int, int]
) -> None:
    assert Values(stored=np.zeros((10, 20), np.uint8), spacing=spacing).square_size == size
