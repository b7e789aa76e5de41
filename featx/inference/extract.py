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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FeatxWarning, SampleError
from featx.inference.accounts import Accounts
from featx.inference.known import known_keys
from featx.inference.lanes import Job, Lanes, Work
from featx.inference.plan import Plan
from featx.inference.reading import Content, Reading
from featx.inference.stored import Stored
from featx.inputs.samples import DigestSample
from featx.store.claims import Claim
from featx.store.digest import DIGEST_BYTES

__all__ = ["Extraction", "extract"]

_AFOOT = 2
"""Windows started and not yet stored. The lanes are never idle with two; more would only delay what is stored."""

_REMEMBER_S = 10.0
"""Seconds of work after which digests of files are put too. They save reading again, so less depends on them than on vectors."""

_PATIENCE_S = 60.0
"""Seconds that a process without windows of its own waits for another one's claim."""

_STALLED = "another process has held samples that this run needs for too long (was it stopped?). Computing them here too."


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
    done = run.accounts
    return Extraction(vectors=done.vectors, keys=done.keys, errors=done.errors, n_computed=run.n_computed)


@dataclass(slots=True)
class _Window:
    """Samples being computed, with the claims held on them and those that kept us from others."""

    work: Work | None = None
    held: ExitStack = field(default_factory=ExitStack)
    denied: list[Claim] = field(default_factory=list)


