"""What a training is asked, checked: all that can be refused before the first image meets the network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DatasetError, FeatxWarning, ParameterError
from featx.evaluation.folds import make_folds
from featx.evaluation.leaks import TRAIN
from featx.heads import HEAD_NAMES, make_head
from featx.inputs.dataset import Dataset

__all__ = ["TrainingPlan", "plan_training"]

_MOST_CLASSES = 0.5  # of the samples; more different numbers are no classes
_SEEDS = 2**31  # what every head and fold takes, xgboost's 32-bit integers included


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is known before inference, checked; an entry a sample."""

    names: list[str]
    labels: NDArray[Any]
    groups: NDArray[Any] | None
    split: NDArray[Any]


def plan_training(
    dataset: Dataset, *, heads: Sequence[str], cv: int, ignore_split: bool, random_state: int
) -> TrainingPlan:
    """Labels, groups, split and heads, refused before an hour of inference and not after it.

    Raises
    ------
    DatasetError
        They allow no honest comparison.
    ParameterError

    Warns
    -----
    FeatxWarning
        Samples are in no part of the split.
    """
    if dataset.labels is None:
        raise DatasetError(
            f"{dataset.name}: no labels to train on. Give a folder a class, or a CSV with a label column."
        )
    if isinstance(heads, str) or not len(heads) or len(set(heads)) < len(heads):
        raise ParameterError(
            f"heads={heads!r}: expected names, each once, some of {', '.join(map(repr, HEAD_NAMES))}."
        )
    for name in heads:
        make_head(name)
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise ParameterError(f"random_state={random_state!r}: expected a whole number.")
    if not 0 <= random_state < _SEEDS:
        raise ParameterError(f"random_state={random_state}: expected 0 to {_SEEDS - 1}.")
    labels = np.asarray(dataset.labels)
    _refuse_numbers(dataset.name, labels)
    groups = None if dataset.groups is None else np.asarray(dataset.groups)
    whole = dataset.split is None or ignore_split
    split = np.full(len(labels), TRAIN) if whole else np.asarray(dataset.split)
    known = np.flatnonzero(split == TRAIN)
    if not len(known):
        raise DatasetError(
            f"{dataset.name}: its split has no part {TRAIN} (it has {', '.join(sorted(set(split.tolist())))}). Name one, or pass "
            "ignore_split=True."
        )
    make_folds(
        labels[known], None if groups is None else groups[known], n_splits=cv, random_state=random_state
    )
    unknown = sorted(set(labels[split != ""].tolist()) - set(labels[known].tolist()), key=str)
    if unknown:
        raise DatasetError(
            f"{dataset.name}: a held-out part has samples of {', '.join(map(repr, unknown[:5]))}, and {TRAIN} has none. Add some "
            "there, leave the class out, or pass ignore_split=True."
        )
    unused = int((split == "").sum())
    if unused:
        warnings.warn(
            f"{dataset.name}: {unused} of {len(labels)} samples are in no part of the split and are not used. Fill in their "
            "split, or pass ignore_split=True.",
            FeatxWarning,
            stacklevel=3,
        )
    names = [dataset.listed_name(i) for i in range(len(dataset))]
    return TrainingPlan(names, labels, groups, split)


def _refuse_numbers(name: str, labels: NDArray[Any]) -> None:
    """Measurements in the cells of a table are strings like any label; told by how few of them are equal."""
    distinct = set(labels.tolist())
    if len(distinct) < _MOST_CLASSES * len(labels) or not all(map(_is_number_in_text, distinct)):
        return
    raise DatasetError(
        f"{name}: its labels are {len(distinct)} different numbers for {len(labels)} samples, and heads predict classes. Put "
        "them into a few classes; or, to predict numbers, a regressor behind ImageFeatures or TextFeatures in a Pipeline."
    )


def _is_number_in_text(label: Any) -> bool:
    try:
        return isinstance(label, str) and math.isfinite(float(label))
    except ValueError:
        return False
