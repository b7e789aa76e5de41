"""The sections of an evaluation's page, each a function from the evaluation to markup.

Invariant: no group is named, and no file or other name of a sample either, unless names are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import without_advice
from featx.evaluation.bootstrap import Estimate
from featx.evaluation.figures import figure_of, measure
from featx.evaluation.judgements import Judgement
from featx.evaluation.overlap import TRAINED_ON
from featx.reporting.markup import Markup, element, joined, table
from featx.reporting.wording import (
    between,
    count,
    covers,
    guessing,
    judged_on,
    leak_words,
    noun,
    number,
    position,
    protocol,
    unchecked,
)

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["by_class", "data", "figures", "folds", "headline", "leaks", "question", "repeat"]

_MOST_CLASSES_COUNTED = 12
_MOST_ROWS = 60


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
    units = f"{evaluation.n_units:,} {evaluation.kept_together}"
    kept = "Kept together in folds, and drawn" if len(evaluation.fits) > 1 else "Drawn"
    together = f"{kept} as a whole for intervals: {units}."
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


def leaks(evaluation: Evaluation, *, show_names: bool) -> Markup:
    """Why figures may flatter; what was looked for where nothing was found."""
    looked = ", ".join(evaluation.looked_for)
    parts = [element("h2", "Leaks")]
    if evaluation.is_unchecked:
        parts.append(
            element("p", element("strong", "Training samples not known. "), unchecked(), class_="finding")
        )
    for leak in evaluation.leaks:
        example = element("p", leak.message, class_="note") if show_names else None
        found = element("p", element("strong", f"{leak.kind}: {leak.n:,}. "), leak_words(leak.kind))
        parts.append(element("div", found, example, class_="finding"))
    for kept in evaluation.kept if len(evaluation.fits) > 1 else ():  # a given split keeps nothing together
        example = element("p", kept.message, class_="note") if show_names else None
        found = element(
            "p", element("strong", f"{kept.kind}: {kept.n:,}. "), "Kept on one side of every fold."
        )
        parts.append(element("div", found, example, class_="finding clean"))
    if looked and not evaluation.leaks:
        found = element("p", element("strong", "No leak found. "), f"Looked for: {looked}.")
        parts.append(element("div", found, class_="finding clean"))
    elif looked:
        parts.append(element("p", f"Looked for: {looked}.", class_="note"))
    elif not evaluation.leaks:
        words = "There is nothing to look for without groups, a split or labels, or in samples whose contents cannot be compared."
        parts.append(element("p", words))
    if looked:
        near = any("near" in kind for kind in evaluation.looked_for)
        limit = (
            "Near-copies are found by likeness: some that were changed much are not."
            if near
            else "Only exact copies are found so: nothing that was cropped, resized, encoded or written anew."
        )
        parts.append(element("p", limit, class_="note"))
    if TRAINED_ON in evaluation.looked_for:
        words = (
            "Of the model's training samples only digests are known, so only exact copies of them are found."
        )
        parts.append(element("p", words, class_="note"))
    return joined(parts)


def headline(evaluation: Evaluation) -> Markup:
    """The figure to quote, large, with its interval and what that covers."""
    main = evaluation.main
    figure, estimate = figure_of(main.headline), evaluation[main.headline]
    interval = "no interval can be told" if estimate.low is None else f"95 % interval {between(estimate)}"
    box = element(
        "div",
        element("div", figure.title, class_="name"),
        element("div", number(estimate.value), class_="value"),
        element("div", interval, class_="interval"),
        element("p", f"{figure.meaning} {guessing(main)}", class_="note"),
        element("p", f"{judged_on(main, evaluation)}.", class_="note"),
        class_="headline",
    )
    first, second = covers(main, evaluation)
    return joined([element("h2", "Result"), box, element("p", first), element("p", second)])


def figures(evaluation: Evaluation) -> Markup:
    """Every figure of every judgement, and what each means."""
    tables = []
    meanings: dict[str, str] = {}
    for judgement in evaluation.judgements:
        rows = [_figure_row(judgement, name, estimate) for name, estimate in judgement.figures.items()]
        tables.append(table(judged_on(judgement, evaluation), ["figure", "value", "95 % interval"], rows))
        meanings |= {
            figure_of(name).title: figure_of(name).meaning for name in judgement.figures if "@" not in name
        }
    if evaluation.main.outcomes.decisions:
        first = next(iter(evaluation.main.outcomes.decisions))
        meanings[f"set for {first}"] = (
            "At a threshold chosen inside each training part to reach that there: what it reached on what that part had not seen."
        )
    listed = [
        part for title, words in meanings.items() for part in (element("dt", title), element("dd", words))
    ]
    return joined(
        [
            element("h2", "All figures"),
            element("div", *tables, class_="tables"),
            element("h3", "What they mean"),
            element("dl", *listed, class_="note"),
        ]
    )


def by_class(evaluation: Evaluation) -> Markup | None:
    """Precision, recall and F1 of each class; None for a regression."""
    main = evaluation.main
    if not main.by_class:
        return None
    labels = list(main.by_class)
    counts = dict(zip(labels, main.confusion.sum(axis=1).tolist(), strict=True))
    row = "group" if main.level == "group" else noun(evaluation)
    shown, note = labels, None
    if len(labels) > _MOST_ROWS:
        worst = sorted(labels, key=lambda label: np.nan_to_num(main.by_class[label]["f1"].value, nan=2.0))
        shown = worst[:_MOST_ROWS]
        note = element(
            "p",
            f"The {_MOST_ROWS} classes with the lowest F1 of {len(labels)}.",
            class_="note",
        )
    rows = [
        [
            joined([label, element("small", count(counts[label], row))]),
            *(_stacked(main.by_class[label][name]) for name in ("precision", "recall", "f1")),
        ]
        for label in shown
    ]
    caption = f"{judged_on(main, evaluation)}; 95 % intervals below"
    return joined(
        [element("h2", "By class"), note, table(caption, ["class", "precision", "recall", "F1"], rows)]
    )


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
        "training",
        "test",
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


def repeat(evaluation: Evaluation, versions: Sequence[tuple[str, str]]) -> Markup:
    """Settings, digests and versions."""
    settings = {key: value for key, value in evaluation.settings.items() if key != "estimator"}
    rows = [(key, _setting(value)) for key, value in settings.items()]
    rows += [("positive", evaluation.positive)] if evaluation.positive is not None else []
    rows += [("feature space", space) for space in evaluation.spaces]
    rows += [("digest of the data", evaluation.data_digest), *versions]
    estimator = _without_folders(str(evaluation.settings.get("estimator", "")))
    return joined(
        [
            element("h2", "To repeat this"),
            element("pre", estimator) if estimator else None,
            table(
                "Settings, digests and versions",
                ["what", "value"],
                [[key, element("code", value)] for key, value in rows],
                numbers=False,
            ),
        ]
    )


def _figure_row(judgement: Judgement, name: str, estimate: Estimate) -> list[str]:
    figure = figure_of(name)
    if name == "calibration_error" and judgement.calibration_by_chance is not None:
        return [
            figure.title,
            number(estimate.value),
            joined([element("small", f"{number(judgement.calibration_by_chance)} by chance alone")]),
        ]
    bar = _bar(estimate) if figure.is_share else None
    return [figure.title, number(estimate.value), joined([between(estimate), bar])]


def _bar(estimate: Estimate) -> Markup | None:
    """The interval drawn from 0 to 1."""
    if estimate.low is None or estimate.high is None:
        return None
    low, high = 100 * estimate.low, 100 * estimate.high
    return element(
        "span",
        element("i", style=f"left:{low:.1f}%;width:{max(high - low, 0.5):.1f}%"),
        element("b", style=f"left:{100 * estimate.value:.1f}%"),
        class_="bar",
        aria_hidden="true",
    )


def _stacked(estimate: Estimate) -> Markup:
    return joined([number(estimate.value), element("small", between(estimate).replace(" to ", "–"))])


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _short_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_folders(text: str) -> str:
    """A repr whose quoted paths keep their last name: a page travels, and folders are named after people and projects."""
    return re.sub(r"""(['"])(?:[A-Za-z]:)?[\\/][^'"\n]*[\\/]([^'"\\/\n]+)\1""", r"\1…/\2\1", text)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
