"""Which samples of a data set are tuned on, which are judged, and what stays together in either.

The invariant: groups, copies and near-copies are on one side wherever featx divides; a split that was given is taken as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbone_features import BackboneFeatures
from featx.errors import DatasetError
from featx.evaluation.columns import check_groups
from featx.evaluation.folds import inner_folds
from featx.evaluation.leaks import TRAIN
from featx.evaluation.near_copies import fold_units, near_copies
from featx.inference.extract import Extraction
from featx.inputs.dataset import Dataset

__all__ = ["HELD_OUT", "check_known", "rows_of", "split_of", "units_of"]

HELD_OUT = "held out"
"""Name of the part that is judged where the data have no split."""

_FOLDS = 5


def units_of(
    dataset: Dataset,
    labels: NDArray[Any],
    frozen: BackboneFeatures,
    extraction: Extraction,
    *,
    verbose: bool,
) -> NDArray[np.intp]:
    """What stays together: groups, copies and near-copies, as :func:`featx.evaluate` finds them.

    Parameters
    ----------
    dataset : Dataset
    labels : ndarray, shape (n,)
    frozen : BackboneFeatures
        Fitted, of the backbone as it is.
    extraction : Extraction
        What they make of the samples.
    verbose : bool
        Show progress.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    groups = None if dataset.groups is None else check_groups(dataset.groups, len(dataset))
    near = near_copies(
        extraction.vectors,
        dataset.samples,
        modality=dataset.modality,
        keys=extraction.keys,
        groups=groups,
        labels=labels,
        preprocess=frozen.backbone_.pixels() if dataset.modality == "image" else None,
        verbose=verbose,
    )
    return fold_units(groups, extraction.keys, near, len(dataset))


def split_of(
    dataset: Dataset, labels: NDArray[Any], units: NDArray[np.intp], *, ignore_split: bool, seed: int
) -> NDArray[Any]:
    """The part of every sample: that of the data, or a fifth held out.

    Returns
    -------
    ndarray of str, shape (n,)

    Raises
    ------
    DatasetError
        A split that has no part ``train``, or none beside it; labels or units that cannot be divided.
    """
    if dataset.split is None or ignore_split:
        split = np.full(len(dataset), TRAIN, dtype=object)
        split[inner_folds(labels, units, at_most=_FOLDS, random_state=seed)[0][1]] = HELD_OUT
        return split.astype(str)
    split = np.asarray(dataset.split)
    parts = sorted(set(split.tolist()) - {""})
    if TRAIN not in parts or len(parts) < 2:
        raise DatasetError(
            f"{dataset.name}: its split has the part(s) {', '.join(parts)}, expected {TRAIN} and another one. Name them, or pass "
            "ignore_split=True."
        )
    return split


def check_known(labels: NDArray[Any], split: NDArray[Any]) -> None:
    """Refuse held-out samples of a class that training lacks, before the work and not after it.

    Raises
    ------
    DatasetError
    """
    known = set(labels[split == TRAIN].tolist())
    unknown = sorted(
        {str(label) for label in labels[(split != TRAIN) & (split != "")].tolist() if label not in known}
    )
    if unknown:
        raise DatasetError(
            f"split: no sample of {', '.join(map(repr, unknown[:3]))} is in the part {TRAIN}, and others of it are to be judged. "
            "Move some there, or leave those samples out."
        )


def rows_of(dataset: Dataset, rows: NDArray[np.intp]) -> Dataset:
    """Some samples of a data set, in the order of ``rows``, with all that belongs to them."""

    def some(values: Any) -> Any:
        return None if values is None else np.asarray(values)[rows]

    return replace(
        dataset,
        samples=[dataset.samples[i] for i in rows.tolist()],
        labels=some(dataset.labels),
        groups=some(dataset.groups),
        split=some(dataset.split),
        places=None if dataset.places is None else [dataset.places[i] for i in rows.tolist()],
    )
