"""Content digests: 16 bytes of BLAKE3 of files, bytes, arrays, strings and JSON.

Owns how content becomes a key. The invariant: equal content gives equal digests in every process, on every
machine and byte order; the three domains (raw bytes, arrays, text) never meet, so an array never answers for
a file that happens to hold its buffer. Refuses objects whose buffer does not say what they are (object
arrays), and values that JSON cannot carry.

BLAKE3 in its key-derivation mode separates the domains (BLAKE3 specification, section 2.3). Sixteen bytes
leave the chance of one collision among a billion keys below 1e-20.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from featx.errors import ParameterError

__all__ = [
    "DIGEST_BYTES",
    "Keys",
    "canonical_json",
    "digest_array",
    "digest_bytes",
    "digest_file",
    "digest_json",
    "digest_keyed",
    "digest_many",
    "digest_text",
    "keys_array",
]

DIGEST_BYTES = 16

Keys = npt.NDArray[np.uint8]
"""A set of digests in memory: ``(n, 16)`` uint8."""

# Files are read block by block, never mapped: a mapped file that another process truncates ends this process with
# SIGBUS. One thread: it hashes faster than most disks read, and BLAKE3's thread pool does not survive a fork.
_BLOCK_BYTES = 1 << 20

_ARRAY_CONTEXT = "featx v1 content digest of an array"
_TEXT_CONTEXT = "featx v1 content digest of a text"
_KEY_CONTEXT = "featx v1 key of pseudonyms"


def digest_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """Digest of raw bytes; also that of a file with this content.

    Parameters
    ----------
    data : bytes-like
        Any contiguous buffer.

    Returns
    -------
    bytes of length 16

    Examples
    --------
    >>> digest_bytes(b"").hex()
    'af1349b9f5f9a1a6a0404dea36dcc949'
    """
    if isinstance(data, memoryview):
        data = data.cast("B") if data.nbytes else b""
    return blake3(data).digest(DIGEST_BYTES)


def digest_file(path: str | os.PathLike[str]) -> bytes:
    """Digest of the content of a file, equal to `digest_bytes` of it.

    Parameters
    ----------
    path : path
        A readable file. It is read, never mapped, block by block.

    Returns
    -------
    bytes of length 16

    Raises
    ------
    OSError
        When it cannot be read.
    """
    hasher = blake3()
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        block = bytearray(min(max(size + 1, 4096), _BLOCK_BYTES))
        view = memoryview(block)
        while n_read := file.readinto(block):
            hasher.update(view[:n_read])
    return hasher.digest(DIGEST_BYTES)


def digest_many(parts: Iterable[bytes]) -> Keys:
    """Digests of many short pieces of raw bytes.

    Parameters
    ----------
    parts : iterable of n bytes objects

    Returns
    -------
    ndarray of shape (n, 16), uint8, writable
        Row i is `digest_bytes` of part i.
    """
    joined = bytearray(b"".join([blake3(part).digest(DIGEST_BYTES) for part in parts]))
    return np.frombuffer(joined, np.uint8).reshape(-1, DIGEST_BYTES)


def digest_array(array: np.ndarray) -> bytes:
    """Digest of an array's dtype, shape and values, whatever its memory layout and byte order.

    Parameters
    ----------
    array : ndarray of booleans, integers, floats or complex numbers
        Hashed as little-endian values in C order.

    Returns
    -------
    bytes of length 16
        Never equal to `digest_bytes` of the array's buffer.

    Raises
    ------
    ParameterError
        For other dtypes: their buffer holds addresses, or does not say what it means.
    """
    if array.dtype.kind not in "biufc":
        raise ParameterError(
            f"an array of dtype {array.dtype} has no content digest: expected booleans, integers, floats or "
            "complex numbers. Convert it first, for example with .astype('float32')"
        )
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    header = f"{little.dtype.str}{little.shape}".encode()
    hasher = blake3(header, derive_key_context=_ARRAY_CONTEXT)
    hasher.update(little.reshape(-1).view(np.uint8).data)
    return hasher.digest(DIGEST_BYTES)


def digest_text(text: str) -> bytes:
    """Digest of a string, which may hold lone surrogates.

    Parameters
    ----------
    text : str

    Returns
    -------
    bytes of length 16
        Never equal to `digest_bytes` of its UTF-8 form.
    """
    data = text.encode("utf-8", "surrogatepass")
    return blake3(data, derive_key_context=_TEXT_CONTEXT).digest(DIGEST_BYTES)


def digest_keyed(text: str, key: bytes) -> bytes:
    """Digest of a string that says nothing of it to whoever lacks the key.

    Parameters
    ----------
    text : str
    key : bytes
        Secret, of any length; what it is used for is mixed into it.

    Returns
    -------
    bytes of length 16
        Of BLAKE3 in its keyed mode (BLAKE3 specification, section 2.3).
    """
    derived = blake3(key, derive_key_context=_KEY_CONTEXT).digest(32)
    return blake3(text.encode("utf-8", "surrogatepass"), key=derived).digest(DIGEST_BYTES)


def canonical_json(value: Any) -> str:
    """The one JSON form of a value: sorted keys, no white space, ASCII only.

    Parameters
    ----------
    value : None, bool, int, float, str, or lists, tuples and dicts of these
        A tuple is written as a list.

    Returns
    -------
    str

    Raises
    ------
    ParameterError
        For NaN and infinities, keys that are not strings, and types that JSON does not have.

    Examples
    --------
    >>> canonical_json({"b": (1, 2.0), "a": None})
    '{"a":null,"b":[1,2.0]}'
    """
    _refuse_other_keys(value, "value")
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"not expressible as JSON: {error}") from error


def digest_json(value: Any) -> str:
    """Digest of a value's canonical JSON.

    Parameters
    ----------
    value : as for `canonical_json`

    Returns
    -------
    str of 32 hexadecimal digits

    Raises
    ------
    ParameterError
        As `canonical_json`.
    """
    return digest_text(canonical_json(value)).hex()


def keys_array(digests: Iterable[bytes]) -> Keys:
    """Digests one below the other.

    Parameters
    ----------
    digests : iterable of n bytes objects of length 16

    Returns
    -------
    ndarray of shape (n, 16), uint8, writable

    Raises
    ------
    ParameterError
        When one of them is not 16 bytes long.
    """
    listed = list(digests)
    for index, digest in enumerate(listed):
        if len(digest) != DIGEST_BYTES:
            raise ParameterError(f"digest {index} has {len(digest)} bytes, expected {DIGEST_BYTES}")
    return np.frombuffer(bytearray(b"".join(listed)), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _refuse_other_keys(value: Any, where: str) -> None:
    """json.dumps writes ``{1: ...}`` and ``{"1": ...}`` alike, which would make two spaces one."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ParameterError(
                    f"not expressible as JSON: {where} has the key {key!r}, expected a string"
                )
            _refuse_other_keys(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_other_keys(item, f"{where}[{index}]")
