"""Advisory locks on files, between processes, threads and store instances, with a fallback where there are none.

Owns the only use of ``fcntl`` and ``msvcrt``. The invariant: a lock is gone the moment its owner is, however it ended,
because the operating system holds it and not a file's existence. It refuses nothing: on a file system without working
locks, ``exclusive`` yields False and ``try_lock`` returns None, and callers go on without.

A lock belongs to the process that took it: a forked child closes its copies of the descriptors, so that it
neither holds nor frees its parent's locks.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "exclusive", "is_held", "locks_enabled", "locks_work", "try_lock"]

logger = logging.getLogger("featx")

LOCKS_VARIABLE = "FEATX_STORE_LOCKS"
"""Set to ``0``, the store works without locks: for file systems whose locks hang, and for tests of that case."""

_BUSY = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_LONGEST_SLEEP_S = 0.05

# Windows locks are mandatory: a locked byte cannot be read. So the byte that is locked lies past any content.
_WINDOWS_LOCK_OFFSET = 0x7FFFFFF0

_open_locks: set[FileLock] = set()
_thread_mutexes: dict[str, threading.Lock] = {}
_registry = threading.Lock()
_reported = False


class FileLock:
    """A lock that this process holds on an open file; closing it, or the end of the process, frees it.

    Attributes
    ----------
    path : Path
    fd : int
        Open for writing, where that is allowed.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        _open_locks.add(self)

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        fd = self._forget()
        if fd >= 0:
            # Not left to closing: a child forked at the wrong moment may have a copy of the descriptor, and
            # Windows frees the locks of a closed file only "some time" later.
            _unlock(fd)
            os.close(fd)

    def abandon(self) -> None:
        """In a forked child: close the copy, leaving the parent its lock."""
        fd = self._forget()
        if fd >= 0:
            os.close(fd)

    def _forget(self) -> int:
        _open_locks.discard(self)
        fd, self.fd = self.fd, -1
        return fd


def locks_enabled() -> bool:
    """Whether locks are to be tried at all: not where the user said so."""
    return os.environ.get(LOCKS_VARIABLE, "") != "0"


def locks_work(folder: Path) -> bool:
    """Whether two holders of a lock in this folder exclude each other.

    Parameters
    ----------
    folder : Path
        A probe is written into it and removed.

    Returns
    -------
    bool

    Raises
    ------
    OSError
        When the folder cannot be written.
    """
    probe = folder / f".tmp-locks-{os.getpid()}-{threading.get_ident()}"
    first = try_lock(probe)
    try:
        return isinstance(first, FileLock) and try_lock(probe) is False
    finally:
        if isinstance(first, FileLock):
            first.release()
        probe.unlink(missing_ok=True)


def try_lock(path: Path, *, shared: bool = False, create: bool = True) -> FileLock | bool | None:
    """Take a lock without waiting.

    Parameters
    ----------
    path : Path
        File to lock; its folder exists.
    shared : bool
        Beside other shared locks. Windows has none: there the lock is exclusive.
    create : bool
        Whether to create the file.

    Returns
    -------
    FileLock, or False when another process or descriptor holds it, or None when locks do not work here

    Raises
    ------
    OSError
        When the file cannot be opened; FileNotFoundError without ``create``.
    """
    if not locks_enabled():
        return None
    fd = _open_file(path, create=create)
    try:
        _lock_now(fd, shared=shared)
    except OSError as error:
        os.close(fd)
        if error.errno in _BUSY:
            return False
        _report(path, error)
        return None
    return FileLock(path, fd)


def is_held(path: Path) -> bool:
    """Whether a living process holds an exclusive lock on the file, as far as locks work.

    Must not be asked about a file that this process itself has locked: on file systems that emulate these locks with
    POSIX record locks (NFS), closing any descriptor of a file frees every lock the process has on it.
    """
    try:
        lock = try_lock(path, shared=True, create=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # of another user, who lets nobody look
    if isinstance(lock, FileLock):
        lock.release()
        return False
    return lock is False


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[bool | None]:
    """Hold a file's lock, against other threads of this process too.

    Not reentrant. The file is created when missing and never deleted by this function; when somebody deletes
    its folder meanwhile, the lock is taken again on the new file.

    Parameters
    ----------
    path : Path
        File to lock; its folder exists.
    wait : bool
        Whether to wait for the present holder.

    Yields
    ------
    bool or None
        True: held. False: held by this process's threads only, since locks do not work here. None: not waited
        for, and somebody else holds it.

    Raises
    ------
    OSError
        When the file cannot be created.
    """
    with _registry:
        mutex = _thread_mutexes.setdefault(os.path.abspath(path), threading.Lock())
    if not mutex.acquire(blocking=wait):
        yield None
        return
    lock: FileLock | bool | None = None
    try:
        lock = _wait_for(path) if wait else _current(path)
        yield None if lock is False else lock is not None
    finally:
        if isinstance(lock, FileLock):
            lock.release()
        mutex.release()


def _wait_for(path: Path) -> FileLock | None:
    sleep_s = 0.0005
    while True:
        lock = _current(path)
        if not isinstance(lock, bool):
            return lock
        time.sleep(sleep_s)
        sleep_s = min(2 * sleep_s, _LONGEST_SLEEP_S)


def _current(path: Path) -> FileLock | bool | None:
    """A lock on the file that is at ``path`` now, not on one that was deleted while it was being opened."""
    lock = try_lock(path)
    if isinstance(lock, FileLock) and not _is_at(lock.fd, path):
        lock.release()
        return False
    return lock


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _open_file(path: Path, *, create: bool) -> int:
    flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_NOINHERIT", 0)
    try:
        return os.open(path, flags, 0o666)
    except PermissionError:
        # Another user's file in a shared folder: whoever can read it can lock it, except on NFS.
        return os.open(path, os.O_RDONLY | getattr(os, "O_NOINHERIT", 0))


def _lock_now(fd: int, *, shared: bool) -> None:
    if sys.platform == "win32":
        os.lseek(fd, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _unlock(fd: int) -> None:
    with suppress(OSError):
        if sys.platform == "win32":
            os.lseek(fd, _WINDOWS_LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _report(path: Path, error: OSError) -> None:
    global _reported
    if not _reported:
        _reported = True
        logger.debug(
            "file locks do not work at %s (%s): some rows may be computed more than once", path, error
        )


def _forget_after_fork() -> None:
    """In a forked child: the descriptors are the parent's, and so is a mutex that one of its threads held."""
    global _registry
    _registry = threading.Lock()
    _thread_mutexes.clear()
    for lock in list(_open_locks):
        lock.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
