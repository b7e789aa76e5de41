"""What is damaged, no image or too large is refused in words, and PIL's moods change no pixel and nobody's settings."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inputs.images import canonical, decode

AS_IS = ImagePreprocess(size=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
IMAGENET = ImagePreprocess.imagenet()
DRAFT = dataclasses.replace(IMAGENET, decode="draft")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000"])
def test_truncated_files_are_named_with_their_length(kind: str, encoded: Any) -> None:
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


def test_random_damage_never_raises_anything_else(photograph: Any, encoded: Any) -> None:
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
def test_decompression_bombs_are_refused(
    factor: float, monkeypatch: pytest.MonkeyPatch, photograph: Any, encoded: Any
) -> None:
    content = encoded(photograph(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10_000 * factor))
    with pytest.raises(UnreadableSampleError, match=r"bomb\.png \(index 9\): .*decompression bomb.*100"):
        decode(content, IMAGENET, name="bomb.png", index=9)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert decode(content, AS_IS).shape == (100, 100, 3)


def test_a_bomb_is_refused_where_warnings_are_ignored(
    monkeypatch: pytest.MonkeyPatch, photograph: Any, encoded: Any
) -> None:
    content = encoded(photograph(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnreadableSampleError, match="decompression bomb"):
            decode(content, IMAGENET)


@pytest.fixture
def corrupt_exif(photograph: Any, encoded: Any) -> bytes:
    """A JPEG whose EXIF directory claims more entries than there are: PIL warns while opening it."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0" + struct.pack("<HHI", 0x011A, 5, 1) + b"\xff\xff\xff\x7f"
    content = encoded(photograph(), "JPEG", exif=exif)
    start = content.index(b"JFIF") - 4  # without JFIF's density, PIL looks for it in the EXIF
    return content[:start] + content[start + 18 :]


def test_corrupt_metadata_neither_warns_nor_fails(corrupt_exif: bytes) -> None:
    content = corrupt_exif
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


def test_no_pil_setting_is_changed(photograph: Any, encoded: Any) -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    decode(encoded(photograph(), "JPEG"), DRAFT)
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    assert before[0] is False


def test_threads_give_the_same_pixels(photograph: Any, encoded: Any) -> None:
    contents = [
        encoded(photograph(seed=seed), kind) for seed in range(6) for kind in ("JPEG", "PNG", "TIFF")
    ] * 4
    alone = [decode(content, IMAGENET) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: decode(content, IMAGENET), contents))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_lazily_opened_image_is_loaded_by_many_threads(photograph: Any, encoded: Any) -> None:
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


def test_a_lazily_opened_image_that_is_cut_is_unreadable(photograph: Any, encoded: Any) -> None:
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
