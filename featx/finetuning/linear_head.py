"""The linear layer behind a tuned backbone: begun by scikit-learn, trained on standardised columns, kept as weight and bias.

Owns the arithmetic of that. Two classes are two rows of opposite sign, so that a softmax gives what a logistic regression does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["LinearHead", "StandardHead", "without_dead_columns"]

_LEAST_SCALE = 0.1
"""Of the median scale. A column that hardly moves on the training part must not be blown up once the network changes."""


_DEAD = 1e-4
"""Of the median standard deviation: a column that moves less is dead. all-MiniLM-L6-v2 has three, of 1e-33 to 1e-8."""


def without_dead_columns(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors (n, d), columns that do not move set to zero.

    Standardised, the noise of such a column would count like any other column, and its weight on vectors as they are would be
    beyond all bounds: the first step of a training would end it.
    """
    spread = vectors.std(axis=0, dtype=np.float64)
    dead = spread < _DEAD * np.median(spread)
    return np.where(dead, np.float32(0), vectors) if dead.any() else vectors


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """Weight and bias on vectors as they are.

    Parameters
    ----------
    weight : ndarray of float64, shape (n_classes, d)
    bias : ndarray of float64, shape (n_classes,)
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Shape (n, n_classes)."""
        found: NDArray[np.float64] = vectors.astype(np.float64) @ self.weight.T + self.bias
        return found

    def decision_values(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """As scikit-learn gives them: (n,) for two classes, the log-odds of the second; else (n, n_classes)."""
        logits = self.logits(vectors)
        return logits[:, 1] - logits[:, 0] if len(self.bias) == 2 else logits

    def probabilities(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Shape (n, n_classes)."""
        found: NDArray[np.float64] = softmax(self.logits(vectors), axis=1)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class StandardHead:
    """Weight and bias on columns that were standardised by a fixed mean and scale: what is trained.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (d,)
    weight : ndarray of float64, shape (n_classes, d)
    bias : ndarray of float64, shape (n_classes,)
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of_probe(cls, probe: Pipeline) -> StandardHead:
        """A fitted pipeline of StandardScaler and LogisticRegression; predictions are the same."""
        scaler, logistic = probe.steps[0][1], probe.steps[-1][1]
        weight, bias = _exact(logistic.coef_), _exact(logistic.intercept_)
        if len(weight) == 1:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        scale = _exact(scaler.scale_)
        wider = _at_least(scale)
        return cls(_exact(scaler.mean_), wider, weight * (wider / scale), bias)

    @classmethod
    def of_nothing(cls, vectors: NDArray[Any], n_classes: int) -> StandardHead:
        """Zeros, behind a scaler fitted to vectors: all classes are equally likely."""
        scaler = StandardScaler().fit(vectors)
        shape = (n_classes, vectors.shape[1])
        return cls(
            _exact(scaler.mean_),
            _at_least(_exact(scaler.scale_)),
            np.zeros(shape),
            np.zeros(n_classes),
        )

    def folded(self) -> LinearHead:
        """The scaler in weight and bias: the same on vectors as they are."""
        weight = self.weight / self.scale
        return LinearHead(weight, self.bias - weight @ self.mean)


def _at_least(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(scale, _LEAST_SCALE * np.median(scale))


def _exact(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
