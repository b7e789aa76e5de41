"""Where the samples evaluated stand in the data as they were given: rows, lines of a table, the name of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import SampleError
from featx.inputs.dataset import Dataset

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Origin:
    """Where samples come from. Names no sample: a line is none.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        The row of each sample in the data as given, from 0; samples that could not be read count there.
    dataset : str
        Name of the data set; empty where there is none.
    places : tuple of str, or None
        Where a table lists each sample: ``"labels.csv, line 350"``.
    """

    rows: NDArray[np.intp]
    dataset: str = ""
    places: tuple[str, ...] | None = None

    @classmethod
    def of(cls, dataset: Dataset | None, *, n_samples: int, skipped: Sequence[SampleError]) -> Origin:
        """Of the samples that are left of a data set without those skipped.

        Parameters
        ----------
        dataset : Dataset or None
        n_samples : int
            Those left.
        skipped : sequence of SampleError
            With the row of each.
        """
        rows = np.setdiff1d(np.arange(n_samples + len(skipped)), [error.index for error in skipped])
        if dataset is None:
            return cls(rows=rows)
        places = None if dataset.places is None else tuple(dataset.places[row] for row in rows.tolist())
        return cls(rows=rows, dataset=dataset.name, places=places)
