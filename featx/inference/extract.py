"""The one loop from samples to vectors: look up, decode beside inference, run, store.

Owns the promise "once": a distinct sample that the store does not hold is computed by exactly one of the processes that want
it, and a vector computed is stored before anything can go wrong with the next window. Knows nothing of scikit-learn.

The samples are walked in windows. Readers digest the next window while this one is computed; what the store lacks is claimed,
computed in lanes and put. Samples that another process has claimed are left for the end, when they are usually done.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.backbone import FeatureSpace
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import FeatxWarning, SampleError, StoreError, UnreadableSampleError
from featx.inference.lanes import Job, run_jobs
from featx.inference.runtime import Device, Session
from featx.inputs.images import canonical, decode, fit
from featx.inputs.samples import DigestSample, sample_name
from featx.store.claims import Claim
from featx.store.digest import DIGEST_BYTES, digest_array, digest_bytes
from featx.store.files import FileDigests
from featx.store.store import EmbeddingStore

__all__ = ["Extraction", "Plan", "extract"]

_log = logging.getLogger("featx")

_FIRST_WINDOW = 256
_LAST_WINDOW = 4096
_WINDOW_S = 2.0
"""Windows grow until one takes about this long: a crash loses no more, and the cost of a put disappears in it."""

_ROWS_BYTES = 8 << 20
_PAYLOAD_BYTES = 16 << 20
"""Bounds on what a window holds: vectors on their way to the store, and encoded files read but not yet decoded."""

_LOOKUP_ROWS = 8192
_READERS = 8
"""Threads that read files. More than cores: on a network drive a read mostly waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to compute and with what.

    Parameters
    ----------
    spaces : tuple of FeatureSpace
        Side by side in the result; computed in one run.
    widths : tuple of int
        Length of each space's vectors.
    preprocess : ImagePreprocess
        Pixels to the session's input.
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
    batch_size : int
        Samples a run.
    on_error : {"raise", "nan"}
        What an unreadable sample does.
    description : dict
        What the store writes beside the vectors, for people.
    """

    spaces: tuple[FeatureSpace, ...]
    widths: tuple[int, ...]
    preprocess: ImagePreprocess
    session: Callable[[], Session]
    device: Device
    store: EmbeddingStore | None
    store_required: bool = True
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
class _Prepared:
    """One sample read and digested: its key, and its content where the window's budget still held it."""

    key: bytes
    payload: bytes | NDArray[np.uint8] | None


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
        self.first_row: dict[
            bytes, int
        ] = {}  # only without a store: which row of `out` already has a key's vector
        self.payload_room = _PAYLOAD_BYTES

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
        if is_path.any():
            self.identities = np.zeros_like(self.keys)
            self._recall_files(np.flatnonzero(is_path))
        self._fill_from_store(np.flatnonzero(self.known))
        for i in np.flatnonzero(self.known & ~self.done).tolist():
            if isinstance(self.samples[i], DigestSample):
                self._fail(i, SampleError(_NO_SUCH_DIGEST))
        self._settle()

    def _recall_files(self, indices: NDArray[np.intp]) -> None:
        assert self.identities is not None
        for part in _chunks(indices, _LOOKUP_ROWS):
            keys, known, identities = self.files.lookup([self.samples[i] for i in part.tolist()])
            self.keys[part[known]] = keys[known]
            self.known[part] = known
            self.identities[part] = identities
            # A zero identity is a file that cannot be looked at. Better to say so now than after an hour of inference.
            for i in part[~identities.any(axis=1)].tolist():
                self._fail(i, _unreadable_path(self.samples[i]))

    def _fill_from_store(self, indices: NDArray[np.intp]) -> None:
        """Copy stored vectors of ``indices`` (whose keys are known) to the result."""
        if self.store is None:
            return
        rows_a_time = max(256, _ROWS_BYTES // (4 * self.out.shape[1]))
        for part in _chunks(indices, rows_a_time):
            found = np.ones(len(part), dtype=bool)
            for space, columns in zip(self.plan.spaces, self.columns, strict=True):
                rows, here = self.store.get(space.id, self.keys[part])
                if here.all() and _is_run(part):
                    self.out[part[0] : part[-1] + 1, columns] = rows
                elif here.any():
                    self.out[part[here], columns] = rows
                found &= here
            self._finish(part[found])

    # --- what must be computed ---

    def compute_missing(self) -> None:
        """Compute what is left, window by window; wait at the end for what other processes are computing."""
        left = np.flatnonzero(~self.done)
        if not len(left):
            return
        share = self.store is not None and len(left) > self.plan.batch_size
        size = _FIRST_WINDOW
        largest = max(64, min(_LAST_WINDOW, _ROWS_BYTES // (4 * self.out.shape[1])))
        n_readers = min(_READERS, 4 * self.plan.n_workers)
        with (
            ThreadPoolExecutor(n_readers, "featx-read") as readers,
            ThreadPoolExecutor(self.plan.n_workers, "featx-lane") as lanes,
        ):
            try:
                while len(left):
                    waiting: list[tuple[Claim, NDArray[np.intp]]] = []
                    window, left = left[: min(size, largest)], left[min(size, largest) :]
                    reading = self._read(window, readers)
                    while len(window):
                        began = time.monotonic()
                        prepared = self._gather(window, reading)
                        following, left = left[: min(size, largest)], left[min(size, largest) :]
                        next_reading = self._read(following, readers)
                        waiting += self._window(window, prepared, lanes, share)
                        if time.monotonic() - began < _WINDOW_S / 2:
                            size = min(2 * size, _LAST_WINDOW)
                        window, reading = following, next_reading
                    for claim, _ in waiting:
                        claim.wait()
                    left = np.concatenate([left, *(indices for _, indices in waiting)])
            finally:
                readers.shutdown(wait=True, cancel_futures=True)

    def _read(self, window: NDArray[np.intp], readers: ThreadPoolExecutor) -> dict[int, Future[_Prepared]]:
        """Begin to read and digest the samples of a window whose digest is not known."""
        return {int(i): readers.submit(self._prepare, int(i)) for i in window if not self.known[i]}

    def _prepare(self, i: int) -> _Prepared:
        sample = self.samples[i]
        name = sample_name(sample, i)
        content = _content(sample, self.plan.preprocess, name, i)
        key = digest_array(content) if isinstance(content, np.ndarray) else digest_bytes(content)
        # Encoded bytes and arrays that X holds anyway cost nothing to keep; files are kept while there is room, else read again.
        n_bytes = len(content) if isinstance(content, bytes) and content is not sample else 0
        if isinstance(content, np.ndarray) and content is not sample:
            n_bytes = content.nbytes
        if n_bytes > self.payload_room:
            return _Prepared(key, None)
        self.payload_room -= n_bytes
        return _Prepared(key, content)

    def _gather(
        self, window: NDArray[np.intp], reading: dict[int, Future[_Prepared]]
    ) -> dict[int, bytes | NDArray[np.uint8] | None]:
        """Take in the digests of a window; remember those of files."""
        payloads: dict[int, bytes | NDArray[np.uint8] | None] = {}
        fresh = []
        for i, future in reading.items():
            try:
                prepared = future.result()
            except SampleError as error:
                self._fail(i, error)
                continue
            self.keys[i] = np.frombuffer(prepared.key, dtype=np.uint8)
            self.known[i] = True
            payloads[i] = prepared.payload
            fresh.append(i)
        self.payload_room = (
            _PAYLOAD_BYTES  # the next window's budget; at most two windows' payloads are alive
        )
        self._settle()
        self._remember(np.asarray(fresh, dtype=np.intp))
        return payloads

    def _remember(self, indices: NDArray[np.intp]) -> None:
        if self.identities is None or self.store is None:
            return
        named = indices[self.identities[indices].any(axis=1)]
        if len(named):
            self._guarded(lambda: self.files.remember(self.identities[named], self.keys[named]))  # type: ignore[index]  # checked above

    def _window(
        self,
        window: NDArray[np.intp],
        payloads: dict[int, bytes | NDArray[np.uint8] | None],
        lanes: ThreadPoolExecutor,
        share: bool,
    ) -> list[tuple[Claim, NDArray[np.intp]]]:
        """Compute what a window lacks; return what others are computing, with the claims to wait for."""
        window = window[self.known[window] & ~self.done[window]]
        if not len(window):
            return []
        jobs = self._jobs(window, payloads)
        waiting: list[tuple[Claim, NDArray[np.intp]]] = []
        with ExitStack() as held:
            if share and self.store is not None:
                # In the order of the ids, so that two runs over the same spaces meet at the same one.
                for space in sorted({s.id for s in self.plan.spaces}):
                    if not jobs:
                        break
                    claim = held.enter_context(self.store.claim(space, _keys_of(jobs)))
                    others = [job for job, taken in zip(jobs, claim.taken, strict=True) if taken]
                    jobs = [job for job, taken in zip(jobs, claim.taken, strict=True) if not taken]
                    if others:
                        waiting.append(
                            (claim, np.asarray([i for job in others for i in job.indices], dtype=np.intp))
                        )
                jobs = self._drop_stored(jobs)
            if jobs:
                self._compute(jobs, lanes)
        return waiting

    def _jobs(
        self, window: NDArray[np.intp], payloads: dict[int, bytes | NDArray[np.uint8] | None]
    ) -> list[Job]:
        """The distinct samples of a window that no lookup answers, doubles folded."""
        self._fill_from_store(window)
        by_key: dict[bytes, Job] = {}
        for i in window[~self.done[window]]:
            key = self.keys[i].tobytes()
            if self.store is None and key in self.first_row:
                self.out[i] = self.out[self.first_row[key]]
                self._finish(np.asarray([i]))
            elif key in by_key:
                by_key[key].indices.append(int(i))
            else:
                by_key[key] = Job(key=key, indices=[int(i)], payload=payloads.get(int(i)))
        return list(by_key.values())

    def _drop_stored(self, jobs: list[Job]) -> list[Job]:
        """Look again once the claim is held: another process may have stored a vector in between."""
        indices = np.asarray(sorted(i for job in jobs for i in job.indices), dtype=np.intp)
        self._fill_from_store(indices)
        return [job for job in jobs if not self.done[job.indices[0]]]

    def _compute(self, jobs: list[Job], lanes: ThreadPoolExecutor) -> None:
        """Run the jobs, then put and hand out every row that was computed, also when something fails on the way."""
        rows = [np.empty((len(jobs), width), dtype=np.float32) for width in self.plan.widths]
        session, size = self.plan.session(), self.plan.batch_size
        try:
            run_jobs(
                jobs,
                decode=self._decode,
                session=session,
                rows=rows,
                lanes=lanes,
                n_lanes=self.plan.n_workers,
                # A graph whose rows depend on their batch is not allowed a batch.
                batch_size=size if size == 1 or session.rows_are_independent else 1,
                on_cpu=self.plan.device.kind == "cpu",
                stop_on_error=self.plan.on_error == "raise",
                advance=self.advance,
            )
        finally:
            self._keep(jobs, rows)
        for job in jobs:
            if job.error is not None:
                for i in job.indices:
                    self._fail(i, job.error)
        self._settle()

    def _keep(self, jobs: list[Job], rows: list[NDArray[np.float32]]) -> None:
        ready = [at for at, job in enumerate(jobs) if job.done]
        if not ready:
            return
        self.n_computed += len(ready)
        keys = np.frombuffer(b"".join(jobs[at].key for at in ready), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        for space, part in zip(self.plan.spaces, rows, strict=True):
            self._put(space, keys, part[ready])
        for at in ready:
            indices = jobs[at].indices
            for columns, part in zip(self.columns, rows, strict=True):
                self.out[indices, columns] = part[at]
            self.keys[indices] = np.frombuffer(jobs[at].key, dtype=np.uint8)
            self.done[indices] = True
            self.advance(len(indices) - 1)  # the lane counted the sample itself
            if self.store is None:
                self.first_row[jobs[at].key] = indices[0]

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
                f"{error} Going on without storing what is computed now.", FeatxWarning, stacklevel=2
            )
            self.store = None

    def _decode(self, job: Job) -> NDArray[np.uint8]:
        """Pixels of a job, from what was read for its digest, or read again."""
        i = job.indices[0]
        sample, preprocess = self.samples[i], self.plan.preprocess
        name = sample_name(sample, i)
        content, job.payload = job.payload, None
        if content is None:
            content = _content(sample, preprocess, name, i)
            if isinstance(content, bytes):
                # The file may have changed since it was digested: a row belongs to the very bytes it was decoded from.
                job.key = digest_bytes(content)
        if isinstance(content, bytes):
            return decode(content, preprocess, name=name, index=i)
        return fit(content, preprocess)

    # --- accounts ---

    def _finish(self, indices: NDArray[np.intp]) -> None:
        self.done[indices] = True
        self.advance(len(indices))

    def _fail(self, i: int, error: SampleError) -> None:
        name = sample_name(self.samples[i], i)
        self.errors[i] = type(error)(error.message, index=i, name=name)
        self.out[i] = np.nan
        self.done[i] = True

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
    "the store holds no vector for this digest in this feature space. Compute it where the image is "
    "(featx embed), with the same backbone, tap, pooling and preprocessing, and copy or share that cache folder."
)


def _content(sample: Any, preprocess: ImagePreprocess, name: str, index: int) -> bytes | NDArray[np.uint8]:
    """A sample's encoded bytes, or its pixels as a canonical RGB array."""
    if isinstance(sample, bytes):
        return sample
    if isinstance(sample, str | Path):
        try:
            return Path(sample).read_bytes()
        except OSError as error:
            raise UnreadableSampleError(_reason(error), index=index, name=name) from error
    return canonical(sample, preprocess, name=name, index=index)


def _unreadable_path(path: str | Path) -> UnreadableSampleError:
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:
        return UnreadableSampleError(_reason(error))
    return UnreadableSampleError("cannot be looked at.")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'no such file. Check the path, or pass on_error="nan".'
    if isinstance(error, IsADirectoryError):
        return "is a folder, expected an image file. List its files, or use featx.read_dataset."
    if isinstance(error, PermissionError):
        return "permission denied. Make the file readable, or leave it out."
    return f"cannot be read ({error})."


def _keys_of(jobs: list[Job]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(job.key for job in jobs), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _chunks(indices: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [indices[at : at + size] for at in range(0, len(indices), size)]


def _is_run(indices: NDArray[np.intp]) -> bool:
    return bool(indices[-1] - indices[0] + 1 == len(indices)) if len(indices) else False
