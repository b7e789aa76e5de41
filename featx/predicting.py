"""``predict``: the labels of images or texts by a saved or fitted pipeline, each with what went wrong where something did."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifact import load
from featx.backbone_features import BackboneFeatures
from featx.errors import ParameterError, SampleError, without_advice
from featx.evaluation.columns import check_groups
from featx.evaluation.outcomes import aggregate_rows, check_how, pooled_proba, voted
from featx.evaluation.subjects import Parted
from featx.inputs.samples import sample_name
from featx.store.store import EmbeddingStore

__all__ = ["Predictions", "predict"]

CacheLike: TypeAlias = str | os.PathLike[str] | EmbeddingStore | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Labels and, where the head gives them, probabilities; in the order of the samples.

    Parameters
    ----------
    names : list of str
        Paths or texts as they were given; of other samples position and kind.
    labels : ndarray of object, shape (n,)
        None where a sample could not be read.
    classes : ndarray, shape (k,)
        Order of the columns of ``probabilities``; empty without them.
    probabilities : ndarray of float64, shape (n, k), or None
        NaN where a sample could not be read.
    errors : dict of int to SampleError
        What could not be read, by index.
    modality : {"image", "text"}
        What the samples are.
    counts : ndarray of int, shape (n,), or None
        Where rows are groups: how many samples of each were read. ``names`` are then theirs.
    """

    names: list[str]
    labels: NDArray[np.object_]
    classes: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    errors: dict[int, SampleError] = field(default_factory=dict)
    modality: str = "image"
    counts: NDArray[np.intp] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One dict a row, all of the same keys: ``file`` or ``text`` (or ``group`` and ``n``), ``label``, a probability
        ``p_<class>`` each, ``error``.

        Label and probabilities are None where the sample could not be read, and ``error`` is "" where it could.
        """
        rows: list[dict[str, Any]] = []
        for i, name in enumerate(self.names):
            noun = "file" if self.modality == "image" else "text"
            row: dict[str, Any] = {noun if self.counts is None else "group": name}
            if self.counts is not None:
                row["n"] = int(self.counts[i])
            row["label"] = self.labels[i]
            if self.probabilities is not None:
                values = [None] * len(self.classes) if i in self.errors else self.probabilities[i].tolist()
                row |= {f"p_{c}": p for c, p in zip(self.classes, values, strict=True)}
            row["error"] = without_advice(self.errors[i].message) if i in self.errors else ""
            rows.append(row)
        return rows


def predict(
    model: str | os.PathLike[str] | Any,
    samples: Sequence[Any],
    *,
    groups: Sequence[Any] | None = None,
    aggregate: str | None = None,
    device: str | None = None,
    cache: CacheLike = "default",
    skip_unreadable: bool = False,
    verbose: bool = False,
) -> Predictions:
    """Predict the labels of images or texts with a saved or fitted pipeline.

    Parameters
    ----------
    model : path or estimator
        An artefact's folder, or a fitted Pipeline whose first step is an :class:`featx.ImageFeatures` or
        :class:`featx.TextFeatures`, an :class:`featx.AugmentedClassifier`, or a search over one.
    samples : sequence of images or texts
        What that step takes.
    groups : sequence of n labels, optional
        What each sample belongs to, such as a patient.
    aggregate : "mean", "median", "max" or "vote", optional
        One prediction a group, as :func:`featx.evaluate` judges them: see :func:`featx.evaluation.outcomes.aggregate`; "max"
        is about the second class in sorted order. Samples that cannot be read count for nothing.
    device : str, optional
        Where to compute; None keeps what the pipeline says.
    cache : "default", path, EmbeddingStore or None
        Where vectors are kept, for a saved pipeline.
    skip_unreadable : bool
        Give no label to samples that cannot be read, instead of raising.
    verbose : bool
        Show progress.

    Returns
    -------
    Predictions
        In the order of ``samples``; of groups, in the order in which they appear.

    Raises
    ------
    ArtifactError, SampleError, DeviceError, ParameterError
    """
    saved = isinstance(model, str | os.PathLike)
    pipeline: Any = load(model, device=device, cache=cache) if saved else model
    pipeline = getattr(pipeline, "best_estimator_", pipeline)
    augmented = pipeline if isinstance(pipeline, Parted) else None
    transformer = pipeline[0] if isinstance(pipeline, Pipeline) else None
    if augmented is not None:
        transformer, head = augmented.parts(fitted=True)
    elif isinstance(transformer, BackboneFeatures) and len(pipeline) > 1:
        head = pipeline[1:]
    else:
        found = (
            type(pipeline).__name__
            if transformer is None
            else f"Pipeline that begins with a {type(transformer).__name__}"
        )
        raise ParameterError(
            f"{model if saved else type(model).__name__}: expected a Pipeline whose first step is an ImageFeatures or "
            f"TextFeatures and whose last is a head, found a {found}. From Python, "
            "featx.load(folder).predict(X) takes what it was fitted on."
        )
    chosen = {"on_error": "nan" if skip_unreadable else "raise", "verbose": verbose}
    if device is not None:
        chosen["device"] = device
    transformer = _with(transformer, **chosen)
    given = transformer.samples_of(samples)
    if augmented is not None:
        extraction, vectors = augmented.vectors_of(transformer, given, training=False)
    else:
        extraction = transformer.extract(given)
        vectors = extraction.vectors
    n = len(vectors)
    good = np.asarray([i for i in range(n) if i not in extraction.errors], dtype=np.intp)
    labels = np.full(n, None, dtype=object)
    probabilities: NDArray[np.float64] | None = None
    classes = np.asarray(getattr(head, "classes_", ()))
    if len(good):
        labels[good] = head.predict(vectors[good])
    if hasattr(head, "predict_proba"):
        probabilities = np.full((n, len(classes)), np.nan)
        if len(good):
            probabilities[good] = head.predict_proba(vectors[good])
    of_samples = Predictions(
        names=[sample_name(sample, i) for i, sample in enumerate(given)],
        labels=labels,
        classes=classes,
        probabilities=probabilities,
        errors=extraction.errors,
        modality=transformer.modality,
    )
    return of_samples if aggregate is None else _of_groups(of_samples, groups, aggregate)


def _of_groups(predictions: Predictions, groups: Sequence[Any] | None, how: str) -> Predictions:
    """One row a group, from those of its samples that were read."""
    regression = not len(predictions.classes)
    check_how(how, regression=regression)
    if groups is None:
        raise ParameterError(f"aggregate={how!r}: say what each sample belongs to, with groups.")
    of = check_groups(groups, len(predictions.names))
    _, first = np.unique(of, return_index=True)
    listed = list(groups)
    names = [str(listed[i]) for i in np.sort(first).tolist()]
    place = np.empty(len(first), dtype=np.intp)
    place[of[np.sort(first)]] = np.arange(len(first))  # groups in the order in which they appear
    of = place[of]
    good = np.asarray([i for i in range(len(of)) if i not in predictions.errors], dtype=np.intp)
    counts = np.bincount(of[good], minlength=len(names)).astype(np.intp)
    order = good[np.argsort(of[good], kind="stable")]
    there = np.flatnonzero(counts)
    starts = np.searchsorted(of[order], there)
    labels = np.full(len(names), None, dtype=object)
    probabilities: NDArray[np.float64] | None = None
    if regression:
        values = np.asarray([float(v) if v is not None else np.nan for v in predictions.labels])
        labels[there] = aggregate_rows(values[:, None], order, starts, how)[:, 0]
    else:
        probabilities = np.full((len(names), len(predictions.classes)), np.nan)
        if how == "vote":
            chosen = [
                [label == c for c in predictions.classes.tolist()] for label in predictions.labels.tolist()
            ]
            shares = aggregate_rows(np.asarray(chosen, dtype=np.float64), order, starts, "mean")
            sure = predictions.probabilities
            means = None if sure is None else aggregate_rows(sure, order, starts, "mean")
            probabilities[there] = shares
            labels[there] = predictions.classes[voted(shares, means)]
        elif predictions.probabilities is None:
            raise ParameterError(
                f"aggregate={how!r}: the model gives no probabilities. Use aggregate='vote', or a head with predict_proba."
            )
        else:
            probabilities[there] = pooled_proba(predictions.probabilities, order, starts, how)
            labels[there] = predictions.classes[probabilities[there].argmax(axis=1)]
    none = {
        i: SampleError("none of its samples could be read.", index=i, name=names[i])
        for i in np.flatnonzero(counts == 0).tolist()
    }
    return Predictions(
        names=names,
        labels=labels,
        classes=predictions.classes,
        probabilities=probabilities,
        errors=none,
        modality=predictions.modality,
        counts=counts,
    )


def _with(fitted: BackboneFeatures, **parameters: Any) -> BackboneFeatures:
    """A fitted transformer with other parameters, the given one left as it is."""
    other = type(fitted)(**{**fitted.get_params(deep=False), **parameters})
    other.__dict__ |= {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    return other
