"""How well a head does on samples that it has not seen, and whether it is clearly better than another. Pure; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

__all__ = ["Gain", "losses", "paired_gain", "refined_losses"]

_LOG_TEMPERATURES = (-4.0, 4.0)
_LEAST_GAIN = 1e-3
"""In log loss. Where both models separate a small validation part, what is left of their losses means nothing."""


def losses(logits: NDArray[Any], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Log loss of each sample, shape (n,).

    Parameters
    ----------
    logits : ndarray, shape (n, n_classes)
    codes : ndarray of int, shape (n,)
        Positions of the true classes.
    """
    found: NDArray[np.float64] = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(codes)), codes]
    return found


def refined_losses(
    logits: NDArray[Any], codes: NDArray[np.intp], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log losses (n,) after the best temperature: what is left once a model is neither too sure nor too unsure.

    A network that is trained on grows ever surer of itself while it still grows better, and its log loss rises by that alone; a
    strictly regularised probe is less sure than it may be. What is to be chosen, an epoch or a network, is chosen by what no
    temperature mends (Berta et al. 2025, "Rethinking Early Stopping: Refine, Then Calibrate").

    Parameters
    ----------
    logits : ndarray, shape (n, n_classes)
    codes : ndarray of int, shape (n,)
    weights : ndarray of float64, shape (n,)
        Of the samples.

    Examples
    --------
    >>> sure = np.asarray([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    >>> codes = np.asarray([0, 0, 1, 1])  # one of four is wrong, and as sure as the others
    >>> ones = np.ones(4)
    >>> print(losses(sure, codes).mean().round(3), refined_losses(sure, codes, ones).mean().round(3))
    2.25 0.562
    """
    if not np.isfinite(logits).all():
        return np.full(len(codes), math.inf)

    def at(log_temperature: float) -> NDArray[np.float64]:
        return losses(logits / math.exp(log_temperature), codes)

    found = minimize_scalar(
        lambda log_temperature: float(np.average(at(log_temperature), weights=weights)),
        bounds=_LOG_TEMPERATURES,
        method="bounded",
    )
    return at(float(found.x))


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much one model is better than another on the same samples.

    Parameters
    ----------
    value : float
        Mean of the first's losses less the second's.
    standard_error : float
        Infinite where all samples belong together.
    """

    value: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Whether it exceeds one standard error, by which the simpler model is left (Breiman et al. 1984, "1 SE rule")."""
        return self.value > max(self.standard_error, _LEAST_GAIN)


def paired_gain(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    weights: NDArray[np.float64],
    units: NDArray[Any],
) -> Gain:
    """The gain of ``after`` over ``before``, both losses of the same samples.

    Parameters
    ----------
    before, after : ndarray of float64, shape (n,)
    weights : ndarray of float64, shape (n,)
    units : ndarray, shape (n,)
        What belongs together, such as the slices of a patient: the error is that of a mean over so many, linearised.

    Examples
    --------
    >>> before, after = np.asarray([0.5, 0.7, 0.6, 0.8]), np.asarray([0.4, 0.5, 0.6, 0.5])
    >>> gain = paired_gain(before, after, weights=np.ones(4), units=np.arange(4))
    >>> round(gain.value, 3), round(gain.standard_error, 3), gain.is_clear
    (0.15, 0.065, True)
    """
    each = before - after
    mean = float(np.average(each, weights=weights))
    _, codes = np.unique(units, return_inverse=True)
    sums = np.bincount(codes, weights * (each - mean))
    n = len(sums)
    if n < 2:
        return Gain(mean, math.inf)
    return Gain(mean, math.sqrt(n / (n - 1) * float(sums @ sums)) / float(weights.sum()))
