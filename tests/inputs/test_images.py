"""Every kind of image source becomes the same pixels, and what is no 8-bit image is refused in words."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from featx.backbones.feature_space import RULES
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inputs.images import canonical, decode
from featx.inputs.resizing import fit

AS_IS = ImagePreprocess(size=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
IMAGENET = ImagePreprocess.imagenet()
DRAFT = dataclasses.replace(IMAGENET, decode="draft")


def photograph(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Smooth colours, so that lossy formats keep them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png16(colour_type: int, channels: int) -> bytes:
    """A 2 x 2 PNG of 16 bits a channel, which PIL cannot write in colour."""
    rows = b"".join(b"\0" + bytes(range(4 * channels)) for _ in range(2))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff16(channels: int = 3) -> bytes:
    """A 2 x 2 uncompressed little-endian TIFF of 16 bits a channel."""
    pixels = bytes(2 * 2 * channels * 2)
    bits_at = 8 + len(pixels)
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    tags = [
        (256, 4, 1, 2),
        (257, 4, 1, 2),
        (258, 3, channels, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, 2),
        (279, 4, 1, len(pixels)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", bits_at + len(bits)) + pixels + bits + directory


# --- one definition


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000", "WEBP", "GIF"])
def test_a_lossless_file_has_the_arrays_pixels(kind: str) -> None:
    rgb = photograph()
    options = {"WEBP": {"lossless": True}, "JPEG2000": {"irreversible": False}}.get(kind, {})
    source = Image.fromarray(rgb)
    if kind == "GIF":  # 256 colours
        source = source.quantize(64)
        rgb = np.asarray(source.convert("RGB"))
    content = encoded(source, kind, **options)
    np.testing.assert_array_equal(decode(content, AS_IS), rgb)
    np.testing.assert_array_equal(decode(content, IMAGENET), fit(rgb, IMAGENET))


@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.none() | st.integers(1, 50) | st.tuples(st.integers(1, 50), st.integers(1, 50)),
    crop=st.none() | st.tuples(st.integers(1, 60), st.integers(1, 60)),
    orientation=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_bytes_pil_and_array_agree(
    mode: str, height: int, width: int, size: object, crop: object, orientation: int
) -> None:
    """For every mode, shape, orientation and preprocessing: one image, three ways in, the same pixels."""
    preprocess = dataclasses.replace(AS_IS, size=size, crop=crop)  # type: ignore[arg-type]  # drawn
    image = Image.fromarray(photograph(height, width)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    full = canonical(Image.open(io.BytesIO(content)), preprocess)
    assert full.shape == ((width, height, 3) if orientation >= 5 else (height, width, 3))
    ours = decode(content, preprocess)
    np.testing.assert_array_equal(ours, fit(full, preprocess))
    np.testing.assert_array_equal(ours, fit(canonical(full, preprocess), preprocess))
    assert ours.dtype == np.uint8
    if preprocess.output_size is not None:
        assert ours.shape == (*preprocess.output_size, 3)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_an_array_becomes_contiguous_rgb(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    full = canonical(array, AS_IS)
    assert (full.shape, full.dtype, full.flags.c_contiguous) == ((5, 7, 3), np.uint8, True)
    mirrored = canonical(array[:, ::-1], AS_IS)
    np.testing.assert_array_equal(mirrored, full[:, ::-1])
    assert mirrored.flags.c_contiguous


def test_rgb_arrays_are_not_copied() -> None:
    rgb = photograph()
    assert canonical(rgb, IMAGENET) is rgb
    assert fit(rgb, AS_IS) is rgb
    assert fit(rgb, dataclasses.replace(AS_IS, size=rgb.shape[:2])) is rgb


def test_grey_resized_as_one_channel_equals_grey_resized_as_three() -> None:
    grey = photograph(300, 421)[..., 0]
    for resample in ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"):
        preprocess = dataclasses.replace(IMAGENET, resample=resample)
        np.testing.assert_array_equal(
            decode(encoded(grey), preprocess), fit(canonical(grey, AS_IS), preprocess)
        )


def golden_pixels() -> dict[str, np.ndarray]:
    """Pixels of a pattern that is plain arithmetic, through every rule that needs no lossy codec."""
    rows, columns, channels = np.ogrid[:97, :131, :4]
    pattern = ((rows * 7 + columns * 13 + channels * 29 + rows * columns // 5) % 256).astype(np.uint8)
    rgb = np.ascontiguousarray(pattern[..., :3])
    sized = dataclasses.replace(AS_IS, size=64, crop=(60, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "bilinear": decode(encoded(rgb), sized),
        "bicubic": decode(encoded(rgb), dataclasses.replace(sized, resample="bicubic", size=(50, 40))),
        "grey": decode(encoded(rgb[..., 0]), sized),
        "alpha": decode(encoded(pattern), dataclasses.replace(AS_IS, background=(9, 80, 200))),
        "cmyk": decode(encoded(Image.fromarray(rgb).convert("CMYK"), "TIFF"), AS_IS),
        "orientation": decode(encoded(rgb, exif=exif), sized),
    }


def test_the_pixels_are_those_of_rules_1() -> None:
    """Where this fails, stored vectors no longer fit: raise RULES in featx/backbones/feature_space.py with these digests."""
    assert RULES == 1
    assert {
        name: hashlib.sha256(pixels.tobytes()).hexdigest()[:16] for name, pixels in golden_pixels().items()
    } == {
        "bilinear": "c9751bb406d505b8",
        "bicubic": "27448610e506e460",
        "grey": "54f2bab2f75176b8",
        "alpha": "b75e110b36a08e24",
        "cmyk": "942172028569e008",
        "orientation": "1e7e2d08f0b3d760",
    }


# --- orientation, alpha, colour


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_orientation_stands_the_image_upright(orientation: int, kind: str) -> None:
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


def test_a_pil_image_with_orientation_is_left_as_it_was() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(photograph(24, 40), exif=exif)))
    first = canonical(image, AS_IS)
    np.testing.assert_array_equal(canonical(image, AS_IS), first)
    assert image.size == (40, 24)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize("source", ["rgba", "la", "palette", "colour key", "array", "pil"])
def test_alpha_is_composited_on_the_background(source: str, background: tuple[int, int, int]) -> None:
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


def test_opaque_alpha_changes_nothing() -> None:
    rgb = photograph()
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(canonical(rgba, AS_IS), rgb)


def test_one_bit_images_are_black_and_white() -> None:
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    content = encoded(Image.fromarray(bits).convert("1"))
    np.testing.assert_array_equal(decode(content, AS_IS)[..., 1], bits)


def test_a_palette_without_transparency_keeps_its_colours() -> None:
    rgb = photograph()
    image = Image.fromarray(rgb).quantize(32)
    np.testing.assert_array_equal(decode(encoded(image), AS_IS), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("inverted", [True, False])
def test_cmyk_jpegs_have_their_colours_also_inverted_by_adobe(inverted: bool) -> None:
    """PIL writes the Adobe marker and inverted ink, and reads it so; a negative would be off by 200 levels."""
    image = Image.fromarray(np.full((16, 16, 3), (200, 60, 20), np.uint8)).convert("CMYK")
    content = encoded(image, "JPEG", quality=95)
    assert b"Adobe" in content
    if not inverted:
        content = encoded(image, "TIFF")
    pixels = decode(content, AS_IS)
    assert np.abs(pixels.astype(int) - (200, 60, 20)).max() <= 4


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), level, np.uint8)) for level in (250, 10)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        lossless = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
        np.testing.assert_array_equal(decode(content, AS_IS), np.asarray(frames[0]))


# --- refused


@pytest.mark.parametrize(
    "content",
    [
        png16(0, 1),
        png16(2, 3),
        png16(4, 2),
        png16(6, 4),
        tiff16(3),
        encoded(np.zeros((2, 2), np.uint16), "TIFF"),
        encoded(np.zeros((2, 2), np.float32), "TIFF"),
        encoded(np.zeros((2, 2), np.int32), "TIFF"),
        encoded(np.zeros((8, 8), np.uint16), "JPEG2000"),
        b"P6\n2 2\n65535\n" + bytes(24),
        b"P5\n2 2\n65535\n" + bytes(8),
        b"P3\n1 1\n4095\n1 2 3\n",
    ],
    ids=[
        "grey",
        "colour",
        "grey+alpha",
        "colour+alpha",
        "tiff",
        "tiff16",
        "tiff-float",
        "tiff32",
        "jp2",
        "ppm",
        "pgm",
        "ppm-plain",
    ],
)
def test_more_than_8_bits_need_a_window(content: bytes) -> None:
    """Also where PIL would open the file as 8-bit RGB."""
    with pytest.raises(
        SampleError,
        match=r"scan\.x \(index 4\): .*pixels.*: (a window is needed.*Window\(|no window applies)",
    ) as caught:
        decode(content, IMAGENET, name="scan.x", index=4)
    assert not isinstance(caught.value, UnreadableSampleError)
    with pytest.raises(SampleError, match=r"a window is needed|no window applies"):
        canonical(Image.open(io.BytesIO(content)), IMAGENET)


def test_a_16_bit_colour_jpeg_2000_is_refused() -> None:
    content = bytearray(encoded(photograph(8, 8), "JPEG2000"))
    at = content.index(b"\xff\x4f\xff\x51") + 42
    assert content[at] == 7  # depth less one
    content[at] = 15
    with pytest.raises(SampleError, match=r"16-bit pixels \(JPEG 2000\): no window applies to colour"):
        decode(bytes(content), IMAGENET)


def test_the_way_to_8_bits_that_the_message_shows_works() -> None:
    a, low, high = np.repeat(np.array([[[0], [500]], [[1000], [4000]]], np.uint16), 3, axis=2), 0, 1000
    with pytest.raises(SampleError) as caught:
        canonical(a, AS_IS)
    start = str(caught.value).index("(np.clip")
    stop = str(caught.value).index(".astype(np.uint8)") + len(".astype(np.uint8)")
    pixels = eval(str(caught.value)[start:stop], {"np": np, "a": a, "low": low, "high": high})
    np.testing.assert_array_equal(canonical(pixels, AS_IS)[..., 0], [[0, 127], [255, 255]])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 array of shape \(4, 4, 3\): no window applies"),
        (np.zeros((4, 4), np.uint16), "uint16 array: a window is needed"),
        (np.zeros((4, 4), complex), "complex128 array: expected whole numbers"),
        (np.zeros((4, 4), bool), r"astype\(np.uint8\) \* 255"),
        (np.zeros((3, 8, 8), np.uint8), "Channels come last"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\): expected"),
        (np.zeros((2, 8, 8, 3), np.uint8), "expected"),
        (np.zeros(8, np.uint8), "expected"),
        (np.zeros((0, 8, 3), np.uint8), "without pixels"),
    ],
)
def test_arrays_that_are_no_8_bit_image_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        canonical(array, IMAGENET, name="x", index=0)


def test_other_types_are_refused() -> None:
    with pytest.raises(SampleError, match="found list"):
        canonical([[1, 2]], IMAGENET)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000"])
def test_truncated_files_are_named_with_their_length(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(noise, kind)
    cut = content[: len(content) * 3 // 5]
    with pytest.raises(
        UnreadableSampleError, match=r"^scan_017\.png \(index 3\): not a readable image \(.*\)\."
    ) as caught:
        decode(cut, IMAGENET, name="scan_017.png", index=3)
    assert str(caught.value).endswith('Remove it, or pass on_error="nan".')
    assert (caught.value.index, caught.value.name) == (3, "scan_017.png")
    if kind in ("JPEG", "PNG"):
        assert f"truncated after {len(cut):,} bytes" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"empty file \(0 bytes\)"),
        (b"hello, this is text", r"\(no known image format; featx reads JPEG"),
        (b"%PDF-1.7 etc", "a PDF"),
        (bytes(128) + b"DICM" + bytes(20), "a DICOM file"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no known image format"),
        (b"\xff\xd8\xff\xe0", "not a readable image"),
        (b"\x89PNG\r\n\x1a\n", "not a readable image"),
    ],
    ids=["empty", "text", "pdf", "dicom", "heic", "eps", "jpeg-head", "png-head"],
)
def test_what_is_no_image_is_said_to_be_none(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableSampleError, match=words):
        decode(content, IMAGENET, name="x.png", index=0)


@pytest.mark.parametrize(
    "content",
    [
        b"DOE^JANE",
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0DOE^JANE" * 2,
        b"P5 DOE^JANE 4 255 " + bytes(16),
        b"P2 2 1 255 1 DOE^JANE ",
    ],
    ids=["nothing", "chunk of a PNG", "header of a PGM", "values of a PGM"],
)
def test_no_message_quotes_what_a_file_holds(content: bytes) -> None:
    with pytest.raises(UnreadableSampleError) as caught:
        decode(content, IMAGENET, name="x.png", index=0)
    assert "DOE" not in str(caught.value)
    assert "JANE" not in str(caught.value)


def test_random_damage_never_raises_anything_else() -> None:
    """Bytes flipped, cut and doubled in files of every format: a sample error or pixels, no other exception."""
    rng = random.Random(0)
    outcomes = {"pixels": 0, "refused": 0}
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF"):
        original = encoded(photograph(), kind)
        for _ in range(40):
            content = bytearray(original)
            for _ in range(rng.randint(1, 8)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            if rng.random() < 0.3:
                del content[rng.randrange(len(content)) :]
            try:
                pixels = decode(bytes(content), IMAGENET, name=kind, index=0)
            except SampleError:
                outcomes["refused"] += 1
            else:
                assert pixels.shape == (224, 224, 3)
                outcomes["pixels"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("factor", [0.7, 0.3], ids=["PIL warns", "PIL raises"])
def test_decompression_bombs_are_refused(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(photograph(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10_000 * factor))
    with pytest.raises(UnreadableSampleError, match=r"bomb\.png \(index 9\): .*decompression bomb.*100"):
        decode(content, IMAGENET, name="bomb.png", index=9)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert decode(content, AS_IS).shape == (100, 100, 3)


def test_a_bomb_is_refused_where_warnings_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(photograph(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnreadableSampleError, match="decompression bomb"):
            decode(content, IMAGENET)


def test_a_long_thin_image_does_not_fill_the_memory() -> None:
    content = encoded(np.zeros((1, 60_000, 3), np.uint8))
    with pytest.raises(SampleError, match=r"60000 x 1 pixels would be resized to 15,360,000 x 256"):
        decode(content, IMAGENET)
    exact = dataclasses.replace(IMAGENET, size=(256, 256))
    assert decode(content, exact).shape == (224, 224, 3)


# --- PIL's moods


def with_corrupt_exif() -> bytes:
    """A JPEG whose EXIF directory claims more entries than there are: PIL warns while opening it."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0" + struct.pack("<HHI", 0x011A, 5, 1) + b"\xff\xff\xff\x7f"
    content = encoded(photograph(), "JPEG", exif=exif)
    start = content.index(b"JFIF") - 4  # without JFIF's density, PIL looks for it in the EXIF
    return content[:start] + content[start + 18 :]


