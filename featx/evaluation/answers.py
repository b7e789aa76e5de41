"""What a fitted estimator answers, checked before anything is computed from it.

Invariant: what passes has a row a sample and no NaN; probabilities are between 0 and 1 and sum to one; labels are among those of
training. Figures of anything else would be numbers like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from featx.errors import ParameterError

__all__ = ["columns_of", "labels_of", "proba_of", "scores_of", "values_of"]

_SUM_TOLERANCE = 1e-2  # bfloat16 rounds each number by up to 2 ** -9 of itself, and so their sum; with room
_LARGEST_VALUE = 1e150  # the squares of larger errors, and sums of them, overflow
_BOUND_TOLERANCE = 1e-6  # float32 just outside 0 and 1


def columns_of(fitted: Any, classes: NDArray[Any], where: str) -> NDArray[np.intp]:
    """Where in `classes` each class of a fitted classifier stands, shape (k,).

    Parameters
    ----------
    fitted : estimator
    classes : ndarray
        All labels.
    where : str
        Which fit it is, for messages, such as ``"fold 2"``; empty for a finished model.

    Raises
    ------
    ParameterError
        It names no classes, or others.
    """
    own = getattr(fitted, "classes_", None)
    if own is None:
        raise ParameterError(
            f"{_name(fitted, where)}: has no classes_ once it is fitted; expected a classifier's labels in sorted order."
        )
    return _positions(np.asarray(own).reshape(-1), classes, f"{_name(fitted, where)}.classes_")


def proba_of(fitted: Any, X: Any, n: int, k: int, where: str) -> NDArray[np.float64]:
    """Probabilities, shape (n, k).

    Raises
    ------
    ParameterError
        Of another shape, not finite, or no probabilities.
    """
    what = f"{_name(fitted, where)}.predict_proba"
    proba = _numbers(_asked(fitted, "predict_proba", X, what), what)
    if proba.shape != (n, k):
        raise ParameterError(
            f"{what}: expected shape ({n}, {k}), a row a sample and a column a class; found {proba.shape}."
        )
    _check_finite(proba, what)
    low, high, sums = proba.min(), proba.max(), proba.sum(axis=1)
    if low < -_BOUND_TOLERANCE or high > 1 + _BOUND_TOLERANCE:
        advice = " Log-probabilities? Take their exponential." if high <= 0 else ""
        raise ParameterError(
            f"{what}: expected probabilities, 0 to 1; found {low:.4g} to {high:.4g}.{advice} Scores on another scale belong into "
            "decision_function."
        )
    off = int(np.abs(sums - 1).argmax())
    if abs(sums[off] - 1) > _SUM_TOLERANCE:
        raise ParameterError(
            f"{what}: expected rows that sum to 1; row {off} sums to {sums[off]:.4g}. Divide them by their sums, or offer scores "
            "as decision_function."
        )
    return proba


def scores_of(fitted: Any, X: Any, n: int, k: int, where: str) -> NDArray[np.float64] | None:
    """Decision values, shape (n, k), those of two classes each other's negative; None of a machine that gives one a pair.

    Raises
    ------
    ParameterError
        Of another shape, or NaN. Infinity is a score.
    """
    what = f"{_name(fitted, where)}.decision_function"
    scores = _numbers(_asked(fitted, "decision_function", X, what), what)
    if k == 2 and scores.size == n:
        scores = scores.reshape(n)
    if len(scores) == n and k == 2 and scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    n_pairs = k * (k - 1) // 2
    if scores.shape not in ((n, k), (n, n_pairs)):
        raise ParameterError(
            f"{what}: expected shape {f'({n},)' if k == 2 else f'({n}, {k})'}; found {scores.shape}. A score a sample for two "
            "classes, a column a class for more."
        )
    _check_finite(scores, what, infinity=True)
    in_pairs = getattr(_last(fitted), "decision_function_shape", None) == "ovo" and k > 2
    return None if in_pairs or scores.shape != (n, k) else scores


def labels_of(fitted: Any, X: Any, n: int, classes: NDArray[Any], where: str) -> NDArray[np.intp]:
    """Predicted labels as positions in `classes`, shape (n,).

    Raises
    ------
    ParameterError
        Not one a sample, or a label that is none of the classes.
    """
    what = f"{_name(fitted, where)}.predict"
    labels = np.asarray(_asked(fitted, "predict", X, what))
    if labels.shape == (n, 1):  # some libraries give a column
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise ParameterError(f"{what}: expected shape ({n},), a label a sample; found {labels.shape}.")
    return _positions(labels, classes, what)


def values_of(fitted: Any, X: Any, n: int, where: str) -> NDArray[np.float64]:
    """Predicted values of a regression, shape (n,).

    Raises
    ------
    ParameterError
        Not one a sample, no numbers, not finite, or so large that their squares are not.
    """
    what = f"{_name(fitted, where)}.predict"
    values = _numbers(_asked(fitted, "predict", X, what), what)
    if values.shape == (n, 1):  # as partial least squares gives them
        values = values[:, 0]
    if values.shape != (n,):
        raise ParameterError(f"{what}: expected shape ({n},), a number a sample; found {values.shape}.")
    _check_finite(values, what)
    if np.abs(values).max() > _LARGEST_VALUE:
        raise ParameterError(
            f"{what}: gives numbers as large as {np.abs(values).max():.3g}, whose squares overflow. Did its fit diverge?"
        )
    return values


def _asked(fitted: Any, method: str, X: Any, what: str) -> Any:
    try:
        return getattr(fitted, method)(X)
    except NotFittedError as error:
        raise ParameterError(
            f"{what}: the estimator is not fitted. Fit it, or leave cv='prefit' out to have clones of it fitted."
        ) from error


def _name(fitted: Any, where: str) -> str:
    return f"{where}: {type(_last(fitted)).__name__}" if where else type(_last(fitted)).__name__


def _last(fitted: Any) -> Any:
    return _last(fitted.steps[-1][1]) if isinstance(fitted, Pipeline) and fitted.steps else fitted


def _numbers(given: Any, what: str) -> NDArray[np.float64]:
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"{what}: expected an array of numbers; found {type(given).__name__}.") from None


def _check_finite(values: NDArray[np.float64], what: str, *, infinity: bool = False) -> None:
    odd = np.isnan(values) if infinity else ~np.isfinite(values)
    if odd.any():
        row = int(np.flatnonzero(odd.reshape(len(values), -1).any(axis=1))[0])
        raise ParameterError(
            f"{what}: NaN{'' if infinity else ' or infinity'} for {int(odd.reshape(len(values), -1).any(axis=1).sum())} of "
            f"{len(values)} samples, the first in row {row}. Check what the estimator learned, and the scale of its features."
        )


def _positions(labels: NDArray[Any], classes: NDArray[Any], what: str) -> NDArray[np.intp]:
    known = {label: i for i, label in enumerate(classes.tolist())}
    try:
        return np.asarray([known[label] for label in labels.tolist()], dtype=np.intp)
    except (KeyError, TypeError) as error:
        odd = error.args[0] if isinstance(error, KeyError) else labels.tolist()[0]
        raise ParameterError(
            f"{what}: gives {odd!r}, which is no label in training; expected some of {', '.join(map(repr, list(known)[:10]))}."
        ) from None
