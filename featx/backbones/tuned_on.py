"""What a tuned backbone remembers of the samples that it was tuned on: their content digests, and nothing else.

A network that was trained on samples makes vectors that give their labels away, so no figure on them says anything, whatever
folds are made behind it. Distinct keys in ascending order: no order, count, label, group or name can be read from the file.
Whoever holds the very same file or text can find out that it was among them.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from featx.backbones.sources import TUNED_ON_NAME
from featx.errors import BackboneError
from featx.store.digest import DIGEST_BYTES, Keys

__all__ = ["read_tuned_on", "tuned_on_bytes"]


def tuned_on_bytes(keys: Keys) -> bytes:
    """The content of the file for digests (n, 16)."""
    stream = io.BytesIO()
    np.save(stream, np.unique(keys, axis=0), allow_pickle=False)
    return stream.getvalue()


def read_tuned_on(folder: Path) -> Keys | None:
    """Digests of the samples that a backbone was tuned on, uint8 (n, 16); None where its folder has none.

    Raises
    ------
    BackboneError
        The file is damaged.
    """
    path = folder / TUNED_ON_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror or error}).") from error
    try:
        keys = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _damaged(path) from error
    if not isinstance(keys, np.ndarray) or keys.dtype != np.uint8 or keys.shape[1:] != (DIGEST_BYTES,):
        raise _damaged(path)
    return keys


def _damaged(path: Path) -> BackboneError:
    return BackboneError(
        f"{path}: expected digests of the samples that the backbone was tuned on, an array of uint8 with {DIGEST_BYTES} columns. "
        "The file is damaged: fetch or write the folder again."
    )
