"""16-bit and float PNG, TIFF, PGM, JPEG 2000 and arrays through a window."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.errors import SampleError
from featx.inputs.frames import Frame
from featx.inputs.images import canonical, count_pages, decode
from featx.inputs.samples import as_samples

AS_IS = ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1))
THROUGH = dataclasses.replace(AS_IS, window=Window(2000, 2000))  # 1000 is black, 3000 white
RAMP = np.linspace(0, 4000, 48).reshape(6, 8).astype(np.uint16)
EXPECTED = (np.clip((RAMP.astype(float) - 1000) / 2000, 0, 1) * 255 + 0.5).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("PNG", np.uint16),
        ("TIFF", np.uint16),
        ("TIFF", np.int32),
        ("TIFF", np.float32),
        ("JPEG2000", np.uint16),
        ("PPM", np.uint16),
    ],
)
def test_every_format_and_type_gives_the_pixels_of_the_window(kind: str, dtype: type) -> None:
    content = encoded(Image.fromarray(RAMP.astype(dtype)), kind)
    pixels = decode(content, THROUGH)
    np.testing.assert_array_equal(pixels, np.repeat(EXPECTED[..., None], 3, axis=2))
    np.testing.assert_array_equal(canonical(Image.open(io.BytesIO(content)), THROUGH), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, ">u2", np.int64, np.float32, np.float64])
def test_arrays_of_any_type_give_the_same(dtype: str) -> None:
    pixels = canonical(RAMP.astype(dtype), THROUGH)
    np.testing.assert_array_equal(pixels[..., 0], EXPECTED)
    np.testing.assert_array_equal(canonical(RAMP.astype(dtype)[..., None], THROUGH), pixels)


def test_arrays_are_samples_only_where_there_is_a_window() -> None:
    stack = np.stack([RAMP, RAMP])[..., None]
    for X in ([RAMP, RAMP], stack):
        assert len(as_samples(X, windowed=True)) == 2
        with pytest.raises(ValueError, match="a window is needed"):
            as_samples(X)
    with pytest.raises(ValueError, match=r"may be a single image"):
        as_samples(stack[..., 0], windowed=True)
    with pytest.raises(ValueError, match="no window applies to colour"):
        as_samples([np.zeros((4, 4, 3), np.float32)], windowed=True)


@pytest.mark.parametrize(
    "content", [np.uint8(RAMP // 16), np.dstack([np.uint8(RAMP // 16)] * 3)], ids=["grey", "colour"]
)
def test_8_bit_pictures_are_left_as_they_are(content: np.ndarray) -> None:
    data = encoded(Image.fromarray(content), "PNG")
    np.testing.assert_array_equal(decode(data, THROUGH), decode(data, AS_IS))
    np.testing.assert_array_equal(canonical(content, THROUGH), canonical(content, AS_IS))


def test_white_is_zero_and_orientation_are_minded() -> None:
    content = bytearray(encoded(Image.fromarray(RAMP), "TIFF"))
    at = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")  # PhotometricInterpretation, one short
    content[at + 8] = 0
    np.testing.assert_array_equal(decode(bytes(content), THROUGH)[..., 0], 255 - EXPECTED)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encoded(Image.fromarray(RAMP), "PNG", exif=exif), THROUGH)
    np.testing.assert_array_equal(turned[..., 0], np.rot90(EXPECTED, -1))


def test_pages_are_named_and_the_first_is_meant_without() -> None:
    pages = [Image.fromarray(RAMP + 100 * i) for i in range(3)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert count_pages(content) == 3
    np.testing.assert_array_equal(decode(content, THROUGH), decode(content, THROUGH, frame=Frame("frame", 0)))
    np.testing.assert_array_equal(
        decode(content, THROUGH, frame=Frame("frame", 2)), canonical(RAMP + 200, THROUGH)
    )
    for frame, words in (
        (Frame("frame", 3), r"it has 3 frame\(s\)"),
        (Frame("axial", 0), "this is no volume"),
    ):
        with pytest.raises(SampleError, match=words) as caught:
            decode(content, THROUGH, frame=frame, name="a.tif", index=1)
        assert str(caught.value).startswith("a.tif (index 1): ")
