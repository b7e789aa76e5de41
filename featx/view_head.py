"""A head fitted on several views of each sample, in which a sample counts once.

Owns the two rules of that: a row weighs one over the number of views, and the views of a sample are on one side of whatever
folds the head makes for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.model_selection import StratifiedGroupKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, has_fit_parameter

from featx.errors import ParameterError

__all__ = ["ViewHead", "group_takers"]

_Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

_SMALLEST = np.finfo(np.float64).tiny


def _says(method: str) -> Any:
    """Available where the head has the method; the log of mean probabilities stands in for decision values."""

    def check(own: ViewHead) -> bool:
        head = getattr(own, "head_", own.head)
        return hasattr(head, method) or bool(
            method == "decision_function" and own.tta and hasattr(head, "predict_proba")
        )

    return available_if(check)


class ViewHead(ClassifierMixin, BaseEstimator):
    """A classifier of vectors of views, around one of vectors.

    Parameters
    ----------
    head : classifier
        Its ``fit``, or that of its last step, takes ``sample_weight``.
    tta : bool, default=False
        Predict on the mean over a sample's views instead of on the first, which is the picture as it is.

    Attributes
    ----------
    head_ : classifier
        Fitted.
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
        Columns of a vector.
    n_views_ : int
        Views of a sample that it was fitted on.
    """

    fit_keeps_groups = True
    """``fit(groups=...)`` keeps groups together in folds of its own."""

    def __init__(self, head: Any, *, tta: bool = False) -> None:
        self.head = head
        self.tta = tta

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> ViewHead:
        """Fit a clone of the head on all views.

        Parameters
        ----------
        X : array-like of shape (n, v, d)
            The picture as it is first.
        y : array-like of shape (n,)
        groups : array-like of shape (n,), optional
            What folds of the head's own keep together beside the views of a sample.

        Raises
        ------
        ParameterError
            A head that cannot be fitted so.
        """
        if not hasattr(self.head, "fit") or not is_classifier(self.head):
            raise ParameterError(
                f"head: expected a classifier, such as featx.make_head('logistic'), found {self.head!r:.200}."
            )
        vectors = _as_views(X)
        labels = column_or_1d(y)
        check_consistent_length(vectors, labels)
        n, n_views, n_features = vectors.shape
        units = np.arange(n) if groups is None else column_or_1d(groups)
        check_consistent_length(vectors, units)
        if self.tta and not _scores(self.head):
            raise ParameterError(
                f"tta=True: {_name(self.head)} gives neither probabilities nor decision values to average."
            )
        head = clone(self.head)
        routed: dict[str, Any] = {}
        if n_views > 1:
            routed |= _weight_of(head, np.full(n * n_views, 1 / n_views))
            _keep_views_together(head, vectors[:, 0], labels, units, n_views)
        if n_views > 1 or groups is not None:
            routed |= {f"{path}groups": np.repeat(units, n_views) for path in group_takers(head)}
        with config_context(
            enable_metadata_routing=False
        ):  # under routing a Pipeline takes no ``step__name``
            self.head_ = head.fit(
                vectors.reshape(n * n_views, n_features), np.repeat(labels, n_views), **routed
            )
        self.classes_ = self.head_.classes_
        self.n_features_in_ = n_features
        self.n_views_ = n_views
        return self

    @property
    def averages(self) -> bool:
        """Whether predictions of it, fitted, are means over several views; so too where it was saved without `n_views_`."""
        return bool(self.tta) and getattr(self, "n_views_", 2) > 1

    @_says("predict_proba")
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n, n_classes); with `tta` the mean of those of the views."""
        return self._mean("predict_proba", X)

    @_says("decision_function")
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The head's decision values; with `tta` the log of :meth:`predict_proba` (its log-odds for two classes) where the head
        has probabilities, so that the two agree, else the mean of those of the views."""
        if not self.tta or not hasattr(self.head_, "predict_proba"):
            return self._mean("decision_function", X)
        logs = np.log(self.predict_proba(X).clip(_SMALLEST))
        return logs[:, 1] - logs[:, 0] if len(self.classes_) == 2 else logs

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The head's prediction; with `tta` the label of the highest mean."""
        check_is_fitted(self)
        if not self.tta:
            return np.asarray(self.head_.predict(_as_views(X)[:, 0]))
        scores = self._mean(
            "predict_proba" if hasattr(self.head_, "predict_proba") else "decision_function", X
        )
        codes = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[codes])

    def _mean(self, method: str, X: ArrayLike) -> NDArray[Any]:
        check_is_fitted(self)
        vectors = _as_views(X)
        ask = getattr(self.head_, method)
        if not self.tta:
            return np.asarray(ask(vectors[:, 0]))
        n, n_views, n_features = vectors.shape
        found = np.asarray(ask(vectors.reshape(n * n_views, n_features)), dtype=np.float64)
        mean = found.reshape(n, n_views, *found.shape[1:]).mean(axis=1)
        # float32 probabilities sum to one within 1e-6 only.
        return mean / mean.sum(axis=1, keepdims=True) if method == "predict_proba" else mean

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def group_takers(model: Any, prefix: str = "") -> list[str]:
    """Parameter paths of the steps whose ``fit`` takes groups for folds of its own, as featx's classifiers say of themselves."""
    if getattr(type(model), "fit_keeps_groups", False):
        return [prefix]
    if isinstance(model, Pipeline):  # a Pipeline hands parameters to steps, and to steps of its last Pipeline
        return [path for name, step in model.steps for path in group_takers(step, f"{prefix}{name}__")]
    if hasattr(model, "cv") and hasattr(
        model, "estimator"
    ):  # a search or calibration hands them to what it is around
        inner = group_takers(model.estimator, prefix)
        return [
            path for path in inner if path or not hasattr(model, "refit")
        ]  # a search's own groups are its splitter's
    return []


