"""The memory of file digests: a file that has not changed since is not read again.

Owns what makes two looks at a file the same: its absolute path, size, modification and change times in
nanoseconds, inode and device. The invariant: a remembered digest is that of the file's present content. A
file rewritten in place with its old modification time differs in its change time; one changed in the last two
seconds might be changed again within the resolution of its times, and is not remembered.

The memory is a space of the store: its keys are identities, its rows content digests.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from os.path import isabs
from struct import Struct

import numpy as np
import numpy.typing as npt

from featx.store.digest import DIGEST_BYTES, Keys, digest_many
from featx.store.store import EmbeddingStore

__all__ = ["FileDigests", "identify"]

SPACE = "file-digests"
_DESCRIPTION = {
    "memory": "content digests of files",
    "key": "digest of absolute path, size, mtime, ctime, inode, device",
    "row": "digest of the file's bytes",
}
_RECENT_NS = 2_000_000_000
_FIELDS = Struct("<3q2Q")
_WORD = (1 << 64) - 1
_KIND_BITS = stat.S_IFMT(0xFFFF)  # the bits of st_mode that say what it is
# The last bit of an identity says that the file was changed just now: such an identity is never stored, so never found.
_RECENT_BIT = np.uint8(1)


Look = Callable[[str], os.stat_result]


class FileDigests:
    """Content digests of files, by what ``stat`` says of them.

    Parameters
    ----------
    store : EmbeddingStore or None
        Where they are remembered; None remembers nothing.
    """

    def __init__(self, store: EmbeddingStore | None) -> None:
        self._store = store

    def lookup(
        self, paths: Sequence[str | os.PathLike[str]], *, look: Look = os.stat
    ) -> tuple[Keys, npt.NDArray[np.bool_], Keys]:
        """Digests of those files that have not changed since they were remembered; no file is opened.

        Parameters
        ----------
        paths : sequence of n paths
        look : callable
            As for `identify`.

        Returns
        -------
        keys : (n, 16) uint8
            Content digests; zeros where not known.
        known : (n,) bool
        identities : (n, 16) uint8
            What the files are now. All zeros where there is no such file, or
            something else (a folder, a named pipe, a device) has its name: nothing is raised, so that the
            caller can say which one it was.
        """
        identities = identify(paths, look=look)
        keys = np.zeros((len(identities), DIGEST_BYTES), np.uint8)
        known = np.zeros(len(identities), bool)
        if self._store is not None and len(identities):
            rows, known = self._store.get(SPACE, identities)
            if len(rows):  # an empty memory knows no row length
                keys[known] = rows
        return keys, known, identities

    def remember(self, identities: Keys, keys: Keys) -> None:
        """Remember the content digests of files as they were when their identities were taken.

        Files that were missing then, or had been changed within two seconds before, are left out.

        Parameters
        ----------
        identities : (n, 16) uint8
            From `identify`, of the very files that were read; zeros where one changed meanwhile.
        keys : (n, 16) uint8
            Digests of the very bytes that were read.

        Raises
        ------
        StoreError
            As `EmbeddingStore.put`.
        """
        if self._store is None:
            return
        settled = ((identities[:, -1] & _RECENT_BIT) == 0) & identities.any(axis=1)
        if settled.any():
            self._store.describe(SPACE, _DESCRIPTION)
            self._store.put(SPACE, identities[settled], keys[settled])


def identify(paths: Sequence[str | os.PathLike[str]], *, look: Look = os.stat) -> Keys:
    """Identities of files, as `FileDigests.lookup` returns them.

    Parameters
    ----------
    paths : sequence of n paths
    look : callable
        What says how a file is; whoever has one open gives what is true of that one, whatever has its name by now. A name may
        also mean a part of a file: it is an identity of its own, and changes with the file.

    Returns
    -------
    ndarray of shape (n, 16), uint8
        The lowest bit of the last byte is set where the file was changed within the last two seconds.
    """
    missing: list[int] = []
    recent: list[int] = []
    identities = digest_many(_looks(paths, missing, recent, look))
    identities[:, -1] &= ~_RECENT_BIT
    identities[recent, -1] |= _RECENT_BIT
    identities[missing] = 0
    return identities


def _looks(
    paths: Iterable[str | os.PathLike[str]], missing: list[int], recent: list[int], look: Look
) -> Iterator[bytes]:
    """What makes each file the same file, as bytes; notes which are missing or were changed just now.

    One pass without function calls of our own: beside the system call, this loop is most of what a warm run costs.
    """
    pack = _FIELDS.pack
    kind_bits, regular = _KIND_BITS, stat.S_IFREG
    here = os.path.join(os.getcwd(), "")
    after_ns = time.time_ns() - _RECENT_NS
    for index, item in enumerate(paths):
        path = item if type(item) is str else os.fsdecode(item)
        try:
            s = look(path)
        except (OSError, ValueError):  # ValueError: a null character in the path
            missing.append(index)
            yield b""
            continue
        if s.st_mode & kind_bits != regular:  # opening a named pipe would wait for its writer
            missing.append(index)
            yield b""
            continue
        changed_ns, status_ns = s.st_mtime_ns, s.st_ctime_ns
        if changed_ns > after_ns or status_ns > after_ns:
            recent.append(index)
        fields = pack(s.st_size, changed_ns, status_ns, s.st_ino & _WORD, s.st_dev & _WORD)
        absolute = path if path[0] == "/" or isabs(path) else here + path
        yield fields + absolute.encode("utf-8", "surrogatepass")
