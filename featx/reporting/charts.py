"""The charts of a report, each drawn onto axes that are given: the page and the picture for slides share them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from featx.evaluation.bootstrap import Estimate
from featx.evaluation.figures import figure_of
from featx.evaluation.judgements import CurvePoint, Judgement
from featx.reporting.curves import precision_recall_curves, reliability, roc_curves
from featx.reporting.drawing import Palette, dress

__all__ = [
    "MOST_CLASSES_AS_CURVES",
    "draw_calibration",
    "draw_confusion",
    "draw_intervals",
    "draw_learning_curve",
    "draw_precision_recall",
    "draw_predicted_true",
    "draw_residuals",
    "draw_roc",
    "short",
]

MOST_CLASSES_AS_CURVES = 6
_MOST_CLASSES_AS_CELLS = 12
_LONGEST_LABEL = 18
_MARKERS = ("o", "s", "^", "D")


def short(label: str, longest: int = _LONGEST_LABEL) -> str:
    """A label that fits beside an axis: its middle goes, for labels are told apart by their ends.

    Examples
    --------
    >>> short("species number 12", 12)
    'specie…er 12'
    """
    head, tail = longest // 2, (longest - 1) // 2
    return label if len(label) <= longest else f"{label[:head]}…{label[len(label) - tail :]}"


def draw_roc(ax: Axes, judgement: Judgement, positive: int | None, palette: Palette) -> None:
    """ROC curves: of two classes a thin line a fold, their mean and the thresholds; of more the mean of each class."""
    _frame(ax, palette, "1 - specificity (false positive rate)", "sensitivity (recall)")
    ax.set_title("ROC")
    ax.plot([0, 1], [0, 1], color=palette.line, linewidth=1, linestyle="--")
    outcomes = judgement.outcomes
    for at, (c, name) in enumerate(_drawn(judgement, positive)):
        curves = roc_curves(outcomes, c)
        if curves is None:
            continue
        color = palette.series[at]
        if positive is not None:
            _thin(ax, curves.folds, color)
        ax.plot(*curves.mean, color=color, label=name)
    if positive is not None:
        _operating_points(ax, judgement, palette)
    _legend(ax, palette, "lower right")


def draw_precision_recall(ax: Axes, judgement: Judgement, positive: int | None, palette: Palette) -> None:
    """Precision against recall, as :func:`draw_roc`."""
    _frame(ax, palette, "recall (sensitivity)", "precision")
    ax.set_title("Precision-recall")
    outcomes = judgement.outcomes
    for at, (c, name) in enumerate(_drawn(judgement, positive)):
        curves = precision_recall_curves(outcomes, c)
        if curves is None:
            continue
        color = palette.series[at]
        if positive is not None:
            _thin(ax, curves.folds, color)
            share = float(np.mean(outcomes.truth == c))
            ax.axhline(share, color=palette.line, linewidth=1, linestyle="--")
        ax.plot(*curves.mean, color=color, label=name)
    _legend(ax, palette, "lower left")


def draw_calibration(ax: Axes, judgement: Judgement, positive: int | None, palette: Palette) -> None:
    """How often what was given a probability came true; dots are as large as they are many rows."""
    found = reliability(judgement.outcomes, positive)
    of = "of the predicted label" if positive is None else f"of {short(_labels(judgement)[positive])}"
    _frame(ax, palette, f"predicted probability {of}", "observed frequency")
    ax.set_title("Calibration")
    ax.plot([0, 1], [0, 1], color=palette.line, linewidth=1, linestyle="--")
    if found is not None:
        color = palette.series[0]
        ax.plot(found.said, found.happened, color=color, linewidth=0.8, alpha=0.35)
        sizes = 8 + 250 * found.counts / found.counts.sum()
        ax.scatter(found.said, found.happened, s=sizes, color=color, linewidth=0, clip_on=False, zorder=3)


def draw_confusion(ax: Axes, judgement: Judgement, palette: Palette) -> None:
    """Rows by true and predicted class; of many classes those that are confused most."""
    labels, matrix = _labels(judgement), judgement.confusion
    chosen = most_confused(matrix, _MOST_CLASSES_AS_CELLS)
    shown = matrix[np.ix_(chosen, chosen)]
    k = len(chosen)
    shares = shown / np.maximum(matrix.sum(axis=1)[chosen], 1)[:, None]
    for i in range(k):
        for j in range(k):
            if shown[i, j]:
                color = palette.series[0] if i == j else palette.series[1]
                depth = 0.08 + 0.5 * float(shares[i, j])
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, alpha=depth, linewidth=0))
                ax.text(
                    j,
                    i,
                    f"{shown[i, j]:,}",
                    ha="center",
                    va="center",
                    color=palette.ink,
                    fontsize=9 if k <= 4 else 6.5,
                )
    names = [short(labels[c], 18 if k <= 6 else 12) for c in chosen]
    ax.set_xticks(range(k), names, rotation=0 if k <= 3 else 90)
    ax.set_yticks(range(k), names)
    ax.set_xlim(-0.5, k - 0.5)
    ax.set_ylim(k - 0.5, -0.5)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_title("Confusion" if k == len(labels) else f"Confusion: {k} of {len(labels)} classes")
    ax.set_aspect("equal")
    dress(ax, palette)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw_predicted_true(ax: Axes, judgement: Judgement, palette: Palette) -> None:
    """Of a regression: predictions against the truth."""
    truth, predicted = judgement.outcomes.truth, judgement.outcomes.predicted
    ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
    ax.plot(ends, ends, color=palette.line, linewidth=1, linestyle="--")
    _dots(ax, truth, predicted, palette)
    ax.set_xlabel("true")
    ax.set_ylabel("predicted")
    ax.set_title("Predicted against true")
    dress(ax, palette)


def draw_residuals(ax: Axes, judgement: Judgement, palette: Palette) -> None:
    """Of a regression: how far predictions are off, against what was predicted."""
    truth, predicted = judgement.outcomes.truth, judgement.outcomes.predicted
    ax.axhline(0, color=palette.line, linewidth=1, linestyle="--")
    _dots(ax, predicted, predicted - truth, palette)
    ax.set_xlabel("predicted")
    ax.set_ylabel("predicted - true")
    ax.set_title("Residuals")
    dress(ax, palette)


def draw_learning_curve(ax: Axes, points: Sequence[CurvePoint], figure: str, palette: Palette) -> None:
    """The headline figure against the number of training samples, with intervals."""
    x = [point.n_train for point in points]
    values = [point.estimate.value for point in points]
    known = [p for p in points if p.estimate.low is not None and p.estimate.high is not None]
    ax.fill_between(
        [p.n_train for p in known],
        [p.estimate.low or 0.0 for p in known],
        [p.estimate.high or 0.0 for p in known],
        color=palette.series[0],
        alpha=0.18,
        linewidth=0,
    )
    ax.plot(x, values, color=palette.series[0], marker="o", markersize=4)
    ax.set_xlim(0, max(x) * 1.05)
    ax.set_xlabel("training samples, mean over folds")
    ax.set_ylabel(figure_of(figure).title)
    ax.set_title("Learning curve")
    dress(ax, palette)


def draw_intervals(
    ax: Axes, names: Sequence[str], estimates: Sequence[Estimate], title: str, palette: Palette, *, zero: bool
) -> None:
    """Values with intervals, one below the other; ``zero`` draws the line of no difference."""
    for at, estimate in enumerate(estimates):
        color = palette.series[0]
        if estimate.low is not None and estimate.high is not None:
            ax.plot([estimate.low, estimate.high], [at, at], color=color, linewidth=2, solid_capstyle="butt")
        ax.plot([estimate.value], [at], marker="o", markersize=6, color=color)
    if zero:
        ax.axvline(0, color=palette.muted, linewidth=1, linestyle="--")
    ax.set_yticks(range(len(names)), [short(name, 32) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(title)
    ax.grid(axis="x", color=palette.line, linewidth=0.6)
    ax.set_axisbelow(True)
    dress(ax, palette)


def most_confused(matrix: NDArray[np.intp], most: int) -> list[int]:
    """Classes in their order: all, or those of the most frequent confusions as far as they fit."""
    k = len(matrix)
    if k <= most:
        return list(range(k))
    wrong = matrix * ~np.eye(k, dtype=bool)
    chosen: list[int] = []
    for at in np.argsort(-wrong, axis=None, kind="stable").tolist():
        new = [c for c in divmod(at, k) if c not in chosen]
        if len(chosen) + len(new) <= most:
            chosen += new
        if len(chosen) == most:
            break
    return sorted(chosen)


def _labels(judgement: Judgement) -> list[str]:
    classes = judgement.outcomes.classes
    return [] if classes is None else [str(label) for label in classes.tolist()]


def _drawn(judgement: Judgement, positive: int | None) -> list[tuple[int, str]]:
    """Classes with a curve, and what the legend calls them."""
    labels = _labels(judgement)
    if positive is not None:
        several = len(np.unique(judgement.outcomes.folds)) > 1
        return [(positive, f"{short(labels[positive])}{', mean of folds' if several else ''}")]
    return [(c, short(label)) for c, label in enumerate(labels)]


def _thin(ax: Axes, lines: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], color: str) -> None:
    if len(lines) > 1:
        for line in lines:
            ax.plot(*line, color=color, linewidth=0.7, alpha=0.4)


def _operating_points(ax: Axes, judgement: Judgement, palette: Palette) -> None:
    names = ["", *(f"@{name}" for name in judgement.outcomes.decisions or {})]
    for at, name in enumerate(names[: len(_MARKERS)]):
        sensitivity = judgement.figures.get(f"sensitivity{name}")
        specificity = judgement.figures.get(f"specificity{name}")
        if sensitivity is None or specificity is None:
            continue
        ax.plot(
            [1 - specificity.value],
            [sensitivity.value],
            linestyle="none",
            marker=_MARKERS[at],
            markersize=5,
            color=palette.series[1],
            clip_on=False,
            label="labels as predicted" if not name else f"set for {name[1:]}",
        )


def _frame(ax: Axes, palette: Palette, x: str, y: str) -> None:
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.01)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    dress(ax, palette)


def _legend(ax: Axes, palette: Palette, place: Literal["lower left", "lower right"]) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc=place, labelcolor=palette.ink, handlelength=1.2)


def _dots(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], palette: Palette) -> None:
    # Above some thousands of dots an SVG grows beyond what a page should weigh, and no eye tells them apart.
    kept = np.linspace(0, len(x) - 1, min(len(x), 2_000)).astype(np.intp)
    order = np.argsort(x, kind="stable")[kept]
    ax.scatter(x[order], y[order], s=8, color=palette.series[0], alpha=0.5, linewidth=0)
