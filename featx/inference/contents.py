"""Content digests of samples, without their vectors.

The invariant: a sample has the digest here that it has where it is embedded (:mod:`featx.inference.extract`), also one frame of
a file. Nothing is decoded into network input, and no session is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import SampleError
from featx.inference.reading import Source, unreadable_path
from featx.inputs.frames import stat_file
from featx.inputs.samples import DigestSample
from featx.store.digest import DIGEST_BYTES, Keys, digest_text
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
    keys = np.zeros((len(samples), DIGEST_BYTES), dtype=np.uint8)
    errors: dict[int, SampleError] = {}
    paths: list[int] = []
    others: list[int] = []
    for i, sample in enumerate(samples):
        if isinstance(sample, DigestSample):
            keys[i] = np.frombuffer(sample.key, dtype=np.uint8)
        elif isinstance(sample, SampleError):
            errors[i] = sample
        elif isinstance(sample, str) and not source.strings_are_paths:
            keys[i] = np.frombuffer(digest_text(sample), dtype=np.uint8)
        else:
            (paths if isinstance(sample, str | Path) else others).append(i)
    if paths:
        of_paths = np.asarray(paths, dtype=np.intp)
        found, known, identities = files.lookup([samples[i] for i in paths], look=stat_file)
        keys[of_paths[known]] = found[known]
        for i in of_paths[~identities.any(axis=1)].tolist():  # what cannot be looked at is not opened
            errors[i] = unreadable_path(samples[i])
        others += of_paths[~known & identities.any(axis=1)].tolist()
    if others:
        _read(samples, source, np.sort(np.asarray(others, dtype=np.intp)), keys, errors, n_workers)
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
