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
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import SampleError, UnreadableSampleError
from featx.inference.fitted_pixels import FittedPixels
from featx.inference.lanes import Job
from featx.inference.windows import Windows, WindowSize
from featx.inputs.frames import Frame, parse_frame, stat_file
from featx.inputs.images import canonical, decode
from featx.inputs.resizing import fit
from featx.inputs.samples import sample_name
from featx.inputs.slices import frame_beside_file
from featx.inputs.views import augmented
from featx.store.digest import digest_array, digest_bytes, digest_text
from featx.store.files import identify

__all__ = [
    "BUDGET_BYTES",
    "ImageSource",
    "Read",
    "Reader",
    "Reading",
    "SampleReader",
    "Source",
    "unreadable_path",
]

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
    identity : bytes
        Of the file that was read, see :func:`featx.store.files.identify`; empty where the sample is no file, or the file changed
        while it was read.
    """

    index: int
    key: bytes = b""
    content: Content | None = None
    error: SampleError | None = None
    identity: bytes = b""


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


class SampleReader(Protocol):
    """Reads samples and makes what the network takes. A context manager; leaving it ends its threads."""

    def windows(self, left: NDArray[np.intp], *, n_features: int, batch_size: int) -> Windows:
        """In which portions to compute the samples that are left."""
        ...

    def begin(self, indices: NDArray[np.intp]) -> Reading:
        """Start to read and digest samples whose digest is not known."""
        ...

    def prepared(self, jobs: list[Job]) -> list[Job]:
        """The jobs of a window, in the order in which to compute them."""
        ...

    def read_again(self, index: int) -> tuple[Any, bytes]:
        """The content of a sample that was not kept, and its digest now; raises SampleError."""
        ...

    def network_input(self, index: int, content: Any, key: bytes) -> NDArray[Any]:
        """A sample ready for the network, from its content and the digest of that; raises SampleError."""
        ...

    def __enter__(self) -> SampleReader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Source(Protocol):
    """What the samples of a modality are."""

    @property
    def strings_are_paths(self) -> bool:
        """Whether a string names a file, or is the content itself."""
        ...

    def name_of(self, sample: Any, index: int) -> str:
        """The sample as a person knows it, for messages."""
        ...

    def open(self, samples: Sequence[Any], n_workers: int) -> SampleReader:
        """A reader of these samples."""
        ...


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Images: files, encoded bytes, pictures and arrays.

    Parameters
    ----------
    preprocess : ImagePreprocess
    fitted : FittedPixels, optional
        Where fitted pictures are kept for other views of them.
    """

    preprocess: ImagePreprocess
    fitted: FittedPixels | None = None
    strings_are_paths: bool = True

    def name_of(self, sample: Any, index: int) -> str:
        """Its path, or its position and kind."""
        return sample_name(sample, index)

    def open(self, samples: Sequence[Any], n_workers: int) -> Reader:
        """A reader of these samples."""
        return Reader(samples, self.preprocess, n_workers, self.fitted)


