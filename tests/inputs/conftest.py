"""Pictures, the bytes of their files, and tables: what the tests of these rooms are given to read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photograph() -> Callable[..., np.ndarray]:
    """``photograph(height, width, seed=0)``: uint8 RGB, smooth, so that lossy formats keep its colours."""

    def make(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))

    return make


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """``encoded(image, kind="PNG", **options)``: a file of a PIL image or an array, as PIL writes it."""

    def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """``csv_file(text, name="table.csv", encoding="utf-8")``: a file that holds this text."""

    def write(text: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write
