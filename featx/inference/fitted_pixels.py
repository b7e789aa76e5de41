"""Pictures that fit the network, kept for a moment: decoded once for several views.

Owns how much of them is kept. The invariant: pixels are found by the digest of the content that they were decoded from.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["FITTED_BYTES", "FittedPixels"]

FITTED_BYTES = 96 << 20
"""About 650 pictures of 224 x 224."""


class FittedPixels:
    """A memory of fitted pictures, of one preprocessing but for its view. Safe in threads."""

    def __init__(self, budget_bytes: int = FITTED_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._kept: dict[bytes, NDArray[np.uint8]] = {}
        self._n_bytes = 0
        self._changing = threading.Lock()

    def get(self, key: bytes) -> NDArray[np.uint8] | None:
        """Pixels uint8 (h, w, 3) of a content, where they are kept."""
        return self._kept.get(key)

    def put(self, key: bytes, pixels: NDArray[np.uint8]) -> None:
        """Keep pixels, unless they are kept already or would exceed the budget."""
        with self._changing:
            if key not in self._kept and self._n_bytes + pixels.nbytes <= self._budget_bytes:
                self._kept[key] = pixels
                self._n_bytes += pixels.nbytes

    def clear(self) -> None:
        """Keep nothing any more."""
        with self._changing:
            self._kept.clear()
            self._n_bytes = 0
