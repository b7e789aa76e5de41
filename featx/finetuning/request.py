"""What a fit is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from featx.backbone_features import BackboneFeatures
from featx.backbones.augment import Augment
from featx.finetuning.choosing import Choice
from featx.finetuning.course import Course, EpochRecord

__all__ = ["Request"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """What a fit is asked for, checked; see :class:`featx.FineTuneClassifier`, whose parameters these are.

    Parameters
    ----------
    features : BackboneFeatures
        Of the backbone as it is, with one tap.
    boundary : str, float or None
        As :func:`featx.finetuning.split_backbone` takes it.
    freeze_until : str, float or None
        The same as it was given, for messages.
    augment : Augment or None
        None where nothing happens to pictures.
    class_weight : "balanced", dict or None
    warm_start_head, refit_head : bool
    layer_decay : float
    validation_fraction : float or None
    course : Course
    precision : {"auto", "float32", "bfloat16"}
        What ``course.bfloat16`` becomes on the device.
    device : str
    checkpoints : "default", path or None
    tell : callable or None
        Told of every epoch, and of what is kept.
    """

    features: BackboneFeatures
    boundary: str | float | None
    freeze_until: str | float | None
    augment: Augment | None
    class_weight: str | dict[Any, float] | None
    warm_start_head: bool
    refit_head: bool
    layer_decay: float
    validation_fraction: float | None
    course: Course
    precision: str
    device: str
    checkpoints: str | os.PathLike[str] | None
    tell: Callable[[EpochRecord | Choice | str], None] | None
