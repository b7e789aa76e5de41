"""The charts of an evaluation's page, each with what it shows in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from featx.evaluation.figures import figure_of
from featx.evaluation.judgements import Judgement
from featx.reporting.charts import (
    MOST_CLASSES_AS_CURVES,
    draw_calibration,
    draw_confusion,
    draw_learning_curve,
    draw_precision_recall,
    draw_predicted_true,
    draw_residuals,
    draw_roc,
)
from featx.reporting.drawing import PAGE, as_svg, new_figure, prepared
from featx.reporting.markup import Markup, element, joined, table, verbatim
from featx.reporting.wording import INTERVAL, between, count, noun, number, position

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["chart", "charts", "learning_curve"]

_CHART_IN = (3.5, 3.2)


def charts(evaluation: Evaluation) -> Markup:
    """The charts that suit what was predicted."""
    main = evaluation.main
    if evaluation.classes is None:
        drawn = [
            chart(
                lambda ax: draw_predicted_true(ax, main, PAGE),
                f"Predicted against true values; R2 {number(main.figures['r2'].value)}.",
                "On the dashed line predictions are right.",
            ),
            chart(
                lambda ax: draw_residuals(ax, main, PAGE),
                f"Residuals against predictions; mean absolute error {number(main.figures['mae'].value)}.",
                "Above the dashed line predictions are too high.",
            ),
        ]
        return joined([element("h2", "Charts"), element("div", *drawn, class_="charts")])
    k = len(evaluation.classes)
    positive = None if evaluation.positive is None else position(evaluation, evaluation.positive)
    drawn = []
    if main.outcomes.scores is not None and k <= MOST_CLASSES_AS_CURVES:
        drawn += _curve_charts(main, positive)
    if main.outcomes.proba is not None:
        drawn.append(
            chart(
                lambda ax: draw_calibration(ax, main, positive, PAGE),
                f"Calibration; error {number(main.figures['calibration_error'].value)}{_by_chance(main)}.",
                "Dots on the dashed line: what is given a probability of 0.8 comes true in 80 of 100. Larger dots are more rows.",
            )
        )
    drawn.append(
        chart(
            lambda ax: draw_confusion(ax, main, PAGE),
            _confusion_words(main),
            "Darker: a larger share of the true class. Blue is right."
            + (" The classes of the most frequent confusions." if k > 12 else ""),
        )
    )
    return joined([element("h2", "Charts"), element("div", *drawn, class_="charts")])


def learning_curve(evaluation: Evaluation) -> Markup | None:
    """What more training samples bring; None where it was not asked for."""
    if not evaluation.curve:
        return None
    name = evaluation.main.headline
    rows = [
        [f"{point.n_train:,.0f}", number(point.estimate.value), between(point.estimate)]
        for point in evaluation.curve
    ]
    drawn = chart(
        lambda ax: draw_learning_curve(ax, evaluation.curve, name, PAGE),
        f"Learning curve of {figure_of(name).title}; the table has the same numbers.",
        f"With smaller parts of each training part, judged on the same samples. Band: {INTERVAL}s.",
    )
    listed = table(
        f"{figure_of(name).title} by training {noun(evaluation)}s",
        ["training", "value", INTERVAL],
        rows,
    )
    return joined([element("h2", "Learning curve"), element("div", drawn, listed, class_="charts")])


def chart(
    draw: Callable[[Axes], None], alt: str, caption: str, *, size_in: tuple[float, float] = _CHART_IN
) -> Markup:
    """A chart as inline SVG, with what it shows in words."""
    with prepared():
        figure = new_figure(*size_in)
        draw(figure.subplots())
        svg = verbatim(as_svg(figure))
    return element("figure", element("div", svg, role="img", aria_label=alt), element("figcaption", caption))


def _curve_charts(main: Judgement, positive: int | None) -> list[Markup]:
    several = len(np.unique(main.outcomes.folds)) > 1
    if positive is None:
        note = "Each class against the rest."
        note += (
            " Within folds, then their mean: scores of different folds are not comparable." if several else ""
        )
    elif several:
        note = (
            "Thin: a fold each. Folds have models of their own, whose scores are not comparable and are never mixed; the thick "
            "line is their mean, and the area under it the figure."
        )
    else:
        note = "One model."
    marks = ""
    if positive is not None:
        marks = (
            " Marks: what a decision reached on samples it was not chosen on."
            if main.outcomes.decisions
            else " Mark: the labels as predicted."
        )
    base = (
        "Thin: a fold each; thick: their mean, and the area under it the figure." if several else "One model."
    )
    base = "Each class against the rest." if positive is None else f"{base} Dashed: guessing."
    area, precision = main.figures["roc_auc"], main.figures["average_precision"]
    return [
        chart(
            lambda ax: draw_roc(ax, main, positive, PAGE),
            f"ROC curve; area {number(area.value)}, {INTERVAL} {between(area)}.",
            note + marks,
        ),
        chart(
            lambda ax: draw_precision_recall(ax, main, positive, PAGE),
            f"Precision against recall; average precision {number(precision.value)}, {INTERVAL} {between(precision)}.",
            base,
        ),
    ]


def _confusion_words(judgement: Judgement) -> str:
    matrix = judgement.confusion
    labels = [str(label) for label in judgement.outcomes.classes.tolist()]  # type: ignore[union-attr]  # of classes
    right, total = int(np.trace(matrix)), int(matrix.sum())
    words = f"Confusion matrix: {right:,} of {total:,} right"
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    if wrong.max() == 0:
        return f"{words}."
    i, j = divmod(int(wrong.argmax()), len(matrix))
    return f"{words}; most often {labels[i]} was taken for {labels[j]}, {count(int(wrong[i, j]), 'time')}."


def _by_chance(judgement: Judgement) -> str:
    if judgement.calibration_by_chance is None:
        return ""
    return f", of which {number(judgement.calibration_by_chance)} would be there by chance alone"