class Reader:
    """Reads images on threads of its own. A context manager; leaving it ends them.

    Parameters
    ----------
    samples : sequence
        From :func:`featx.inputs.samples.as_samples`.
    preprocess : ImagePreprocess
        Decides what alpha is composited on, and how pixels are fitted to the network.
    n_workers : int
        Threads that compute beside; the reading ones follow their number.
    fitted : FittedPixels, optional
        See :class:`ImageSource`.
    """

    def __init__(
        self,
        samples: Sequence[Any],
        preprocess: ImagePreprocess,
        n_workers: int,
        fitted: FittedPixels | None = None,
    ) -> None:
        self._samples = samples
        self._preprocess = preprocess
        self._fitted = fitted
        self._threads = ThreadPoolExecutor(min(_READERS, 4 * n_workers), "featx-read")

    def windows(self, left: NDArray[np.intp], *, n_features: int, batch_size: int) -> WindowSize:
        """In which portions to compute the samples that are left: by time."""
        return WindowSize(len(left), n_features=n_features, batch_size=batch_size, content_bytes=BUDGET_BYTES)

    def begin(self, indices: NDArray[np.intp]) -> Reading:
        """Start to read and digest samples."""
        reading = Reading()
        for at in range(0, len(indices), _CHUNK):
            chunk = indices[at : at + _CHUNK].tolist()
            reading.parts.append(self._threads.submit(self._read_all, chunk, reading))
        return reading

    def prepared(self, jobs: list[Job]) -> list[Job]:
        """The jobs of a window in the order in which to compute them: as they are."""
        return jobs

    def read_again(self, index: int) -> tuple[Content, bytes]:
        """The content of a sample that was not kept, and its digest: a file may have changed since it was first read.

        Raises
        ------
        SampleError
        """
        content, _ = self._content(index, sample_name(self._samples[index], index))
        return content, _digest(content, _frame(self._samples[index]))

    def network_input(self, index: int, content: Content, key: bytes) -> NDArray[np.uint8]:
        """A sample ready for the network, uint8 (h, w, 3): the view of it that the preprocessing names.

        Raises
        ------
        SampleError
        """
        pixels = None if self._fitted is None else self._fitted.get(key)
        if pixels is None:
            pixels = self._fit(index, content)
            if self._fitted is not None:
                self._fitted.put(key, pixels)
        view = self._preprocess.view
        return pixels if view is None else augmented(pixels, view, key)

    def _fit(self, index: int, content: Content) -> NDArray[np.uint8]:
        name = sample_name(self._samples[index], index)
        if isinstance(content, bytes):
            frame = _frame(self._samples[index])
            return decode(content, self._preprocess, frame=frame, name=name, index=index)
        return fit(content, self._preprocess, name=name, index=index)

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
            content, identity = self._content(index, sample_name(sample, index))
        except SampleError as error:
            return Read(index, error=error)
        kept = reading.holds(_cost_bytes(content, sample))
        key = _digest(content, _frame(sample))
        return Read(index, key, content if kept else None, identity=identity)

    def _content(self, index: int, name: str) -> tuple[Content, bytes]:
        """A sample's encoded bytes, or its pixels as a canonical RGB array; and the identity of the file that was read."""
        sample = self._samples[index]
        if isinstance(sample, bytes):
            return sample, b""
        if not isinstance(sample, str | Path):
            return canonical(sample, self._preprocess, name=name, index=index), b""
        try:
            with open(parse_frame(str(sample))[0], "rb", buffering=0, opener=_open_at_once) as file:
                before = os.fstat(file.fileno())
                if stat.S_ISREG(before.st_mode):
                    content = file.read()
                    return content, _identity(sample, before, os.fstat(file.fileno()), len(content))
        except OSError as error:
            raise UnreadableSampleError(_reason(error), index=index, name=name) from error
        raise UnreadableSampleError(unreadable_path(sample).message, index=index, name=name)


def _identity(path: str | Path, before: os.stat_result, after: os.stat_result, n_read: int) -> bytes:
    """What the file that was read is: not what has its name now, nor what had it when it was looked up."""
    same = (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        n_read,
    )
    return identify([path], look=lambda _: after).tobytes() if same else b""


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait for somebody to write to a named pipe. Regular files know no waiting."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def unreadable_path(path: str | os.PathLike[str]) -> UnreadableSampleError:
    """The error of a path that is not that of a file: nothing is there, or something else. Nothing is opened."""
    try:
        mode = stat_file(os.fspath(path)).st_mode
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


def _frame(sample: Any) -> Frame | None:
    """Which picture of its file a sample is, where it says so."""
    return parse_frame(str(sample))[1] if isinstance(sample, str | Path) else None


def _digest(content: Content, frame: Frame | None) -> bytes:
    """Of what a sample is: of its content, or of one frame of that, where it is another than the content alone means."""
    if not isinstance(content, bytes):
        return digest_array(content)
    of_content, frame = digest_bytes(content), frame_beside_file(content, frame)
    return of_content if frame is None else digest_text(f"{of_content.hex()}#{frame}")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'no such file. Check the path, or pass on_error="nan".'
    if isinstance(error, IsADirectoryError):
        return _FOLDER
    if isinstance(error, PermissionError):
        return "permission denied. Make the file readable, or leave it out."
    return f"cannot be read ({error})."
