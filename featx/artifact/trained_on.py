"""What an artefact remembers of the samples that its pipeline was trained on: their content digests, and nothing else.

Owns ``training.npy``. The invariant: distinct keys in ascending order, so that no order, count, label, group or name can be read
from the file. Whoever holds the very same file or text can find out that it was among them; a short text can be guessed.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from featx.artifact.format import MANIFEST_NAME
from featx.errors import ArtifactError, ParameterError
from featx.evaluation.subjects import features_of
from featx.store.digest import DIGEST_BYTES, Keys

__all__ = ["from_npy", "keys_of", "to_npy"]

_HEADER_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00"


def keys_of(pipeline: Any, trained_on: Any) -> Keys:
    """Digests of the samples that a fitted pipeline was trained on, as its own first step knows them.

    Parameters
    ----------
    pipeline : estimator
        A Pipeline that begins with ImageFeatures or TextFeatures, an AugmentedClassifier, or a search over one.
    trained_on : sequence of samples
        What that step takes. Those that cannot be read are left out where the step goes on without them (``on_error="nan"``).

    Returns
    -------
    ndarray of uint8, shape (n, 16)
        Distinct, in ascending order.

    Raises
    ------
    ParameterError
        Another pipeline, or no sample can be read.
    InputError, SampleError
    """
    features = features_of(pipeline)
    if features is None:
        found = type(pipeline).__name__
        if isinstance(pipeline, Pipeline):
            found += f" that begins with a {type(pipeline[0]).__name__}"
        raise ParameterError(
            "trained_on: digests are kept of what a Pipeline takes that begins with ImageFeatures or TextFeatures; found a "
            f"{found}. Leave trained_on out: the model then remembers nothing of its training."
        )
    keys = features.content_keys(trained_on)
    known = keys[keys.any(axis=1)]
    if not len(known):
        raise ParameterError(
            f"trained_on: none of its {len(keys)} samples could be read. Give those of the training."
        )
    return np.unique(known, axis=0)


def to_npy(keys: Keys) -> bytes:
    """Keys as the content of a ``.npy`` file."""
    return _header(len(keys)) + np.ascontiguousarray(keys, dtype=np.uint8).tobytes()


def from_npy(content: bytes, n: int) -> Keys:
    """The inverse of :func:`to_npy`. Any other file is refused; what it says of itself is compared, never interpreted.

    Parameters
    ----------
    content : bytes
    n : int
        How many keys there are to be.

    Raises
    ------
    ArtifactError
    """
    if not content.startswith(_header(n)) or len(content) != _HEADER_BYTES + n * DIGEST_BYTES:
        raise ArtifactError(
            f"its {len(content)} bytes are not the array of {n} digests that {MANIFEST_NAME} names. Save the model again."
        )
    keys = np.frombuffer(content, dtype=np.uint8, offset=_HEADER_BYTES).reshape(n, DIGEST_BYTES)
    high, low = keys.view(">u8").T
    ascending = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    if not ascending.all():
        raise ArtifactError("its digests are not distinct and in ascending order. Save the model again.")
    return keys


def _header(n: int) -> bytes:
    """The header of ``(n, 16)`` uint8 in version 1.0 of numpy's format (NEP 1), of one length for every n."""
    described = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, {DIGEST_BYTES}), }}"
    n_rest = _HEADER_BYTES - len(_MAGIC) - 2
    return _MAGIC + struct.pack("<H", n_rest) + described.ljust(n_rest - 1).encode() + b"\n"
