"""Samples read and digested ahead of their computation.

Owns what the content of a sample is, and how much of it waits in memory. The invariants: a digest is that of the very
content that is handed on to be decoded; encoded files held at one time stay below a budget, and what exceeds it is read a
second time when its turn comes.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inputs.images import canonical, decode, fit
from featx.inputs.samples import sample_name
from featx.store.digest import digest_array, digest_bytes

__all__ = ["BUDGET_BYTES", "Read", "Reader", "Reading", "unreadable_path"]

BUDGET_BYTES = 8 << 20
"""What one reading holds of encoded files and of arrays made for it. What X holds anyway does not count."""

_READERS = 8
"""Threads that read files. More than cores: on a network drive a read mostly waits."""

_CHUNK = 8
"""Samples handed to a thread at a time: handing one over costs as much as reading a small file."""

_FOLDER = "is a folder, expected an image file. List its files, or use featx.read_dataset."
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

Content = bytes | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Read:
    """One sample read.

    Parameters
    ----------
    index : int
        Where it stands in X.
    key : bytes
        Content digest; empty where it could not be read.
    content : bytes, ndarray or None
        Its content, where the budget still held it.
    error : SampleError or None
        Why it could not be read.
    """

    index: int
    key: bytes = b""
    content: Content | None = None
    error: SampleError | None = None


class Reading:
    """Samples on their way.

    Attributes
    ----------
    n_bytes : int
        Size of the contents read so far, also of those that were not kept.
    """

    def __init__(self) -> None:
        self.parts: list[Future[list[Read]]] = []
        self.n_bytes = 0
        self._n_held = 0
        self._changing = threading.Lock()

    def holds(self, n_bytes: int) -> bool:
        """Count a content; whether it may be kept."""
        with self._changing:
            self.n_bytes += n_bytes
            kept = self._n_held + n_bytes <= BUDGET_BYTES
            self._n_held += n_bytes * kept
            return kept

    def __iter__(self) -> Iterator[Read]:
        """What was read, in order, waiting for it."""
        for part in self.parts:
            yield from part.result()


class Reader:
    """Reads samples on threads of its own. A context manager; leaving it ends them.

    Parameters
    ----------
    samples : sequence
        From :func:`featx.inputs.samples.as_samples`.
    preprocess : ImagePreprocess
        Decides what alpha is composited on, and how pixels are fitted to the network.
    n_workers : int
        Threads that compute beside; the reading ones follow their number.
    """

    def __init__(self, samples: Sequence[Any], preprocess: ImagePreprocess, n_workers: int) -> None:
        self._samples = samples
        self._preprocess = preprocess
        self._threads = ThreadPoolExecutor(min(_READERS, 4 * n_workers), "featx-read")

    def begin(self, indices: NDArray[np.intp]) -> Reading:
        """Start to read and digest samples."""
        reading = Reading()
        for at in range(0, len(indices), _CHUNK):
            chunk = indices[at : at + _CHUNK].tolist()
            reading.parts.append(self._threads.submit(self._read_all, chunk, reading))
        return reading

    def pixels(self, index: int, content: Content | None) -> tuple[NDArray[np.uint8], bytes | None]:
        """A sample ready for the network, uint8 (h, w, 3).

        Parameters
        ----------
        index : int
        content : bytes, ndarray or None
            From :class:`Read`; None reads it again.

        Returns
        -------
        pixels : ndarray of uint8, shape (h, w, 3)
        key : bytes or None
            The digest where it was read again: a file may have changed since it was first digested.

        Raises
        ------
        SampleError
        """
        name, key = sample_name(self._samples[index], index), None
        if content is None:
            content = self._content(index, name)
            key = _digest(content)
        if isinstance(content, bytes):
            return decode(content, self._preprocess, name=name, index=index), key
        return fit(content, self._preprocess, name=name, index=index), key

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _read_all(self, indices: list[int], reading: Reading) -> list[Read]:
        return [self._read(index, reading) for index in indices]

    def _read(self, index: int, reading: Reading) -> Read:
        sample = self._samples[index]
        try:
            content = self._content(index, sample_name(sample, index))
        except SampleError as error:
            return Read(index, error=error)
        kept = reading.holds(_cost_bytes(content, sample))
        return Read(index, _digest(content), content if kept else None)

    def _content(self, index: int, name: str) -> Content:
        """A sample's encoded bytes, or its pixels as a canonical RGB array."""
        sample = self._samples[index]
        if isinstance(sample, bytes):
            return sample
        if not isinstance(sample, str | Path):
            return canonical(sample, self._preprocess, name=name, index=index)
        try:
            with open(sample, "rb", buffering=0, opener=_open_at_once) as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return file.read()
        except OSError as error:
            raise UnreadableSampleError(_reason(error), index=index, name=name) from error
        raise UnreadableSampleError(unreadable_path(sample).message, index=index, name=name)


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait for somebody to write to a named pipe. Regular files know no waiting."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def unreadable_path(path: str | os.PathLike[str]) -> UnreadableSampleError:
    """The error of a path that is not that of a file: nothing is there, or something else. Nothing is opened."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        return UnreadableSampleError(_reason(error))
    if stat.S_ISDIR(mode):
        return UnreadableSampleError(_FOLDER)
    if stat.S_ISREG(mode):  # it has come into being since it was missed
        return UnreadableSampleError("was not there a moment ago. Run again.")
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "no file")
    return UnreadableSampleError(f"is {kind}, expected an image file. Leave it out.")


def _cost_bytes(content: Content, sample: Any) -> int:
    """What holding a content takes: nothing where it is the sample's own memory."""
    if isinstance(content, bytes):
        return 0 if content is sample else len(content)
    own = isinstance(sample, np.ndarray) and np.may_share_memory(content, sample)
    return 0 if own else content.nbytes


def _digest(content: Content) -> bytes:
    return digest_bytes(content) if isinstance(content, bytes) else digest_array(content)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'no such file. Check the path, or pass on_error="nan".'
    if isinstance(error, IsADirectoryError):
        return _FOLDER
    if isinstance(error, PermissionError):
        return "permission denied. Make the file readable, or leave it out."
    return f"cannot be read ({error})."
