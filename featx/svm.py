"""A support vector machine on embeddings, with probabilities that were learnt on samples it had not seen.

scikit-learn's ``SVC(probability=True)`` is deprecated since 1.9, and its replacement, ``CalibratedClassifierCV``, cannot keep
groups together in its inner folds. That matters: on covid_ct_small with mobilenet_v2, five folds by patient, calibration on
folds that split patients took margins for half as large again as they are (scale 3.35 against 2.21), and the log loss was
0.564 instead of 0.532.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from featx.errors import DatasetError, ParameterError

__all__ = ["SupportVectorClassifier"]

_KERNELS = ("linear", "rbf")
_KERNEL_CACHE_MB = 500
_LOG_SCALES = (
    -7.0,
    7.0,
)  # a margin of 1 means odds between 1.001 and e^1000: beyond either end nothing changes


# One number is fitted to the margins: from some thousands on more of them cost a fit a fold and change nothing that counts
# (14,640 tweets, five outer folds by author: log loss 0.498 in a third of the time, 0.497 with every fold).
_ENOUGH_MARGINS = 2_000

_ONE_GENERATOR = threading.Lock()


class SupportVectorClassifier(ClassifierMixin, BaseEstimator):
    """Linear or RBF support vector machine with one calibrated scale.

    Margins from ``calibration_folds`` folds, each computed by a machine that did not see the sample (nor its group), fix one
    number: the scale at which they are log-odds (temperature scaling, Guo et al. 2017, with the targets of Platt 1999, section
    2.2, so that separable classes do not give certainty). Being one positive factor, it leaves every prediction as it is:
    ``predict``, ``decision_function`` and ``predict_proba`` always agree.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of regularisation, in units in which the linear kernel is ``x @ z / (n_features * X.var())``: the scale
        that scikit-learn's ``gamma="scale"`` gives the RBF kernel. So one value serves embeddings of any width.
    kernel : "linear" or "rbf", default="linear"
        "linear" is liblinear's (squared hinge, one machine a class, time linear in samples); "rbf" is libsvm's (time
        quadratic in samples: minutes from 10,000 on).
    gamma : float, default=0.1
        Of the RBF kernel ``exp(-gamma * |x - z|^2 / (n_features * X.var()))``.
    class_weight : "balanced", dict or None, default="balanced"
        As in scikit-learn.
    calibration_folds : int, default=5
        Folds for the scale; fewer where a class has fewer samples or groups, and only the first of them once these have
        given 2,000 margins. 0, or a class with one sample, leaves the scale at 1: ``predict_proba`` then orders samples, and
        is no probability.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of liblinear's order of coordinates.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    machine_ : LinearSVC or SVC
        Fitted on all samples.
    scale_ : float
        What its margins are multiplied by.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had column names.
    """

    fit_keeps_groups = True
    """``fit(groups=...)`` keeps groups together in folds of its own."""

    def __init__(
        self,
        *,
        C: float = 1.0,
        kernel: str = "linear",
        gamma: float = 0.1,
        class_weight: str | dict[Any, float] | None = "balanced",
        calibration_folds: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma
        self.class_weight = class_weight
        self.calibration_folds = calibration_folds
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> SupportVectorClassifier:
        """Fit the machine and the scale of its margins.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardised columns.
        y : array-like of shape (n_samples,)
            Labels, strings included.
        groups : array-like of shape (n_samples,), optional
            Samples of one group stay together in the calibration folds. Through a Pipeline: ``fit(X, y, svm__groups=groups)``.
        sample_weight : array-like of shape (n_samples,), optional
            How often each sample counts, for the machine and for the scale of its margins. The units of `C` and of the kernel
            are taken from the rows as they are.

        Raises
        ------
        DatasetError
            One class only.
        ParameterError
            An unknown kernel.
        """
        if self.kernel not in _KERNELS:
            raise ParameterError(f"kernel={self.kernel!r}: expected one of {', '.join(map(repr, _KERNELS))}.")
        rows, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(labels)
        units = None if groups is None else column_or_1d(groups)
        check_consistent_length(rows, units)
        counts = (
            None if sample_weight is None else _check_sample_weight(sample_weight, rows, dtype=np.float64)
        )
        if (
            counts is not None and not counts.all()
        ):  # what does not count is not there, nor is a class of nothing else
            kept = counts > 0
            rows, labels, counts = rows[kept], labels[kept], counts[kept]
            units = None if units is None else units[kept]
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DatasetError(
                f"SupportVectorClassifier: only 1 class in y, {self.classes_.tolist()}. Give samples of a second one."
            )
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        self.machine_ = _fitted(self._machine(rows, seed), rows, labels, counts)
        self.scale_ = self._calibrate(rows, labels, codes, units, counts, seed)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log-odds: (n_samples,) for two classes, whose logistic function is the second class's probability; else (n_samples,
        n_classes), whose softmax are the probabilities."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self.scale_ * self.machine_.decision_function(rows)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of shape (n_samples, n_classes), columns in the order of ``classes_``.

        With ``class_weight="balanced"`` they are those of a population in which every class is equally frequent.
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        return softmax(scores, axis=1)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The label with the highest score of each row."""
        scores = self.decision_function(X)
        codes = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[codes]

    def _machine(self, rows: NDArray[np.floating], seed: int) -> LinearSVC | SVC:
        scale = rows.shape[1] * float(rows.var()) or 1.0  # constant columns have no scale
        if self.kernel == "rbf":
            gamma = self.gamma / scale
            return SVC(C=self.C, gamma=gamma, class_weight=self.class_weight, cache_size=_KERNEL_CACHE_MB)
        # The dual where columns outnumber samples, else the primal: at 10000 x 384 and C = 10 the dual took eleven times as
        # long. The intercept, which liblinear penalises as one more column, is a column as long as a row, at any width.
        return LinearSVC(
            C=self.C / scale,
            intercept_scaling=scale**0.5,
            class_weight=self.class_weight,
            dual=rows.shape[0] < rows.shape[1],
            max_iter=20_000,
            random_state=seed,
        )

    def _calibrate(
        self,
        rows: NDArray[np.floating],
        labels: NDArray[Any],
        codes: NDArray[np.intp],
        groups: NDArray[Any] | None,
        counts: NDArray[np.float64] | None,
        seed: int,
    ) -> float:
        n_classes = len(self.classes_)
        units = np.arange(len(rows)) if groups is None else groups
        n_folds = min(self.calibration_folds, *(len(np.unique(units[codes == c])) for c in range(n_classes)))
        if n_folds < 2:
            return 1.0
        margins = np.full((len(rows), n_classes), np.nan)
        weights = np.ones(len(rows)) if counts is None else counts
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        for train, test in kind(n_folds, shuffle=True, random_state=seed).split(rows, codes, groups):
            if len(np.unique(codes[train])) == n_classes:  # large groups can take a class out of a fold
                own = None if counts is None else counts[train]
                machine = _fitted(self._machine(rows[train], seed), rows[train], labels[train], own)
                margins[test] = _as_columns(machine.decision_function(rows[test]))
            if weights[~np.isnan(margins[:, 0])].sum() >= _ENOUGH_MARGINS:
                break
        known = ~np.isnan(margins[:, 0])
        if not known.any():
            return 1.0
        of_classes = compute_sample_weight(self.class_weight, labels)
        return _scale_of(margins[known], codes[known], weights[known], of_classes[known])


