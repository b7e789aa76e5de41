"""The memory of texts that were cut off at the longest input, so that a warning can count those whose vectors were stored before.

Owns what is remembered: of each text that was too long its digest, never the text, in one small space of the store for all
tokenizers and lengths. Telling again which texts are too long would take tokenising them all, which costs many times what
looking up their vectors does. A fact is stored before the vector it belongs to. A memory that is lost costs a warning and
nothing else, so no failure of the store is raised here: the vectors' own put tells of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from featx.backbones.text_preprocess import TextPreprocess
from featx.errors import StoreError
from featx.store.digest import digest_json, keys_array
from featx.store.store import EmbeddingStore

__all__ = ["SPACE", "CutTexts", "forget_told"]

SPACE = "cut-texts"
_DESCRIPTION = {
    "memory": "texts that were cut off",
    "key": "digest of the text, exclusive or that of tokenizer, max_length, prompt and lowercase",
    "row": "1",
}
_AT_A_TIME = 1 << 16  # digests looked up in one call
_NOTHING = np.empty(0, dtype=np.uint64)
_TOLD: dict[bytes, NDArray[np.uint64]] = {}
"""First words of the digests that warnings of this process have counted, by preprocessing: eight bytes a text cut off."""


class CutTexts:
    """Which texts a preprocessing has cut off, in this run and in those before it.

    Parameters
    ----------
    preprocess : TextPreprocess
    store : EmbeddingStore or None
        Where they are remembered; None remembers those of this run.
    """

    def __init__(self, preprocess: TextPreprocess, store: EmbeddingStore | None) -> None:
        decides = {
            "tokenizer": preprocess.tokenizer,
            "max_length": preprocess.max_length,
            "prompt": preprocess.prompt,
            "lowercase": preprocess.lowercase,
        }
        # One space serves all preprocessings: its keys are texts' digests, each preprocessing's turned by its own.
        self._turn = np.frombuffer(bytes.fromhex(digest_json(decides)), dtype=np.uint8)
        self._store = store
        self._new: set[bytes] = set()

    def remember(self, keys: Iterable[bytes]) -> None:
        """Remember the digests of texts that were cut off."""
        cut = list(keys)
        self._new.update(cut)
        if not cut or self._store is None:
            return
        with suppress(StoreError):
            self._store.describe(SPACE, _DESCRIPTION)
            self._store.put(SPACE, keys_array(cut) ^ self._turn, np.ones((len(cut), 1), dtype=np.uint8))

    def count(self, keys: NDArray[np.uint8]) -> int:
        """How many of these texts were cut off, by their digests (n, 16); a text that is there twice counts twice."""
        return sum(len(part) for part in self._found(keys))

    def count_untold(self, keys: NDArray[np.uint8]) -> int:
        """The same, or 0 where this process has been told of all of them: the folds of a search would say it many times."""
        n_cut, cut = 0, [_NOTHING]
        for part in self._found(keys):
            n_cut += len(part)
            cut.append(np.unique(part))
        mine = self._turn.tobytes()
        told = _TOLD.get(mine, _NOTHING)
        every = np.union1d(told, np.concatenate(cut))
        _TOLD[mine] = every
        return n_cut if len(every) > len(told) else 0

    def _found(self, keys: NDArray[np.uint8]) -> Iterator[NDArray[np.uint64]]:
        """The first words of those digests that are remembered."""
        for at in range(0, len(keys), _AT_A_TIME):
            part = np.ascontiguousarray(keys[at : at + _AT_A_TIME])
            found = np.zeros(len(part), dtype=bool)
            if self._store is not None:
                with suppress(StoreError):
                    found = self._store.get(SPACE, part ^ self._turn)[1].copy()
            if self._new:
                rest = np.flatnonzero(~found)
                found[rest] = [part[i].tobytes() in self._new for i in rest.tolist()]
            yield part.view(np.uint64)[found, 0]


def forget_told() -> None:
    """Let warnings count every text anew, as in a new process."""
    _TOLD.clear()
