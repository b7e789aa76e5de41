"""Evaluations of a data set by names: of backbones and heads, or of a saved model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from featx.artifact import describe, load
from featx.backbones.backbone import Backbone
from featx.embedding import DataLike, make_features, placed
from featx.errors import DatasetError, LeakWarning, ParameterError, SampleError, did_you_mean
from featx.evaluation.evaluate import compare, evaluate
from featx.evaluation.remembered import remembered_keys
from featx.evaluation.subjects import features_of
from featx.heads import HEAD_NAMES, make_head, param_grid
from featx.inputs.arguments import column_of
from featx.inputs.dataset import Dataset, warn_of_empty_texts
from featx.inputs.datasets import read_dataset
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation

__all__ = ["evaluate_heads", "evaluate_model", "read_for"]

_SHOWN = 10  # labels that a message lists


def evaluate_heads(
    data: DataLike,
    *,
    backbones: Sequence[str | os.PathLike[str] | Backbone | None] = (None,),
    heads: Sequence[str] = ("logistic",),
    search: bool = False,
    ignore_split: bool = False,
    skip_unreadable: bool = False,
    features: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Comparison:
    """Evaluate every head on every backbone, on the same folds and draws.

    Parameters
    ----------
    data : Dataset or path
        See :func:`featx.read_dataset`.
    backbones : sequence of str, path or Backbone
        None is the default of the modality; see :class:`featx.ImageFeatures` and :class:`featx.TextFeatures`.
    heads : sequence of str
        Names from :data:`featx.heads.HEAD_NAMES`.
    search : bool
        Search each head's :func:`featx.param_grid` inside every training part.
    ignore_split : bool
        Cross-validate on all rows, whatever their split.
    skip_unreadable : bool
        Leave out samples that cannot be read, instead of raising.
    features : dict, optional
        Further parameters of the features transformers: ``tap``, ``pooling``, ``device``, ``cache`` ... Without a cache every
        head computes all vectors again.
    **settings
        Of :func:`featx.evaluate`.

    Returns
    -------
    Comparison
        Of one evaluation where there is one backbone and one head.

    Raises
    ------
    DatasetError, ParameterError, BackboneError, SampleError
    """
    dataset = _dataset(data, ignore_split=ignore_split)
    if isinstance(heads, str) or not len(heads) or len(set(heads)) < len(heads):
        raise ParameterError(
            f"heads={heads!r}: expected names, each once, some of {', '.join(map(repr, HEAD_NAMES))}."
        )
    pipelines: dict[str, Pipeline] = {}
    grids: dict[str, dict[str, list[Any]]] = {}
    for backbone in backbones:
        for head in heads:
            transformer = make_features(
                dataset.modality, backbone, skip_unreadable=skip_unreadable, **(features or {})
            )
            name = f"{_name(transformer.backbone, backbones)}, {head}"
            if name in pipelines:
                raise ParameterError(f"backbone={backbone!r}: given twice. Name each once.")
            pipelines[name] = Pipeline([("features", transformer), ("head", make_head(head))])
            grids[name] = param_grid(head, prefix="head__", n_samples=len(dataset))
    warn_of_empty_texts(dataset)
    try:
        return compare(pipelines, dataset, param_grids=grids if search else None, **settings)
    except SampleError as error:
        raise placed(error, dataset) from error


def evaluate_model(
    model: str | os.PathLike[str],
    data: DataLike,
    *,
    device: str | None = None,
    cache: Any = "default",
    ignore_split: bool = False,
    skip_unreadable: bool = False,
    **settings: Any,
) -> Evaluation:
    """Judge a saved model on samples that it was not trained on, and say so where it was.

    A model that remembers its training (``featx.train`` sees to it, :func:`featx.save` with ``trained_on``) is asked for the
    samples that it knows: they are a leak, and every figure is given without them too.

    Parameters
    ----------
    model : path
        See :func:`featx.load`.
    data : Dataset or path
        With labels, those of the model. Parts of a split are judged one by one. A path is read by :func:`read_for`.
    device : str, optional
        Where to compute; None keeps what the model says.
    cache : "default", path, EmbeddingStore or None
        Where vectors are kept.
    ignore_split : bool
        Judge all rows as one.
    skip_unreadable : bool
        Leave out samples that cannot be read, instead of raising.
    **settings
        Of :func:`featx.evaluate`.

    Raises
    ------
    ArtifactError, DatasetError, ParameterError, SampleError
    LeakError
        The model was trained on some of the samples, with ``on_leak="raise"``.

    Warns
    -----
    LeakWarning
        For each leak; and where the model does not remember what it was trained on.
    """
    dataset = _dataset(
        data if isinstance(data, Dataset) else read_for(model, data), ignore_split=ignore_split
    )
    pipeline = load(model, device=device, cache=cache)
    features = features_of(pipeline)
    if features is None:
        kind = type(getattr(pipeline, "best_estimator_", pipeline)).__name__
        raise ParameterError(
            f"{model}: takes more than {dataset.noun} (a {kind} that does not begin with features). From "
            'Python, featx.evaluate(featx.load(folder), X, y, cv="prefit") takes what it was fitted on.'
        )
    _check_fits(dataset, features.modality, getattr(pipeline, "classes_", None), model)
    if skip_unreadable:
        features.set_params(on_error="nan")
    warn_of_empty_texts(dataset)
    name = os.path.basename(os.path.abspath(os.fspath(model)))
    if remembered_keys(pipeline) is None:
        warnings.warn(
            f"{model}: does not remember what it was trained on, so whether these samples were part of that could not be "
            "checked. Judge it on samples that came after it; featx.save(..., trained_on=X) lets a model remember.",
            LeakWarning,
            stacklevel=2,
        )
    try:
        return evaluate(pipeline, dataset, cv="prefit", **{"name": name, **settings})
    except SampleError as error:
        raise placed(error, dataset) from error


def read_for(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    file_column: str | None = None,
    text_column: str | None = None,
    **columns: Any,
) -> Dataset:
    """Read a data set to judge a saved model on: of a CSV the column that the model was trained on.

    Parameters
    ----------
    model : path
        See :func:`featx.load`; only what it says of itself is read.
    data : path
        See :func:`featx.read_dataset`.
    file_column, text_column : str, optional
        The column of the samples; None takes that of the model's training, or where there was none ``file`` or ``text``.
    **columns
        Further parameters of :func:`featx.read_dataset`.

    Raises
    ------
    ArtifactError, ParameterError
    DatasetError
        Also where the CSV has no such column: another one is never taken in its place.
    """
    info = describe(model)
    takes_texts = {record.kind for record in info.features} == {"text"}
    other, column = (file_column, text_column) if takes_texts else (text_column, file_column)
    if other is not None:
        name, noun, taken = ("file", "images", "texts") if takes_texts else ("text", "texts", "images")
        raise ParameterError(
            f"{name}_column={other!r}: is for {noun}, and the model takes {taken}. Leave it out."
        )
    kind = "text_column" if takes_texts else "file_column"
    found = column_of(data, column=column, learned=info.sample_column, parameter=kind)
    return read_dataset(data, **({} if found is None else {kind: found}), **columns)


def _check_fits(dataset: Dataset, takes: str, classes: Any, model: str | os.PathLike[str]) -> None:
    """Refuse samples and labels that the model does not know, naming both, before any sample is embedded."""
    if dataset.modality != takes:
        raise DatasetError(
            f"{dataset.name}: holds {dataset.noun}, and {model} takes {takes}s. Give {takes}s."
        )
    if classes is None or dataset.labels is None:
        return
    known, given = np.asarray(classes).tolist(), set(np.asarray(dataset.labels).tolist())
    unknown = sorted(given - set(known), key=str)
    if not unknown:
        return
    names = describe(model).labels
    shown = [repr(c) if names is None else f"{c!r} ({names[i]})" for i, c in enumerate(known[:_SHOWN])]
    if set(map(str, given)) <= set(map(str, known)):
        advice = 'Labels of a file are text: from Python, featx.evaluate(featx.load(model), X, y, cv="prefit") takes others.'
    else:
        advice = "Give these samples the model's own labels, or leave them out."
    raise DatasetError(
        f"{dataset.name}: has the label(s) {_listed(list(map(repr, unknown)))}, and {model} knows "
        f"{_listed(shown, len(known))}.{did_you_mean(str(unknown[0]), map(str, known))} {advice}"
    )


def _listed(words: Sequence[str], n: int | None = None) -> str:
    more = (len(words) if n is None else n) - len(words[:_SHOWN])
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more else "")


def _dataset(data: DataLike, *, ignore_split: bool) -> Dataset:
    dataset = data if isinstance(data, Dataset) else read_dataset(data)
    return replace(dataset, split=None) if ignore_split else dataset


def _name(backbone: Any, among: Sequence[Any]) -> str:
    """The last part of a reference; all of it where another one ends alike."""
    last = os.path.basename(_reference(backbone))
    ends = [os.path.basename(_reference(each)) for each in among]
    return last if ends.count(last) < 2 else _reference(backbone)


def _reference(backbone: Any) -> str:
    return backbone.name if isinstance(backbone, Backbone) else os.path.normpath(str(backbone))
