"""Every kind of image source becomes the same pixels, and a draft of it nearly the same."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.backbones.feature_space import RULES
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError
from featx.inputs.images import canonical, decode
from featx.inputs.resizing import fit

AS_IS = ImagePreprocess(size=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
IMAGENET = ImagePreprocess.imagenet()
DRAFT = dataclasses.replace(IMAGENET, decode="draft")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000", "WEBP", "GIF"])
def test_a_lossless_file_has_the_arrays_pixels(kind: str, photograph: Any, encoded: Any) -> None:
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
    mode: str,
    height: int,
    width: int,
    size: object,
    crop: object,
    orientation: int,
    photograph: Any,
    encoded: Any,
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


def test_rgb_arrays_are_not_copied(photograph: Any) -> None:
    rgb = photograph()
    assert canonical(rgb, IMAGENET) is rgb
    assert fit(rgb, AS_IS) is rgb
    assert fit(rgb, dataclasses.replace(AS_IS, size=rgb.shape[:2])) is rgb


def test_grey_resized_as_one_channel_equals_grey_resized_as_three(photograph: Any, encoded: Any) -> None:
    grey = photograph(300, 421)[..., 0]
    for resample in ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"):
        preprocess = dataclasses.replace(IMAGENET, resample=resample)
        np.testing.assert_array_equal(
            decode(encoded(grey), preprocess), fit(canonical(grey, AS_IS), preprocess)
        )


def golden_pixels(encoded: Any) -> dict[str, np.ndarray]:
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


def test_the_pixels_are_those_of_rules_1(encoded: Any) -> None:
    """Where this fails, stored vectors no longer fit: raise RULES in featx/backbones/feature_space.py with these digests."""
    assert RULES == 1
    assert {
        name: hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
        for name, pixels in golden_pixels(encoded).items()
    } == {
        "bilinear": "c9751bb406d505b8",
        "bicubic": "27448610e506e460",
        "grey": "54f2bab2f75176b8",
        "alpha": "b75e110b36a08e24",
        "cmyk": "942172028569e008",
        "orientation": "1e7e2d08f0b3d760",
    }


def test_an_animation_gives_its_first_frame(encoded: Any) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), level, np.uint8)) for level in (250, 10)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        lossless = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
        np.testing.assert_array_equal(decode(content, AS_IS), np.asarray(frames[0]))


def test_a_long_thin_image_does_not_fill_the_memory(encoded: Any) -> None:
    content = encoded(np.zeros((1, 60_000, 3), np.uint8))
    with pytest.raises(SampleError, match=r"60000 x 1 pixels would be resized to 15,360,000 x 256"):
        decode(content, IMAGENET)
    exact = dataclasses.replace(IMAGENET, size=(256, 256))
    assert decode(content, exact).shape == (224, 224, 3)


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
def test_draft_and_orientation_go_together(orientation: int, data: Path, encoded: Any) -> None:
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


def test_draft_is_exact_for_small_photographs_and_other_formats(
    data: Path, photograph: Any, encoded: Any
) -> None:
    file = next((data / "hymenoptera_small" / "bees").glob("*.jpg")).read_bytes()
    np.testing.assert_array_equal(decode(file, DRAFT), decode(file, IMAGENET))
    large = encoded(photograph(1200, 1600))
    np.testing.assert_array_equal(decode(large, DRAFT), decode(large, IMAGENET))
    as_is = encoded(photograph(900, 900), "JPEG")
    no_resize = dataclasses.replace(AS_IS, decode="draft")
    assert decode(as_is, no_resize).shape == (900, 900, 3)
