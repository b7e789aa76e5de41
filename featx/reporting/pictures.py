"""Pictures for slides: the headline figure and the charts of an evaluation, or several side by side, as PNG."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from featx.evaluation.figures import figure_of
from featx.reporting.charts import (
    MOST_CLASSES_AS_CURVES,
    draw_calibration,
    draw_confusion,
    draw_intervals,
    draw_precision_recall,
    draw_predicted_true,
    draw_residuals,
    draw_roc,
    short,
)
from featx.reporting.drawing import SLIDE, as_png, new_figure, prepared
from featx.reporting.lettering import Paragraph, write_column
from featx.reporting.wording import (
    INTERVAL,
    REMEMBERED,
    between,
    choice,
    found_words,
    judged_on,
    number,
    on_data,
    protocol,
)

if TYPE_CHECKING:
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation

__all__ = ["comparison_picture", "evaluation_picture"]

_SIZE_IN = (9.6, 5.4)  # 16 to 9; letters of 8 points read well on a slide of that width
_DPI = 200
_MARGIN_IN = 0.25
_COLUMN_IN = 2.75
_EDGE_IN = 0.15
_CHARTS_IN = _SIZE_IN[0] - _MARGIN_IN - _COLUMN_IN - _EDGE_IN
_WARNING = "#b3261e"


def evaluation_picture(evaluation: Evaluation, *, title: str | None) -> bytes:
    """1920 x 1080 pixels, PNG: the headline with its interval beside as many charts as suit what was predicted."""
    with prepared():
        figure = new_figure(*_SIZE_IN, pad_in=0.1)
        right = _right(figure)
        _headline(figure, title or f"{evaluation.name or 'Evaluation'}{on_data(evaluation)}", evaluation)
        drawings = _drawings(evaluation)
        rows = -(-len(drawings) // 2)
        axes = right.subplots(rows, 2, squeeze=False).reshape(-1)
        for draw, ax in zip(drawings, axes, strict=False):
            draw(ax)
            ax.set_box_aspect(1)
        for ax in axes[len(drawings) :]:
            ax.set_visible(False)
        return as_png(figure, dpi=_DPI)


def comparison_picture(comparison: Comparison, *, title: str | None) -> bytes:
    """1920 x 1080 pixels, PNG: the headline figure of each, and how far the best is ahead."""
    best = comparison.best
    name = best.main.headline
    others = [each for each in comparison.evaluations if each is not best]
    with prepared():
        figure = new_figure(*_SIZE_IN, pad_in=0.1)
        right = _right(figure)
        named = f"The best of {len(comparison.evaluations)}: {best.name}{on_data(best)}"
        _headline(figure, title or named, best, f"The best has the {choice(comparison)}")
        axes = right.subplots(2 if others else 1, 1, squeeze=False).reshape(-1)
        names = [each.name for each in comparison.evaluations]
        estimates = [each[name] for each in comparison.evaluations]
        draw_intervals(axes[0], names, estimates, figure_of(name).title, SLIDE, zero=False)
        if others:
            ahead = [comparison.difference(best.name, each.name) for each in others]
            draw_intervals(
                axes[1], [each.name for each in others], ahead, "the best is ahead by", SLIDE, zero=True
            )
        return as_png(figure, dpi=_DPI)


def _right(figure: Figure) -> SubFigure:
    """Where the charts stand: right of the text, and not up to the edge."""
    parts: Any = figure.subfigures(1, 3, width_ratios=(_MARGIN_IN + _COLUMN_IN, _CHARTS_IN, _EDGE_IN))
    chosen: SubFigure = parts[1]
    return chosen


def _drawings(evaluation: Evaluation) -> list[Callable[[Axes], None]]:
    main = evaluation.main
    if evaluation.classes is None:
        return [lambda ax: draw_predicted_true(ax, main, SLIDE), lambda ax: draw_residuals(ax, main, SLIDE)]
    labels = [str(label) for label in evaluation.classes.tolist()]
    positive = None if evaluation.positive is None else labels.index(evaluation.positive)
    drawings: list[Callable[[Axes], None]] = []
    if main.outcomes.scores is not None and len(labels) <= MOST_CLASSES_AS_CURVES:
        drawings += [
            lambda ax: draw_roc(ax, main, positive, SLIDE),
            lambda ax: draw_precision_recall(ax, main, positive, SLIDE),
        ]
    if main.outcomes.proba is not None:
        drawings.append(lambda ax: draw_calibration(ax, main, positive, SLIDE))
    drawings.append(lambda ax: draw_confusion(ax, main, SLIDE))
    return drawings


def _headline(figure: Figure, title: str, evaluation: Evaluation, *more: str) -> None:
    """The left of a picture: what, the figure with its interval, how it was found; training samples are marked."""
    main, remembered = evaluation.main, evaluation.judges_training
    estimate, kind = evaluation[main.headline], figure_of(main.headline)
    how = [*protocol(evaluation), f"Figures: {judged_on(main, evaluation)}.", *more]
    if not remembered:
        how += found_words(evaluation.leaks)
    paragraphs = [Paragraph(text=short(title, 80), size=13, color=SLIDE.ink, bold=True)]
    if remembered:
        paragraphs.append(
            Paragraph(text=REMEMBERED, size=11, color=SLIDE.paper, bold=True, gap=16, back=_WARNING)
        )
    color = _WARNING if remembered else SLIDE.series[0]
    paragraphs += [
        Paragraph(text=number(estimate.value), size=36, color=color, bold=True, gap=14),
        Paragraph(text=kind.title, size=12, color=SLIDE.ink, gap=2),
    ]
    if estimate.low is not None and not remembered:
        paragraphs.append(Paragraph(text=f"{INTERVAL} {between(estimate)}", size=12, color=SLIDE.ink, gap=3))
    paragraphs += [
        Paragraph(text=sentence, size=8, color=SLIDE.muted, gap=14 if at == 0 else 4, shrinks=True)
        for at, sentence in enumerate(how)
    ]
    write_column(figure, paragraphs, left_in=_MARGIN_IN, top_in=_MARGIN_IN, width_in=_COLUMN_IN)
