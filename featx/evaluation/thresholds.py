"""Thresholds of two classes: the rules by which they are chosen, on scores of samples that the scoring model has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Threshold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A rule by which a threshold is chosen in training, for two classes.

    Parameters
    ----------
    of : "specificity" or "sensitivity"
        What the threshold is to reach in training, as narrowly as possible.
    at_least : float
        Share, 0 to 1.
    """

    of: str
    at_least: float

    @property
    def name(self) -> str:
        """As figures show it, such as ``specificity 0.9``."""
        return f"{self.of} {self.at_least:g}"

    def choose(self, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
        """The threshold (a row passes at or above it) that reaches the share on these rows."""
        if self.of == "sensitivity":
            hits = np.sort(scores[positive])[::-1]
            return float(hits[max(0, int(np.ceil(self.at_least * len(hits) - 1e-9)) - 1)])
        misses = np.sort(scores[~positive])
        below = int(np.ceil(self.at_least * len(misses) - 1e-9))  # as many have to stay below
        return float(np.nextafter(misses[below - 1], np.inf)) if below else float(misses[0])
