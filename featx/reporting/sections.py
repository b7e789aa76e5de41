"""The sections of an evaluation's page, each a function from the evaluation to markup.

Invariant: no group is named, and no file or other name of a sample either, unless names are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import without_advice
from featx.evaluation.figures import figure_of, measure
from featx.reporting.markup import Markup, element, joined, table
from featx.reporting.wording import (
    count,
    noun,
    number,
    position,
    protocol,
)

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["data", "folds", "question"]

_MOST_CLASSES_COUNTED = 12


def question(evaluation: Evaluation, *, named: bool) -> Markup:
    """What was asked, and how it was answered; ``named``: of which model."""
    first, *others = protocol(evaluation)
    name = joined([element("strong", evaluation.name), ". "]) if named and evaluation.name else None
    if evaluation.positive is not None:
        others.append(f"Sensitivity, precision and recall are about “{evaluation.positive}”.")
    more = element("p", " ".join(others)) if others else None
    return joined([element("p", name, first, class_="lead"), more])


def data(evaluation: Evaluation) -> Markup:
    """What the data hold, and what was left out."""
    one, parts = noun(evaluation), evaluation.parts
    rows = [[f"{one}s", *(f"{part.n_samples:,}" for part in parts)]]
    if evaluation.n_groups is not None:
        rows.append(["groups", *(f"{part.n_groups or 0:,}" for part in parts)])
    labels = [] if evaluation.classes is None else [str(label) for label in evaluation.classes.tolist()]
    if len(labels) <= _MOST_CLASSES_COUNTED:
        rows += [[label, *(f"{part.by_class[label]:,}" for part in parts)] for label in labels]
    else:
        sizes = [[n for n in part.by_class.values() if n] for part in parts]
        rows.append(["classes", *(f"{len(each):,}" for each in sizes)])
        rows.append(["smallest class", *(f"{min(each, default=0):,}" for each in sizes)])
        rows.append(["largest class", *(f"{max(each, default=0):,}" for each in sizes)])
    what, _, more = evaluation.kept_together.partition(", ")
    units = f"{evaluation.n_units:,} {what}{f' ({more})' if more else ''}"
    kept = "Kept together in every fold, and resampled" if len(evaluation.fits) > 1 else "Resampled"
    together = f"{kept} as a whole for the intervals: {units}."
    skipped = None
    if evaluation.skipped:
        reasons = sorted({without_advice(error.message) for error in evaluation.skipped})
        skipped = element(
            "p",
            f"{count(len(evaluation.skipped), one)} could not be read and took no part, for example: {_cut(reasons[0], 160)}",
            class_="finding",
        )
    caption = f"What the data hold: {one}s by label" if labels else "What the data hold"
    held = table(caption, ["", *(part.part for part in parts)], rows)
    return joined([element("h2", "Data and groups"), held, element("p", together), skipped])


def folds(evaluation: Evaluation) -> Markup | None:
    """What each fold was fitted on, chose and reached; None where nothing was fitted."""
    if not evaluation.fits:
        return None
    main, name = evaluation.main, evaluation.main.headline
    positive = 1 if evaluation.positive is None else position(evaluation, evaluation.positive)
    params = list(dict.fromkeys(key for fit in evaluation.fits for key in fit.params))
    thresholds = list(dict.fromkeys(key for fit in evaluation.fits for key in fit.thresholds))
    several = len(evaluation.fits) > 1
    columns = [
        *(["fold"] if several else []),
        "fitted on",
        "judged on",
        *([figure_of(name).title] if several else []),
        *(key.split("__")[-1] for key in params),
        *(f"threshold, {key}" for key in thresholds),
    ]
    rows = []
    for at, fit in enumerate(evaluation.fits):
        mine = np.flatnonzero(main.outcomes.folds == at)
        reached = "-"
        if several and len(mine):
            reached = number(float(measure(main.outcomes.take(mine), positive=positive)[name][0]))
        rows.append(
            [
                *([str(at + 1)] if several else []),
                f"{fit.n_train:,}",
                f"{fit.n_test:,}",
                *([reached] if several else []),
                *(_short_value(fit.params.get(key)) for key in params),
                *(number(fit.thresholds.get(key)) for key in thresholds),
            ]
        )
    caption = f"{noun(evaluation).capitalize()}s, choices made in training"
    caption += ", and what was reached" if several else ""
    return joined([element("h2", "Folds" if several else "Fitted once"), table(caption, columns, rows)])


def _short_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
