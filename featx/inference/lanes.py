"""Decoding and inference side by side, for one window of samples.

Owns how work is laid on a device. On a CPU a lane is one thread that decodes its own few samples and runs them on itself:
nothing waits for anything, and it measured faster than one run spread over all cores. On a GPU the lanes only decode, a
bounded number of samples ahead, while the calling thread runs full batches; a batch that does not fit is halved.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DeviceMemoryError, SampleError
from featx.inference.runtime import Session

__all__ = ["Job", "run_jobs"]

_AHEAD = 3
"""Batches decoded ahead of a GPU: one on its way, one ready, one in the making."""


@dataclass(slots=True)
class Job:
    """One distinct sample to compute.

    Parameters
    ----------
    key : bytes
        Content digest.
    indices : list of int
        Where in X it stands, more than once where it is repeated.
    payload : bytes, ndarray or None
        Its content where that is still held.
    error : SampleError or None
        Why it failed.
    done : bool
        Whether its row has been computed.
    """

    key: bytes
    indices: list[int]
    payload: Any = None
    error: SampleError | None = None
    done: bool = False


def run_jobs(
    jobs: list[Job],
    *,
    decode: Callable[[Job], NDArray[np.uint8]],
    session: Session,
    rows: list[NDArray[np.float32]],
    lanes: ThreadPoolExecutor,
    n_lanes: int,
    batch_size: int,
    on_cpu: bool,
    stop_on_error: bool,
    advance: Callable[[int], None],
) -> None:
    """Compute every job's row into ``rows``; a job that cannot be decoded gets its ``error``.

    Parameters
    ----------
    jobs : list of Job
        Distinct samples.
    decode : callable
        A job's pixels, uint8 (h, w, 3); raises SampleError.
    session : Session
        Runs batches.
    rows : list of ndarray of float32, shape (len(jobs), d)
        One array a tap, filled in place.
    lanes : ThreadPoolExecutor
        Where lanes run.
    n_lanes : int
        How many run beside each other.
    batch_size : int
        Rows a run; one row at a time where the session's rows depend on their batch.
    on_cpu : bool
        Lanes that run their own samples, or lanes that feed the calling thread.
    stop_on_error : bool
        Take up no further job once one has failed.
    advance : callable
        Told how many jobs are finished.
    """
    run = _Batches(jobs, decode, session, rows, batch_size, stop_on_error, advance)
    try:
        if on_cpu:
            run.in_lanes(lanes, n_lanes)
        else:
            run.fed(lanes, n_lanes)
    finally:
        run.stop.set()


class _Batches:
    """One window's work in progress."""

    def __init__(
        self,
        jobs: list[Job],
        decode: Callable[[Job], NDArray[np.uint8]],
        session: Session,
        rows: list[NDArray[np.float32]],
        batch_size: int,
        stop_on_error: bool,
        advance: Callable[[int], None],
    ) -> None:
        self.jobs = jobs
        self.decode = decode
        self.session = session
        self.rows = rows
        self.batch_size = batch_size
        self.stop_on_error = stop_on_error
        self.advance = advance
        self.stop = threading.Event()
        self.turn = threading.Lock()

    # --- CPU: every lane decodes and runs ---

    def in_lanes(self, lanes: ThreadPoolExecutor, n_lanes: int) -> None:
        todo = iter(range(len(self.jobs)))
        running = [lanes.submit(self._lane, todo) for _ in range(min(n_lanes, len(self.jobs)))]
        try:
            for lane in running:
                lane.result()
        finally:
            # Also on an interruption: no lane may write to `rows` after this returns.
            self.stop.set()
            for lane in running:
                lane.exception()

    def _lane(self, todo: Iterator[int]) -> None:
        try:
            while not self.stop.is_set():
                with self.turn:
                    taken = list(islice(todo, self.batch_size))
                if not taken:
                    return
                pixels = {at: image for at in taken if (image := self._decoded(at)) is not None}
                for group in _same_shape(pixels):
                    self._run(group, [pixels[at] for at in group])
        except BaseException:
            self.stop.set()
            raise

    # --- GPU: lanes decode, this thread runs ---

    def fed(self, lanes: ThreadPoolExecutor, n_lanes: int) -> None:
        todo = iter(range(len(self.jobs)))
        ahead: deque[tuple[int, Future[NDArray[np.uint8] | None]]] = deque()
        batch: dict[int, NDArray[np.uint8]] = {}
        try:
            while True:
                for at in todo:
                    ahead.append((at, lanes.submit(self._decoded, at)))
                    if len(ahead) >= max(_AHEAD * self.batch_size, 2 * n_lanes):
                        break
                if not ahead or self.stop.is_set():
                    break
                at, future = ahead.popleft()
                image = future.result()
                if image is not None:
                    if batch and image.shape != next(iter(batch.values())).shape:
                        self._run_padded(batch)
                        batch = {}
                    batch[at] = image
                if len(batch) == self.batch_size:
                    self._run_padded(batch)
                    batch = {}
            if batch:
                self._run_padded(batch)
        finally:
            self.stop.set()
            for _, future in ahead:
                future.cancel()

    def _run_padded(self, batch: dict[int, NDArray[np.uint8]]) -> None:
        """Run a batch at the full size: one shape means one set of kernels and one allocation."""
        group, images = list(batch), list(batch.values())
        size = self.batch_size
        for start in range(0, len(group), size):
            part = images[start : start + size]
            pad = [part[-1]] * (size - len(part)) if len(self.jobs) > size else []
            try:
                self._store(group[start : start + size], self.session.run(np.stack(part + pad)))
            except DeviceMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size = max(1, size // 2)
                self._run_padded(dict(zip(group[start:], images[start:], strict=True)))
                return

    # --- both ---

    def _decoded(self, at: int) -> NDArray[np.uint8] | None:
        if self.stop.is_set():
            return None
        job = self.jobs[at]
        try:
            return self.decode(job)
        except SampleError as error:
            job.error = error
            if self.stop_on_error:
                self.stop.set()
            return None

    def _run(self, group: list[int], images: list[NDArray[np.uint8]]) -> None:
        batch = images[0][None] if len(images) == 1 else np.stack(images)
        self._store(group, self.session.run(batch))

    def _store(self, group: list[int], vectors: list[NDArray[np.float32]]) -> None:
        for rows, part in zip(self.rows, vectors, strict=True):
            rows[group] = part[: len(group)]
        for at in group:
            self.jobs[at].done = True
        self.advance(len(group))


def _same_shape(pixels: dict[int, NDArray[np.uint8]]) -> list[list[int]]:
    """The positions of ``pixels`` in groups of one image size."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for at, image in pixels.items():
        groups.setdefault(image.shape, []).append(at)
    return list(groups.values())
