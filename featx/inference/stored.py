"""What an extraction finds in the store, and what it leaves there.

Owns the way between vectors of several spaces side by side and the store's tables, one a space. A store that cannot be written
stops the run where the user asked for it, and costs one warning where it is only the default.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.feature_space import FeatureSpace
from featx.errors import FeatxWarning, StoreError
from featx.inference.accounts import Accounts
from featx.inference.windows import ROWS_BYTES
from featx.store.digest import Keys
from featx.store.files import FileDigests
from featx.store.store import EmbeddingStore

__all__ = ["Stored"]


class Stored:
    """Vectors and file digests in the store.

    Parameters
    ----------
    store : EmbeddingStore or None
        Where they are kept; None finds nothing and keeps nothing.
    spaces : sequence of FeatureSpace
        Side by side in a vector.
    required : bool
        Whether a store that cannot be written is an error, or a warning.
    description, provenance : dict
        What is written beside the vectors, for people.

    Attributes
    ----------
    store : EmbeddingStore or None
        None also from the moment on at which it could not be written.
    files : FileDigests
        The memory of file digests.
    """

    def __init__(
        self,
        store: EmbeddingStore | None,
        spaces: Sequence[FeatureSpace],
        *,
        required: bool,
        description: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        self.store = store
        self.files = FileDigests(store)
        self._spaces = spaces
        self._required = required
        self._description = description
        self._provenance = provenance

    def fill(self, accounts: Accounts, indices: NDArray[np.intp]) -> None:
        """Finish those of the samples, whose keys are known, that have a vector in every space."""
        if self.store is None:
            return
        rows_a_time = max(256, ROWS_BYTES // (4 * accounts.vectors.shape[1]))
        for start in range(0, len(indices), rows_a_time):
            part = indices[start : start + rows_a_time]
            found = np.ones(len(part), dtype=bool)
            for space, columns in zip(self._spaces, accounts.columns, strict=True):
                rows, here = self.store.get(space.id, accounts.keys[part])
                if here.all() and part[-1] - part[0] + 1 == len(part):  # a slice is copied faster
                    accounts.vectors[part[0] : part[-1] + 1, columns] = rows
                elif here.any():
                    accounts.vectors[part[here], columns] = rows
                found &= here
                if len(part) == rows_a_time:
                    del rows
                    self.store.let_go(space.id)
            accounts.finish(part[found])

    def put(self, space: FeatureSpace, keys: Keys, rows: NDArray[np.float32]) -> None:
        """Keep vectors of one space.

        Raises
        ------
        StoreError
            The store cannot be written, and is required.
        """
        if self.store is None:
            return
        store = self.store

        def put() -> None:
            store.describe(space.id, {"space": space.to_dict(), **self._description})
            store.put(space.id, keys, rows, provenance=self._provenance)

        self._guarded(put)

    def remember(self, identities: Keys, keys: Keys) -> None:
        """Remember the digests of files that were read; where an identity is zero, there is none.

        Raises
        ------
        StoreError
            The store cannot be written, and is required.
        """
        of_files = identities.any(axis=1)
        if self.store is not None and of_files.any():
            self._guarded(lambda: self.files.remember(identities[of_files], keys[of_files]))

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write to the store; a default folder that cannot be written costs one warning, not the run."""
        try:
            write()
        except StoreError as error:
            if self._required:
                raise
            warnings.warn(
                f"{str(error).rstrip('.')}. Going on without storing what is computed now.",
                FeatxWarning,
                stacklevel=2,
            )
            self.store = None
