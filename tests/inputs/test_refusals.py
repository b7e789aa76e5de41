"""The words for pixels that are not 8-bit images, and the near misses that must pass."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from featx.inputs.refusals import array_problem, depth_problem, looks_like


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
