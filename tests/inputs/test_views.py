"""The pixels of views: Keras' geometry, exact flips, draws that hang on sample and view alone; golden digests hold the rules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from featx import Augment
from featx.backbones.augment import FILL_MODES, VIEW_RULES, View
from featx.inputs.views import _draw, _toned, augmented

KEY = bytes(range(16))
GOLDEN = Path(__file__).parents[1] / "data" / "golden" / f"views_{VIEW_RULES}.json"
BROAD = Augment(
    rotation_range=40,
    width_shift_range=0.2,
    height_shift_range=5,
    zoom_range=(0.7, 1.4),
    shear_range=20,
    horizontal_flip=True,
    vertical_flip=True,
    brightness_range=(0.6, 1.4),
    contrast_range=(0.6, 1.4),
)


def picture(height: int = 48, width: int = 70) -> NDArray[np.uint8]:
    """Colours that change slowly, made of arithmetic alone."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([3 * x + y, 2 * y + 40, 255 - x - y], axis=2).clip(0, 255).astype(np.uint8)


def keras_matrix(
    theta: float, down: float, right: float, shear: float, zoom: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.float64]:
    """As keras.preprocessing.image.apply_affine_transform composes it."""
    cos, sin = np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    matrix = matrix @ np.array([[1, 0, down], [0, 1, right], [0, 0, 1]])
    slant = np.deg2rad(shear)
    matrix = matrix @ np.array([[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]])
    matrix = matrix @ np.diag([*zoom, 1])
    oy, ox = size[0] / 2 - 0.5, size[1] / 2 - 0.5
    return (
        np.array([[1, 0, oy], [0, 1, ox], [0, 0, 1]])
        @ matrix
        @ np.array([[1, 0, -oy], [0, 1, -ox], [0, 0, 1]])
    )


# What scipy calls them; "constant" there does not interpolate across the edge, and "wrap" lets first and last pixel coincide.
SCIPY_MODES = {"nearest": "nearest", "constant": "grid-constant", "reflect": "reflect", "wrap": "grid-wrap"}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("mode", FILL_MODES)
def test_pixels_move_as_in_keras(mode: str, number: int) -> None:
    cval = 30 if mode == "constant" else 0
    augment = Augment(
        rotation_range=40,
        width_shift_range=0.2,
        height_shift_range=5,
        zoom_range=(0.7, 1.4),
        shear_range=20,
        fill_mode=mode,
        cval=cval,
    )
    rgb = picture()
    view = View(augment, number)
    draw = _draw(view, KEY)
    matrix = keras_matrix(
        draw.rotation_deg,
        draw.down,
        draw.right * rgb.shape[1],
        draw.shear_deg,
        (draw.zoom_x, draw.zoom_y),
        rgb.shape[:2],
    )
    expected = np.stack(
        [
            ndimage.affine_transform(
                rgb[:, :, c].astype(float),
                matrix[:2, :2],
                matrix[:2, 2],
                order=1,
                mode=SCIPY_MODES[mode],
                cval=cval,
            )
            for c in range(3)
        ],
        axis=2,
    )
    # Rounded to whole levels; PIL adds in float32.
    np.testing.assert_allclose(augmented(rgb, view, KEY), expected, atol=0.51)


@given(st.integers(1, 50), st.binary(min_size=16, max_size=16), st.integers(1, 9), st.integers(1, 9))
def test_ranges_of_nothing_leave_every_pixel(number: int, key: bytes, height: int, width: int) -> None:
    rgb = picture(height, width)
    np.testing.assert_array_equal(augmented(rgb, View(Augment(), number), key), rgb)


@settings(max_examples=30)
@given(st.integers(1, 20), st.binary(min_size=16, max_size=16), st.sampled_from(FILL_MODES))
def test_a_picture_of_one_colour_stays_one(number: int, key: bytes, mode: str) -> None:
    level = 77
    augment = Augment(
        rotation_range=180,
        width_shift_range=0.9,
        height_shift_range=900,
        zoom_range=(0.2, 4),
        shear_range=60,
        fill_mode=mode,
        cval=level if mode == "constant" else 0,
    )
    rgb = np.full((17, 23, 3), level, dtype=np.uint8)
    np.testing.assert_array_equal(augmented(rgb, View(augment, number), key), rgb)


def test_flips_are_exact_and_befall_half_of_the_views() -> None:
    rgb = picture()
    variants = [rgb, rgb[:, ::-1], rgb[::-1], rgb[::-1, ::-1]]
    view_of = [
        augmented(rgb, View(Augment(horizontal_flip=True, vertical_flip=True), n), KEY) for n in range(1, 201)
    ]
    found = [next(i for i, v in enumerate(variants) if np.array_equal(v, view)) for view in view_of]
    counts = np.bincount(found, minlength=4)
    assert counts.min() > 30, counts  # 50 each expected, standard deviation 6


