"""The words for pixels that are not 8-bit images, and the near misses that must pass."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inputs.images import canonical, decode
from featx.inputs.refusals import array_problem, depth_problem, looks_like

IMAGENET = ImagePreprocess.imagenet()


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


def zeros(dtype: type, kind: str) -> bytes:
    """A black picture of a deep type, as PIL writes it."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), dtype)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_8_bit_modes_pass(mode: str) -> None:
    assert depth_problem(Image.new(mode, (4, 4)), b"") is None


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B", "I;16L"])
def test_deep_modes_are_named(mode: str) -> None:
    problem = depth_problem(Image.new(mode, (4, 4)), b"")
    assert problem is not None
    assert problem.startswith("float pixels" if mode == "F" else f"16-bit or deeper pixels (PIL mode {mode})")


def test_a_bmp_of_5_6_5_bits_is_not_deep() -> None:
    """Its raw mode is called BGR;16, for 16 bits a pixel and not a channel."""
    header = b"BM" + (14 + 40 + 12 + 8).to_bytes(4, "little") + bytes(4) + (66).to_bytes(4, "little")
    header += (40).to_bytes(4, "little") + (2).to_bytes(4, "little") * 2 + (1).to_bytes(2, "little")
    header += (16).to_bytes(2, "little") + (3).to_bytes(4, "little") + (8).to_bytes(4, "little") + bytes(16)
    header += b"".join(mask.to_bytes(4, "little") for mask in (0xF800, 0x07E0, 0x001F))
    image = Image.open(io.BytesIO(header + b"\x00\xf8" * 4))
    assert image.tile[0][3][0] == "BGR;16"
    assert depth_problem(image, b"") is None
    assert image.load()[0, 0] == (255, 0, 0)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4), (1, 1)])
def test_8_bit_shapes_pass(shape: tuple[int, ...]) -> None:
    assert array_problem(np.zeros(shape, np.uint8)) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.4", "a PDF"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"....ftypmif1", "an HEIF image or a video"),
        (b"DOE^JANE", "no known image format"),  # what it holds is not quoted
    ],
)
def test_other_files_are_recognised(data: bytes, words: str) -> None:
    assert looks_like(data) == words


@pytest.mark.parametrize(
    "content",
    [
        png16(0, 1),
        png16(2, 3),
        png16(4, 2),
        png16(6, 4),
        tiff16(3),
        zeros(np.uint16, "TIFF"),
        zeros(np.float32, "TIFF"),
        zeros(np.int32, "TIFF"),
        zeros(np.uint16, "JPEG2000"),
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


def test_a_16_bit_colour_jpeg_2000_is_refused(photograph: Any, encoded: Any) -> None:
    content = bytearray(encoded(photograph(8, 8), "JPEG2000"))
    at = content.index(b"\xff\x4f\xff\x51") + 42
    assert content[at] == 7  # depth less one
    content[at] = 15
    with pytest.raises(SampleError, match=r"16-bit pixels \(JPEG 2000\): no window applies to colour"):
        decode(bytes(content), IMAGENET)


def test_the_way_to_8_bits_that_the_message_shows_works() -> None:
    a, low, high = np.repeat(np.array([[[0], [500]], [[1000], [4000]]], np.uint16), 3, axis=2), 0, 1000
    with pytest.raises(SampleError) as caught:
        canonical(a, IMAGENET)
    start = str(caught.value).index("(np.clip")
    stop = str(caught.value).index(".astype(np.uint8)") + len(".astype(np.uint8)")
    pixels = eval(str(caught.value)[start:stop], {"np": np, "a": a, "low": low, "high": high})
    np.testing.assert_array_equal(canonical(pixels, IMAGENET)[..., 0], [[0, 127], [255, 255]])


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
