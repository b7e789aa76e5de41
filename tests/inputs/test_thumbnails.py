"""Thumbnails: small, upright, and nothing of the file's metadata in them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.inputs.thumbnails import thumbnail


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(data))


def test_the_longer_edge_is_128_px_and_small_pictures_stay() -> None:
    assert opened(thumbnail(np.zeros((600, 300, 3), dtype=np.uint8))).size == (64, 128)
    assert opened(thumbnail(np.zeros((20, 30), dtype=np.uint8))).size == (30, 20)
    assert opened(thumbnail(np.zeros((90, 90, 3), dtype=np.uint8), size_px=40)).size == (40, 40)


def test_metadata_stays_behind_and_the_picture_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9C9D] = 6, "Jane Doe", "Jane Doe".encode("utf-16le")
    Image.new("RGB", (60, 20)).save(tmp_path / "a.jpg", exif=exif, comment=b"Jane Doe")
    data = thumbnail(str(tmp_path / "a.jpg"))
    assert opened(data).size == (20, 60)
    assert b"Jane" not in (data or b"")
    assert not opened(data).getexif()


@pytest.mark.parametrize(
    "sample",
    [b"", b"no picture", "gone.png", np.zeros((5, 5), dtype=complex), 7],
    ids=["empty", "broken", "gone", "complex", "number"],
)
def test_what_is_no_picture_is_none(sample: object) -> None:
    assert thumbnail(sample) is None


def test_real_pictures_are_a_few_kilobytes(data: Path) -> None:
    for file in sorted((data / "large_photos").glob("*.jp*g"))[:3]:
        assert 1_000 < len(thumbnail(str(file)) or b"") < 12_000