def test_the_view_of_one_picture_is_not_that_of_another() -> None:
    rgb = picture()
    view = View(BROAD, 1)
    np.testing.assert_array_equal(augmented(rgb, view, KEY), augmented(rgb, view, KEY))
    for other, key in (
        (View(BROAD, 2), KEY),
        (View(BROAD, 1, seed=1), KEY),
        (view, bytes(16)),
    ):
        assert not np.array_equal(augmented(rgb, view, KEY), augmented(rgb, other, key))


def test_draws_fill_their_ranges_evenly_and_independently() -> None:
    draws = [_draw(View(BROAD, n), KEY) for n in range(1, 2001)]
    table = np.asarray(
        [
            [d.rotation_deg, d.right, d.down, d.zoom_x, d.zoom_y, d.shear_deg, d.brightness, d.contrast]
            for d in draws
        ]
    )
    low = [-40, -0.2, -5, 0.7, 0.7, -20, 0.6, 0.6]
    high = [40, 0.2, 5, 1.4, 1.4, 20, 1.4, 1.4]
    shares = (table - low) / np.subtract(high, low)
    assert shares.min() >= 0
    assert shares.max() < 1
    np.testing.assert_allclose(shares.mean(axis=0), 0.5, atol=0.03)  # standard error 0.0065
    np.testing.assert_allclose(shares.std(axis=0), 12**-0.5, atol=0.02)
    correlation = np.corrcoef(shares.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.1  # standard error 0.022


def test_settings_that_share_a_range_share_its_draws() -> None:
    alone = _draw(View(Augment(rotation_range=40), 5), KEY)
    assert alone.rotation_deg == _draw(View(BROAD, 5), KEY).rotation_deg


def test_tones_are_factors_on_the_level_and_on_the_distance_from_mean_grey() -> None:
    rgb = picture()
    base: dict[str, Any] = {
        "rotation_deg": 0,
        "right": 0,
        "down": 0,
        "zoom_x": 1,
        "zoom_y": 1,
        "shear_deg": 0,
    }
    flips: dict[str, Any] = {"mirrored": False, "upside_down": False}
    kind = type(_draw(View(BROAD, 1), KEY))
    brighter = _toned(rgb, kind(**base, **flips, brightness=1.3, contrast=1.0))
    np.testing.assert_array_equal(brighter, np.rint((rgb * 1.3).clip(0, 255)))
    grey = rgb.astype(float) @ [0.299, 0.587, 0.114]
    flat = _toned(rgb, kind(**base, **flips, brightness=1.0, contrast=0.0))
    assert np.unique(flat).tolist() == [round(grey.mean())]
    halved = _toned(rgb, kind(**base, **flips, brightness=1.0, contrast=0.5))
    np.testing.assert_allclose(halved, grey.mean() + (rgb - grey.mean()) / 2, atol=0.51)


def test_grey_pictures_stay_grey_and_are_moved_as_in_colour() -> None:
    grey = np.repeat(picture()[:, :, :1], 3, axis=2)
    tinted = grey.copy()
    tinted[0, 0, 2] ^= 1  # one pixel, so that it counts as colour
    view = View(Augment(rotation_range=30, fill_mode="wrap"), 4)
    found, other = augmented(grey, view, KEY), augmented(tinted, view, KEY)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])
    np.testing.assert_array_equal(found[:, :, :2], other[:, :, :2])


def test_the_picture_given_is_not_changed() -> None:
    rgb = picture()
    rgb.flags.writeable = False  # as decoded pictures are
    view = augmented(rgb, View(BROAD, 1), KEY)
    assert (view.shape, view.dtype, view.flags.c_contiguous) == (rgb.shape, np.uint8, True)
    np.testing.assert_array_equal(rgb, picture())


def golden_pixels() -> dict[str, list[Any]]:
    """Every eleventh pixel of `picture()` under KEY, by mode and number of the view."""
    found = {}
    for mode in FILL_MODES:
        for number in (1, 2):
            values = {**BROAD.to_dict(), "fill_mode": mode, "cval": 30 if mode == "constant" else 0}
            pixels = augmented(picture(), View(Augment.from_dict(values), number, seed=7), KEY)
            found[f"{mode} {number}"] = pixels[4::11, 5::11].tolist()
    return found


def test_pixels_are_those_of_these_rules() -> None:
    """If they move, raise VIEW_RULES and write a new file (``python tests/inputs/test_views.py``): these are stored."""
    golden = json.loads(GOLDEN.read_text())
    found = golden_pixels()
    assert found.keys() == golden.keys()
    for name, pixels in found.items():
        # Values halfway between two levels may be rounded either way where 32-bit sums are made in another order.
        np.testing.assert_allclose(pixels, golden[name], atol=1, err_msg=name)


def test_another_process_makes_the_same_pixels() -> None:
    code = (
        "import importlib.util as u, sys, json; spec = u.spec_from_file_location('v', sys.argv[1]);"
        "m = u.module_from_spec(spec); spec.loader.exec_module(m); print(json.dumps(m.golden_pixels()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__))],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert json.loads(done.stdout) == golden_pixels()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_pixels()) + "\n")
