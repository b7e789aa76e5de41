"""Whether the steps behind the features are one linear map, and which: measured on the fitted steps, whatever they are made of.

A map is known by what it does to nothing and to each unit vector. If it then says of the vectors at hand what the steps
themselves say, it is the steps: scalers, projections, selections and linear heads pass in any order, trees and kernels do not.
What counts is how the scores differ from vector to vector, as that is what is explained: a large intercept agrees with anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline

from featx.errors import ParameterError
from featx.view_head import ViewHead

__all__ = ["LinearMap", "averages_views", "linear_map", "score_function"]

_TOLERANCE = 1e-5  # of the span of a score; float64 arithmetic on float32 vectors stays below 1e-9
_ROUNDINGS = 16  # of float64, in a score and in the weights that are told from two scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearMap:
    """``score = x @ weights + intercept``.

    Parameters
    ----------
    weights : ndarray of float64, shape (d, k)
    intercept : ndarray of float64, shape (k,)
    """

    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]


def score_function(head: Any) -> tuple[Callable[[NDArray[np.floating]], NDArray[np.float64]], str]:
    """What is explained of a fitted head, as a function to (n, k), and its name.

    The decision function, of a calibrated classifier that of the one classifier inside it; where there is none the
    probabilities; for a regressor the prediction. Of a head that predicts by the mean over views it is that of one vector, the
    picture's as it is.

    Raises
    ------
    ParameterError
        The head has no score.
    """
    inside, before = _explained(head)
    alone = " from the picture alone" if averages_views(head) else ""
    if is_regressor(inside):
        method, name = inside.predict, "prediction"
    elif hasattr(inside, "decision_function"):
        method, name = inside.decision_function, f"decision value{before}{alone}"
    elif hasattr(inside, "predict_proba"):
        method, name = inside.predict_proba, f"probability{before}{alone}"
    else:
        last = inside[-1] if isinstance(inside, Pipeline) else inside
        raise ParameterError(
            f"{type(last).__name__}: has neither decision_function nor predict_proba, so there is no score to explain."
        )

    def scores(x: NDArray[np.floating]) -> NDArray[np.float64]:
        found = np.asarray(method(x), dtype=np.float64)
        return found[:, None] if found.ndim == 1 else found

    return scores, name


def averages_views(head: Any) -> bool:
    """Whether a fitted head predicts by the mean over views of a sample, also where that is calibrated."""
    inside = _uncalibrated(head)
    inside = head if inside is None else inside
    return isinstance(inside, ViewHead) and inside.averages


def linear_map(
    scores: Callable[[NDArray[np.floating]], NDArray[np.float64]], vectors: NDArray[np.floating]
) -> LinearMap | None:
    """The linear map that the scores are, or None where they are none.

    Parameters
    ----------
    scores : callable
        (n, d) to (n, k).
    vectors : ndarray, shape (n, d)
        Vectors on which the map is held against the scores, and between which it is, too.
    """
    d = vectors.shape[1]
    rows = np.asarray(vectors, dtype=np.float64)
    trial = np.concatenate([rows, 2 * rows, (rows + rows[::-1]) / 2])
    try:
        at_zero = scores(np.zeros((1, d)))[0]
        weights = scores(np.eye(d)) - at_zero
        expected = scores(trial)
    except ValueError:  # steps that refuse such rows, as a Box-Cox transform does zeros
        return None
    wrong = np.abs(trial @ weights + at_zero - expected).max(axis=0, initial=0)  # (k,)
    span = np.ptp(expected, axis=0) if len(expected) else np.zeros_like(wrong)
    # A weight is the difference of two scores, each rounded at its own size, and a row takes d of them.
    sizes = np.abs(at_zero) + np.abs(trial) @ (np.abs(at_zero) + np.abs(weights))  # (n, k)
    rounding = _ROUNDINGS * np.finfo(np.float64).eps * sizes.max(axis=0, initial=0)
    is_linear = bool((wrong <= _TOLERANCE * span + rounding).all())
    return LinearMap(weights=weights, intercept=at_zero) if is_linear else None


def _explained(head: Any) -> tuple[Any, str]:
    """What gives the score of one vector, and what its name adds where calibrations after it were left out."""
    before = ""
    while True:
        inside = head.head_ if isinstance(head, ViewHead) else _uncalibrated(head)
        if inside is None:
            return head, before
        before = before if isinstance(head, ViewHead) else " before calibration"
        head = inside


def _uncalibrated(head: Any) -> Any | None:
    """The head without the calibration at its end, where that is a rising curve over one classifier's decision values: what
    speaks for a label before it speaks for it after."""
    if isinstance(head, Pipeline):
        inside = _uncalibrated(head[-1])
        return None if inside is None else Pipeline([*head.steps[:-1], ("uncalibrated", inside)])
    if not isinstance(head, CalibratedClassifierCV) or len(head.calibrated_classifiers_) != 1:
        return None
    calibrated = head.calibrated_classifiers_[0]
    # Of a classifier that knows nothing the sigmoid may fall, and turn its labels round.
    ends = np.array([-1.0, 1.0])
    if calibrated.method == "sigmoid" and any(
        np.diff(curve.predict(ends))[0] < 0 for curve in calibrated.calibrators
    ):
        return None
    return calibrated.estimator if hasattr(calibrated.estimator, "decision_function") else None
