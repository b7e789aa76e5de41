"""Decoding and inference side by side: jobs in, rows out.

Owns how work is laid on a device. On a CPU a lane is one thread that decodes a few samples of its own and then runs them on
itself: nothing waits for anything, and it measured faster than one run spread over all cores. On a GPU the lanes only
decode, a bounded number of samples ahead, while one more thread runs full batches; a batch that does not fit is halved.

Lanes outlive a window: the jobs of the next one are started before those of the last are done, so no lane stands idle while
rows are written to disk.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DeviceMemoryError, GraphError, SampleError
from featx.inference.runtime import Session

__all__ = ["Job", "Lanes", "Work"]

_GROUP = 8
"""Samples that a lane of a CPU decodes in a row before it runs them: what decoding and inference each keep in the processor's
caches is then exchanged less often. Measured at 4 % more images per second than one by one, and no more beyond 8."""

_AHEAD = 3
"""Batches decoded ahead of a GPU: one on its way, one ready, one in the making."""

_NOT_FINITE = (
    "the network's vector is not finite (NaN or infinite), so it is not stored. Look at the picture; if many fail, the "
    'network does: another tap, or precision="float32", may help.'
)

_LOOK_S = 0.2
"""How often a waiting thread looks up. Where waiting cannot be interrupted (Windows), Ctrl-C is answered so soon."""


@dataclass(slots=True)
class Job:
    """One distinct sample to compute.

    Parameters
    ----------
    key : bytes
        Content digest.
    indices : list of int
        Where in X it stands, more than once where it is repeated.
    content : bytes, ndarray or None
        What was read of it, where that is still held.
    error : SampleError or None
        Why it failed.
    done : bool
        Whether its row has been computed.
    """

    key: bytes
    indices: list[int]
    content: Any = None
    error: SampleError | None = None
    done: bool = False


class Work:
    """Jobs that were started together.

    Attributes
    ----------
    jobs : list of Job
    rows : list of ndarray of float32, shape (len(jobs), d)
        One array a tap, filled in place; a row is valid once its job is done.
    """

    def __init__(self, jobs: list[Job], widths: tuple[int, ...]) -> None:
        self.jobs = jobs
        self.rows = [np.empty((len(jobs), width), dtype=np.float32) for width in widths]
        self.n_open = len(jobs)
        self.over = threading.Event()  # all of it is done or has failed, or the lanes are ending


_Task = tuple[Work, int]
"""A job's work and its position there."""


