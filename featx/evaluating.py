"""Evaluations of a data set by names: of backbones and heads, or of a saved model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sklearn.pipeline import Pipeline

from featx.artifact import load
from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.embedding import DataLike, make_features, placed
from featx.errors import ParameterError, SampleError
from featx.evaluation.evaluate import compare, evaluate
from featx.heads import HEAD_NAMES, make_head, param_grid
from featx.inputs.dataset import Dataset, warn_of_empty_texts
from featx.inputs.datasets import read_dataset
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation

__all__ = ["evaluate_heads", "evaluate_model"]


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
    """Judge a saved model on samples that it was not trained on; whether it was, only its makers know.

    Parameters
    ----------
    model : path
        See :func:`featx.load`.
    data : Dataset or path
        With labels. Parts of a split are judged one by one.
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
    """
    dataset = _dataset(data, ignore_split=ignore_split)
    pipeline = load(model, device=device, cache=cache)
    if not isinstance(pipeline, Pipeline) or not isinstance(pipeline[0], BackboneFeatures):
        raise ParameterError(
            f"{model}: takes more than {dataset.noun} (a {type(pipeline).__name__} that does not begin with features). From "
            'Python, featx.evaluate(featx.load(folder), X, y, cv="prefit") takes what it was fitted on.'
        )
    if skip_unreadable:
        pipeline[0].set_params(on_error="nan")
    warn_of_empty_texts(dataset)
    name = os.path.basename(os.path.abspath(os.fspath(model)))
    try:
        return evaluate(pipeline, dataset, cv="prefit", **{"name": name, **settings})
    except SampleError as error:
        raise placed(error, dataset) from error


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
