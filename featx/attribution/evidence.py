"""``evidence``: the maps of a fitted pipeline's predictions, exact where they can be, by covering parts where they cannot."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from featx.attribution.explainer import Explainer, Head
from featx.attribution.maps import Evidence
from featx.backbone_features import BackboneFeatures
from featx.errors import FeatxWarning, ParameterError

__all__ = ["evidence"]

_METHODS = ("auto", "exact", "occlusion")


def evidence(pipeline: Any, X: Any, *, label: Any = None, method: str = "auto") -> list[Evidence]:
    """Where in each picture, or in which words of each text, the score of a fitted pipeline comes from.

    With average pooling (of texts: mean pooling, normalised or not) and linear steps behind it the map is exact: its mean is the
    decision value. With other pooling, trees or kernels there is no such map; then parts are covered one after the other (64
    squares of the picture by its mean colour; each word left out), and the fall of the score is shown, labelled an
    approximation.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted; its first step an :class:`featx.ImageFeatures` or :class:`featx.TextFeatures`, or a Pipeline that begins with one.
        A fitted search over such a Pipeline, too.
    X : sequence of samples
        What that step takes.
    label : optional
        The class to explain. None takes the predicted one of each sample.
    method : "auto", "exact" or "occlusion"
        "auto" is exact where that is possible, else occlusion with a warning that says why.

    Returns
    -------
    list of Evidence
        One a sample.

    Raises
    ------
    ParameterError
        No such pipeline or label; or ``method="exact"`` where there is no exact map.
    SampleError

    Notes
    -----
    A map says what the model's score is made of. It does not say that these parts cause the label, and a position sees the
    surroundings that its receptive field covers.

    Examples
    --------
    >>> import featx
    >>> from sklearn.datasets import load_sample_image
    >>> X = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    >>> model = Pipeline([("features", featx.ImageFeatures()), ("head", featx.make_head("logistic"))]).fit(X, ["tower", "bloom"])
    >>> found = featx.evidence(model, X[:1])[0]
    >>> found.method, bool(abs(found.values.mean() - found.score) < 1e-4)
    ('exact', True)
    """
    if method not in _METHODS:
        raise ParameterError(f"method={method!r}: expected one of {', '.join(map(repr, _METHODS))}.")
    features, model = _parted(pipeline)
    explainer, head = Explainer(features), Head.of(model)
    if label is not None:
        head.check(label)
    samples = features.samples_of(X)
    vectors = features.transform(samples)
    labels = head.labels(vectors) if label is None else [label] * len(samples)
    if method != "occlusion":
        found = explainer.exact(head, samples, vectors, labels)
        if not isinstance(found, str):
            return found
        if method == "exact":
            raise ParameterError(f'method="exact": {found}. Use method="occlusion", an approximation.')
        warnings.warn(
            f"{found}, so there is no exact map: parts are covered instead.", FeatxWarning, stacklevel=2
        )
    covered = [explainer.covered(head, each, of) for each, of in zip(samples, labels, strict=True)]
    return [each for each in covered if each is not None]  # all: no limit was set


def _parted(pipeline: Any) -> tuple[BackboneFeatures, Any]:
    """The features of a fitted pipeline, and what follows them as one estimator."""
    fitted = getattr(pipeline, "best_estimator_", pipeline)
    steps = list(fitted.steps) if isinstance(fitted, Pipeline) else []
    while steps and isinstance(steps[0][1], Pipeline):
        steps = [(f"{steps[0][0]}_{name}", step) for name, step in steps[0][1].steps] + steps[1:]
    first = steps[0][1] if steps else fitted
    if not isinstance(first, BackboneFeatures) or not hasattr(steps[-1][1] if steps else None, "predict"):
        raise ParameterError(
            "evidence: expected a fitted Pipeline whose first step is an ImageFeatures or TextFeatures, followed by a "
            f"classifier or regressor; {_instead(fitted, first)}"
        )
    check_is_fitted(first)
    return first, Pipeline(steps[1:])


def _instead(fitted: Any, first: Any) -> str:
    """What was found, and what to pass."""
    if isinstance(first, ColumnTransformer):
        parts = first.transformers_ if hasattr(first, "transformers_") else first.transformers
        own = [
            (type(part).__name__, column) for _, part, column in parts if isinstance(part, BackboneFeatures)
        ]
        kind, column = own[0] if own else ("ImageFeatures", "...")
        at = repr(column[0] if isinstance(column, list) and len(column) == 1 else column)
        return (
            "this one begins with a ColumnTransformer, whose columns share every score. For what one of them says alone fit a "
            f"model of it, Pipeline([('features', {kind}(...)), ('head', ...)]).fit(X[{at}], y), and pass that with X[{at}]."
        )
    if isinstance(fitted, Pipeline):
        return f"this one begins with a {type(first).__name__}."
    if hasattr(fitted, "calibrated_classifiers_") or hasattr(fitted, "estimator_"):
        return f"found {type(fitted).__name__}. Pass the fitted Pipeline inside it."
    return f"found {type(fitted).__name__}."
