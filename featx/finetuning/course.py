"""What a training is given, and what comes out of it: records, and nothing that happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featx.finetuning.linear_head import StandardHead
from featx.finetuning.material import Material
from featx.finetuning.schedule import WeightGroup
from featx.inference.batching import Batching

if TYPE_CHECKING:
    from featx.finetuning.graph_module import GraphModule

__all__ = ["Course", "EpochRecord", "Outcome", "Task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How to train; all of it decides the result.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
        Of the head and of the last weights, at its highest.
    weight_decay : float
        AdamW's (Loshchilov & Hutter 2019), of kernels and matrices.
    patience : int or None
        Epochs without a better validation figure after which to stop.
    seed : int
    bfloat16 : bool
        Arithmetic under ``torch.autocast``; weights are float32.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int | None
    seed: int
    bfloat16: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What an epoch did.

    Parameters
    ----------
    epoch : int
        0 is the start.
    loss : float or None
        Mean over the training part, while it was trained on; None of the start.
    validation_loss, validation_refined_loss, validation_balanced_accuracy : float or None
        None without a validation part. Losses are weighted by class as that of training is; the refined one, by which the epoch
        is chosen, is :func:`featx.finetuning.judging.refined_losses`.
    learning_rate : float
        At the end of the epoch.
    seconds : float
    """

    epoch: int
    loss: float | None
    validation_loss: float | None
    validation_refined_loss: float | None
    validation_balanced_accuracy: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """What to train on what.

    Parameters
    ----------
    module : GraphModule
        The trained part, on its device; changed by the training.
    start : StandardHead
    groups : sequence of WeightGroup
    material, validation_material : Material
        Training samples, which may be varied, and all samples as they are.
    batching : Batching
        Fills texts up.
    fixed_batch : int or None
    codes : ndarray of int, shape (n,)
        Positions of the classes.
    training, validation : ndarray of int
        Indices of the samples.
    class_weights : ndarray of float64, shape (n_classes,)
    """

    module: GraphModule
    start: StandardHead
    groups: Sequence[WeightGroup]
    material: Material
    validation_material: Material
    batching: Batching
    fixed_batch: int | None
    codes: NDArray[np.intp]
    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    class_weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """The best weights of a training, and how they were come by.

    Parameters
    ----------
    head : StandardHead
        As it was trained along.
    history : tuple of EpochRecord
    best_epoch : int
        0 where no epoch came to its end; ``module`` then holds the weights that it came with.
    """

    head: StandardHead
    history: tuple[EpochRecord, ...]
    best_epoch: int
