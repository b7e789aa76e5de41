"""Pictures for slides: the headline figure and the charts of an evaluation, or several side by side, as PNG."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill
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
from featx.reporting.wording import between, judged_on, number, protocol

if TYPE_CHECKING:
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation

__all__ = ["comparison_picture", "evaluation_picture"]

_SIZE_IN = (9.6, 5.4)  # 16 to 9; letters of 8 points read well on a slide of that width
_DPI = 200
_WIDTHS = (1, 2)


def evaluation_picture(evaluation: Evaluation, *, title: str | None) -> bytes:
    """1920 x 1080 pixels, PNG: the headline with its interval beside as many charts as suit what was predicted."""
    with prepared():
        figure = new_figure(*_SIZE_IN, pad_in=0.1)
        left, right = _halves(figure)
        _headline(left, title or evaluation.name or "Evaluation", evaluation)
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
        left, right = _halves(figure)
        _headline(left, title or f"The best of {len(comparison.evaluations)}: {best.name}", best)
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


def _halves(figure: Figure) -> tuple[SubFigure, SubFigure]:
    parts: Any = figure.subfigures(1, 2, width_ratios=_WIDTHS)
    return parts[0], parts[1]


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


def _headline(part: SubFigure, title: str, evaluation: Evaluation) -> None:
    """The left of a picture: what, the figure with its interval, how it was found."""
    main = evaluation.main
    estimate, figure = evaluation[main.headline], figure_of(main.headline)
    interval = "" if estimate.low is None else f"95 % interval {between(estimate)}"
    how = [*protocol(evaluation), f"Figures: {judged_on(main, evaluation)}."]
    if evaluation.leaks:
        how.append(
            "Leaks were found: " + "; ".join(f"{leak.kind} ({leak.n:,})" for leak in evaluation.leaks) + "."
        )

    def say(y: float, text: str, size: float, color: str, **more: Any) -> None:
        part.text(0.07, y, text, fontsize=size, color=color, va="top", **more)

    say(0.95, fill(short(title, 80), 26), 13, SLIDE.ink, weight="bold", linespacing=1.2)
    say(0.74, number(estimate.value), 36, SLIDE.series[0], weight="bold")
    say(0.59, figure.title, 12, SLIDE.ink)
    say(0.53, interval, 12, SLIDE.ink)
    say(0.44, "\n".join(fill(sentence, 46) for sentence in how), 7.5, SLIDE.muted, linespacing=1.35)
