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
from itertools import islice, takewhile
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DeviceMemoryError, GraphError, SampleError
from featx.inference.batching import Batching
from featx.inference.runtime import Session

__all__ = ["Job", "Lanes", "Work"]

_MOST_TAKEN = 512
"""Jobs that a lane looks at when it takes up the next."""

_AHEAD = 3
"""Batches decoded ahead of a GPU: one on its way, one ready, one in the making."""

_NOT_FINITE = (
    "the network's vector is not finite (NaN or infinite), so it is not stored. Look at the sample; if many fail, the "
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
    length : int
        What it takes of a run: 1 for an image, its tokens for a text.
    error : SampleError or None
        Why it failed.
    done : bool
        Whether its row has been computed.
    """

    key: bytes
    indices: list[int]
    content: Any = None
    length: int = 1
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

_Input = tuple[_Task, NDArray[Any]]
"""A job and what the network takes of it."""


class Lanes:
    """Threads that compute jobs, in the order in which they were started. A context manager; leaving it ends them.

    Parameters
    ----------
    decode : callable
        A job's input: pixels uint8 (h, w, 3), or token ids int32 (t,); raises SampleError.
    session : Session
        Runs batches.
    widths : tuple of int
        Length of the vectors, a tap each.
    n_lanes : int
        How many run beside each other.
    batching : Batching
        What runs together.
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
        decode: Callable[[Job], NDArray[Any]],
        session: Session,
        widths: tuple[int, ...],
        n_lanes: int,
        batching: Batching,
        on_cpu: bool,
        stop_on_error: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._decode = decode
        self._session = session
        self._widths = widths
        self._n_lanes = n_lanes
        # A graph whose rows depend on their batch is not allowed a batch.
        self._batching = batching if batching.smallest or session.rows_are_independent else batching.alone()
        self._stop_on_error = stop_on_error
        self._advance = advance
        self._todo: deque[_Task] = deque()
        self._ready: list[_Input] = []
        self._n_decoding = 0
        self._length_ahead = 0
        self._length_taken = 0
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
            inputs = [(task, found) for task in group if (found := self._input(task)) is not None]
            for batch in self._batching.batches([found for _, found in inputs]):
                if self._stopped:
                    break
                self._run([inputs[at] for at in batch])

    def _take(self) -> list[_Task]:
        """The next few tasks; none once the lanes are stopped."""
        with self._changed:
            while not self._todo and not self._stopped:
                self._changed.wait(_LOOK_S)
            # Near the end fewer, so that the lanes end together.
            share = -(-len(self._todo) // (2 * self._n_lanes))
            lengths = [
                _job(task).length
                for task in takewhile(
                    lambda task: task[0] is self._todo[0][0], islice(self._todo, _MOST_TAKEN)
                )
            ]
            return [self._todo.popleft() for _ in range(self._batching.n_taken(lengths, share=share))]

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
                self._length_ahead += _job(task).length
                self._length_taken += _job(task).length
            found = self._input(task)
            with self._changed:
                self._n_decoding -= 1
                if found is None:
                    self._length_ahead -= _job(task).length
                else:
                    self._ready.append((task, found))
                self._changed.notify_all()

    def _has_room(self) -> bool:
        few = len(self._ready) + self._n_decoding < 2 * self._n_lanes
        return few or self._length_ahead < _AHEAD * self._batching.capacity

    def _device(self) -> None:
        while batch := self._take_ready():
            self._run_fixed(batch)

    def _take_ready(self) -> list[_Input]:
        """A full batch of what runs together; less where nothing is on its way; none once the lanes are stopped."""
        with self._changed:
            while not self._stopped:
                full = self._batching.is_full([_job(task).length for task, _ in self._ready])
                if full or (self._ready and not self._todo and not self._n_decoding):
                    chosen = set(self._batching.batches([found for _, found in self._ready])[0])
                    batch = [one for at, one in enumerate(self._ready) if at in chosen]
                    self._ready = [one for at, one in enumerate(self._ready) if at not in chosen]
                    self._length_ahead -= sum(_job(task).length for task, _ in batch)
                    self._changed.notify_all()
                    return batch
                self._changed.wait(_LOOK_S)
            return []

    def _run_fixed(self, batch: list[_Input]) -> None:
        """Run a batch in one of few shapes: each shape means one set of kernels and one allocation."""
        left = batch
        while left:
            n = len(self._batching.batches([found for _, found in left])[0])
            try:
                self._run(left[:n], fixed=self._length_taken > self._batching.capacity)
            except DeviceMemoryError:
                if self._batching.smallest:
                    raise
                self._batching = self._batching.halved()
                continue
            left = left[n:]

    # --- both ---

    def _input(self, task: _Task) -> NDArray[Any] | None:
        if self._stopped:
            return None
        try:
            return self._decode(_job(task))
        except SampleError as error:
            self._fail(task, error)
            return None

    def _run(self, batch: list[_Input], *, fixed: bool = False) -> None:
        """Compute the rows of a batch."""
        tasks = [task for task, _ in batch]
        try:
            vectors = self._session.run(self._batching.stacked([found for _, found in batch], fixed=fixed))
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


def _job(task: _Task) -> Job:
    work, at = task
    return work.jobs[at]
