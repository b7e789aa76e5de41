"""Weights come out of a safetensors file as the float32 numbers that were put in, or the file is refused by its path."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from featx.backbones.safetensors_file import read_weights, weight_shapes
from featx.errors import BackboneError


def raw(path: Path, header: Any, data: bytes = b"") -> Path:
    """A file with a header as it is given."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str, shape: list[int], end: int, start: int = 0) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = {
        "linear.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "linear.bias": rng.standard_normal(3).astype(np.float32),
        "scale": np.asarray(2.5, np.float32),
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def test_shapes_are_those_of_the_tensors(file: Path) -> None:
    assert weight_shapes(file) == {"linear.weight": (3, 4), "linear.bias": (3,), "scale": ()}


def test_shapes_are_read_without_the_weights(file: Path) -> None:
    shapes = weight_shapes(file)
    with open(file, "r+b") as opened:
        opened.truncate(file.stat().st_size - 8)
    assert weight_shapes(file) == shapes


def test_only_what_is_asked_for_and_there_is_read(file: Path) -> None:
    found = read_weights(file, ("linear.bias", "linear.weight", "absent"))
    rng = np.random.default_rng(0)
    assert sorted(found) == ["linear.bias", "linear.weight"]
    np.testing.assert_array_equal(
        found["linear.weight"], rng.standard_normal((3, 4)).astype(np.float32), strict=True
    )
    assert read_weights(file, ()) == {}


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_converted(tmp_path: Path, dtype: type[np.generic]) -> None:
    values = np.array([[1.5, -2.25], [0.0, 6e-5]], dtype)
    save_file({"w": values}, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors", ["w"])["w"]
    np.testing.assert_array_equal(found, values.astype(np.float32), strict=True)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    # The lower 16 bits of these are zero, so bfloat16 holds them exactly.
    values = np.array([1.0, -2.5, 0.0, 3.0e38, 2.0**-130, np.inf], np.float32).view(np.uint32) & 0xFFFF0000
    halves = (values >> 16).astype("<u2").tobytes()
    header = {"first": entry("F32", [1], 4), "w": entry("BF16", [2, 3], 4 + len(halves), start=4)}
    found = read_weights(raw(tmp_path / "w.safetensors", header, bytes(4) + halves), ["w", "first"])
    np.testing.assert_array_equal(found["w"], values.view(np.float32).reshape(2, 3), strict=True)


def test_bfloat16_agrees_with_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    values = torch.linspace(-3, 3, 35).reshape(5, 7).to(torch.bfloat16)
    save({"other": torch.zeros(3), "w": values}, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors", ["w"])["w"]
    np.testing.assert_array_equal(found, values.float().numpy(), strict=True)


def test_a_single_number_has_no_axes(file: Path) -> None:
    np.testing.assert_array_equal(read_weights(file, ["scale"])["scale"], np.float32(2.5), strict=True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_])
def test_quantised_weights_are_refused_by_name(tmp_path: Path, dtype: type[np.generic]) -> None:
    save_file({"w": np.ones((2, 2), dtype)}, tmp_path / "w.safetensors")
    with pytest.raises(BackboneError, match=r"w holds \w+, expected F32, F16, BF16 or F64") as caught:
        read_weights(tmp_path / "w.safetensors", ["w"])
    assert str(caught.value).count("Fetch it again") == 0  # it would be the same
    assert weight_shapes(tmp_path / "w.safetensors") == {"w": (2, 2)}


BROKEN = {
    "empty": b"",
    "short": b"\x10\x00",
    "pickle": b"PK\x03\x04" + bytes(100),
    "no length": bytes(100),
    "too long": struct.pack("<Q", 10**12) + b"{}",
    "longer than the file": struct.pack("<Q", 1000) + b"{}",
    "no JSON": struct.pack("<Q", 8) + b"{nothing",
    "a list": struct.pack("<Q", 2) + b"[]",
    "a number": struct.pack("<Q", 1) + b"3",
    "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "not UTF-8": struct.pack("<Q", 4) + b'{"\xff"',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_safetensors_file_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    for read in (weight_shapes, lambda p: read_weights(p, ["w"])):
        with pytest.raises(BackboneError, match="not a readable safetensors file") as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        {"w": 3},
        {"w": {"dtype": "F32", "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}},
    ],
)
def test_a_header_without_shapes_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    path = raw(tmp_path / "w.safetensors", header, bytes(8))
    with pytest.raises(BackboneError, match="not a readable safetensors file"):
        weight_shapes(path)
    with pytest.raises(BackboneError, match="not a readable safetensors file"):
        read_weights(path, ["w"])


@pytest.mark.parametrize(
    "header",
    [
        {"w": entry("F32", [2], 80)},
        {"w": entry("F32", [2], 4)},
        {"w": entry("BF16", [3], 8)},
        {"w": entry("BF16", [-4], 8)},
        {"w": entry("F32", [2], 8, start=4)},
    ],
)
def test_tensors_that_do_not_fill_the_file_are_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    path = raw(tmp_path / "w.safetensors", header, bytes(8))
    with pytest.raises(BackboneError, match="not a readable safetensors file"):
        read_weights(path, ["w"])


def test_a_file_cut_off_on_its_way_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(BackboneError, match="Fetch it again"):
        read_weights(file, ["linear.weight"])


def test_a_missing_file_and_a_folder_are_refused_with_their_path(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        for read in (weight_shapes, lambda p: read_weights(p, ["w"])):
            with pytest.raises(BackboneError, match="not a readable safetensors file") as caught:
                read(path)
            assert str(path) in str(caught.value)
