"""A fitted model of samples in two parts: the features, and what follows them as one estimator of vectors.

Finding none is an answer. What wraps a model without changing what speaks for a label is looked through: a search around it, a
Pipeline of it alone, a calibration by one curve.
"""

from __future__ import annotations

import copy
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline

from featx.backbone_features import BackboneFeatures, HasParts

__all__ = ["parts_of"]


def parts_of(model: Any) -> tuple[BackboneFeatures, Any] | None:
    """The features of a fitted model, and what follows them; None where it does not begin with features.

    Parameters
    ----------
    model : estimator
        Fitted: a Pipeline, an :class:`featx.AugmentedClassifier`, a :class:`featx.FineTuneClassifier`, or a search or calibration
        (``ensemble=False``) around one of them.

    Returns
    -------
    features : BackboneFeatures
        Fitted.
    head : estimator
        Fitted, on vectors of them.
    """
    model = getattr(model, "best_estimator_", model)
    if isinstance(model, HasParts):
        return model.parts(fitted=True)
    if isinstance(model, CalibratedClassifierCV):
        return _of_calibrated(model)
    if not isinstance(model, Pipeline):
        return None
    steps = list(model.steps)
    while isinstance(steps[0][1], Pipeline):
        steps = [(f"{steps[0][0]}_{name}", step) for name, step in steps[0][1].steps] + steps[1:]
    if len(steps) == 1:
        return parts_of(steps[0][1])
    if not isinstance(steps[0][1], BackboneFeatures) or not hasattr(steps[-1][1], "predict"):
        return None
    return steps[0][1], Pipeline(steps[1:])


def _of_calibrated(model: CalibratedClassifierCV) -> tuple[BackboneFeatures, Any] | None:
    """Those of the one classifier inside, its head calibrated as it is."""
    fitted: list[Any] = getattr(model, "calibrated_classifiers_", [])
    inside = parts_of(fitted[0].estimator) if len(fitted) == 1 else None
    if inside is None:
        return None
    features, head = inside
    one, calibrated = copy.copy(fitted[0]), copy.copy(model)
    one.estimator = calibrated.estimator = head
    calibrated.calibrated_classifiers_ = [one]
    return features, calibrated
