"""Ready heads: a classifier by name with the right scaling in front, and the grid worth searching.

Every head takes string labels, weighs classes equally, gives probabilities and passes scikit-learn's estimator checks. The
defaults are meant to be good without a search; where they come from stands beside each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from featx.boosted import BoostedTreesClassifier
from featx.errors import ParameterError, did_you_mean
from featx.svm import SupportVectorClassifier

__all__ = [
    "HEAD_NAMES",
    "BoostedTreesClassifier",
    "SupportVectorClassifier",
    "group_parameters",
    "head_name",
    "make_head",
    "param_grid",
    "search_scoring",
]

HEAD_NAMES = ("logistic", "svm", "xgboost")
"""Names of the heads, simplest first."""

# Where grids change. One fit of an RBF kernel at 10,000 x 384 took 29 to 51 s on one core, and grows with the square.
_MANY_SAMPLES = 5_000


def make_head(name: str, *, random_state: int | None = 0, **params: Any) -> BaseEstimator:
    """Make an unfitted classifier for embeddings.

    Parameters
    ----------
    name : "logistic", "svm" or "xgboost"
        ``"logistic"`` is a Pipeline of ``scale`` (StandardScaler) and ``logistic`` (LogisticRegression, C=0.01, balanced);
        ``"svm"`` of ``scale`` and ``svm`` (:class:`SupportVectorClassifier`, linear); ``"xgboost"`` a
        :class:`BoostedTreesClassifier`: trees need no scaling.
    random_state : int or None
        Seed of whatever is random in the head.
    **params
        Other values for the classifier's own parameters, such as ``C=0.1``.

    Returns
    -------
    estimator
        ``fit``, ``predict``, ``predict_proba``, ``classes_``; ``decision_function`` for "logistic" and "svm".

    Raises
    ------
    ParameterError
        An unknown name or parameter.

    Notes
    -----
    C=0.01 of the logistic head stands on a comparison of decades on the training parts alone of hymenoptera_small,
    covid_ct_small and bccd_crops, with each of mobilenet_v2, squeezenet1_1 and resnet56 (1280, 512 and 64 columns; 25 grouped
    folds a pair). Over the nine pairs the mean log loss is lowest there (0.361; 0.443 at 0.001, 0.374 at 0.1, 0.465 at 1). By
    mean balanced accuracy 1 is ahead by a little (0.839; 0.835 at 0.01, 0.820 at 0.001), with probabilities far too sure. The
    official validation part of hymenoptera_small, 153 photographs, tells otherwise: 0.935 at 0.01 to 1, 0.948 at 0.001.

    BLAS threads of their own cost many times what they gain on fits of milliseconds: this grid on 746 x 1280 took 42 s with them
    on two busy cores and 1.4 s without. joblib's process workers limit them (``GridSearchCV(n_jobs=2)``), and so does
    :func:`featx.evaluation.compare.compare_heads`; in a loop of one's own use ``threadpoolctl.threadpool_limits(1)``.

    Examples
    --------
    >>> X = [[0.0, 1.0], [0.2, 1.1], [3.0, -1.0], [3.1, -0.8]]
    >>> head = make_head("logistic").fit(X, ["ant", "ant", "bee", "bee"])
    >>> print(head.predict([[2.9, -1.0]])[0])
    bee
    """
    maker = _maker(name)
    try:
        return maker(random_state, params)
    except TypeError:
        known = sorted(maker(random_state, {}).get_params())
        own = [p.split("__")[-1] for p in known if p.startswith(f"{name}__") or name == "xgboost"]
        unknown = sorted(set(params) - set(own))
        if not unknown:
            raise
        raise ParameterError(
            f"make_head({name!r}): unknown parameter(s) {', '.join(unknown)}; expected some of {', '.join(own)}."
        ) from None


def param_grid(name: str, *, prefix: str = "", n_samples: int | None = None) -> dict[str, list[Any]]:
    """The grid worth searching for a head, for ``GridSearchCV``.

    Parameters
    ----------
    name : "logistic", "svm" or "xgboost"
        As for :func:`make_head`.
    prefix : str
        Put before each name: ``"head__"`` where the head is the step ``head`` of a Pipeline.
    n_samples : int, optional
        Above 5,000 samples the svm's grid leaves the RBF kernel out, as its time grows with their square, and the trees' holds
        deeper and faster ones.

    Returns
    -------
    dict of str to list
        5 settings for "logistic", 6 (or 3) for "svm", 4 for "xgboost".

    Raises
    ------
    ParameterError
        An unknown name.

    Examples
    --------
    >>> param_grid("logistic", prefix="head__")
    {'head__logistic__C': [0.001, 0.01, 0.1, 1.0, 10.0]}
    """
    _maker(name)
    own: dict[str, list[Any]]
    if name == "logistic":
        own = {"logistic__C": [0.001, 0.01, 0.1, 1.0, 10.0]}
    elif name == "svm":
        small = n_samples is None or n_samples <= _MANY_SAMPLES
        own = {"svm__kernel": ["linear", "rbf"] if small else ["linear"], "svm__C": [0.1, 1.0, 10.0]}
    else:
        small = n_samples is None or n_samples <= _MANY_SAMPLES
        depths, rates = ([2, 4], [0.05, 0.1]) if small else ([4, 6], [0.1, 0.2])
        own = {"max_depth": depths, "learning_rate": rates}
    return {prefix + parameter: values for parameter, values in own.items()}


def search_scoring(name: str) -> str | Callable[[Any, ArrayLike, ArrayLike], float]:
    """What to search a head's parameters by, for ``GridSearchCV(scoring=...)``.

    Minus the log loss, with every class counting the same, for "logistic" and "xgboost": balanced accuracy on a hundred samples
    takes few values and let a C of 10 through (covid_ct_small with mobilenet_v2, by patient, nested with five inner folds:
    balanced accuracy 0.715 and log loss 1.07 with it, 0.733 and 0.54 with this). For "svm", whose probabilities come from
    folds of their own, balanced accuracy: log loss took twice as long there and was no better.
    """
    _maker(name)
    return "balanced_accuracy" if name == "svm" else _minus_balanced_log_loss


def head_name(head: Any) -> str | None:
    """What a head is called that :func:`make_head` made; None for any other estimator.

    Examples
    --------
    >>> head_name(make_head("svm")), head_name(LogisticRegression())
    ('svm', None)
    """
    if not isinstance(head, Pipeline):
        return "xgboost" if isinstance(head, BoostedTreesClassifier) else None
    names = [name for name, _ in head.steps]
    kind = {"logistic": LogisticRegression, "svm": SupportVectorClassifier}.get(names[-1])
    made = kind is not None and names[:-1] == ["scale"] and isinstance(head.steps[-1][1], kind)
    return names[-1] if made else None


def group_parameters(name: str, groups: ArrayLike | None, *, prefix: str = "") -> dict[str, ArrayLike]:
    """What ``fit`` of a head takes so that its inner folds keep groups together; empty for heads without such folds.

    Examples
    --------
    >>> group_parameters("svm", [1, 1, 2], prefix="head__")
    {'head__svm__groups': [1, 1, 2]}
    >>> group_parameters("logistic", [1, 1, 2])
    {}
    """
    _maker(name)
    return {f"{prefix}svm__groups": groups} if name == "svm" and groups is not None else {}


def _minus_balanced_log_loss(head: Any, X: ArrayLike, y: ArrayLike) -> float:
    weights = compute_sample_weight("balanced", y)
    return -float(log_loss(y, head.predict_proba(X), labels=head.classes_, sample_weight=weights))


def _logistic(random_state: int | None, params: dict[str, Any]) -> BaseEstimator:
    # lbfgs needs 10 to 90 iterations here; the limit leaves room for C = 10 on small, separable data.
    chosen = {
        "C": 0.01,
        "class_weight": "balanced",
        "max_iter": 5_000,
        "random_state": random_state,
        **params,
    }
    return Pipeline([("scale", StandardScaler()), ("logistic", LogisticRegression(**chosen))])


def _svm(random_state: int | None, params: dict[str, Any]) -> BaseEstimator:
    machine = SupportVectorClassifier(**{"random_state": random_state, **params})
    return Pipeline([("scale", StandardScaler()), ("svm", machine)])


def _xgboost(random_state: int | None, params: dict[str, Any]) -> BaseEstimator:
    return BoostedTreesClassifier(**{"random_state": random_state, **params})


_MAKERS: dict[str, Callable[[int | None, dict[str, Any]], BaseEstimator]] = {
    "logistic": _logistic,
    "svm": _svm,
    "xgboost": _xgboost,
}


def _maker(name: str) -> Callable[[int | None, dict[str, Any]], BaseEstimator]:
    try:
        return _MAKERS[name]
    except (KeyError, TypeError):
        raise ParameterError(
            f"unknown head {name!r}; expected one of {', '.join(map(repr, HEAD_NAMES))}."
            f"{did_you_mean(str(name), HEAD_NAMES)}"
        ) from None
