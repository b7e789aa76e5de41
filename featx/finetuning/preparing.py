"""From samples to what a training reads: the validation part, and pixels, tokens or rows at the frozen boundary.

Nothing here needs torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from featx.backbone_features import BackboneFeatures
from featx.backbones.augment import Augment, View
from featx.errors import DatasetError, FeatxWarning, ParameterError
from featx.evaluation.folds import most_folds
from featx.finetuning.frozen import boundary_shapes, open_frozen
from featx.finetuning.material import CachedRows, LivePixels, Material, Texts
from featx.finetuning.rows import FileRows, StoredRows, many_rows
from featx.finetuning.settings import SEEDS
from featx.finetuning.splitting import Split
from featx.inference.batching import Batching
from featx.inference.fitted_pixels import FittedPixels
from featx.inference.lanes import Job
from featx.inference.plan import Plan
from featx.inference.reading import ImageSource
from featx.inference.runtime import Session
from featx.progress import progress_bar
from featx.store.digest import Keys

__all__ = ["materials", "plan_of", "validation_part"]

_LEAST_UNITS = 3
"""In the validation part, where there are so many: what varies between patients cannot be told from one or two of them."""
_ATTEMPTS = 20
_FEW_UNITS = 1_000
_READ_TOGETHER = 8
"""Pictures that a thread reads before it hands them on, where rows go to a file."""


def validation_part(
    labels: NDArray[Any], units: NDArray[np.intp], fraction: float | None, *, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices to train on and to validate on: stratified, no unit on both sides, no class in validation alone.

    Parameters
    ----------
    labels : ndarray, shape (n,)
    units : ndarray of int, shape (n,)
        What belongs together: groups, and copies of a sample.
    fraction : float or None
        About so much is set aside; more where units or those of a class are few. Classes that are in too few units to have one in
        twice as much are trained on and not validated, unless that would leave one class. None: nothing is set aside.
    seed : int

    Raises
    ------
    DatasetError
        Too few units to set some aside that say anything.
    """
    if fraction is None:
        return np.arange(len(labels)), np.empty(0, dtype=np.intp)
    n_splits = max(2, min(round(1 / fraction), len(np.unique(units)) // _LEAST_UNITS))
    common = _in_common_classes(labels, units, n_splits / 2)
    for k in range(min(n_splits, most_folds(labels[common], units[common])), 1, -1):
        part = next(_parts(labels[common], units[common], k, seed), None)
        if part is not None:
            validation = common[part]
            return np.setdiff1d(np.arange(len(labels)), validation), validation
    raise DatasetError(
        f"y: {len(np.unique(units))} samples or groups that are apart, and a class has too few of them: none can be set aside to "
        "validate on. Add some, or pass validation_fraction=None and few epochs."
    )


def _parts(
    labels: NDArray[Any], units: NDArray[np.intp], n_splits: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Stratified parts of about 1 / ``n_splits`` with several units, all classes in them and in the rest; in some divisions none.

    One part is asked for, so a division serves whose other parts lack a class, as those by few patients mostly do.
    """
    n_classes = len(np.unique(labels))
    for attempt in range(_ATTEMPTS):
        for rest, part in _division(labels, units, n_splits, (seed + attempt) % SEEDS):
            whole = all(len(np.unique(labels[side])) == n_classes for side in (rest, part))
            if whole and len(np.unique(units[part])) > 1:
                yield part


def _division(
    labels: NDArray[Any], units: NDArray[np.intp], n_splits: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Stratified folds of samples, units whole."""
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of folds that lack a class
        if len(first) <= _FEW_UNITS:
            folds = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
            return list(folds.split(labels, labels, units))
        # Units by the class of their first sample: with so many it hardly matters which of theirs, and it is a hundred times
        # faster.
        of_units = StratifiedKFold(n_splits, shuffle=True, random_state=seed).split(first, labels[first])
        parts = [np.isin(inverse, test) for _, test in of_units]
    return [(np.flatnonzero(~part), np.flatnonzero(part)) for part in parts]


def _in_common_classes(labels: NDArray[Any], units: NDArray[np.intp], least: float) -> NDArray[np.intp]:
    """Indices of samples whose unit has no class that is in fewer than ``least`` units; all where that leaves one class."""
    pairs = np.unique(np.stack([np.unique(labels, return_inverse=True)[1].reshape(-1), units]), axis=1)
    n_units = np.bincount(pairs[0])
    rare = pairs[1][n_units[pairs[0]] < least]
    common = np.flatnonzero(~np.isin(units, rare))
    return common if len(np.unique(labels[common])) > 1 else np.arange(len(labels))


def plan_of(features: BackboneFeatures) -> Plan:
    """How the samples of fitted features are read, batched and stored."""
    return features.plans_of([features.backbone_.preprocess])[0]  # type: ignore[list-item]  # fitted ones have one


def materials(
    features: BackboneFeatures,
    samples: Sequence[Any],
    split: Split,
    keys: Keys,
    *,
    augment: Augment | None,
    seed: int,
    validation: NDArray[np.intp],
    verbose: bool,
) -> tuple[Material, Material]:
    """What the training part is read from, and the validation part.

    Parameters
    ----------
    features : BackboneFeatures
        Fitted.
    samples : sequence of n
    split : Split
        Of its backbone.
    keys : ndarray of uint8, shape (n, 16)
    augment : Augment or None
        Epochs see views of pictures, each its own.
    seed : int
        Of the views.
    validation : ndarray of int
        Indices of the validation part.
    verbose : bool

    Raises
    ------
    ParameterError
        Views of texts.
    SampleError, DeviceError, StoreError
    """
    plan = plan_of(features)
    names = tuple(one.name for one in split.boundary)
    if split.source == "tokens":
        if augment is not None:
            raise ParameterError(
                "augment: views are made of pictures; of texts there are none. Leave it out."
            )
        texts = _texts(samples, plan, split, keys, names, verbose=verbose)
        return texts, texts
    if features.backbone_.pixels().view is not None:
        raise ParameterError("backbone: its preprocessing names a view already. Give one without.")
    needs_pixels = split.source in {value.name for value in split.suffix.graph.input}

    def live(view_of: Callable[[int], View | None]) -> LivePixels:
        assert isinstance(plan.source, ImageSource)
        session = None if split.prefix is None else open_frozen(split, plan.device)
        return LivePixels(
            samples,
            ImageSource(plan.source.preprocess, FittedPixels()),
            split,
            view_of=view_of,
            session=session,
            batching=plan.batching if session is None else _batching(plan, split, session),
            n_threads=plan.n_workers,
        )

    if augment is not None:
        varied = live(lambda epoch: View(augment, epoch, seed) if epoch else None)
        if split.prefix is None or needs_pixels or not len(validation):
            return varied, varied
        return varied, _cached(samples, plan, split, keys, names, validation, verbose=verbose)
    if split.prefix is None or needs_pixels:
        plain = live(lambda epoch: None)
        return plain, plain
    cached = _cached(samples, plan, split, keys, names, np.arange(len(samples)), verbose=verbose)
    return cached, cached


def _cached(
    samples: Sequence[Any],
    plan: Plan,
    split: Split,
    keys: Keys,
    names: tuple[str, ...],
    indices: NDArray[np.intp],
    *,
    verbose: bool,
) -> CachedRows:
    """Pictures as rows at the boundary: in the store where they have one size and there is room, else in a file."""
    shapes = boundary_shapes(split)
    if shapes is not None:
        words = many_rows(split, shapes, len(indices))
        if words is not None:
            warnings.warn(words, FeatxWarning, stacklevel=5)
    with progress_bar(len(indices), "frozen part", enabled=None if verbose else False) as progress:
        if shapes is not None and plan.store is not None and _fits(plan, shapes, len(indices)):
            stored = StoredRows(samples, plan, split, shapes, keys)
            if stored.compute(indices, progress.update):
                return CachedRows(stored, names)
        session = open_frozen(split, plan.device)
        rows = FileRows(len(samples))
        order = indices.tolist()
        with plan.source.open(samples, plan.n_workers) as reader:
            rows.compute(
                [order[at : at + _READ_TOGETHER] for at in range(0, len(order), _READ_TOGETHER)],
                lambda i: reader.network_input(i, *reader.read_again(i)),
                _batching(plan, split, session),
                session,
                n_threads=plan.n_workers,
                advance=progress.update,
            )
    return CachedRows(rows, names)


def _fits(plan: Plan, shapes: Sequence[tuple[int, ...]], n_samples: int) -> bool:
    """Whether a store may hold the rows without letting go of them again, or of most else."""
    cap = None if plan.store is None else plan.store.max_bytes
    return cap is None or 4 * n_samples * sum(int(np.prod(shape)) for shape in shapes) <= cap / 2


def _texts(
    samples: Sequence[Any],
    plan: Plan,
    split: Split,
    keys: Keys,
    names: tuple[str, ...],
    *,
    verbose: bool,
) -> Texts:
    with plan.source.open(samples, plan.n_workers) as reader:
        jobs = reader.prepared([Job(keys[i].tobytes(), [i]) for i in range(len(samples))])
        ids: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)] * len(samples)
        for job in jobs:
            ids[job.indices[0]] = reader.network_input(job.indices[0], job.content, job.key)
    if split.prefix is None:
        return Texts(ids, None, names)
    session = open_frozen(split, plan.device)
    batching = _batching(plan, split, session)
    order = [job.indices[0] for job in jobs]  # longest first
    batches = [[order[at] for at in places] for places in batching.batches([ids[i] for i in order])]
    rows = FileRows(len(samples))
    with progress_bar(len(samples), "frozen part", enabled=None if verbose else False) as progress:
        threads = plan.n_workers if plan.device.kind == "cpu" else 1
        rows.compute(batches, ids.__getitem__, batching, session, n_threads=threads, advance=progress.update)
    return Texts(ids, rows, names)


def _batching(plan: Plan, split: Split, session: Session) -> Batching:
    """What runs together in the frozen part; one by one where rows depend on each other."""
    info = split.backbone.info
    if split.source == "tokens":  # probes of texts differ in length, so raw tokens cannot be compared
        independent = info.coupled_by is None and info.fixed_batch is None
    else:
        independent = session.rows_are_independent
    return plan.batching if independent else plan.batching.alone()
