"""Weights read from a safetensors file as float32 arrays. The format holds numbers only: reading it runs no code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import BackboneError

__all__ = ["read_weights", "weight_shapes"]

_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit (safetensors, tensor.rs, MAX_HEADER_SIZE)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file; reads its header only.

    Raises
    ------
    BackboneError
        Not such a file.
    """
    try:
        header, _ = _header(path)
        return {name: tuple(one["shape"]) for name, one in header.items()}
    except _UNREADABLE as error:
        raise _refusal(path, error) from error


def read_weights(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Tensors of a file by name, as float32.

    Parameters
    ----------
    path : Path
    names : iterable of str
        Those that the file lacks are left out.

    Returns
    -------
    dict
        float16, bfloat16 and float64 are converted.

    Raises
    ------
    BackboneError
        Not such a file, or a tensor holds no floating-point numbers (quantised weights).
    """
    from safetensors import SafetensorError, safe_open

    try:
        header, start = _header(path)
        with safe_open(path, framework="numpy") as file:  # refuses a damaged file
            return {name: _float32(path, file, name, header[name], start) for name in names if name in header}
    except BackboneError:
        raise
    except (SafetensorError, *_UNREADABLE) as error:
        raise _refusal(path, error) from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Name to dtype, shape and place of each tensor; where the first one begins."""
    with open(path, "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        if not 0 < n <= _LARGEST_HEADER_BYTES:
            raise ValueError("its header has no length")
        content = file.read(n)
    if len(content) < n:
        raise ValueError("its header is cut off")
    header = json.loads(content)
    if not isinstance(header, dict) or not all(isinstance(one, dict) for one in header.values()):
        raise ValueError("its header is no table of tensors")
    header.pop("__metadata__", None)
    return header, 8 + n


def _float32(path: Path, file: Any, name: str, entry: Mapping[str, Any], start: int) -> NDArray[np.float32]:
    if entry["dtype"] == "BF16":
        return _bfloat16(path, entry, start)
    if entry["dtype"] not in ("F32", "F16", "F64"):
        raise BackboneError(
            f"{path}: {name} holds {entry['dtype']}, expected F32, F16, BF16 or F64. Take the weights as they were published, "
            "before they were quantised."
        )
    return np.asarray(file.get_tensor(name), dtype=np.float32, order="C")


def _bfloat16(path: Path, entry: Mapping[str, Any], start: int) -> NDArray[np.float32]:
    """The upper halves of float32 numbers. numpy has no such type, so safetensors gives it none of them."""
    first, end = entry["data_offsets"]
    with open(path, "rb") as file:
        file.seek(start + first)
        halves = np.frombuffer(file.read(end - first), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _refusal(path: Path, error: Exception) -> BackboneError:
    return BackboneError(f"{path}: not a readable safetensors file ({error}). Fetch it again.")
