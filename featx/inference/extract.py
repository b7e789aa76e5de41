"""The one loop from samples to vectors: look up, decode beside inference, run, store.

Owns the promise "once": a distinct sample that the store does not hold is computed by exactly one of the processes that want
it, and a vector computed is stored before anything can go wrong with the next windows. Knows nothing of scikit-learn.

The samples are walked in windows, three of them afoot: while the lanes compute one, the next has been claimed and queued
behind it, and the one after that is being read. So the lanes go on while this thread looks up, claims and syncs. Samples that
another process has claimed are left for the end, when they are usually done.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.feature_space import FeatureSpace
from featx.errors import FeatxWarning, SampleError, StoreError
from featx.inference.batching import Batching, ImageBatching
from featx.inference.devices import Device
from featx.inference.lanes import Job, Lanes, Work
from featx.inference.reading import Content, Reading, Source, unreadable_path
from featx.inference.runtime import Session
from featx.inference.windows import ROWS_BYTES
from featx.inputs.frames import stat_file
from featx.inputs.samples import DigestSample
from featx.store.claims import Claim
from featx.store.digest import DIGEST_BYTES, digest_text, keys_array
from featx.store.files import FileDigests
from featx.store.store import EmbeddingStore

__all__ = ["Extraction", "Plan", "extract"]

_AFOOT = 2
"""Windows started and not yet stored. The lanes are never idle with two; more would only delay what is stored."""

_REMEMBER_S = 10.0
"""Seconds of work after which digests of files are put too. They save reading again, so less depends on them than on vectors."""

_LOOKUP_ROWS = 8192

_PATIENCE_S = 60.0
"""Seconds that a process without windows of its own waits for another one's claim."""

_STALLED = "another process has held samples that this run needs for too long (was it stopped?). Computing them here too."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to compute and with what.

    Parameters
    ----------
    spaces : tuple of FeatureSpace
        Side by side in the result; computed in one run.
    widths : tuple of int
        Length of each space's vectors.
    source : Source
        How samples are known by their content, and read.
    session : callable
        Opens the session, or hands out the open one; called only when something must be computed.
    device : Device
        Where the session computes.
    store : EmbeddingStore or None
        Where vectors are kept.
    store_required : bool
        Whether a store that cannot be written is an error (its path was given) or a warning (the default folder).
    n_workers : int
        Threads that decode; on a CPU each is a lane that also runs its own samples.
    batching : Batching
        What runs together.
    batch_size : int
        Samples a run, about.
    on_error : {"raise", "nan"}
        What an unreadable sample does.
    description : dict
        What the store writes beside the vectors, for people.
    """

    spaces: tuple[FeatureSpace, ...]
    widths: tuple[int, ...]
    source: Source
    session: Callable[[], Session]
    device: Device
    store: EmbeddingStore | None
    store_required: bool = True
    batching: Batching = field(default_factory=lambda: ImageBatching(1))
    n_workers: int = 1
    batch_size: int = 1
    on_error: str = "raise"
    description: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The vectors of all samples, and how they were come by.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        In the order of the samples; NaN where a sample failed.
    keys : ndarray of uint8, shape (n, 16)
        Content digests; zero where a sample could not be read.
    errors : dict of int to SampleError
        What failed, by index.
    n_computed : int
        Distinct samples that met the network.
    """

    vectors: NDArray[np.float32]
    keys: NDArray[np.uint8]
    errors: dict[int, SampleError]
    n_computed: int


def extract(
    samples: Sequence[Any], plan: Plan, *, advance: Callable[[int], None] = lambda n: None
) -> Extraction:
    """Vectors of ``samples``, from the store where it has them.

    Parameters
    ----------
    samples : sequence
        From :func:`featx.inputs.samples.as_samples`.
    plan : Plan
        What to compute.
    advance : callable
        Told how many more samples are done.

    Raises
    ------
    SampleError
        The first sample that fails, with ``on_error="raise"``. Vectors computed before are in the store.
    """
    run = _Run(samples, plan, advance)
    run.look_up_known()
    run.compute_missing()
    return Extraction(vectors=run.out, keys=run.keys, errors=run.errors, n_computed=run.n_computed)


@dataclass(slots=True)
class _Window:
    """Samples being computed, with the claims held on them and those that kept us from others."""

    work: Work | None = None
    held: ExitStack = field(default_factory=ExitStack)
    denied: list[Claim] = field(default_factory=list)