def test_corrupt_metadata_neither_warns_nor_fails() -> None:
    content = with_corrupt_exif()
    with warnings.catch_warnings(record=True) as plain:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(content)).getexif()
    assert plain, "PIL warns of this file by itself"
    for action in ("always", "error"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)  # type: ignore[arg-type]  # a literal in a loop
            pixels = decode(content, AS_IS)
        assert [str(warning.message) for warning in caught] == []
        assert pixels.shape == (40, 60, 3)


def test_no_pil_setting_is_changed() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    decode(encoded(photograph(), "JPEG"), DRAFT)
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    assert before[0] is False


def test_threads_give_the_same_pixels() -> None:
    contents = [
        encoded(photograph(seed=seed), kind) for seed in range(6) for kind in ("JPEG", "PNG", "TIFF")
    ] * 4
    alone = [decode(content, IMAGENET) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: decode(content, IMAGENET), contents))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_lazily_opened_image_is_loaded_by_many_threads() -> None:
    rgb = photograph(200, 300)
    for _ in range(5):
        image = Image.open(io.BytesIO(encoded(rgb)))
        with ThreadPoolExecutor(8) as pool:
            for pixels in pool.map(lambda _, image=image: canonical(image, AS_IS), range(16)):
                np.testing.assert_array_equal(pixels, rgb)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_forked_while_an_image_is_loading_loads_images() -> None:
    # In a fresh process: this one may have threads, and a fork of those is warned about.
    script = """
import contextlib, os, signal
from PIL import Image
from featx.backbones.preprocess import ImagePreprocess
from featx.inputs import images, pil_guards
with contextlib.ExitStack() as held:
    for lock in pil_guards._LOADING:
        held.enter_context(lock)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        images.canonical(Image.new("RGB", (2, 2)), ImagePreprocess.imagenet())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child waits for its parent's lock"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_lazily_opened_image_that_is_cut_is_unreadable() -> None:
    content = encoded(photograph(200, 300), "JPEG")
    image = Image.open(io.BytesIO(content[:2000]))
    with pytest.raises(UnreadableSampleError, match="sample 5: not a readable image"):
        canonical(image, AS_IS, name="sample 5")


def test_bytes_that_ask_for_a_program_start_none() -> None:
    """PIL would hand EPS to Ghostscript."""
    code = (
        "import subprocess, featx.inputs.images as images\n"
        "from featx.backbones.preprocess import ImagePreprocess\n"
        "def refuse(*a, **k): raise SystemExit('started a program')\n"
        "subprocess.Popen = subprocess.check_call = subprocess.run = refuse\n"
        "try: images.decode(b'%!PS-Adobe-3.0 EPSF-3.0\\n%%BoundingBox: 0 0 9 9\\n', ImagePreprocess.imagenet())\n"
        "except images.UnreadableSampleError: print('refused')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "refused\n"


# --- draft decoding


def test_draft_decodes_large_photographs_smaller(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least twice the target, and close to exact: below one grey level on average."""
    loaded: list[tuple[int, int]] = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *a, **k: (loaded.append(self.size), resize(self, *a, **k))[1]
    )
    files = sorted((data / "large_photos").glob("*.jpg"))
    smaller = 0
    for file in files:
        content = file.read_bytes()
        exact, draft = decode(content, IMAGENET), decode(content, DRAFT)
        assert draft.shape == exact.shape
        assert np.abs(exact.astype(int) - draft).mean() < 1.0
        full, drafted = loaded[-2:]
        assert min(drafted) >= 2 * 256 or drafted == full
        smaller += drafted != full
        assert (drafted != full) == (min(full) >= 4 * 256)
    assert smaller >= 6


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_draft_and_orientation_go_together(orientation: int, data: Path) -> None:
    photo = Image.open(data / "large_photos" / "Italian_greyhound.jpg").resize((2400, 1100))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo, "JPEG", exif=exif, quality=90)
    for size in (120, (100, 250), (250, 100)):
        exact = dataclasses.replace(IMAGENET, size=size, crop=None)
        one = decode(content, exact)
        other = decode(content, dataclasses.replace(exact, decode="draft"))
        assert one.shape == other.shape
        assert np.abs(one.astype(int) - other).mean() < 1.5
        assert (one != other).any(), "the draft was not used"


def test_draft_is_exact_for_small_photographs_and_other_formats(data: Path) -> None:
    file = next((data / "hymenoptera_small" / "bees").glob("*.jpg")).read_bytes()
    np.testing.assert_array_equal(decode(file, DRAFT), decode(file, IMAGENET))
    large = encoded(photograph(1200, 1600))
    np.testing.assert_array_equal(decode(large, DRAFT), decode(large, IMAGENET))
    as_is = encoded(photograph(900, 900), "JPEG")
    no_resize = dataclasses.replace(AS_IS, decode="draft")
    assert decode(as_is, no_resize).shape == (900, 900, 3)
