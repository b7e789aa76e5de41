"""Jobs laid on a device: lanes of a CPU, and decoders that feed a GPU."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from featx.errors import DeviceMemoryError, UnreadableSampleError
from featx.inference.batching import ImageBatching
from featx.inference.lanes import Job, Lanes, Work


class Recorder:
    """A session that remembers its batches and has no memory beyond ``limit`` rows."""

    rows_are_independent = True

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.batches: list[int] = []

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        if len(batch) > self.limit:
            raise DeviceMemoryError("out of memory")
        self.batches.append(len(batch))
        return [batch.reshape(len(batch), -1)[:, :2].astype(np.float32)]


def decode(job: Job) -> np.ndarray:
    if job.content == "broken":
        raise UnreadableSampleError("broken", index=job.indices[0])
    return np.full((1, 2, 1), job.indices[0], dtype=np.uint8)


def jobs_of(n: int) -> list[Job]:
    return [Job(key=bytes([i]) * 16, indices=[i]) for i in range(n)]


def lanes_of(
    session: Recorder, *, on_cpu: bool, batch_size: int = 1, n_lanes: int = 2, stop_on_error: bool = True
) -> Lanes:
    return Lanes(
        decode=decode,
        session=session,  # type: ignore[arg-type]  # a stand-in
        widths=(2,),
        n_lanes=n_lanes,
        batching=ImageBatching(batch_size),
        on_cpu=on_cpu,
        stop_on_error=stop_on_error,
        advance=lambda n: None,
    )


def run(session: Recorder, n: int, *, on_cpu: bool, batch_size: int = 1) -> Work:
    with lanes_of(session, on_cpu=on_cpu, batch_size=batch_size) as lanes:
        work = lanes.start(jobs_of(n))
        lanes.wait(work)
    assert all(job.done for job in work.jobs)
    return work


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_job_gets_its_own_row(on_cpu: bool, batch_size: int) -> None:
    work = run(Recorder(), 50, on_cpu=on_cpu, batch_size=batch_size)
    np.testing.assert_array_equal(work.rows[0], np.repeat(np.arange(50.0)[:, None], 2, axis=1))


def test_a_fed_device_gets_full_batches_of_one_size() -> None:
    session = Recorder()
    run(session, 21, on_cpu=False, batch_size=8)
    assert set(session.batches) == {8}


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    session = Recorder(limit=3)
    run(session, 21, on_cpu=False, batch_size=8)
    assert max(session.batches) == 2


def test_out_of_memory_with_one_row_is_an_error() -> None:
    with pytest.raises(DeviceMemoryError):
        run(Recorder(limit=0), 4, on_cpu=False, batch_size=2)


def test_rows_that_depend_on_their_batch_are_run_one_at_a_time() -> None:
    session = Recorder()
    session.rows_are_independent = False
    run(session, 9, on_cpu=True, batch_size=4)
    assert set(session.batches) == {1}


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_broken_job_keeps_its_error_and_the_others_their_rows(on_cpu: bool) -> None:
    jobs = jobs_of(20)
    jobs[7].content = "broken"
    with lanes_of(Recorder(), on_cpu=on_cpu, stop_on_error=False) as lanes:
        work = lanes.start(jobs)
        lanes.wait(work)
    assert isinstance(jobs[7].error, UnreadableSampleError)
    assert [at for at, job in enumerate(jobs) if not job.done] == [7]


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_first_broken_job_stops_the_lanes_where_asked(on_cpu: bool) -> None:
    jobs = jobs_of(200)
    jobs[0].content = "broken"
    with lanes_of(Recorder(), on_cpu=on_cpu) as lanes:
        work = lanes.start(jobs)
        lanes.wait(work)
    assert jobs[0].error is not None
    assert not all(job.done for job in jobs[1:])


@pytest.mark.parametrize("on_cpu", [True, False])
def test_what_ends_a_lane_is_raised_to_whoever_waits(on_cpu: bool) -> None:
    class Failing(Recorder):
        def run(self, batch: np.ndarray) -> list[np.ndarray]:
            raise RuntimeError("the device fell off")

    with lanes_of(Failing(), on_cpu=on_cpu) as lanes, pytest.raises(RuntimeError, match="fell off"):
        lanes.wait(lanes.start(jobs_of(5)))


@pytest.mark.parametrize("on_cpu", [True, False])
def test_leaving_ends_every_thread(on_cpu: bool) -> None:
    class Slow(Recorder):
        def run(self, batch: np.ndarray) -> list[np.ndarray]:
            time.sleep(0.005)
            return super().run(batch)

    before = threading.active_count()
    with lanes_of(Slow(), on_cpu=on_cpu) as lanes:
        work = lanes.start(jobs_of(200))
    assert threading.active_count() == before
    assert not all(job.done for job in work.jobs)
