"""How many samples an extraction claims, computes and stores at a time.

Owns the size of windows. Large ones make the cost of a claim and of a put disappear. Small ones lose less in a crash, hold
less in memory, and leave more to other processes that want the same samples. So windows begin small, grow to about two
seconds, and shrink towards the end where there are others.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROWS_BYTES", "TextWindows", "WindowSize", "Windows"]

ROWS_BYTES = 4 << 20
"""Bound on a window's vectors on their way to the store."""

_SMALLEST, _LARGEST_FIRST, _LARGEST = 16, 128, 4096
_FIRST_PART = 8
"""The first window is at most this part of all: whoever starts at the same time finds something left to claim."""

_SHARED_PART = 4
"""Where others compute the same samples, a window is at most this part of what is left, so that all end together: guided
self-scheduling (Polychronopoulos & Kuck 1987) with a part for each of four processes."""

_WINDOW_S = 2.0


class Windows(Protocol):
    """How many samples a window takes."""

    def cut(self, left: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The next window of what is left, and the rest."""
        ...

    def grow(self, *, n_computed: int, took_s: float, mean_bytes: float) -> None:
        """Learn from a window that has ended."""
        ...

    def share(self, n_left: int) -> None:
        """Leave some of the samples that are left to others, who want them too."""
        ...


class WindowSize:
    """Samples of the next window, by the time that the last took.

    Parameters
    ----------
    n_samples : int
        To be computed in all.
    n_features : int
        Length of a vector.
    batch_size : int
        Rows a run; no window is smaller, but the last.
    content_bytes : int
        What a window's encoded files may take.

    Attributes
    ----------
    n : int

    Examples
    --------
    >>> size = WindowSize(1000, n_features=1280, batch_size=1, content_bytes=8 << 20)
    >>> size.n
    125
    >>> size.grow(n_computed=125, took_s=0.5, mean_bytes=20_000.0)
    >>> size.n
    250
    >>> size.share(n_left=600)
    >>> size.n
    150
    """

    def __init__(self, n_samples: int, *, n_features: int, batch_size: int, content_bytes: int) -> None:
        self._smallest = max(_SMALLEST, batch_size)
        self._largest = max(self._smallest, min(_LARGEST, ROWS_BYTES // (4 * n_features)))
        self._content_bytes = content_bytes
        self.n = self._within(min(n_samples // _FIRST_PART, _LARGEST_FIRST))

    def grow(self, *, n_computed: int, took_s: float, mean_bytes: float) -> None:
        """Learn from a window that has ended.

        Parameters
        ----------
        n_computed : int
            Samples it computed; one that computed none says nothing of the pace.
        took_s : float
            Seconds since the window before it ended.
        mean_bytes : float
            Size of an encoded file, of those read last.
        """
        if n_computed:
            in_time = n_computed * _WINDOW_S / max(took_s, 1e-3)
            self.n = self._within(int(min(2 * self.n, in_time, self._content_bytes / max(mean_bytes, 1.0))))

    def share(self, n_left: int) -> None:
        """Leave some of the samples that are left to others, who want them too."""
        self.n = self._within(min(self.n, n_left // _SHARED_PART))

    def cut(self, left: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The next window of what is left, and the rest."""
        return left[: self.n], left[self.n :]

    def _within(self, n: int) -> int:
        return max(self._smallest, min(n, self._largest))


class TextWindows:
    """Texts of the next window, by their characters: about two seconds of a small encoder on two cores.

    Not by the time that the last one took: the texts of a window are put in order of their lengths, and runs of them should
    be the same each time, bit for bit.

    Parameters
    ----------
    n_characters : ndarray of int, shape (n_samples,)
        Of every sample.
    n_features : int
        Length of a vector.

    Examples
    --------
    >>> windows = TextWindows(np.full(3000, 400), n_features=384)
    >>> window, left = windows.cut(np.arange(3000))
    >>> len(window), len(left)
    (328, 2672)
    """

    def __init__(self, n_characters: NDArray[np.int64], *, n_features: int) -> None:
        self._n_characters = n_characters
        self._largest = max(_SMALLEST, min(_LARGEST, ROWS_BYTES // (4 * n_features)))
        self._most_characters = _WINDOW_CHARACTERS

    def cut(self, left: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The next window of what is left, and the rest."""
        ahead = np.cumsum(self._n_characters[left[: self._largest]])
        n = max(_SMALLEST, int(np.searchsorted(ahead, self._most_characters)) + 1)
        return left[:n], left[n:]

    def grow(self, *, n_computed: int, took_s: float, mean_bytes: float) -> None:
        """Learn nothing."""

    def share(self, n_left: int) -> None:
        """Leave some of the texts that are left to others, who want them too."""
        self._largest = max(_SMALLEST, min(self._largest, n_left // _SHARED_PART))


_WINDOW_CHARACTERS = 1 << 17
