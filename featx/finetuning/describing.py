"""What the card of a tuned backbone says of its training; no sample is named."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.text_preprocess import TextPreprocess
from featx.finetuning.choosing import Choice
from featx.finetuning.course import Course
from featx.finetuning.request import Request

__all__ = ["card_of"]


def card_of(
    request: Request,
    course: Course,
    labels: NDArray[Any],
    units: NDArray[np.intp],
    choice: Choice,
    best_epoch: int,
    n_epochs: int,
) -> dict[str, Any]:
    """On what it was tuned, how, and how well; no sample is named."""
    names, counts = np.unique(labels, return_counts=True)
    read = request.features.backbone_.preprocess
    values: dict[str, Any] = {
        # The folder keeps what its publisher says of texts; the weights were tuned on them as they were read here.
        "texts": {"prompt": read.prompt, "max_length": read.max_length}
        if isinstance(read, TextPreprocess)
        else None,
        "samples": len(labels),
        "classes": {str(name): int(n) for name, n in zip(names, counts, strict=True)},
        "units": len(np.unique(units)),
        "freeze_until": request.freeze_until,
        "settings": {
            **asdict(course),
            "layer_decay": request.layer_decay,
            "class_weight": str(request.class_weight),
            "warm_start_head": request.warm_start_head,
            "refit_head": request.refit_head,
            "augment": None if request.augment is None else asdict(request.augment),
        },
        "epochs_trained": n_epochs,
        "best_epoch": best_epoch,
        "head": choice.head,
    }
    if choice.frozen is not None and choice.tuned is not None:
        values["validation"] = {
            "samples": choice.n_validation,
            "note": "The epoch was chosen on these samples, so the tuned figures flatter a little.",
            **{
                when: {
                    "validation_loss": round(figures.loss, 4),
                    "validation_refined_loss": round(figures.refined_loss, 4),
                    "validation_balanced_accuracy": round(figures.balanced_accuracy, 4),
                }
                for when, figures in (("frozen_probe", choice.frozen), ("tuned", choice.tuned))
            },
        }
    return {key: value for key, value in values.items() if value is not None}
