"""Samples that cannot be read: named with their index, kept apart from those that can, and nothing computed is lost."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx as library
from featx.errors import (
    DatasetError,
    SampleError,
    UnreadableSampleError,
)
from featx.testing import counted_rows


def png_bomb() -> bytes:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


def truncated_png(photos: Path) -> bytes:
    return (photos / "dark" / "00.png").read_bytes()[:200]


SPOILT = {
    "text": (lambda photos: b"this is no picture", "not a readable image"),
    "truncated": (truncated_png, "truncated after 200 bytes"),
    "empty": (lambda photos: b"", "empty file"),
    "bomb": (lambda photos: png_bomb(), "decompression bomb"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_an_unreadable_sample_is_named_with_its_index(
    both: Any, copies: Path, photos: Path, tiny: Path, kind: str, tmp_path: Path
) -> None:
    content, says = SPOILT[kind]
    bad = copies / "light" / "05.png"
    bad.write_bytes(content(photos))
    line = both(
        ["train", copies, "-b", tiny, "--head", "logistic", "--cache", tmp_path / "a"],
        lambda: library.train(copies, backbone=tiny, heads=["logistic"], cache=tmp_path / "b"),
        UnreadableSampleError,
        builtin=OSError,
    )
    assert line.startswith(f"{bad} (index 17): ")  # 12 dark ones come first
    assert says in line
    assert "--skip-unreadable" in line


@pytest.mark.parametrize("kind", SPOILT)
def test_what_was_computed_beside_an_unreadable_sample_is_kept(
    featx: Any, copies: Path, photos: Path, tiny: Path, kind: str
) -> None:
    words = ("train", copies, "-b", tiny, "--head", "logistic")
    bad = copies / "light" / "11.png"  # the last
    good = bad.read_bytes()
    bad.write_bytes(SPOILT[kind][0](photos))
    with counted_rows() as first:
        assert featx(*words).status == 2
    bad.write_bytes(good)
    with counted_rows() as second:
        assert featx(*words).status == 0
    assert first.n + second.n == 24
    assert second.n >= 1


def test_missing_files_are_refused_before_any_is_computed(both: Any, table: Any, tiny: Path) -> None:
    path = table(file=[f"absent/{i}.png" for i in range(24)])
    with counted_rows() as rows:
        line = both(
            ["train", path, "-b", tiny],
            lambda: library.train(path, backbone=tiny),
            UnreadableSampleError,
            builtin=OSError,
        )
    assert "(data.csv, line 2): no such file" in line
    assert "(23 more failed.)" in line
    assert "None of the files is there: they are looked for beside the table, or in " in line
    assert rows.n == 0


def test_a_folder_as_a_sample(both: Any, table: Any, photos: Path, tiny: Path) -> None:
    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    path = table(file=[*files[:20], str(photos), *files[21:]])
    line = both(
        ["train", path, "-b", tiny],
        lambda: library.train(path, backbone=tiny),
        UnreadableSampleError,
        builtin=OSError,
    )
    assert line.startswith(f"{photos} (data.csv, line 22): is a folder")


@pytest.mark.parametrize("sample", [7, 1.5, None, float("nan"), {"path": "a.png"}, np.zeros((4, 4, 3))])
def test_samples_of_wrong_types_are_named_by_index(tiny: Path, photos: Path, sample: Any) -> None:
    good = str(photos / "dark" / "00.png")
    for call in (
        lambda X: library.ImageFeatures(tiny, cache=None).fit(None).transform(X),
        lambda X: library.predict(fitted_pipeline(tiny, photos), X),
    ):
        with pytest.raises(SampleError, match=r"\(index 1\)"):
            call([good, sample])


def fitted_pipeline(tiny: Path, photos: Path) -> Any:
    return library.train(photos, backbone=tiny, heads=["logistic"], cache=None).pipeline


def test_when_no_image_can_be_read_skipping_does_not_help(
    both: Any, copies: Path, tiny: Path, model: Path
) -> None:
    for file in copies.glob("*/*.png"):
        file.write_bytes(b"spoilt " + file.name.encode())
    line = both(
        ["train", copies, "-b", tiny, "--skip-unreadable"],
        lambda: library.train(copies, backbone=tiny, skip_unreadable=True),
        DatasetError,
    )
    assert "none of its 24 images could be read. The first: " in line


def test_predictions_of_unreadable_images_only_end_with_status_2(
    featx: Any, copies: Path, model: Path
) -> None:
    bad = copies / "dark" / "00.png"
    bad.write_bytes(b"")
    ended = featx("predict", model, bad, "--csv", "--skip-unreadable")
    assert ended.status == 2
    assert ended.out.splitlines()[1].startswith(f"{bad},,,,")
    assert ended.err == "featx: none of the 1 images could be read.\n"
