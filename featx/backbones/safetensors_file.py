"""Weights read from a safetensors file as float32 arrays. The format holds numbers only: reading it runs no code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.errors import BackboneError

__all__ = ["read_weights", "weight_shapes"]

_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit (safetensors, tensor.rs, MAX_HEADER_SIZE)


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file; reads its header only.

    Raises
    ------
    BackboneError
        Not such a file.
    """
    try:
        with open(path, "rb") as file:
            n = int.from_bytes(file.read(8), "little")
            if not 0 < n <= _LARGEST_HEADER_BYTES:
                raise ValueError("its header has no length")
            header = json.loads(file.read(n))
        return {name: tuple(one["shape"]) for name, one in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(f"{path}: not a readable safetensors file ({error}). Fetch it again.") from error


def read_weights(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Tensors of a file by name, as float32.

    Parameters
    ----------
    path : Path
    names : iterable of str
        Those that the file lacks are left out.

    Raises
    ------
    BackboneError
        Not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            there = set(file.keys())
            return {name: _float32(file, name) for name in names if name in there}
    except (OSError, SafetensorError, TypeError) as error:
        raise BackboneError(f"{path}: not a readable safetensors file ({error}). Fetch it again.") from error


def _float32(file: object, name: str) -> NDArray[np.float32]:
    return np.ascontiguousarray(file.get_tensor(name), dtype=np.float32)  # type: ignore[attr-defined]  # untyped package
