"""Digests of samples that are known without reading anything.

Owns what can be said of a sample by looking at it alone: a text is its own content, a digest given as a sample is one, a file
that has not changed since it was read is remembered. What is no file is told of now: better than after an hour of inference. No
file is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import SampleError
from featx.inference.reading import unreadable_path
from featx.inputs.frames import stat_file
from featx.inputs.samples import DigestSample
from featx.store.digest import DIGEST_BYTES, Keys, digest_text, keys_array
from featx.store.files import FileDigests

__all__ = ["KnownKeys", "known_keys"]

_LOOKUP_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKeys:
    """What is known of n samples.

    Parameters
    ----------
    keys : ndarray of uint8, shape (n, 16)
        Content digests; zeros where not known.
    known : ndarray of bool, shape (n,)
    identities : ndarray of uint8, shape (n, 16)
        What the files are now, see :func:`featx.store.files.identify`; zeros of what is no file.
    errors : dict of int to SampleError
        Why a sample can never be known, by index; it names no sample yet.
    """

    keys: Keys
    known: NDArray[np.bool_]
    identities: Keys
    errors: dict[int, SampleError]


def known_keys(samples: Sequence[Any], files: FileDigests, *, strings_are_paths: bool) -> KnownKeys:
    """Content digests of those samples that need not be read for them.

    Parameters
    ----------
    samples : sequence of n samples
        From :func:`featx.inputs.samples.as_samples` or :func:`featx.inputs.texts.as_texts`.
    files : FileDigests
        Digests that are remembered.
    strings_are_paths : bool
        Whether a string names a file, or is the content itself.
    """
    n = len(samples)
    keys = np.zeros((n, DIGEST_BYTES), dtype=np.uint8)
    identities = np.zeros((n, DIGEST_BYTES), dtype=np.uint8)
    known = np.zeros(n, dtype=bool)
    errors: dict[int, SampleError] = {}
    is_string = np.fromiter((isinstance(sample, str | Path) for sample in samples), dtype=bool, count=n)
    for i in np.flatnonzero(~is_string).tolist():
        if isinstance(samples[i], DigestSample):
            keys[i], known[i] = np.frombuffer(samples[i].key, dtype=np.uint8), True
        elif isinstance(samples[i], SampleError):
            errors[i] = samples[i]
    strings = np.flatnonzero(is_string)
    for start in range(0, len(strings), _LOOKUP_ROWS):
        part = strings[start : start + _LOOKUP_ROWS]
        given = [samples[i] for i in part.tolist()]
        if not strings_are_paths:
            keys[part], known[part] = keys_array([digest_text(text) for text in given]), True
            continue
        keys[part], known[part], identities[part] = files.lookup(given, look=stat_file)
        # A zero identity is a file that cannot be looked at.
        for i in part[~identities[part].any(axis=1)].tolist():
            errors[i] = unreadable_path(samples[i])
    return KnownKeys(keys=keys, known=known, identities=identities, errors=errors)