class _Run:
    """The state of one extraction."""

    def __init__(self, samples: Sequence[Any], plan: Plan, advance: Callable[[int], None]) -> None:
        n = len(samples)
        self.samples = samples
        self.plan = plan
        self.advance = advance
        self.store = plan.store
        self.files = FileDigests(plan.store)
        self.out = np.empty((n, sum(plan.widths)), dtype=np.float32)
        edges = np.cumsum((0, *plan.widths))
        self.columns = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self.keys = np.zeros((n, DIGEST_BYTES), dtype=np.uint8)
        self.known = np.zeros(n, dtype=bool)
        self.done = np.zeros(n, dtype=bool)
        self.identities: NDArray[np.uint8] | None = None
        self.errors: dict[int, SampleError] = {}
        self.n_computed = 0
        self.in_flight: dict[bytes, Job] = {}
        # Only without a store: which row of `out` has a key's vector already.
        self.first_row: dict[bytes, int] = {}
        self.lanes: Lanes | None = None
        self.longest_window_s = 0.0

    # --- what is known without reading anything ---

    def look_up_known(self) -> None:
        """Fill in every sample whose digest is remembered and whose vector is stored."""
        is_path = np.fromiter(
            (isinstance(s, str | Path) for s in self.samples), dtype=bool, count=len(self.samples)
        )
        for i in np.flatnonzero(~is_path).tolist():
            if isinstance(self.samples[i], DigestSample):
                self.keys[i] = np.frombuffer(self.samples[i].key, dtype=np.uint8)
                self.known[i] = True
            elif isinstance(self.samples[i], SampleError):
                self._fail(i, self.samples[i])
        if is_path.any() and not self.plan.source.strings_are_paths:
            self._digest_strings(np.flatnonzero(is_path))
        elif is_path.any():
            self.identities = np.zeros_like(self.keys)
            self._recall_files(np.flatnonzero(is_path))
        self._fill_from_store(np.flatnonzero(self.known))
        for i in np.flatnonzero(self.known & ~self.done).tolist():
            if isinstance(self.samples[i], DigestSample):
                self._fail(i, SampleError(_NO_SUCH_DIGEST))
        self._settle()

    def _digest_strings(self, indices: NDArray[np.intp]) -> None:
        """Texts are their own content."""
        for part in _chunks(indices, _LOOKUP_ROWS):
            self.keys[part] = keys_array([digest_text(self.samples[i]) for i in part.tolist()])
        self.known[indices] = True

    def _recall_files(self, indices: NDArray[np.intp]) -> None:
        assert self.identities is not None
        for part in _chunks(indices, _LOOKUP_ROWS):
            keys, known, identities = self.files.lookup(
                [self.samples[i] for i in part.tolist()], look=stat_file
            )
            self.keys[part[known]] = keys[known]
            self.known[part] = known
            self.identities[part] = identities
            # A zero identity is a file that cannot be looked at. Better to say so now than after an hour of inference.
            for i in part[~identities.any(axis=1)].tolist():
                self._fail(i, unreadable_path(self.samples[i]))

    def _fill_from_store(self, indices: NDArray[np.intp]) -> None:
        """Copy stored vectors of ``indices`` (whose keys are known) to the result."""
        if self.store is None:
            return
        rows_a_time = max(256, ROWS_BYTES // (4 * self.out.shape[1]))
        for part in _chunks(indices, rows_a_time):
            found = np.ones(len(part), dtype=bool)
            for space, columns in zip(self.plan.spaces, self.columns, strict=True):
                rows, here = self.store.get(space.id, self.keys[part])
                if here.all() and _is_run(part):
                    self.out[part[0] : part[-1] + 1, columns] = rows
                elif here.any():
                    self.out[part[here], columns] = rows
                found &= here
                if len(part) == rows_a_time:
                    del rows
                    self.store.let_go(space.id)
            self._finish(part[found])

    # --- what must be computed ---

    def compute_missing(self) -> None:
        """Compute what is left; wait for what other processes are computing."""
        left = np.flatnonzero(~self.done)
        if not len(left):
            return
        share = len(left) > self.plan.batch_size
        n_workers = self.plan.n_workers
        with self.plan.source.open(self.samples, n_workers) as self.reader, ExitStack() as self.opened:
            while len(left):
                denied = self._walk(left, share)
                # Waiting is to save work. Whoever holds a claim much longer than a window takes has been stopped (Ctrl-Z),
                # or is so slow that computing the rest here too is the lesser evil.
                patience_s = max(_PATIENCE_S, 10 * self.longest_window_s)
                waited = [claim.wait(patience_s) for claim in denied]
                if not all(waited):
                    warnings.warn(_STALLED, FeatxWarning, stacklevel=2)
                    share = False
                # What others were computing, and doubles of a file that changed after it was first read.
                left = np.flatnonzero(~self.done)

    def _walk(self, left: NDArray[np.intp], share: bool) -> list[Claim]:
        """Compute ``left`` window by window, but for what others are computing; return the claims to wait for."""
        afoot: deque[_Window] = deque()
        denied: list[Claim] = []
        size = self.reader.windows(left, n_features=self.out.shape[1], batch_size=self.plan.batch_size)
        window, left = size.cut(left)
        reading = self._read(window)
        fresh: list[int] = []
        ended_s = remembered_s = time.monotonic()
        try:
            while len(window) or afoot:
                if len(window):
                    contents, mean_bytes = self._gather(reading)
                    afoot.append(_Window())
                    self._begin(afoot[-1], window, contents, share)
                    if denied or any(one.denied for one in afoot):
                        size.share(len(left))
                    following, left = size.cut(left)
                    reading = self._read(following)
                    fresh += contents
                    if not len(following) or time.monotonic() - remembered_s > _REMEMBER_S:
                        self._remember(fresh)
                        fresh, remembered_s = [], time.monotonic()
                    window = following
                if len(afoot) == _AFOOT or not len(window):
                    n_computed = self._end(afoot[0])
                    denied += afoot.popleft().denied
                    began_s, ended_s = ended_s, time.monotonic()
                    took_s = ended_s - began_s
                    self.longest_window_s = max(self.longest_window_s, took_s)
                    size.grow(n_computed=n_computed, took_s=took_s, mean_bytes=mean_bytes)
        finally:
            # Not empty where something failed or interrupted us: what was computed is kept all the same.
            if afoot and self.lanes is not None:
                self.lanes.stop()
            with ExitStack() as held:
                for broken in afoot:
                    held.push(broken.held)
                for broken in afoot:
                    self._keep(broken)
        return denied

    def _read(self, window: NDArray[np.intp]) -> Reading:
        """Begin to read and digest the samples of a window whose digest is not known."""
        return self.reader.begin(window[~self.known[window]])

    def _gather(self, reading: Reading) -> tuple[dict[int, Content | None], float]:
        """Take in the digests of what was read: contents by index, and their mean size."""
        contents: dict[int, Content | None] = {}
        for read in reading:
            if read.error is not None:
                self._fail(read.index, read.error)
                continue
            self.keys[read.index] = np.frombuffer(read.key, dtype=np.uint8)
            self.known[read.index] = True
            if self.identities is not None:
                self.identities[read.index] = np.frombuffer(
                    read.identity or bytes(DIGEST_BYTES), dtype=np.uint8
                )
            contents[read.index] = read.content
        self._settle()
        return contents, max(1.0, reading.n_bytes / max(1, len(contents)))

    def _remember(self, indices: list[int]) -> None:
        """Remember the digests of files that were read."""
        if self.identities is None or self.store is None:
            return
        named = np.asarray(indices, dtype=np.intp)
        identities = self.identities[named]
        of_files = identities.any(axis=1)
        if of_files.any():
            self._guarded(lambda: self.files.remember(identities[of_files], self.keys[named[of_files]]))

    def _begin(
        self, window: _Window, indices: NDArray[np.intp], contents: dict[int, Content | None], share: bool
    ) -> None:
        """Claim what ``indices`` lack and others are not computing, and queue it for the lanes."""
        jobs = self._jobs(indices[self.known[indices] & ~self.done[indices]], contents)
        if share and self.store is not None:
            # In the order of the ids, so that two runs over the same spaces meet at the same one.
            for space in sorted({s.id for s in self.plan.spaces}):
                if not jobs:
                    return
                claim = window.held.enter_context(self.store.claim(space, _keys_of(jobs)))
                if claim.taken.any():
                    window.denied.append(claim)
                    jobs = [job for job, taken in zip(jobs, claim.taken, strict=True) if not taken]
            jobs = self._drop_stored(jobs)
        if jobs:
            jobs = self.reader.prepared(jobs)
            self.in_flight |= {job.key: job for job in jobs}
            window.work = self._open_lanes().start(jobs)

    def _open_lanes(self) -> Lanes:
        """The lanes, opened with the session when the first sample must be computed."""
        if self.lanes is None:
            self.lanes = self.opened.enter_context(
                Lanes(
                    decode=self._decode,
                    session=self.plan.session(),
                    widths=self.plan.widths,
                    n_lanes=self.plan.n_workers,
                    batching=self.plan.batching,
                    on_cpu=self.plan.device.kind == "cpu",
                    stop_on_error=self.plan.on_error == "raise",
                    advance=self.advance,
                )
            )
        return self.lanes

    def _jobs(self, window: NDArray[np.intp], contents: dict[int, Content | None]) -> list[Job]:
        """The distinct samples of a window that no lookup answers, doubles folded."""
        self._fill_from_store(window)
        by_key: dict[bytes, Job] = {}
        for i in window[~self.done[window]].tolist():
            key = self.keys[i].tobytes()
            double = by_key.get(key) or self.in_flight.get(key)
            if double is not None:
                double.indices.append(i)
            elif key in self.first_row:
                self.out[i] = self.out[self.first_row[key]]
                self._finish(np.asarray([i]))
            else:
                by_key[key] = Job(key=key, indices=[i], content=contents.get(i))
        return list(by_key.values())

    def _drop_stored(self, jobs: list[Job]) -> list[Job]:
        """Look again once the claim is held: another process may have stored a vector in between."""
        indices = np.asarray(sorted(i for job in jobs for i in job.indices), dtype=np.intp)
        self._fill_from_store(indices)
        return [job for job in jobs if not self.done[job.indices[0]]]

    def _end(self, window: _Window) -> int:
        """Wait for a window's rows, then store and hand them out; return how many samples were computed."""
        jobs = window.work.jobs if window.work is not None else []
        if window.work is not None:
            self._open_lanes().wait(window.work)
        with window.held:
            self._keep(window)
        for job in jobs:
            if job.error is not None:
                for i in self._own_doubles(job):
                    self._fail(i, job.error)
        self._settle()
        return len(jobs)

    def _keep(self, window: _Window) -> None:
        """Put and hand out every row of a window that was computed."""
        work, window.work = window.work, None
        if work is None:
            return
        for job in work.jobs:
            del self.in_flight[self.keys[job.indices[0]].tobytes()]
        ready = [at for at, job in enumerate(work.jobs) if job.done]
        if not ready:
            return
        self.n_computed += len(ready)
        keys = _keys_of([work.jobs[at] for at in ready])
        for space, rows in zip(self.plan.spaces, work.rows, strict=True):
            self._put(space, keys, rows if len(ready) == len(rows) else rows[ready])
        for at in ready:
            indices = self._own_doubles(work.jobs[at])
            for columns, rows in zip(self.columns, work.rows, strict=True):
                self.out[indices, columns] = rows[at]
            self.done[indices] = True
            self.advance(len(indices) - 1)  # the lane counted the sample itself
            if self.store is None:
                self.first_row[work.jobs[at].key] = indices[0]

    def _own_doubles(self, job: Job) -> list[int]:
        """Where a job's row, or its failure, belongs: not to doubles of what the file held before it changed under our hands."""
        first, *doubles = job.indices
        self.keys[first] = np.frombuffer(job.key or bytes(DIGEST_BYTES), dtype=np.uint8)
        return [first, *(i for i in doubles if self.keys[i].tobytes() == job.key)]

    def _put(self, space: FeatureSpace, keys: NDArray[np.uint8], rows: NDArray[np.float32]) -> None:
        if self.store is None:
            return
        store = self.store
        description = {"space": space.to_dict(), **self.plan.description}

        def put() -> None:
            store.describe(space.id, description)
            store.put(space.id, keys, rows, provenance={"device": str(self.plan.device)})

        self._guarded(put)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write to the store; a default folder that cannot be written costs one warning, not the run."""
        try:
            write()
        except StoreError as error:
            if self.plan.store_required:
                raise
            warnings.warn(
                f"{str(error).rstrip('.')}. Going on without storing what is computed now.",
                FeatxWarning,
                stacklevel=2,
            )
            self.store = None

    def _decode(self, job: Job) -> NDArray[Any]:
        """What the network takes of a job, from what was read for its digest, or read again."""
        content, job.content = job.content, None
        if content is None:
            # A row belongs to the very bytes it was decoded from, also where the file changed after it was digested. Where it
            # cannot be read any more, that is its own failure and not that of its doubles.
            job.key = b""
            content, job.key = self.reader.read_again(job.indices[0])
        return self.reader.network_input(job.indices[0], content, job.key)

    # --- accounts ---

    def _finish(self, indices: NDArray[np.intp]) -> None:
        self.done[indices] = True
        self.advance(len(indices))

    def _fail(self, i: int, error: SampleError) -> None:
        name = self.plan.source.name_of(self.samples[i], i)
        self.errors[i] = type(error)(error.message, index=i, name=name)
        self.out[i] = np.nan
        self._finish(np.asarray([i]))

    def _settle(self) -> None:
        """Raise the first failure where failures are not allowed."""
        if self.errors and self.plan.on_error == "raise":
            first = self.errors[min(self.errors)]
            others = len(self.errors) - 1
            if others:
                first = type(first)(
                    f"{first.message} ({others} more failed.)", index=first.index, name=first.name
                )
            raise first


_NO_SUCH_DIGEST = (
    "the store holds no vector for this digest in this feature space. Compute it where the sample is "
    "(featx embed), with the same backbone, tap, pooling and preprocessing, and copy or share that cache folder."
)


def _keys_of(jobs: list[Job]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(job.key for job in jobs), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _chunks(indices: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [indices[at : at + size] for at in range(0, len(indices), size)]


def _is_run(indices: NDArray[np.intp]) -> bool:
    return bool(indices[-1] - indices[0] + 1 == len(indices)) if len(indices) else False
