"""The loop between samples, store and sessions, under processes, interruptions and failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx import EmbeddingStore, ImageFeatures
from featx.inference.lanes import Job
from featx.inference.reading import Reader, Reading
from featx.inference.runtime import Session
from featx.testing import counted_rows, tiny_backbone


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """600 distinct PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(11)
    paths = [str(folder / f"{i:03}.png") for i in range(600)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (33, 33, 3), dtype=np.uint8)).save(path, compress_level=0)
    return paths


# A process that embeds, counts the rows it computed, and can be slowed so that processes overlap for certain.
WORKER = """
import sys, time
import numpy as np
from pathlib import Path
from featx import ImageFeatures
from featx.inference.runtime import Session
from featx.store import locks
backbone, cache, pictures, out, delay_s, with_locks = sys.argv[1:7]
if with_locks == "0":
    locks.locks_enabled = lambda: False
run = Session.run
n = 0
def slow(self, batch):
    global n
    n += len(batch)
    time.sleep(float(delay_s))
    return run(self, batch)
Session.run = slow
paths = Path(pictures).read_text().splitlines()
features = ImageFeatures(backbone, cache=cache, device="cpu", n_workers=2, batch_size=1).fit(None)
print("ready", flush=True)
sys.stdin.readline()
vectors = features.transform(paths)
np.save(out, vectors)
print(n, flush=True)
"""


def start(
    tiny: Path, cache: Path, pictures: list[str], out: Path, *, delay_s: float = 0.0, with_locks: bool = True
) -> subprocess.Popen[str]:
    listing = out.with_suffix(".txt")
    listing.write_text("\n".join(pictures))
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, tiny, cache, listing, out, str(delay_s), str(int(with_locks))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def n_computed(process: subprocess.Popen[str]) -> int:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return int(out)


def test_four_cold_processes_compute_each_sample_once(
    tiny: Path, pictures: list[str], tmp_path: Path
) -> None:
    orders = [pictures, pictures[::-1], pictures[200:] + pictures[:200], pictures]
    outs = [tmp_path / f"{i}.npy" for i in range(4)]
    workers = [
        start(tiny, tmp_path / "cache", order, out, delay_s=0.002)
        for order, out in zip(orders, outs, strict=True)
    ]
    go(*workers)
    counts = [n_computed(worker) for worker in workers]
    assert sum(counts) == len(pictures)
    expected = ImageFeatures(tiny, cache=None).fit_transform(pictures)
    for order, out in zip(orders, outs, strict=True):
        rows = np.load(out)
        np.testing.assert_array_equal(rows, expected[[pictures.index(p) for p in order]])


def test_without_locks_four_processes_give_equal_rows(
    tiny: Path, pictures: list[str], tmp_path: Path
) -> None:
    outs = [tmp_path / f"{i}.npy" for i in range(4)]
    some = pictures[:200]
    workers = [start(tiny, tmp_path / "cache", some, out, with_locks=False) for out in outs]
    go(*workers)
    assert sum(n_computed(worker) for worker in workers) >= len(some)
    expected = ImageFeatures(tiny, cache=None).fit_transform(some)
    for out in outs:
        np.testing.assert_array_equal(np.load(out), expected)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_was_computed_before_the_end_is_kept(
    tiny: Path, pictures: list[str], tmp_path: Path, how: signal.Signals
) -> None:
    cache = tmp_path / "cache"
    worker = start(tiny, cache, pictures, tmp_path / "out.npy", delay_s=0.01)
    go(worker)
    deadline = time.monotonic() + 60
    while _n_stored(cache) == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # into a later window
    worker.send_signal(how)
    worker.communicate(timeout=60)
    assert worker.returncode != 0
    kept = _n_stored(cache)
    assert 0 < kept < len(pictures)
    with counted_rows() as rows:
        again = ImageFeatures(tiny, cache=cache).fit_transform(pictures)
    assert rows.n == len(pictures) - kept
    np.testing.assert_array_equal(again, ImageFeatures(tiny, cache=None).fit_transform(pictures))


def _n_stored(cache: Path) -> int:
    if not cache.is_dir():
        return 0
    spaces = EmbeddingStore(cache).spaces()
    return sum(space.n_rows for space in spaces if "space" in (space.description or {}))


