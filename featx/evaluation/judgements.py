"""Predictions with their figures: what a set of outcomes is worth, with intervals. Owns the records; computes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.bootstrap import Estimate
from featx.evaluation.outcomes import Outcomes

__all__ = ["CurvePoint", "Judgement", "PartCounts"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Judgement:
    """Figures of one set of predictions on samples that the models had not seen.

    Parameters
    ----------
    part : str
        What was predicted: ``"5 folds"``, ``"test"``, ``"test, unseen only"`` ...
    level : "sample" or "group"
        What a row is.
    outcomes : Outcomes
        Truth and predictions.
    figures : dict of str to Estimate
        By the names of :data:`featx.evaluation.figures.FIGURES`, headline first.
    by_class : dict of str to dict of str to Estimate
        ``precision``, ``recall`` and ``f1`` of each class, by label.
    n_units : int
        Independent units (groups, else samples) that the bootstrap drew.
    calibration_by_chance : float or None
        The calibration error that perfectly calibrated probabilities would show, on average, on as many independent rows. A
        measured error not far above it is no sign of bad calibration.
    """

    part: str
    level: str
    outcomes: Outcomes
    figures: dict[str, Estimate]
    by_class: dict[str, dict[str, Estimate]]
    n_units: int
    calibration_by_chance: float | None = None

    def __repr__(self) -> str:
        """One line, without the rows."""
        return f"Judgement({self.part!r}: {self.headline} {self.figures[self.headline]}, {len(self.outcomes)} {self.level}s)"

    @property
    def headline(self) -> str:
        """Name of the figure to quote: balanced accuracy, or R2."""
        return next(iter(self.figures))

    @property
    def confusion(self) -> NDArray[np.intp]:
        """Rows by true class and predicted class, shape (k, k); empty for a regression."""
        if self.outcomes.classes is None:
            return np.zeros((0, 0), dtype=np.intp)
        k = len(self.outcomes.classes)
        pairs = self.outcomes.truth * k + self.outcomes.predicted
        return np.bincount(pairs.astype(np.intp), minlength=k * k).reshape(k, k)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "part": self.part,
            "level": self.level,
            "n": len(self.outcomes),
            "n_units": self.n_units,
            "figures": {name: estimate.to_dict() for name, estimate in self.figures.items()},
            "by_class": {
                label: {name: estimate.to_dict() for name, estimate in figures.items()}
                for label, figures in self.by_class.items()
            },
            "confusion": self.confusion.tolist(),
            "calibration_by_chance": self.calibration_by_chance,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The headline figure of models that were fitted on a part of each training part.

    Parameters
    ----------
    n_train : float
        Training samples, mean over folds.
    estimate : Estimate
        On the same test samples as everything else.
    """

    n_train: float
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCounts:
    """How many samples a part of the data holds.

    Parameters
    ----------
    part : str
        A part of the split; ``"all"`` where there is none, ``"not used"`` for samples in no part.
    n_samples : int
    n_groups : int or None
        None where the data name no groups.
    by_class : dict of str to int
        Samples by label; empty for a regression.
    """

    part: str
    n_samples: int
    n_groups: int | None
    by_class: dict[str, int]