class Lanes:
    """Threads that compute jobs, in the order in which they were started. A context manager; leaving it ends them.

    Parameters
    ----------
    decode : callable
        A job's pixels, uint8 (h, w, 3); raises SampleError.
    session : Session
        Runs batches.
    widths : tuple of int
        Length of the vectors, a tap each.
    n_lanes : int
        How many run beside each other.
    batch_size : int
        Rows a run.
    on_cpu : bool
        Lanes that run their own samples, or lanes that feed one thread that does.
    stop_on_error : bool
        Take up no further job once one has failed.
    advance : callable
        Told how many more jobs are done. Those that failed are not counted.
    """

    def __init__(
        self,
        *,
        decode: Callable[[Job], NDArray[np.uint8]],
        session: Session,
        widths: tuple[int, ...],
        n_lanes: int,
        batch_size: int,
        on_cpu: bool,
        stop_on_error: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._decode = decode
        self._session = session
        self._widths = widths
        self._n_lanes = n_lanes
        # A graph whose rows depend on their batch is not allowed a batch.
        self._batch_size = batch_size if batch_size == 1 or session.rows_are_independent else 1
        self._stop_on_error = stop_on_error
        self._advance = advance
        self._todo: deque[_Task] = deque()
        self._ready: deque[tuple[_Task, NDArray[np.uint8]]] = deque()
        self._n_decoding = 0
        self._n_taken = 0
        self._started: list[Work] = []
        self._failure: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()
        targets = [self._lane] * n_lanes if on_cpu else [self._feeder] * n_lanes + [self._device]
        self._threads = [
            threading.Thread(target=self._guarded, args=(target,), name=f"featx-lane-{at}", daemon=True)
            for at, target in enumerate(targets)
        ]
        for thread in self._threads:
            thread.start()

    def start(self, jobs: list[Job]) -> Work:
        """Queue jobs behind those started before."""
        work = Work(jobs, self._widths)
        with self._changed:
            if self._stopped or not jobs:
                work.over.set()
            else:
                self._started.append(work)
                self._todo.extend((work, at) for at in range(len(jobs)))
                self._changed.notify_all()
        return work

    def wait(self, work: Work) -> None:
        """Return when every job of ``work`` is done or has failed, or when the lanes have ended.

        Raises
        ------
        DeviceMemoryError, or whatever else ended a lane
            Rows of jobs that are done are valid all the same.
        """
        while not work.over.wait(_LOOK_S):
            pass
        if self._stopped:
            self.stop()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the lanes after the samples they have in hand. No row is written once this returns."""
        self._halt()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _halt(self) -> None:
        with self._changed:
            self._stopped = True
            self._todo.clear()
            for work in self._started:
                work.over.set()
            self._changed.notify_all()

    def _guarded(self, target: Callable[[], None]) -> None:
        """Run a thread; what ends it ends all of them, and is raised where somebody waits."""
        try:
            target()
        except BaseException as error:
            self._failure = self._failure or error
            self._halt()

    # --- CPU: every lane decodes and runs ---

    def _lane(self) -> None:
        while group := self._take():
            pixels = [(task, image) for task in group if (image := self._pixels(task)) is not None]
            for batch in _batches(pixels, self._batch_size):
                if self._stopped:
                    break
                self._run([task for task, _ in batch], [image for _, image in batch])

    def _take(self) -> list[_Task]:
        """The next few tasks; none once the lanes are stopped."""
        with self._changed:
            while not self._todo and not self._stopped:
                self._changed.wait(_LOOK_S)
            # Near the end fewer, so that the lanes end together.
            n = min(
                max(_GROUP, self._batch_size), -(-len(self._todo) // (2 * self._n_lanes)), len(self._todo)
            )
            return [self._todo.popleft() for _ in range(n)]

    # --- GPU: lanes decode, one thread runs ---

    def _feeder(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (not self._todo or not self._has_room()):
                    self._changed.wait(_LOOK_S)
                if self._stopped:
                    return
                task = self._todo.popleft()
                self._n_decoding += 1
                self._n_taken += 1
            image = self._pixels(task)
            with self._changed:
                self._n_decoding -= 1
                if image is not None:
                    self._ready.append((task, image))
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._ready) + self._n_decoding < max(_AHEAD * self._batch_size, 2 * self._n_lanes)

    def _device(self) -> None:
        while batch := self._take_ready():
            self._run_padded(batch)

    def _take_ready(self) -> list[tuple[_Task, NDArray[np.uint8]]]:
        """A full batch of one image size; less where nothing is on its way; none once the lanes are stopped."""
        with self._changed:
            while not self._stopped:
                at_hand = len(self._ready)
                if at_hand >= self._batch_size or (at_hand and not self._todo and not self._n_decoding):
                    batch = [self._ready.popleft()]
                    while (
                        self._ready
                        and len(batch) < self._batch_size
                        and self._ready[0][1].shape == batch[0][1].shape
                    ):
                        batch.append(self._ready.popleft())
                    self._changed.notify_all()
                    return batch
                self._changed.wait(_LOOK_S)
            return []

    def _run_padded(self, batch: list[tuple[_Task, NDArray[np.uint8]]]) -> None:
        """Run a batch at the full size: one shape means one set of kernels and one allocation."""
        start = 0
        while start < len(batch):
            size = self._batch_size
            part = batch[start : start + size]
            pad = [part[-1][1]] * (size - len(part)) if self._n_taken > size else []
            try:
                self._run([task for task, _ in part], [image for _, image in part] + pad)
            except DeviceMemoryError:
                if size == 1:
                    raise
                self._batch_size = max(1, size // 2)
                continue
            start += size

    # --- both ---

    def _pixels(self, task: _Task) -> NDArray[np.uint8] | None:
        work, at = task
        if self._stopped:
            return None
        try:
            return self._decode(work.jobs[at])
        except SampleError as error:
            self._fail(task, error)
            return None

    def _run(self, tasks: list[_Task], images: list[NDArray[np.uint8]]) -> None:
        """Compute the rows of ``tasks``, whose pixels come first in ``images``."""
        try:
            vectors = self._session.run(_stacked(images))
        except GraphError as error:
            for task in tasks:
                self._fail(task, SampleError(str(error)))
            return
        for row, (work, at) in enumerate(tasks):
            if not all(np.isfinite(part[row]).all() for part in vectors):
                self._fail((work, at), SampleError(_NOT_FINITE))
                continue
            for rows, part in zip(work.rows, vectors, strict=True):
                rows[at] = part[row]
            work.jobs[at].done = True
            self._finished(work)
            self._advance(1)

    def _fail(self, task: _Task, error: SampleError) -> None:
        work, at = task
        work.jobs[at].error = error
        self._finished(work)
        if self._stop_on_error:
            self._halt()

    def _finished(self, work: Work) -> None:
        with self._changed:
            work.n_open -= 1
            if not work.n_open:
                self._started.remove(work)
                work.over.set()


def _stacked(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return images[0][None] if len(images) == 1 else np.stack(images)


def _batches(
    pixels: list[tuple[_Task, NDArray[np.uint8]]], size: int
) -> list[list[tuple[_Task, NDArray[np.uint8]]]]:
    """In batches of up to ``size`` images of one shape."""
    shapes: dict[tuple[int, ...], list[tuple[_Task, NDArray[np.uint8]]]] = {}
    for task, image in pixels:
        shapes.setdefault(image.shape, []).append((task, image))
    return [group[at : at + size] for group in shapes.values() for at in range(0, len(group), size)]
