"""Locks exclude threads, instances and processes, and end with their owner."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from featx.store import locks
from featx.store.locks import FileLock, exclusive, is_held, locks_work, try_lock

HOLDER = """
import sys, time
from pathlib import Path
from featx.store import locks
lock = locks.try_lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_holder_is_turned_away_until_the_first_is_done(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = try_lock(path)
    assert isinstance(first, FileLock)
    assert try_lock(path) is False
    assert is_held(path)
    first.release()
    assert not is_held(path)


def test_shared_locks_go_side_by_side_but_not_with_an_exclusive_one(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no shared locks")
    path = tmp_path / "lock"
    one, two = try_lock(path, shared=True), try_lock(path, shared=True)
    assert isinstance(one, FileLock)
    assert isinstance(two, FileLock)
    assert try_lock(path) is False
    one.release()
    two.release()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_held(path)
        holder.kill()
        holder.wait()
        assert not is_held(path)


def test_only_one_thread_at_a_time_is_inside(tmp_path: Path) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path / "lock") as held:
                assert held is True
                inside += 1
                most = max(most, inside)
                time.sleep(0.0002)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = try_lock(path)  # as another process would hold it
    assert isinstance(other, FileLock)
    with exclusive(path, wait=False) as held:
        assert held is None
    other.release()
    with exclusive(path, wait=False) as held:
        assert held is True


def test_a_lock_file_deleted_meanwhile_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = try_lock(path)
    assert isinstance(other, FileLock)
    entered = threading.Event()

    def enter() -> None:
        with exclusive(path):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.05)
    path.unlink()
    assert entered.wait(5), "waited for a lock on a file that is no longer there"
    thread.join()
    other.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_neither_holds_nor_frees_its_parents_lock(tmp_path: Path) -> None:
    # In a fresh process: this one may have threads, and a fork of those is warned about.
    script = f"""
import os, time
from pathlib import Path
from featx.store import locks
path = Path({str(tmp_path / "lock")!r})
lock = locks.try_lock(path)
release, wait = os.pipe()
child = os.fork()
if child == 0:
    lock.release()                      # the child's copy: must not free the parent's lock
    with locks.exclusive(path.with_name("other")) as held:
        assert held                     # and the child can lock on its own
    time.sleep(60)
time.sleep(0.1)
assert locks.try_lock(path) is False, "the child freed it"
lock.release()
assert locks.try_lock(path) is not False, "the child holds it"
os.kill(child, 9)
os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_locks_work_here(tmp_path: Path) -> None:
    assert locks_work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_locks_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_STORE_LOCKS", "0")
    assert not locks_work(tmp_path)
    assert try_lock(tmp_path / "lock") is None
    with exclusive(tmp_path / "lock") as held:
        assert held is False


def test_a_file_system_without_locks_is_reported_once_and_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(fd: int, *, shared: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock_now", refuse)
    monkeypatch.setattr(locks, "_reported", False)
    with caplog.at_level(logging.DEBUG, "featx"):
        for _ in range(3):
            with exclusive(tmp_path / "lock") as held:
                assert held is False
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "No locks available" in caplog.text
    assert not is_held(tmp_path / "lock")


def test_threads_exclude_each_other_without_file_locks_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_STORE_LOCKS", "0")
    with exclusive(tmp_path / "lock"):
        seen: list[bool | None] = []

        def enter() -> None:
            with exclusive(tmp_path / "lock", wait=False) as held:
                seen.append(held)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert seen == [None]


def test_a_lock_file_that_may_only_be_read_is_locked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("locking needs a writable file there")
    path = tmp_path / "lock"
    path.touch()
    real_open = os.open

    def refuse_writing(file: Path, flags: int, *args: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_open(file, flags, *args)

    monkeypatch.setattr(
        os, "open", refuse_writing
    )  # as another user's file answers; the superuser may write it
    with exclusive(path) as held:
        assert held is True
        assert is_held(path)
