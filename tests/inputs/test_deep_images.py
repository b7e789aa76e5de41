"""16-bit and float PNG, TIFF, PGM, JPEG 2000 and arrays through a window."""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.errors import SampleError, UnreadableSampleError
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


def tiff(planes: np.ndarray, *, photometric: int = 1, order: Literal["<", ">"] = "<") -> bytes:
    """An uncompressed TIFF of planes (c, h, w) one behind another, as PIL does not write them (TIFF 6.0, sections 2 and 8)."""
    planes = planes.astype(planes.dtype.newbyteorder(order))
    n, height, width = planes.shape
    bits, kind = 8 * planes.itemsize, {"u": 1, "i": 2, "f": 3}[planes.dtype.kind]
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: n, 278: height}
    tags |= {279: planes[0].nbytes, 284: 2 if n > 1 else 1, 339: kind}
    beyond = 8 + 2 + 12 * len(tags) + 4
    start = beyond + 4 * 4 * n
    lists = {258: [bits] * n, 273: [start + i * planes[0].nbytes for i in range(n)]}
    lists |= {279: [planes[0].nbytes] * n, 339: [kind] * n}
    entries, behind = b"", b""
    for tag, value in tags.items():
        if tag not in lists or n == 1:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, lists.get(tag, [value])[0])
            continue
        entries += struct.pack(f"{order}HHII", tag, 4, n, beyond + len(behind))
        behind += struct.pack(f"{order}{n}I", *lists[tag])
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return (head + entries + bytes(4) + behind).ljust(start, b"\0") + planes.tobytes()


def both(data: bytes, preprocess: ImagePreprocess) -> np.ndarray:
    """The grey pixels of a file, the same as bytes, as a PIL image opened and as one loaded."""
    pixels = decode(data, preprocess)
    opened, loaded = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(data))
    loaded.load()
    for image in (opened, loaded):
        np.testing.assert_array_equal(canonical(image, preprocess), pixels)
    return pixels[..., 0]


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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_tiffs_of_every_type_and_byte_order_give_the_same(dtype: Any, order: Literal["<", ">"]) -> None:
    data = tiff(RAMP.astype(dtype)[None], order=order)
    if (dtype, order) == (np.uint32, ">"):  # PIL does not read it
        with pytest.raises(UnreadableSampleError):
            decode(data, THROUGH)
        return
    np.testing.assert_array_equal(both(data, THROUGH), EXPECTED)


def test_unsigned_32_bits_of_a_tiff_are_not_negative() -> None:
    ramp = np.linspace(0, 2**32 - 1, 48).reshape(6, 8).astype(np.uint32)
    window = dataclasses.replace(AS_IS, window=Window(2**31, 2**32))
    expected = (ramp / 2**32 * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(both(tiff(ramp[None]), window), expected)
    np.testing.assert_array_equal(canonical(ramp, window)[..., 0], expected)


def test_signed_8_bits_of_a_tiff_are_a_picture_as_they_stand_or_go_through_a_window() -> None:
    ramp = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    np.testing.assert_array_equal(both(tiff(ramp[None]), AS_IS), np.arange(256).reshape(16, 16))
    upper = both(tiff(ramp[None]), dataclasses.replace(AS_IS, window=Window(64, 128)))
    np.testing.assert_array_equal(upper, (np.clip(ramp / 128, 0, 1) * 255 + 0.5).astype(np.uint8))


def test_deep_colour_of_a_tiff_is_refused_also_plane_by_plane() -> None:
    shallow = np.stack([np.uint8(RAMP // 16)] * 3)
    np.testing.assert_array_equal(decode(tiff(shallow, photometric=2), AS_IS), np.moveaxis(shallow, 0, 2))
    deep = tiff(np.stack([RAMP] * 3), photometric=2)
    opened, loaded = Image.open(io.BytesIO(deep)), Image.open(io.BytesIO(deep))
    loaded.load()
    for preprocess in (AS_IS, THROUGH):
        with pytest.raises(SampleError, match=r"16-bit pixels \(TIFF, RGB\): no window applies to colour"):
            decode(deep, preprocess)
        for image in (opened, loaded):
            with pytest.raises(SampleError, match="no window applies to colour"):
                canonical(image, preprocess)


def test_a_picture_of_nothing_but_nan_is_refused() -> None:
    nothing = np.full((4, 4), np.nan, np.float32)
    with pytest.raises(SampleError, match=r"^a\.tif \(index 1\): not one of its values is a finite number"):
        decode(encoded(Image.fromarray(nothing), "TIFF"), THROUGH, name="a.tif", index=1)
    for source in (nothing, Image.fromarray(nothing)):
        with pytest.raises(SampleError, match=r"^a \(index 1\): not one of its values is a finite number"):
            canonical(source, THROUGH, name="a", index=1)


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
