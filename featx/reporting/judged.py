"""What was reached, for a page: the figure to quote, every judgement side by side, and every figure of each, folded away.

Invariant: a figure on nothing but the model's own training samples never looks like one on others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featx.evaluation.bootstrap import Estimate
from featx.evaluation.figures import figure_of
from featx.evaluation.judgements import Judgement
from featx.reporting.cells import stacked
from featx.reporting.markup import Markup, element, folded, joined, table
from featx.reporting.wording import (
    INTERVAL,
    REMEMBERED,
    between,
    columns,
    count,
    covers,
    guessing,
    judged_on,
    noun,
    number,
)

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["by_class", "figures", "headline"]

_MOST_ROWS = 60


def headline(evaluation: Evaluation) -> Markup:
    """The figure to quote, large, with its interval and what that covers; of training samples marked, and without either."""
    main = evaluation.main
    figure, estimate = figure_of(main.headline), evaluation[main.headline]
    remembered = evaluation.judges_training
    interval = "no interval can be told" if estimate.low is None else f"{INTERVAL} {between(estimate)}"
    box = element(
        "div",
        element("div", REMEMBERED, class_="warning", role="note") if remembered else None,
        element("div", figure.title, class_="name"),
        element("div", number(estimate.value), class_="value"),
        None if remembered else element("div", interval, class_="interval"),
        element("p", figure.meaning if remembered else f"{figure.meaning} {guessing(main)}", class_="note"),
        element("p", f"{judged_on(main, evaluation)}.", class_="note"),
        class_="headline remembered" if remembered else "headline",
    )
    explained = (element("p", words) for words in covers(main, evaluation))
    return joined([element("h2", "Result"), box, *explained])


def figures(evaluation: Evaluation) -> Markup:
    """Every judgement by its main figures, every figure of the one to quote, those of the others folded, and what they mean."""
    main, *others = evaluation.judgements
    meanings: dict[str, str] = {}
    for judgement in evaluation.judgements:
        meanings |= {
            figure_of(name).title: figure_of(name).meaning for name in judgement.figures if "@" not in name
        }
    if main.outcomes.decisions:
        first = next(iter(main.outcomes.decisions))
        meanings[f"set for {first}"] = (
            "At a threshold chosen inside each training part to reach that there: what it reached on what that part had not seen."
        )
    listed = [
        part for title, words in meanings.items() for part in (element("dt", title), element("dd", words))
    ]
    return joined(
        [
            element("h2", "All figures"),
            _side_by_side(evaluation) if others else None,
            _table(main, evaluation),
            element("div", *(_folded(each, evaluation) for each in others), class_="folded")
            if others
            else None,
            folded("What the figures mean", element("dl", *listed, class_="note")),
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
            *(stacked(main.by_class[label][name]) for name in ("precision", "recall", "f1")),
        ]
        for label in shown
    ]
    caption = f"{judged_on(main, evaluation)}; {INTERVAL}s below"
    return joined(
        [element("h2", "By class"), note, table(caption, ["class", "precision", "recall", "F1"], rows)]
    )


def _side_by_side(evaluation: Evaluation) -> Markup:
    """A row a judgement: its main figures."""
    shown = columns(evaluation.main.figures)
    rows = []
    for at, judgement in enumerate(evaluation.judgements):
        name = judged_on(judgement, evaluation)
        cells = [
            stacked(judgement.figures[figure]) if figure in judgement.figures else "-" for figure in shown
        ]
        rows.append([joined([element("strong", name), " (above)"]) if at == 0 else name, *cells])
    caption = f"What was judged, {INTERVAL}s below each value"
    return table(caption, ["", *(figure_of(name).title for name in shown)], rows, class_="wrapping")


def _table(judgement: Judgement, evaluation: Evaluation) -> Markup:
    rows = [_row(judgement, name, estimate) for name, estimate in judgement.figures.items()]
    return table(judged_on(judgement, evaluation), ["figure", "value", INTERVAL], rows)


def _folded(judgement: Judgement, evaluation: Evaluation) -> Markup:
    return folded(f"Every figure: {judged_on(judgement, evaluation)}", _table(judgement, evaluation))


def _row(judgement: Judgement, name: str, estimate: Estimate) -> list[str]:
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