class _Run:
    """The state of one extraction."""

    def __init__(self, samples: Sequence[Any], plan: Plan, advance: Callable[[int], None]) -> None:
        self.samples = samples
        self.plan = plan
        self.advance = advance
        self.stored = Stored(
            plan.store,
            plan.spaces,
            required=plan.store_required,
            description=plan.description,
            provenance={"device": str(plan.device)},
        )
        found = known_keys(samples, self.stored.files, strings_are_paths=plan.source.strings_are_paths)
        self.identities = found.identities
        self.accounts = Accounts(
            found.keys,
            found.known,
            widths=plan.widths,
            name_of=lambda i: plan.source.name_of(samples[i], i),
            advance=advance,
            raises=plan.on_error == "raise",
        )
        for i, error in found.errors.items():
            self.accounts.fail(i, error)
        self.lanes: Lanes | None = None
        self.n_computed = 0
        self.longest_window_s = 0.0
        self.in_flight: dict[bytes, Job] = {}
        # Only without a store: which row of the vectors has a key's already.
        self.first_row: dict[bytes, int] = {}

    def look_up_known(self) -> None:
        """Fill in every sample whose digest is known and whose vector is stored."""
        accounts = self.accounts
        self.stored.fill(accounts, np.flatnonzero(accounts.known))
        for i in np.flatnonzero(accounts.known & ~accounts.done).tolist():
            if isinstance(self.samples[i], DigestSample):
                accounts.fail(i, SampleError(_NO_SUCH_DIGEST))
        accounts.settle()

    def compute_missing(self) -> None:
        """Compute what is left; wait for what other processes are computing."""
        left = self.accounts.left()
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
                left = self.accounts.left()

    def _walk(self, left: NDArray[np.intp], share: bool) -> list[Claim]:
        """Compute ``left`` window by window, but for what others are computing; return the claims to wait for."""
        afoot: deque[_Window] = deque()
        denied: list[Claim] = []
        size = self.reader.windows(left, n_features=sum(self.plan.widths), batch_size=self.plan.batch_size)
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
                        self.stored.remember(self.identities[fresh], self.accounts.keys[fresh])
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
        return self.reader.begin(window[~self.accounts.known[window]])

    def _gather(self, reading: Reading) -> tuple[dict[int, Content | None], float]:
        """Take in the digests of what was read: contents by index, and their mean size."""
        contents: dict[int, Content | None] = {}
        for read in reading:
            if read.error is not None:
                self.accounts.fail(read.index, read.error)
                continue
            self.accounts.keys[read.index] = np.frombuffer(read.key, dtype=np.uint8)
            self.accounts.known[read.index] = True
            self.identities[read.index] = np.frombuffer(read.identity or bytes(DIGEST_BYTES), dtype=np.uint8)
            contents[read.index] = read.content
        self.accounts.settle()
        return contents, max(1.0, reading.n_bytes / max(1, len(contents)))

    def _begin(
        self, window: _Window, indices: NDArray[np.intp], contents: dict[int, Content | None], share: bool
    ) -> None:
        """Claim what ``indices`` lack and others are not computing, and queue it for the lanes."""
        jobs = self._jobs(indices[self.accounts.known[indices] & ~self.accounts.done[indices]], contents)
        if share and self.stored.store is not None:
            # In the order of the ids, so that two runs over the same spaces meet at the same one.
            for space in sorted({s.id for s in self.plan.spaces}):
                if not jobs:
                    return
                claim = window.held.enter_context(self.stored.store.claim(space, _keys_of(jobs)))
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
        accounts = self.accounts
        self.stored.fill(accounts, window)
        by_key: dict[bytes, Job] = {}
        for i in window[~accounts.done[window]].tolist():
            key = accounts.keys[i].tobytes()
            double = by_key.get(key) or self.in_flight.get(key)
            if double is not None:
                double.indices.append(i)
            elif key in self.first_row:
                accounts.vectors[i] = accounts.vectors[self.first_row[key]]
                accounts.finish(np.asarray([i]))
            else:
                by_key[key] = Job(key=key, indices=[i], content=contents.get(i))
        return list(by_key.values())

    def _drop_stored(self, jobs: list[Job]) -> list[Job]:
        """Look again once the claim is held: another process may have stored a vector in between."""
        indices = np.asarray(sorted(i for job in jobs for i in job.indices), dtype=np.intp)
        self.stored.fill(self.accounts, indices)
        return [job for job in jobs if not self.accounts.done[job.indices[0]]]

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
                    self.accounts.fail(i, job.error)
        self.accounts.settle()
        return len(jobs)

    def _keep(self, window: _Window) -> None:
        """Put and hand out every row of a window that was computed."""
        work, window.work = window.work, None
        if work is None:
            return
        for job in work.jobs:
            del self.in_flight[self.accounts.keys[job.indices[0]].tobytes()]
        ready = [at for at, job in enumerate(work.jobs) if job.done]
        if not ready:
            return
        self.n_computed += len(ready)
        keys = _keys_of([work.jobs[at] for at in ready])
        for space, rows in zip(self.plan.spaces, work.rows, strict=True):
            self.stored.put(space, keys, rows if len(ready) == len(rows) else rows[ready])
        for at in ready:
            indices = self._own_doubles(work.jobs[at])
            self.accounts.hand_out([rows[at] for rows in work.rows], indices)
            if self.stored.store is None:
                self.first_row[work.jobs[at].key] = indices[0]

    def _own_doubles(self, job: Job) -> list[int]:
        """Where a job's row, or its failure, belongs: not to doubles of what the file held before it changed under our hands."""
        first, *doubles = job.indices
        self.accounts.keys[first] = np.frombuffer(job.key or bytes(DIGEST_BYTES), dtype=np.uint8)
        return [first, *(i for i in doubles if self.accounts.keys[i].tobytes() == job.key)]

    def _decode(self, job: Job) -> NDArray[Any]:
        """What the network takes of a job, from what was read for its digest, or read again."""
        content, job.content = job.content, None
        if content is None:
            # A row belongs to the very bytes it was decoded from, also where the file changed after it was digested. Where it
            # cannot be read any more, that is its own failure and not that of its doubles.
            job.key = b""
            content, job.key = self.reader.read_again(job.indices[0])
        return self.reader.network_input(job.indices[0], content, job.key)


_NO_SUCH_DIGEST = (
    "the store holds no vector for this digest in this feature space. Compute it where the sample is "
    "(featx embed), with the same backbone, tap, pooling and preprocessing, and copy or share that cache folder."
)


def _keys_of(jobs: list[Job]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(job.key for job in jobs), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