def test_an_interruption_keeps_the_window_in_progress(
    tiny: Path, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Session.run
    rows = []

    def interrupted(self: Session, batch: np.ndarray) -> list[np.ndarray]:
        if sum(rows) > 200:
            raise KeyboardInterrupt
        rows.append(len(batch))
        return run(self, batch)

    monkeypatch.setattr(Session, "run", interrupted)
    features = ImageFeatures(tiny, cache=tmp_path / "cache", n_workers=1, batch_size=1).fit(None)
    with pytest.raises(KeyboardInterrupt):
        features.transform(pictures)
    assert 200 < sum(rows) < len(pictures)
    assert _n_stored(tmp_path / "cache") == sum(rows)


def test_a_growing_data_set_computes_only_what_is_new(
    tiny: Path, pictures: list[str], tmp_path: Path
) -> None:
    features = ImageFeatures(tiny, cache=tmp_path / "cache").fit(None)
    features.transform(pictures[:100])
    with counted_rows() as rows:
        features.transform(pictures[50:150][::-1])
    assert rows.n == 50


def test_two_threads_of_one_process_share_the_work(tiny: Path, pictures: list[str], tmp_path: Path) -> None:
    features = ImageFeatures(tiny, cache=tmp_path / "cache", n_workers=1).fit(None)
    results: list[np.ndarray] = []
    with counted_rows() as rows:
        threads = [
            threading.Thread(target=lambda: results.append(features.transform(pictures))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert rows.n == len(pictures)
    np.testing.assert_array_equal(results[0], results[1])


def test_doubles_are_folded_without_a_store_too(tiny: Path, pictures: list[str]) -> None:
    with counted_rows() as rows:
        ImageFeatures(tiny, cache=None).fit_transform(pictures * 2)
    assert rows.n == len(pictures)


def settled(*folders: Path) -> None:
    """Date files so far back that their digests are remembered."""
    for folder in folders:
        for path in folder.iterdir():
            os.utime(path, (1e9, 1e9))
    time.sleep(2.1)  # the change time, which nobody can set


def test_a_link_moved_during_a_run_and_back_serves_no_other_vectors(
    tiny: Path, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, chosen in (("v1", pictures[:30]), ("v2", pictures[30:60])):
        (tmp_path / name).mkdir()
        for i, path in enumerate(chosen):
            shutil.copy(path, tmp_path / name / f"{i:02}.png")
    settled(tmp_path / "v1", tmp_path / "v2")
    link = tmp_path / "data"
    link.symlink_to("v1")
    X = [str(link / f"{i:02}.png") for i in range(30)]
    truth = ImageFeatures(tiny, cache=None).fit_transform(X)
    begin = Reader.begin

    def moved(self: Reader, indices: np.ndarray) -> object:
        link.unlink()
        link.symlink_to("v2")
        return begin(self, indices)

    with monkeypatch.context() as during:
        during.setattr(Reader, "begin", moved)
        ImageFeatures(tiny, cache=tmp_path / "cache").fit_transform(X)
    link.unlink()
    link.symlink_to("v1")
    again = ImageFeatures(tiny, cache=tmp_path / "cache").fit_transform(X)
    np.testing.assert_allclose(again, truth, atol=1e-5 * np.abs(truth).max())


def test_a_file_that_vanishes_does_not_take_its_doubles_along(
    tiny: Path, pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(pictures[0], tmp_path / name)
    first, double = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    monkeypatch.setattr(Reading, "holds", lambda self, n_bytes: False)  # everything is read twice
    begin = Reader.prepared

    def vanish(self: Reader, jobs: list[Job]) -> list[Job]:
        Path(first).unlink(missing_ok=True)
        return begin(self, jobs)

    monkeypatch.setattr(Reader, "prepared", vanish)
    features = ImageFeatures(tiny, cache=tmp_path / "cache", on_error="nan").fit(None)
    extraction = features.extract([first, double, pictures[1]])
    assert list(extraction.errors) == [0]
    assert "no such file" in str(extraction.errors[0])
    assert np.isfinite(extraction.vectors[1:]).all()
