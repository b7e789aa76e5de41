"""The main job in three calls: ``train``, ``predict``, ``embed``; the commands of the same names are thin skins over them.

Owns the order of things: embed once, compare heads by cross-validation on what is known, fit the best, judge it on what was
held out, save. Every choice is made on the training part; a held-out part is only ever predicted.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifact import load, save
from featx.backbones.backbone import Backbone, FeatureSpace
from featx.errors import DatasetError, ParameterError, SampleError
from featx.evaluation.compare import HeadComparison, compare_heads, refit, score_head
from featx.evaluation.folds import make_folds
from featx.features import ImageFeatures
from featx.heads import HEAD_NAMES, make_head
from featx.inputs.datasets import Dataset, read_dataset
from featx.inputs.tables import read_table
from featx.store.store import EmbeddingStore

__all__ = ["Embedding", "Predictions", "Training", "embed", "predict", "train", "write_embedding"]

DataLike: TypeAlias = Dataset | str | os.PathLike[str]
CacheLike: TypeAlias = str | os.PathLike[str] | EmbeddingStore | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A trained pipeline and the evidence for it.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted; ``features`` and ``head``. Takes images, gives labels.
    comparison : HeadComparison
        Cross-validated scores of every head on the training part.
    held_out : dict
        Scores of the chosen head on each held-out part, by its name; empty where the data has no split.
    n_train : int
        Samples the pipeline was fitted on.
    n_computed : int
        Distinct samples that met the network in this call.
    skipped : tuple of SampleError
        Samples left out because they could not be read.
    """

    pipeline: Pipeline
    comparison: HeadComparison
    held_out: dict[str, dict[str, float]]
    n_train: int
    n_computed: int
    skipped: tuple[SampleError, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``featx train --json`` prints them."""
        return {
            "comparison": self.comparison.to_dict(),
            "held_out": self.held_out,
            "n_train": self.n_train,
            "n_computed": self.n_computed,
            "skipped": [str(error) for error in self.skipped],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Labels and, where the head gives them, probabilities.

    Parameters
    ----------
    names : list of str
        The samples as they were given.
    labels : ndarray of object, shape (n,)
        None where a sample could not be read.
    classes : ndarray, shape (k,)
        Order of the columns of ``probabilities``; empty without them.
    probabilities : ndarray of float64, shape (n, k), or None
        NaN where a sample could not be read.
    errors : dict of int to SampleError
        What could not be read, by index.
    """

    names: list[str]
    labels: NDArray[np.object_]
    classes: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    errors: dict[int, SampleError] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dict a sample: ``file``, ``label``, a column ``p_<class>`` each, ``error``."""
        rows: list[dict[str, Any]] = []
        for i, name in enumerate(self.names):
            row: dict[str, Any] = {"file": name, "label": self.labels[i]}
            if self.probabilities is not None:
                row |= {f"p_{c}": float(p) for c, p in zip(self.classes, self.probabilities[i], strict=True)}
            row["error"] = self.errors[i].message if i in self.errors else ""
            rows.append(row)
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Vectors of a data set with what is needed to use them elsewhere.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        NaN where a sample could not be read.
    keys : ndarray of uint8, shape (n, 16)
        Content digests; zero where a sample could not be read.
    dataset : Dataset
        The samples with labels, groups and split, in the order of the rows.
    spaces : tuple of FeatureSpace
        What the columns mean.
    errors : dict of int to SampleError
        What could not be read, by index.
    n_computed : int
        Distinct samples that met the network in this call.
    """

    vectors: NDArray[np.float32]
    keys: NDArray[np.uint8]
    dataset: Dataset
    spaces: tuple[FeatureSpace, ...]
    errors: dict[int, SampleError]
    n_computed: int


def embed(
    data: DataLike,
    *,
    backbone: str | os.PathLike[str] | Backbone = "compact",
    skip_unreadable: bool = False,
    verbose: bool = False,
    **features: Any,
) -> Embedding:
    """Embed every image of a data set.

    Parameters
    ----------
    data : Dataset or path
        See :func:`featx.read_dataset`; labels are not needed.
    backbone : str, path or Backbone
        See :class:`featx.ImageFeatures`.
    skip_unreadable : bool
        Give rows of NaN to images that cannot be read, instead of raising.
    verbose : bool
        Show progress.
    **features
        Further parameters of :class:`featx.ImageFeatures`: ``tap``, ``pooling``, ``device``, ``cache`` ...

    Raises
    ------
    DatasetError, BackboneError, SampleError, ParameterError
    """
    dataset = data if isinstance(data, Dataset) else _read_with_labels_if_any(data)
    transformer = _features(backbone, skip_unreadable=skip_unreadable, verbose=verbose, **features).fit(None)
    extraction = transformer.extract(dataset.samples)
    return Embedding(
        vectors=extraction.vectors,
        keys=extraction.keys,
        dataset=dataset,
        spaces=tuple(transformer.spaces_),
        errors=extraction.errors,
        n_computed=extraction.n_computed,
    )


def write_embedding(embedding: Embedding, out: str | os.PathLike[str]) -> tuple[Path, Path, Path]:
    """Write vectors as ``.npy``, a manifest as ``.csv`` beside it and the feature spaces as ``.json``.

    The manifest's ``digest`` column holds ``digest:<32 hex>`` for each row: :class:`featx.ImageFeatures` takes these as samples
    and serves their vectors from a store, so a model can be made where the images may not go.

    Returns
    -------
    tuple of Path
        The three files.
    """
    array = Path(out) if Path(out).suffix == ".npy" else Path(f"{out}.npy")
    if not array.absolute().parent.is_dir():
        raise ParameterError(f"{array}: there is no folder {array.absolute().parent}. Make it first.")
    manifest, spaces = array.with_suffix(".csv"), array.with_suffix(".json")
    np.save(array, embedding.vectors)
    dataset = embedding.dataset
    columns: dict[str, Sequence[Any]] = {
        "row": range(len(dataset.samples)),
        "file": [_relative(sample, dataset.root) for sample in dataset.samples],
        "digest": ["" if not key.any() else f"digest:{key.tobytes().hex()}" for key in embedding.keys],
    }
    optional = {"label": dataset.labels, "group": dataset.groups, "split": dataset.split}
    columns |= {name: values.tolist() for name, values in optional.items() if values is not None}
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    described = {
        "n": len(embedding.vectors),
        "spaces": [{"id": s.id, **s.to_dict()} for s in embedding.spaces],
    }
    spaces.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return array, manifest, spaces


def train(
    data: DataLike,
    *,
    out: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | Backbone = "compact",
    heads: Sequence[str] = HEAD_NAMES,
    cv: int = 5,
    search: bool = False,
    group_column: str | None = None,
    ignore_split: bool = False,
    skip_unreadable: bool = False,
    overwrite: bool = False,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
    **features: Any,
) -> Training:
    """Embed a data set, compare heads on it, fit the best and save it.

    With a ``split`` column heads are compared and fitted on the rows marked ``train``; every other part is predicted once, by
    the fitted pipeline. Where groups are known, no group is on both sides of a fold.

    Parameters
    ----------
    data : Dataset or path
        A folder a class, or a CSV; see :func:`featx.read_dataset`.
    out : path, optional
        Where to save the pipeline; see :func:`featx.save`.
    backbone : str, path or Backbone
        See :class:`featx.ImageFeatures`.
    heads : sequence of str
        Names from :data:`featx.heads.HEAD_NAMES`.
    cv : int
        Folds.
    search : bool
        Search each head's :func:`featx.param_grid` inside every fold (nested), and once more for the final fit.
    group_column : str, optional
        The column that says which samples belong together, such as a patient.
    ignore_split : bool
        Compare and fit on all rows, whatever their split.
    skip_unreadable : bool
        Leave out images that cannot be read, instead of raising.
    overwrite : bool
        Replace an artefact that is already at ``out``.
    random_state : int
        Seed of folds and heads.
    n_jobs : int, optional
        Processes for the comparison; None takes this process's share of the cores.
    verbose : bool
        Show progress.
    **features
        Further parameters of :class:`featx.ImageFeatures`.

    Raises
    ------
    DatasetError
        Labels, groups or splits that allow no honest comparison.
    BackboneError, SampleError, ParameterError, ArtifactError
    """
    dataset = data if isinstance(data, Dataset) else read_dataset(data, group_column=group_column)
    if dataset.labels is None:
        raise DatasetError(f"{dataset.name}: no labels to train on.")
    labels = np.asarray(dataset.labels)
    groups = None if dataset.groups is None else np.asarray(dataset.groups)
    whole = dataset.split is None or ignore_split
    split = np.full(len(labels), "train") if whole else np.asarray(dataset.split)
    # Labels, groups and heads are checked before an hour of inference, not after it.
    known = np.flatnonzero(split == "train")
    make_folds(
        labels[known], None if groups is None else groups[known], n_splits=cv, random_state=random_state
    )
    for name in heads:
        make_head(name)
    embedding = embed(
        dataset, backbone=backbone, skip_unreadable=skip_unreadable, verbose=verbose, **features
    )
    kept = np.asarray([i for i in range(len(dataset.samples)) if i not in embedding.errors], dtype=np.intp)
    if not len(kept):
        raise DatasetError(f"{dataset.name}: none of its {len(dataset.samples)} images could be read.")
    training = kept[split[kept] == "train"]
    comparison = compare_heads(
        embedding.vectors[training],
        labels[training],
        groups=None if groups is None else groups[training],
        heads=tuple(heads),
        cv=cv,
        search=search,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    head = refit(
        comparison.best,
        embedding.vectors[training],
        labels[training],
        groups=None if groups is None else groups[training],
        cv=cv,
        search=search,
        random_state=random_state,
    )
    held_out = {}
    for part in sorted(set(split[kept]) - {"train", ""}):
        rows = kept[split[kept] == part]
        held_out[str(part)] = score_head(head, embedding.vectors[rows], labels[rows])
    transformer = _features(backbone, skip_unreadable=False, verbose=False, **features).fit(None)
    pipeline = Pipeline([("features", transformer), ("head", head)])
    result = Training(
        pipeline=pipeline,
        comparison=comparison,
        held_out=held_out,
        n_train=len(training),
        n_computed=embedding.n_computed,
        skipped=tuple(embedding.errors[i] for i in sorted(embedding.errors)),
    )
    if out is not None:
        save(pipeline, out, overwrite=overwrite, notes=_notes(dataset, result))
    return result


def predict(
    model: str | os.PathLike[str] | Pipeline,
    samples: Sequence[Any],
    *,
    device: str | None = None,
    cache: CacheLike = "default",
    skip_unreadable: bool = False,
    verbose: bool = False,
) -> Predictions:
    """Predict the labels of images with a saved or fitted pipeline.

    Parameters
    ----------
    model : path or Pipeline
        An artefact's folder, or a pipeline whose first step is an :class:`featx.ImageFeatures`.
    samples : sequence of images
        What :class:`featx.ImageFeatures` takes.
    device : str, optional
        Where to compute; None keeps what the pipeline says.
    cache : "default", path, EmbeddingStore or None
        Where vectors are kept, for a saved pipeline.
    skip_unreadable : bool
        Give no label to images that cannot be read, instead of raising.
    verbose : bool
        Show progress.

    Raises
    ------
    ArtifactError, SampleError, DeviceError
    """
    pipeline = model if isinstance(model, Pipeline) else load(model, device=device, cache=cache)
    transformer = pipeline[0] if isinstance(pipeline, Pipeline) else None
    if not isinstance(transformer, ImageFeatures):
        raise ParameterError(
            "predict takes a Pipeline whose first step is an ImageFeatures; call the estimator's own predict."
        )
    transformer = _with(transformer, on_error="nan" if skip_unreadable else "raise", verbose=verbose)
    extraction = transformer.extract(samples)
    head = pipeline[1:]
    n = len(extraction.vectors)
    good = np.asarray([i for i in range(n) if i not in extraction.errors], dtype=np.intp)
    labels = np.full(n, None, dtype=object)
    probabilities: NDArray[np.float64] | None = None
    classes = np.asarray(getattr(pipeline[-1], "classes_", ()))
    if len(good):
        labels[good] = head.predict(extraction.vectors[good])
    if hasattr(head, "predict_proba"):
        probabilities = np.full((n, len(classes)), np.nan)
        if len(good):
            probabilities[good] = head.predict_proba(extraction.vectors[good])
    return Predictions(
        names=[str(s) if isinstance(s, str | os.PathLike) else f"sample {i}" for i, s in enumerate(samples)],
        labels=labels,
        classes=classes,
        probabilities=probabilities,
        errors=extraction.errors,
    )


def _features(backbone: Any, *, skip_unreadable: bool, verbose: bool, **parameters: Any) -> ImageFeatures:
    known = set(ImageFeatures().get_params())
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ParameterError(
            f"unknown parameter(s) {', '.join(unknown)}; ImageFeatures takes {', '.join(sorted(known))}."
        )
    return ImageFeatures(
        backbone, on_error="nan" if skip_unreadable else "raise", verbose=verbose, **parameters
    )


def _with(fitted: ImageFeatures, **parameters: Any) -> ImageFeatures:
    """A fitted transformer with other parameters, the given one left as it is."""
    other = ImageFeatures(**{**fitted.get_params(deep=False), **parameters})
    other.__dict__ |= {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    return other


def _read_with_labels_if_any(path: str | os.PathLike[str]) -> Dataset:
    """A folder of classes or a CSV with labels keeps them; any other folder or CSV is read without."""
    place = Path(path)
    if place.is_dir() and not (place / "labels.csv").is_file():
        try:
            return read_dataset(place)
        except (
            DatasetError
        ):  # not a folder a class; what is wrong with it otherwise shows in the second reading
            return read_dataset(place, label_column=None)
    if place.is_file() and "label" not in read_table(place).columns:
        return read_dataset(place, label_column=None)
    return read_dataset(place)


def _relative(sample: Any, root: str) -> str:
    try:
        return Path(sample).relative_to(root).as_posix()
    except ValueError:
        return str(sample)


def _notes(dataset: Dataset, result: Training) -> str:
    """What the artefact's README says about its training, in words."""
    counts = np.unique(np.asarray(dataset.labels), return_counts=True)
    classes = ", ".join(f"{label} ({n})" for label, n in zip(*counts, strict=True))
    grouped = f" in {len(set(dataset.groups))} groups" if dataset.groups is not None else ""
    lines = [f"Trained on {result.n_train} images{grouped} of {dataset.name}; its classes: {classes}.", ""]
    lines += ["Cross-validated on the training part:", "", "```", result.comparison.format_table(), "```"]
    for part, scores in result.held_out.items():
        figures = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        lines += ["", f"On the held-out part {part!r}: {figures}."]
    return "\n".join(lines)
