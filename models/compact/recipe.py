"""What decides the result of a run, beside the pictures and the teacher: the settings and the two schedules.

Schedules are functions of the progress, from 0 at the first step to 1 after the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What decides the result of a run, beside the pictures and the teacher."""

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float
    label_smoothing: float
    teacher_weight: float
    average_decay: float
    hold_back: int
    seed: int


def learning_rate(progress: float, peak: float) -> float:
    """Return the rate of one cycle: a line up over the first tenth, then a half cosine down to nothing."""
    if progress < 0.1:
        return peak * (0.05 + 0.95 * progress / 0.1)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))


def picture_size_px(progress: float) -> int:
    """Return the side of the training pictures: small and cheap first, a little above their own 64 px last.

    A network does best some way above the size of its last training pictures (Touvron et al. 2019, Fixing the
    train-test resolution discrepancy); the last twentieth moves that to about 96 px.
    """
    if progress < 0.7:
        return 48
    return 64 if progress < 0.95 else 80
