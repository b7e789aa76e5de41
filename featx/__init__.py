"""featx: frozen ONNX backbones, a feature cache that never goes stale, scikit-learn on top.

Public names are resolved on first use, so that ``import featx`` stays as cheap as ``import numpy``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featx._version import __version__

if TYPE_CHECKING:
    from featx.artifact import load, save, training_keys
    from featx.attribution import Evidence, evidence
    from featx.augmented import AugmentedClassifier
    from featx.backbones.augment import Augment
    from featx.backbones.backbone import Backbone
    from featx.backbones.feature_space import FeatureSpace
    from featx.backbones.preprocess import ImagePreprocess
    from featx.backbones.window import Window
    from featx.embedding import embed, write_embedding
    from featx.evaluation.evaluate import compare, evaluate
    from featx.exporting import export_backbone
    from featx.features import ImageFeatures, TextFeatures
    from featx.finetuning.classifier import FineTuneClassifier
    from featx.heads import make_head, param_grid
    from featx.inputs.dataset import Dataset
    from featx.inputs.datasets import read_dataset
    from featx.inputs.patients import patient_groups
    from featx.inputs.slices import list_slices, slice_dataset
    from featx.predicting import predict
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation
    from featx.store.store import EmbeddingStore
    from featx.training import train
    from featx.tuning import finetune

_HOME = {
    "Augment": "featx.backbones.augment",
    "AugmentedClassifier": "featx.augmented",
    "Backbone": "featx.backbones.backbone",
    "Comparison": "featx.reporting.comparisons",
    "Dataset": "featx.inputs.dataset",
    "EmbeddingStore": "featx.store.store",
    "Evaluation": "featx.reporting.evaluations",
    "Evidence": "featx.attribution",
    "FeatureSpace": "featx.backbones.feature_space",
    "FineTuneClassifier": "featx.finetuning.classifier",
    "ImageFeatures": "featx.features",
    "ImagePreprocess": "featx.backbones.preprocess",
    "TextFeatures": "featx.features",
    "Window": "featx.backbones.window",
    "compare": "featx.evaluation.evaluate",
    "embed": "featx.embedding",
    "evaluate": "featx.evaluation.evaluate",
    "evidence": "featx.attribution",
    "export_backbone": "featx.exporting",
    "finetune": "featx.tuning",
    "list_slices": "featx.inputs.slices",
    "load": "featx.artifact",
    "make_head": "featx.heads",
    "param_grid": "featx.heads",
    "patient_groups": "featx.inputs.patients",
    "predict": "featx.predicting",
    "read_dataset": "featx.inputs.datasets",
    "save": "featx.artifact",
    "slice_dataset": "featx.inputs.slices",
    "train": "featx.training",
    "training_keys": "featx.artifact",
    "write_embedding": "featx.embedding",
}

__all__ = [
    "Augment",
    "AugmentedClassifier",
    "Backbone",
    "Comparison",
    "Dataset",
    "EmbeddingStore",
    "Evaluation",
    "Evidence",
    "FeatureSpace",
    "FineTuneClassifier",
    "ImageFeatures",
    "ImagePreprocess",
    "TextFeatures",
    "Window",
    "__version__",
    "compare",
    "embed",
    "evaluate",
    "evidence",
    "export_backbone",
    "finetune",
    "list_slices",
    "load",
    "make_head",
    "param_grid",
    "patient_groups",
    "predict",
    "read_dataset",
    "save",
    "slice_dataset",
    "train",
    "training_keys",
    "write_embedding",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'featx' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
