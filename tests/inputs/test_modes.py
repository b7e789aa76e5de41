"""Pictures of every mode stand upright, and have their colours on the background they were given."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.inputs.images import canonical, decode

AS_IS = ImagePreprocess(size=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_orientation_stands_the_image_upright(
    orientation: int, kind: str, photograph: Any, encoded: Any
) -> None:
    """As the standard draws it (EXIF 2.32, tag 0x0112): where the stored first row and column belong."""
    upright = photograph(24, 40)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    content = encoded(np.ascontiguousarray(stored), kind, exif=exif, **options)
    # JPEG at quality 100 rounds twice; an image that is not upright is off by far more.
    tolerance = 6 if kind == "JPEG" else 0
    for pixels in (decode(content, AS_IS), canonical(Image.open(io.BytesIO(content)), AS_IS)):
        assert pixels.shape == upright.shape
        assert np.abs(pixels.astype(int) - upright).max() <= tolerance


def test_a_pil_image_with_orientation_is_left_as_it_was(photograph: Any, encoded: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(photograph(24, 40), exif=exif)))
    first = canonical(image, AS_IS)
    np.testing.assert_array_equal(canonical(image, AS_IS), first)
    assert image.size == (40, 24)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize("source", ["rgba", "la", "palette", "colour key", "array", "pil"])
def test_alpha_is_composited_on_the_background(
    source: str, background: tuple[int, int, int], encoded: Any
) -> None:
    preprocess = dataclasses.replace(AS_IS, background=background)
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0] = (90, 90, 90, 255)  # opaque above, transparent below
    rgba[1, :, :3] = 7  # colour that must not show
    image = Image.fromarray(rgba, "RGBA")
    if source == "array":
        pixels = canonical(rgba, preprocess)
    elif source == "pil":
        pixels = canonical(image, preprocess)
    elif source == "rgba":
        pixels = decode(encoded(image), preprocess)
    elif source == "la":
        pixels = decode(encoded(image.convert("LA")), preprocess)
    elif source == "palette":
        indexed = Image.fromarray(np.array([[0, 0], [1, 1]], np.uint8), "P")
        indexed.putpalette([90, 90, 90, 7, 7, 7])
        pixels = decode(encoded(indexed, transparency=1), preprocess)
    else:
        pixels = decode(encoded(image.convert("RGB"), transparency=(7, 7, 7)), preprocess)
    np.testing.assert_array_equal(pixels[0], [[90, 90, 90]] * 2)
    np.testing.assert_array_equal(pixels[1], [background] * 2)


def test_half_transparent_pixels_are_mixed() -> None:
    rgba = np.array([[[0, 100, 255, 128]]], np.uint8)
    expected = np.array([0, 100, 255]) * 128 / 255 + 255 * 127 / 255
    assert np.abs(canonical(rgba, AS_IS)[0, 0] - expected).max() <= 1  # one level of rounding


def test_opaque_alpha_changes_nothing(photograph: Any) -> None:
    rgb = photograph()
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(canonical(rgba, AS_IS), rgb)


def test_one_bit_images_are_black_and_white(encoded: Any) -> None:
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    content = encoded(Image.fromarray(bits).convert("1"))
    np.testing.assert_array_equal(decode(content, AS_IS)[..., 1], bits)


def test_a_palette_without_transparency_keeps_its_colours(photograph: Any, encoded: Any) -> None:
    rgb = photograph()
    image = Image.fromarray(rgb).quantize(32)
    np.testing.assert_array_equal(decode(encoded(image), AS_IS), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("inverted", [True, False])
def test_cmyk_jpegs_have_their_colours_also_inverted_by_adobe(inverted: bool, encoded: Any) -> None:
    """PIL writes the Adobe marker and inverted ink, and reads it so; a negative would be off by 200 levels."""
    image = Image.fromarray(np.full((16, 16, 3), (200, 60, 20), np.uint8)).convert("CMYK")
    content = encoded(image, "JPEG", quality=95)
    assert b"Adobe" in content
    if not inverted:
        content = encoded(image, "TIFF")
    pixels = decode(content, AS_IS)
    assert np.abs(pixels.astype(int) - (200, 60, 20)).max() <= 4
