"""An evaluation as plain values that JSON can say; without predictions and samples.

Invariant: no sample and no group is named, unless names are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from featx.evaluation.leaks import Leak

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["evaluation_values"]


def evaluation_values(evaluation: Evaluation, *, show_names: bool) -> dict[str, Any]:
    """See :meth:`featx.Evaluation.to_dict`."""
    return {
        "name": evaluation.name,
        "dataset": evaluation.origin.dataset,
        "classes": None if evaluation.classes is None else evaluation.classes.tolist(),
        "positive": evaluation.positive,
        "parts": [
            {
                "part": part.part,
                "n_samples": part.n_samples,
                "n_groups": part.n_groups,
                "by_class": part.by_class,
            }
            for part in evaluation.parts
        ],
        "n_samples": evaluation.n_samples,
        "n_groups": evaluation.n_groups,
        "n_units": evaluation.n_units,
        "n_trained_on": evaluation.n_trained_on,
        "kept_together": evaluation.kept_together,
        "judgements": [judgement.to_dict() for judgement in evaluation.judgements],
        "leaks": [_found(leak, evaluation, show_names) for leak in evaluation.leaks],
        "kept_together_copies": [_found(each, evaluation, show_names) for each in evaluation.kept],
        "noted": [_found(each, evaluation, show_names) for each in evaluation.noted],
        "looked_for": list(evaluation.looked_for),
        "folds": [
            {
                "n_train": fit.n_train,
                "n_test": fit.n_test,
                "fit_time_s": fit.fit_time_s,
                "params": {name: _plain(value) for name, value in fit.params.items()},
                # Scores may be infinite, and so the threshold between them; JSON has no number for it.
                "thresholds": {name: at if np.isfinite(at) else None for name, at in fit.thresholds.items()},
            }
            for fit in evaluation.fits
        ],
        "learning_curve": [
            {"n_train": point.n_train, **point.estimate.to_dict()} for point in evaluation.curve
        ],
        "settings": evaluation.settings,
        "spaces": list(evaluation.spaces),
        "data_digest": evaluation.data_digest,
        "skipped": [
            {
                **({"file": error.name, "place": error.place} if show_names else {}),
                "index": error.index,
                "reason": error.message,
            }
            for error in evaluation.skipped
        ],
    }


def _found(leak: Leak, evaluation: Evaluation, show_names: bool) -> dict[str, Any]:
    """A leak as plain values, with the rows and lines of all of its samples."""
    origin = evaluation.origin
    return leak.to_dict(
        rows=origin.rows, places=origin.places, names=evaluation.names if show_names else None
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