def _fitted(
    machine: LinearSVC | SVC,
    rows: NDArray[np.floating],
    labels: NDArray[Any],
    counts: NDArray[np.float64] | None,
) -> LinearSVC | SVC:
    # In the dual liblinear draws its order of coordinates from the one generator of the process: threads that fit at the same
    # time would take numbers from each other, and no seed would repeat a run. The primal draws nothing.
    with _ONE_GENERATOR if isinstance(machine, LinearSVC) and machine.dual else nullcontext():
        return machine.fit(rows, labels, sample_weight=counts)


def _as_columns(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) margins of two classes as (n, 2), so that their softmax is the logistic function."""
    return np.column_stack([-margins / 2, margins / 2]) if margins.ndim == 1 else margins


def _scale_of(
    margins: NDArray[np.float64],
    codes: NDArray[np.intp],
    counted: NDArray[np.float64],
    of_classes: NDArray[np.float64],
) -> float:
    """The factor at which ``softmax(factor * margins)`` has the lowest cross-entropy to Platt's targets."""
    n, k = margins.shape
    counts = np.bincount(codes, weights=counted, minlength=k)
    weights = counted * of_classes
    hit = ((counts + 1) / (counts + 2))[codes]
    targets = np.repeat((1 - hit)[:, None] / (k - 1), k, axis=1)
    targets[np.arange(n), codes] = hit

    def loss(log_scale: float) -> float:
        log_p = log_softmax(np.exp(log_scale) * margins, axis=1)
        return float(-(weights * (targets * log_p).sum(axis=1)).sum() / weights.sum())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_SCALES, method="bounded").x))
