"""Content digests of samples, without their vectors.

The invariant: a sample has the digest here that it has where it is embedded (:mod:`featx.inference.extract`), also one frame of
a file. Nothing is decoded into network input, and no session is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import SampleError
from featx.inference.known import known_keys
from featx.inference.reading import Source
from featx.store.digest import Keys
from featx.store.files import FileDigests

__all__ = ["content_keys"]

_AT_A_TIME = 1024
"""Samples read at a time: what a reading holds of their contents is let go with it."""


def content_keys(
    samples: Sequence[Any], source: Source, files: FileDigests, *, n_workers: int
) -> tuple[Keys, dict[int, SampleError]]:
    """Content digests of samples; of files that are remembered, without reading them.

    Parameters
    ----------
    samples : sequence of n samples
        From :func:`featx.inputs.samples.as_samples` or :func:`featx.inputs.texts.as_texts`.
    source : Source
        What they are.
    files : FileDigests
        Digests that are remembered.
    n_workers : int
        As for :class:`featx.inference.reading.Reader`.

    Returns
    -------
    keys : ndarray of uint8, shape (n, 16)
        Zeros where a sample could not be read.
    errors : dict of int to SampleError
        Why, by index.
    """
    found = known_keys(samples, files, strings_are_paths=source.strings_are_paths)
    keys, errors = found.keys, found.errors
    unread = ~found.known
    unread[list(errors)] = False  # what cannot be looked at is not opened
    if unread.any():
        _read(samples, source, np.flatnonzero(unread), keys, errors, n_workers)
    named = {
        i: type(error)(error.message, index=i, name=source.name_of(samples[i], i))
        for i, error in sorted(errors.items())
    }
    return keys, named


def _read(
    samples: Sequence[Any],
    source: Source,
    indices: NDArray[np.intp],
    keys: Keys,
    errors: dict[int, SampleError],
    n_workers: int,
) -> None:
    """Fill in the digests, or the errors, of samples that have to be read."""
    with source.open(samples, n_workers) as reader:
        for start in range(0, len(indices), _AT_A_TIME):
            for read in reader.begin(indices[start : start + _AT_A_TIME]):
                if read.error is not None:
                    errors[read.index] = read.error
                else:
                    keys[read.index] = np.frombuffer(read.key, dtype=np.uint8)
