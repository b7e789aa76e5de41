"""Claims: who is computing which keys at this moment.

Owns ``<space>/claims/``. A claim is a file that lists keys and is held locked by its living owner. The invariants: two
live claims of one space never list the same key, and a claim whose owner has ended, however it ended, counts for
nothing from that moment on. Claims only save work: nothing is wrong with the rows when they are lost.

Nobody waits while holding a claim (`Claim.wait` releases first), so claimants cannot wait for each other in a circle.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from featx.store import locks
from featx.store.digest import DIGEST_BYTES, Keys
from featx.store.index import as_words, first_occurrences

__all__ = ["Claim", "has_live_claims", "take_claim", "unshared_claim"]

logger = logging.getLogger("featx")

FOLDER = "claims"
_SHORTEST_SLEEP_S, _LONGEST_SLEEP_S = 0.002, 0.1


class Claim:
    """Keys that the caller is to compute, and those that others are computing.

    A context manager; leaving it releases the claim.

    Attributes
    ----------
    mine : (n,) bool
        Of the keys asked for: True where the caller is to compute the row, once for each distinct key.
    taken : (n,) bool
        True where somebody else is computing the row now. Keys that are neither were stored already.
    """

    def __init__(
        self,
        mine: npt.NDArray[np.bool_],
        taken: npt.NDArray[np.bool_],
        held: _Held | None = None,
        others: tuple[_Held | Path, ...] = (),
    ) -> None:
        self.mine = mine
        self.taken = taken
        self._held = held
        self._others = others

    def wait(self, timeout_s: float | None = None) -> bool:
        """Release this claim, then wait until the others that were found live are done.

        Put your own rows first: whoever waits for them looks again once this claim is released. Afterwards
        look up what was not yours; what is still missing was given up by its claimant: claim again.

        Parameters
        ----------
        timeout_s : float, optional
            Seconds to wait at most; None waits as long as it takes.

        Returns
        -------
        bool
            False when the time ran out.
        """
        self.release()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        sleep_s = _SHORTEST_SLEEP_S
        for other in self._others:
            while _is_live(other):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                time.sleep(sleep_s)
                sleep_s = min(2 * sleep_s, _LONGEST_SLEEP_S)
        return True

    def release(self) -> None:
        """Give the claim up; a second call does nothing."""
        if self._held is not None:
            self._held.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Held:
    """The locked file of a claim of this process."""

    def __init__(self, lock: locks.FileLock, keys: frozenset[bytes]) -> None:
        self.keys = keys
        self.path = lock.path
        self.live = True
        self._lock = lock
        self._pid = os.getpid()

    def release(self) -> None:
        # A forked child that leaves the ``with`` it was born in must not end its parent's claim.
        if not self.live or self._pid != os.getpid():
            return
        self.live = False
        with _registry:
            _own.pop(os.path.abspath(self.path), None)
        if os.name == "posix":
            # Deleted while still locked, so that nobody takes the file for a dead claim's and waits for its lock.
            with suppress(OSError):
                os.unlink(self.path)
        self._lock.release()
        if os.name != "posix":
            with suppress(OSError):
                os.unlink(self.path)


_own: dict[str, _Held] = {}
_registry = threading.Lock()


def take_claim(space: Path, keys: Keys, stored: npt.NDArray[np.bool_]) -> Claim:
    """Claim those of the keys that are neither stored nor claimed.

    The caller holds the space's mutex, has looked the keys up since it has it, and locks work.

    Parameters
    ----------
    space : Path
        The space's folder.
    keys : (n, 16) uint8
    stored : (n,) bool

    Returns
    -------
    Claim
    """
    folder = space / FOLDER
    raw = keys.tobytes()
    wanted: dict[bytes, int] = {}
    for index in np.flatnonzero(~stored).tolist():
        wanted.setdefault(raw[DIGEST_BYTES * index : DIGEST_BYTES * (index + 1)], index)
    others: list[_Held | Path] = []
    taken = np.zeros(len(keys), bool)
    for other, claimed in _live_claims(folder):
        shared = claimed & wanted.keys()
        if shared:
            others.append(other)
            for key in shared:
                taken[wanted.pop(key)] = True
    mine = np.zeros(len(keys), bool)
    mine[list(wanted.values())] = True
    held = _hold(folder, frozenset(wanted)) if wanted else None
    return Claim(mine, taken, held, tuple(others))


def unshared_claim(keys: Keys, stored: npt.NDArray[np.bool_]) -> Claim:
    """A claim where locks do not work: everything that is not stored is the caller's, once for each distinct key."""
    mine = np.zeros(len(keys), bool)
    mine[first_occurrences(as_words(keys))] = True
    return Claim(mine & ~stored, np.zeros(len(keys), bool))


def has_live_claims(space: Path) -> bool:
    """Whether anybody is computing something for this space now; the caller holds the space's mutex."""
    return any(True for _ in _live_claims(space / FOLDER))


def _hold(folder: Path, keys: frozenset[bytes]) -> _Held | None:
    path = folder / f"{os.getpid()}-{secrets.token_hex(8)}.claim"
    lock: locks.FileLock | bool | None = None
    try:
        folder.mkdir(exist_ok=True)
        lock = locks.try_lock(path)
        if not isinstance(lock, locks.FileLock):
            return None
        data = memoryview(b"".join(keys))
        while len(data):
            data = data[os.write(lock.fd, data) :]
    except OSError as error:
        # A full or read-only disk: the work may be done twice, which is no reason to stop it.
        logger.debug("no claim on %d keys at %s: %s", len(keys), folder, error)
        if isinstance(lock, locks.FileLock):
            lock.release()
            with suppress(OSError):
                os.unlink(path)
        return None
    held = _Held(lock, keys)
    with _registry:
        _own[os.path.abspath(path)] = held
    return held


def _live_claims(folder: Path) -> list[tuple[_Held | Path, frozenset[bytes]]]:
    """Claims whose owners live, with their keys; deletes those of dead ones."""
    try:
        paths = [Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith(".claim")]
    except FileNotFoundError:
        return []
    live: list[tuple[_Held | Path, frozenset[bytes]]] = []
    for path in paths:
        with _registry:
            held = _own.get(os.path.abspath(path))
        if held is not None:
            live.append((held, held.keys))
        elif locks.is_held(path):
            with suppress(OSError):
                data = path.read_bytes()
                whole = range(0, len(data) - DIGEST_BYTES + 1, DIGEST_BYTES)
                live.append((path, frozenset(data[at : at + DIGEST_BYTES] for at in whole)))
        else:
            with suppress(OSError):
                os.unlink(path)
    return live


def _is_live(claim: _Held | Path) -> bool:
    return claim.live if isinstance(claim, _Held) else locks.is_held(claim)


def _forget_after_fork() -> None:
    """The claims a forked child finds in memory are its parent's: it asks the file system about them, like anybody."""
    global _registry
    _registry = threading.Lock()
    for held in _own.values():
        held.live = False
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
