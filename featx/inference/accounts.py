"""What has become of every sample of an extraction: known, done or failed.

The invariant: a sample is finished once, with a vector or with an error, and whoever watches the progress is told of it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featx.errors import SampleError
from featx.store.digest import Keys

__all__ = ["Accounts"]


class Accounts:
    """The vectors of n samples as they come in.

    Parameters
    ----------
    keys : ndarray of uint8, shape (n, 16)
        Content digests, as far as they are known. Filled in place.
    known : ndarray of bool, shape (n,)
        Which they are. Filled in place.
    widths : tuple of int
        Length of each space's vectors.
    name_of : callable
        A sample by its index, as a person knows it.
    advance : callable
        Told how many more samples are finished.
    raises : bool
        Whether :meth:`settle` raises, or failures stay where they are.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n, sum of widths)
        Valid where a sample is done; NaN where it failed.
    columns : list of slice
        Of each space in `vectors`.
    done : ndarray of bool, shape (n,)
        Also of what failed.
    errors : dict of int to SampleError
        What failed, by index.
    """

    def __init__(
        self,
        keys: Keys,
        known: NDArray[np.bool_],
        *,
        widths: tuple[int, ...],
        name_of: Callable[[int], str],
        advance: Callable[[int], None],
        raises: bool,
    ) -> None:
        self.keys = keys
        self.known = known
        self.vectors = np.empty((len(keys), sum(widths)), dtype=np.float32)
        self.columns = [slice(int(a), int(b)) for a, b in pairwise(np.cumsum((0, *widths)))]
        self.done = np.zeros(len(keys), dtype=bool)
        self.errors: dict[int, SampleError] = {}
        self._name_of = name_of
        self._advance = advance
        self._raises = raises

    def left(self) -> NDArray[np.intp]:
        """Indices of what is not finished."""
        return np.flatnonzero(~self.done)

    def finish(self, indices: NDArray[np.intp]) -> None:
        """Count samples whose vectors are there now."""
        self.done[indices] = True
        self._advance(len(indices))

    def hand_out(self, vector: Sequence[NDArray[np.float32]], indices: list[int]) -> None:
        """Finish samples of one content with its vector, a part a space; the lane that computed it has counted one of them."""
        for columns, part in zip(self.columns, vector, strict=True):
            self.vectors[indices, columns] = part
        self.done[indices] = True
        self._advance(len(indices) - 1)

    def fail(self, i: int, error: SampleError) -> None:
        """Count a sample that has no vector, and say why."""
        self.errors[i] = type(error)(error.message, index=i, name=self._name_of(i))
        self.vectors[i] = np.nan
        self.finish(np.asarray([i]))

    def settle(self) -> None:
        """Raise the first failure where failures are not allowed.

        Raises
        ------
        SampleError
        """
        if self.errors and self._raises:
            first = self.errors[min(self.errors)]
            others = len(self.errors) - 1
            if others:
                first = type(first)(
                    f"{first.message} ({others} more failed.)", index=first.index, name=first.name
                )
            raise first