def _as_views(X: ArrayLike) -> NDArray[Any]:
    """(n, v, d); of vectors (n, d), each is the only view."""
    vectors = np.asarray(X)
    if vectors.ndim == 2:
        return vectors[:, None]
    if vectors.ndim != 3 or not vectors.shape[1]:
        raise ParameterError(f"X: expected vectors of views, (n, v, d), found shape {vectors.shape}.")
    return vectors


def _name(head: Any) -> str:
    return type(_last(head)[1]).__name__


def _last(head: Any, prefix: str = "") -> tuple[str, Any]:
    """The last step of Pipelines in Pipelines, and the path of its parameters."""
    while isinstance(head, Pipeline):
        name, head = head.steps[-1]
        prefix = f"{prefix}{name}__"
    return prefix, head


def _scores(head: Any) -> bool:
    return hasattr(head, "predict_proba") or hasattr(head, "decision_function")


def _weight_of(head: Any, weights: NDArray[np.float64]) -> dict[str, Any]:
    """What ``fit`` is told of weights: those of the last step, or of what is searched by it.

    Steps before the last are not told: rows that all weigh the same standardise and project as rows without weights.
    """
    path, last = _last(head)
    inner = getattr(last, "estimator", None)
    if has_fit_parameter(last, "sample_weight") and not isinstance(inner, Pipeline):
        return {f"{path}sample_weight": weights}
    if hasattr(last, "cv") and hasattr(last, "refit"):  # a search hands on what its estimator's fit takes
        within, last = _last(inner)
        if has_fit_parameter(last, "sample_weight"):
            return {f"{path}{within}sample_weight": weights}
    if isinstance(inner, Pipeline) and last is not inner:
        problem = f"{type(last).__name__} hands no sample_weight to the steps of a Pipeline"
    else:
        problem = f"{type(last).__name__}.fit takes no sample_weight"
    raise ParameterError(
        f"head: {problem}, so a picture would count once a view. Use a head that takes it, as those of featx.make_head "
        "do; put a search or calibration around the AugmentedClassifier; or give n_views=1."
    )


def _keep_views_together(
    head: Any, clean: NDArray[Any], labels: NDArray[Any], units: NDArray[Any], n_views: int
) -> None:
    """Folds that the head would make of rows, made of samples instead and then of the rows of their views."""
    path, last = _last(head)
    folds = {
        name: value for name, value in head.get_params(deep=True).items() if name.split("__")[-1] == "cv"
    }
    own = f"{path}cv"
    others = sorted(set(folds) - {own})
    if others:
        raise ParameterError(
            f"head: {others[0]} makes folds of rows inside another step, where views of one picture would be on both sides. "
            "Search or calibrate outside, around the AugmentedClassifier."
        )
    if own not in folds or folds[own] == "prefit":
        return
    cv = folds[own]
    if cv is None or isinstance(cv, int | np.integer):
        cv = StratifiedGroupKFold(5 if cv is None else int(cv))
    splitter = check_cv(cv)  # an iterable of folds is one of samples
    of = units if "Group" in type(splitter).__name__ else None  # others warn of groups that they ignore
    rows = np.arange(len(labels) * n_views).reshape(len(labels), n_views)
    last.set_params(cv=list(_of_views(splitter.split(clean, labels, of), rows)))


def _of_views(folds: Iterable[_Fold], rows: NDArray[np.intp]) -> Iterator[_Fold]:
    for train, test in folds:
        yield rows[train].reshape(-1), rows[test].reshape(-1)
