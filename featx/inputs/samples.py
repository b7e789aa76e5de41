"""What X may be, turned into one sequence of samples.

A sample is a path (str), an encoded image (bytes), a PIL image, a uint8 array, or a :class:`DigestSample`.
Every container that scikit-learn, pandas or polars hand over ends as a sequence of these, in the same order.
What could be read in two ways is refused with the way to say it: a bare path or image is not a list of one,
and a float array has no defined brightness. Nothing is opened here; pandas, polars and PIL are not imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from featx.errors import InputError, SampleError
from featx.inputs.containers import Wanted, collect, is_missing_value, kept, n_masked, refuse_empty
from featx.inputs.refusals import array_problem

__all__ = ["DigestSample", "as_samples", "sample_name"]

_DIGEST_PREFIX = "digest:"
_DIGEST_BYTES = 16
_URL_PREFIXES = ("http://", "https://", "ftp://", "s3://", "gs://", "file://", "data:")
_SPECIAL_PREFIXES = (_DIGEST_PREFIX, *_URL_PREFIXES)
_SPECIAL_SIGNS = (_DIGEST_PREFIX, "://", "data:", "\0")
_SCAN = 8192  # strings joined at a time
_KINDS = "paths, bytes, PIL images or uint8 arrays"


@dataclass(frozen=True, slots=True)
class DigestSample:
    """A sample known by the digest of its content only: served from the store, never computed.

    Parameters
    ----------
    key : bytes
        The 16-byte content digest.

    Examples
    --------
    >>> str(DigestSample(bytes(16)))
    'digest:00000000000000000000000000000000'
    """

    key: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.key, bytes) or len(self.key) != _DIGEST_BYTES:
            raise InputError(f"DigestSample: expected {_DIGEST_BYTES} bytes, found {self.key!r}.")

    def __str__(self) -> str:
        return _DIGEST_PREFIX + self.key.hex()


def as_samples(X: Any, *, keep_errors: bool = False, windowed: bool = False) -> Sequence[Any]:
    """Turn X into a sequence of samples, in X's order.

    Parameters
    ----------
    X : list, tuple or other sequence; ndarray; pandas or polars Series; one-column DataFrame
        Of paths (str or os.PathLike), bytes (an encoded image each), PIL images, uint8 arrays of shape
        (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), ``"digest:<32 hex digits>"`` strings, or a mixture. An
        ndarray may be (n,) or (n, 1) of strings or objects, or a uint8 stack (n, h, w, c) with c = 1, 3 or 4.
        Of three dimensions, (n, h, w) and (h, w, c) look alike: a grey stack is given as ``X[..., np.newaxis]``.
    keep_errors : bool
        Let the error of a sample that is missing or of another type stand in its place, instead of raising it.
    windowed : bool
        Take arrays of grey values of any integer or float type too: there is a window for them.

    Returns
    -------
    samples : sequence of n samples
        of str, bytes, PIL image, ndarray, DigestSample or SampleError. A stack is returned as it is, without a copy.

    Raises
    ------
    InputError
        If X is empty, a single sample, an iterator or a lazy frame, has several columns or masked entries, or
        is no container of samples.
    SampleError
        If one sample is missing or of another type, unless ``keep_errors``; names its index.

    Examples
    --------
    >>> as_samples(["a.png", "b.png"])
    ['a.png', 'b.png']
    """
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUTS":
        return _stack(X, windowed)
    single = _single_kind(X)
    if single is not None:
        raise InputError(
            f"X is a single {single}, expected a list of samples: give [X]. For every image below a folder, "
            "featx.read_dataset(folder).samples."
        )
    return collect(X, _WANTED_WINDOWED if windowed else _WANTED, keep_errors)


def sample_name(sample: Any, index: int) -> str:
    """The sample as a person knows it, for messages: its path or digest, or its position and kind.

    Examples
    --------
    >>> sample_name("scan_017.png", 3), sample_name(b"...", 3)
    ('scan_017.png', 'sample 3 (bytes)')
    """
    if isinstance(sample, str | DigestSample):
        return str(sample)
    if isinstance(sample, SampleError):
        return sample.name
    if isinstance(sample, os.PathLike):
        return os.fsdecode(sample)
    if isinstance(sample, bytes | bytearray | memoryview):
        return f"sample {index} (bytes)"
    if isinstance(sample, np.ndarray):
        return f"sample {index} (array of shape {sample.shape})"
    if _is_pil_image(sample):
        return str(getattr(sample, "filename", "") or f"sample {index} (PIL image)")
    return f"sample {index} ({type(sample).__name__})"


def _stack(array: np.ndarray, windowed: bool) -> Sequence[Any]:
    """Pixels of several images in one array."""
    masked = n_masked(array)
    if masked:
        raise InputError(
            f"X is a masked array with {masked:,} masked entries, and featx has no pixels for them: give X.filled(0) for "
            "masked pixels, X.compressed() to drop masked samples."
        )
    array = np.ma.getdata(array)
    # Whatever the sizes: a rule that looked at them would take a grey stack and refuse a fold of it.
    if array.ndim == 2 or (array.ndim == 3 and (windowed or array.dtype == np.uint8)):
        raise InputError(
            f"X is an array of shape {array.shape}, which may be a single image: give [X] for one image, or a stack of four "
            "dimensions, (n, h, w, 3); for grey images X[..., np.newaxis]."
        )
    if array.ndim not in (3, 4):
        raise InputError(
            f"X is a {array.dtype} array of shape {array.shape}: expected {_KINDS}, or a uint8 stack "
            "(n, h, w, 3)."
        )
    refuse_empty(cast(Sequence[Any], array))
    stack: Any = array  # (n, h, w, c); an ndarray has the len and the index of a sequence
    problem = array_problem(stack[0], windowed=windowed)
    if problem is not None:
        raise InputError(f"X is a stack, each sample {problem}")
    return stack


def _single_kind(X: Any) -> str | None:
    if isinstance(X, str | os.PathLike):
        return "path"
    if isinstance(X, bytes | bytearray | memoryview):
        return "encoded image (bytes)"
    if isinstance(X, DigestSample):
        return "digest"
    return "PIL image" if _is_pil_image(X) else None


def _is_pil_image(value: Any) -> bool:
    # Where nobody has imported PIL.Image, nothing can be one.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def _checked(samples: Sequence[Any], keep_errors: bool, windowed: bool = False) -> Sequence[Any]:
    """The same sequence where nothing needs changing: plain paths cost no new objects."""
    refuse_empty(samples)
    if set(map(type, samples)) == {str}:
        special = _special_indices(samples)
    else:
        one = partial(_sample, windowed=windowed)
        samples = [kept(one, value, index, keep_errors) for index, value in enumerate(samples)]
        special = [i for i, sample in enumerate(samples) if isinstance(sample, str) and _is_special(sample)]
    if not special:
        return samples
    changed = list(samples)
    for index in special:
        changed[index] = kept(_special, changed[index], index, keep_errors)
    return changed


def _is_special(text: str) -> bool:
    return not text or "\0" in text or text.startswith(_SPECIAL_PREFIXES)


def _special_indices(texts: Sequence[str]) -> list[int]:
    """Which strings are not plain paths. Joined before they are searched: three times faster on a million."""
    found = []
    for start in range(0, len(texts), _SCAN):
        part = texts[start : start + _SCAN]
        joined = "\n".join(part)
        if not all(part) or any(sign in joined for sign in _SPECIAL_SIGNS):
            found += [start + i for i, text in enumerate(part) if _is_special(text)]
    return found


def _sample(value: Any, index: int, windowed: bool = False) -> Any:
    convert = _CONVERT.get(type(value))
    if convert is not None:
        return convert(value)
    if isinstance(value, np.ndarray):
        if value.ndim == 0 and value.dtype.kind in "OU":
            return _sample(value.item(), index, windowed)
        masked = n_masked(value)
        if masked:
            raise SampleError(
                f"a masked array with {masked:,} masked entries, and featx has no pixels for them: give array.filled(0).",
                index=index,
                name=sample_name(value, index),
            )
        value = np.ma.getdata(value)
        problem = array_problem(value, windowed=windowed)
        if problem is not None:
            raise SampleError(problem, index=index, name=sample_name(value, index))
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if _is_pil_image(value):
        return value
    if is_missing_value(value):
        raise SampleError(
            f'the sample is missing ({value!r}). Remove the row, give it a path, or pass on_error="nan".',
            index=index,
            name=f"sample {index}",
        )
    raise SampleError(
        f"expected a path, bytes, a PIL image or a uint8 array, found {type(value).__name__}.",
        index=index,
        name=f"sample {index}",
    )


_CONVERT: dict[type, Callable[[Any], Any]] = {
    str: lambda value: value,
    bytes: lambda value: value,
    DigestSample: lambda value: value,
    SampleError: lambda value: value,  # of an earlier call with keep_errors
    bytearray: bytes,
    memoryview: bytes,
    np.str_: str,
    np.bytes_: bytes,
}


def _special(text: str, index: int) -> DigestSample:
    """A digest, or the error that this text is."""
    name = f"sample {index}"
    if not text:
        raise SampleError("an empty path.", index=index, name=name)
    if "\0" in text:
        raise SampleError(f"a path with a null character: {text!r}.", index=index, name=name)
    if text.startswith(_URL_PREFIXES):
        raise SampleError("featx reads local files: download it first.", index=index, name=text)
    digits = text.removeprefix(_DIGEST_PREFIX)
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != _DIGEST_BYTES or len(digits) != 2 * _DIGEST_BYTES:
        raise SampleError(
            f"expected digest: and {2 * _DIGEST_BYTES} hex digits. (A file of that name: give ./{text[:60]})",
            index=index,
            name=text,
        )
    return DigestSample(key)


_WANTED = Wanted(kinds=_KINDS, step='"images", ImageFeatures(...), "path"', check=_checked)
_WANTED_WINDOWED = replace(_WANTED, check=partial(_checked, windowed=True))
