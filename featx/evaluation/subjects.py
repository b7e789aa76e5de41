"""What is evaluated: an estimator and its samples, embedded once, with what is known of them checked.

Owns how data reach an evaluation. A Pipeline that begins with a features transformer is parted: its vectors are computed once
for all folds, and the rest is what is fitted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from featx.backbone_features import BackboneFeatures, HasParts
from featx.backbones.backbone import Backbone
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import DatasetError, InputError, ParameterError, SampleError
from featx.evaluation.columns import (
    check_groups,
    check_labels,
    check_length,
    check_parts,
    check_positions,
    check_target,
)
from featx.evaluation.estimators import Grid, grids_of
from featx.evaluation.judgements import PartCounts
from featx.evaluation.leaks import TRAIN
from featx.heads import head_name
from featx.inference.extract import Extraction
from featx.inputs.dataset import Dataset
from featx.inputs.datasets import read_dataset
from featx.inputs.samples import sample_name
from featx.store.digest import canonical_json, digest_array, digest_json, digest_text, keys_array

__all__ = [
    "Data",
    "Subject",
    "embed_once",
    "embeds",
    "features_of",
    "read_data",
    "words_of",
]

_NO_ROWS = ("coo", "dia", "bsr")  # of scipy's sparse formats those of which no rows can be taken


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """Samples and what the user says of them, unchecked."""

    X: Any
    y: Any
    groups: Any
    split: Any
    dataset: Dataset | None


@runtime_checkable
class Parted(HasParts, Protocol):
    """An estimator of samples whose vectors are computed once for many fits, as :class:`featx.AugmentedClassifier`'s are."""

    vector_parameters: tuple[str, ...]

    def vectors_of(
        self, features: BackboneFeatures, X: Any, *, training: bool | NDArray[np.bool_]
    ) -> tuple[Extraction, Any]:
        """The samples embedded once, and what it fits on, a row a sample; `training`: whether, or which ones, it is fitted on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """An estimator and the samples to evaluate it on.

    Parameters
    ----------
    estimator : estimator
        What is fitted in each fold: of a Pipeline that was parted, what follows the features.
    X : indexable of n_samples
        Vectors, or the samples as they were given.
    y : ndarray, shape (n,)
        Positions in `classes`, or targets.
    classes : ndarray or None
        Sorted labels; None for a regression.
    groups : ndarray of int, shape (n,), or None
    group_names : ndarray, shape (n,), or None
        The same as the user names them.
    split : ndarray of str, shape (n,), or None
    samples : sequence of n
        As they were given.
    names : tuple of str
    keys : ndarray of uint8, shape (n, 16), or None
        Content digests; None where X has no form that could be digested.
    modality : str or None
    preprocess : ImagePreprocess or None
        Of pictures.
    spaces : tuple of str
        Ids of the feature spaces.
    skipped : tuple of SampleError
    words : str
        The estimator, described.
    backbone : Backbone or None
        Of the features, also of those that are searched or tuned: as they were given.
    features : BackboneFeatures or None
        Fitted: what made X of the samples, where a Pipeline was parted.
    seen : ndarray of float32, shape (n, d), or None
        Vectors to find near-copies by, where X holds the samples themselves: those of the features as they were given, of an
        estimator that searches or tunes them.
    """

    estimator: Any
    X: Any
    y: NDArray[Any]
    classes: NDArray[Any] | None
    groups: NDArray[np.intp] | None
    group_names: NDArray[Any] | None = None
    split: NDArray[Any] | None
    samples: Sequence[Any]
    names: tuple[str, ...]
    keys: NDArray[np.uint8] | None
    modality: str | None
    preprocess: ImagePreprocess | None
    spaces: tuple[str, ...]
    skipped: tuple[SampleError, ...]
    words: str
    backbone: Backbone | None = None
    features: BackboneFeatures | None = None
    seen: NDArray[np.float32] | None = None

    @property
    def vectors(self) -> Any:
        """Of embedded samples a vector each: of several views that of the sample as it is."""
        if self.seen is not None:
            return self.seen
        return self.X[:, 0] if getattr(self.X, "ndim", 2) == 3 else self.X

    def taken(self, rows: NDArray[np.intp]) -> Any:
        """Some of X."""
        return _safe_indexing(self.X, rows)

    def counts(self) -> tuple[PartCounts, ...]:
        """Samples, groups and labels of each part, the training part first."""
        parts = np.full(len(self.y), "all") if self.split is None else self.split
        labels = [] if self.classes is None else [str(c) for c in self.classes.tolist()]
        found = []
        for part in sorted(set(parts.tolist()), key=lambda each: (each != TRAIN, each == "", str(each))):
            mine = parts == part
            found.append(
                PartCounts(
                    part=str(part) or "not used",
                    n_samples=int(mine.sum()),
                    n_groups=None if self.groups is None else len(np.unique(self.groups[mine])),
                    by_class={label: int((mine & (self.y == i)).sum()) for i, label in enumerate(labels)},
                )
            )
        return tuple(found)

    def digest(self) -> str:
        """Of contents, labels, groups and split, in their order; 32 hex digits."""
        return digest_json(
            {
                "contents": None if self.keys is None else digest_array(self.keys).hex(),
                "labels": digest_array(np.ascontiguousarray(self.y)).hex(),
                "classes": None if self.classes is None else [str(c) for c in self.classes.tolist()],
                "groups": None if self.groups is None else digest_array(self.groups).hex(),
                "split": None if self.split is None else [str(part) for part in self.split.tolist()],
            }
        )


def read_data(X: Any, y: Any, *, groups: Any, split: Any) -> Data:
    """X as a data set where it is one or names one; its labels, groups and split unless others are given.

    Raises
    ------
    ParameterError
        No labels.
    DatasetError
    InputError
        Masked values.
    """
    if isinstance(X, str | os.PathLike):
        X = read_dataset(X)
    if isinstance(X, Dataset):
        return Data(
            X=X.samples,
            y=X.labels if y is None else y,
            groups=X.groups if groups is None else groups,
            split=X.split if split is None else split,
            dataset=X,
        )
    if y is None:
        raise ParameterError("y: none given. Give a label a sample, or a Dataset that has labels.")
    if getattr(X, "format", None) in _NO_ROWS:
        X = X.tocsr()
    if np.ma.is_masked(X):
        raise InputError(
            f"X: {int(np.ma.getmaskarray(X).sum())} of {X.size} values are masked, and estimators look at no mask. Fill "
            "them in, or make them NaN (X.filled(numpy.nan)) for an estimator that knows what to do with it."
        )
    return Data(X=X, y=y, groups=groups, split=split, dataset=None)


def embed_once(estimator: Any, data: Data, *, grid: Grid | None, prefit: bool, verbose: bool) -> Subject:
    """Check the data and compute vectors, where the estimator begins with a features transformer.

    Where that is searched (by `grid`, or by a search around the whole Pipeline) or tuned, what is fitted takes the samples
    themselves, and vectors of the features as they were given serve to find near-copies.

    Raises
    ------
    DatasetError
        Labels, groups or split that fit neither each other nor X.
    SampleError, BackboneError
    """
    regression = is_regressor(estimator)
    n = _length(data.X)
    y, classes = _targets(data.y, n, regression=regression, fitted=estimator if prefit else None)
    groups = None if data.groups is None else check_groups(data.groups, n)
    split = None if data.split is None else check_parts(data.split, n)
    subject = Subject(
        estimator=estimator,
        X=data.X,
        y=y,
        classes=classes,
        groups=groups,
        group_names=None if data.groups is None else np.asarray(data.groups),
        split=split,
        samples=data.X,
        names=_names(data),
        keys=None,
        modality=None,
        preprocess=None,
        spaces=(),
        skipped=(),
        words=words_of(estimator),
    )
    parted = _parted(estimator, grid, fitted=prefit)
    searched = None if parted is not None or prefit else _searched(estimator)
    found = parted or searched
    if found is None:
        return replace(subject, keys=_keys(data.X))
    transformer, rest = found
    if not prefit:
        transformer = clone(transformer).set_params(verbose=verbose).fit(None)
    if searched is not None:
        extraction = transformer.extract(data.X)
        vectors = data.X
    elif isinstance(estimator, Parted):
        learned = not prefit if split is None or prefit else split == TRAIN
        extraction, vectors = estimator.vectors_of(transformer, data.X, training=learned)
    else:
        extraction = transformer.extract(data.X)
        vectors = extraction.vectors
    whole = replace(
        subject,
        estimator=rest,
        X=vectors,
        keys=extraction.keys,
        modality=transformer.modality,
        preprocess=transformer.backbone_.pixels() if transformer.modality == "image" else None,
        spaces=() if searched else tuple(space.id for space in transformer.spaces_),
        skipped=tuple(extraction.errors[i] for i in sorted(extraction.errors)),
        backbone=transformer.backbone_,
        features=None if searched else transformer,
        seen=extraction.vectors if searched else None,
    )
    return _without(whole, sorted(extraction.errors)) if extraction.errors else whole


def features_of(estimator: Any) -> BackboneFeatures | None:
    """The fitted features transformer of an estimator of samples, also of the best one of a search; None without one."""
    parted = _parted(getattr(estimator, "best_estimator_", estimator), None, fitted=True)
    return None if parted is None else parted[0]


def embeds(estimator: Any, grid: Grid | None) -> bool:
    """Whether vectors of such an estimator are computed once, before anything is fitted."""
    return _parted(estimator, grid, fitted=False) is not None or _searched(estimator) is not None


def _parted(estimator: Any, grid: Grid | None, *, fitted: bool) -> tuple[BackboneFeatures, Any] | None:
    """The features transformer of an estimator and what follows it, where nothing of the former is searched or tuned."""
    keys = [key for each in grids_of(grid) for key in each]
    if isinstance(estimator, Parted):
        searched = [key for key in keys if key.split("__")[0] in estimator.vector_parameters]
        return None if searched else estimator.parts(fitted=fitted)
    if isinstance(estimator, HasParts):
        features, rest = estimator.parts(fitted=fitted)
        return None if rest is None else (features, rest)
    if not isinstance(estimator, Pipeline) or len(estimator.steps) < 2:
        return None
    name, first = estimator.steps[0]
    searched = [key for key in keys if key == name or key.startswith(f"{name}__")]
    if not isinstance(first, BackboneFeatures) or searched:
        return None
    return first, estimator[1:]


def _searched(estimator: Any) -> tuple[BackboneFeatures, Any] | None:
    """Of an estimator that searches or tunes its features these, as they were given, and the estimator; None without any."""
    inner = getattr(estimator, "estimator", estimator)
    if isinstance(inner, HasParts):
        return inner.parts(fitted=False)[0], estimator
    parted = _parted(inner, None, fitted=False)
    return None if parted is None else (parted[0], estimator)


def _targets(
    y: Any, n: int, *, regression: bool, fitted: Any | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    check_length(y, n, "y")
    if regression:
        return check_target(y), None
    if fitted is None:
        labels = check_labels(y)
        classes, codes = np.unique(labels, return_inverse=True)
        return codes.reshape(-1).astype(np.intp), classes
    classes = np.asarray(fitted.classes_)
    return check_positions(y, classes), classes


def _length(X: Any) -> int:
    shape = getattr(X, "shape", None)
    if isinstance(X, bytes) or not (shape or hasattr(X, "__len__")):
        raise InputError(f"X: expected samples, one a label; found {type(X).__name__}.")
    return int(shape[0]) if shape else len(X)


def _names(data: Data) -> tuple[str, ...]:
    if data.dataset is not None:
        return tuple(data.dataset.listed_name(i) for i in range(len(data.dataset)))
    n = _length(data.X)
    if getattr(data.X, "ndim", 1) > 1 or hasattr(data.X, "columns"):
        return tuple(f"row {i}" for i in range(n))
    values = data.X.tolist() if hasattr(data.X, "tolist") else list(data.X)
    return tuple(sample_name(value, i) for i, value in enumerate(values))


def _keys(X: Any) -> NDArray[np.uint8] | None:
    """Content digests of rows of numbers or strings, or of strings; None of anything else."""
    if hasattr(X, "columns"):
        return None
    if isinstance(X, np.ndarray) and X.ndim >= 2 and X.dtype.kind in "US":
        return keys_array(digest_text(canonical_json(row.astype(str).tolist())) for row in X)
    if isinstance(X, np.ndarray) and X.ndim >= 2 and X.dtype.kind in "biufc":
        return keys_array(digest_array(np.ascontiguousarray(row)) for row in X)
    if isinstance(X, list | tuple) and all(isinstance(value, str) for value in X):
        return keys_array(digest_text(value) for value in X)
    return None


def _without(subject: Subject, rows: Sequence[int]) -> Subject:
    """The subject without samples that could not be read."""
    kept = np.setdiff1d(np.arange(len(subject.y)), rows)
    if not len(kept):
        raise DatasetError(
            f"none of the {len(subject.y)} samples could be read. The first: {subject.skipped[0]}"
        )
    groups = None if subject.groups is None else np.unique(subject.groups[kept], return_inverse=True)[1]
    return replace(
        subject,
        X=subject.taken(kept),
        y=subject.y[kept],
        groups=None if groups is None else groups.reshape(-1).astype(np.intp),
        group_names=None if subject.group_names is None else subject.group_names[kept],
        split=None if subject.split is None else subject.split[kept],
        samples=[subject.samples[i] for i in kept.tolist()],
        names=tuple(subject.names[i] for i in kept.tolist()),
        keys=None if subject.keys is None else subject.keys[kept],
        seen=None if subject.seen is None else subject.seen[kept],
    )


def words_of(estimator: Any) -> str:
    """The estimator in a few words: the backbone's name and the last step, a ready head by its own name."""
    if isinstance(estimator, Parted):
        first, last = estimator.parts(fitted=False)
        return f"{words_of(Pipeline([('features', first), ('head', last.head)]))} on views"
    ready = head_name(estimator)
    if ready is not None or not isinstance(estimator, Pipeline):
        return ready or type(estimator).__name__
    first, last = estimator.steps[0][1], estimator.steps[-1][1]
    inner = last.steps[-1][1] if isinstance(last, Pipeline) else last
    backbone = getattr(first, "backbone", None) if isinstance(first, BackboneFeatures) else None
    name = getattr(backbone, "name", None) or (
        os.path.basename(str(backbone)) if backbone is not None else ""
    )
    return f"{name}, {head_name(last) or type(inner).__name__}".removeprefix(", ")
