"""Results on a terminal: what leaks first, the judgement to quote in full, the others in a line each.

Nothing here names a sample or a group beyond what a leak's own message names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.evaluation.figures import figure_of
from featx.evaluation.judgements import Judgement
from featx.evaluation.leaks import Leak
from featx.reporting.wording import (
    between,
    choice,
    columns,
    count,
    flatters,
    groups_unchecked,
    number,
    on_data,
    unchecked,
    with_interval,
)

if TYPE_CHECKING:
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation

__all__ = ["comparison_table", "evaluation_table"]

_WIDE = 38  # characters of a figure's name: a line keeps to 80


def evaluation_table(evaluation: Evaluation, *, full: bool) -> str:
    """See :meth:`featx.Evaluation.format_table`."""
    lines = [evaluation.name + on_data(evaluation)] if evaluation.name else []
    lines += [*_leaks(evaluation.leaks), *([unchecked()] if evaluation.is_unchecked else [])]
    lines += [words for words in (groups_unchecked(evaluation),) if words]
    lines += _every_figure(evaluation.judgements if full else (evaluation.main,), evaluation)
    others = () if full else evaluation.judgements[1:]
    if others:
        lines += _others(others, evaluation)
    if evaluation.curve:
        title = figure_of(evaluation.main.headline).title
        lines.append(f"{title} by training samples, mean over folds")
        lines += [
            f"  {point.n_train:<{_WIDE},.0f}{with_interval(point.estimate)}" for point in evaluation.curve
        ]
    return "\n".join(lines).rstrip()


def comparison_table(comparison: Comparison, *, full: bool) -> str:
    """See :meth:`featx.Comparison.format_table`."""
    best, main, chosen = comparison.best, comparison.best.main, comparison.chosen_on
    headline = main.headline
    said = dict.fromkeys(line for each in comparison.evaluations for line in _leaks(each.leaks))
    lines = [f"{count(len(comparison.evaluations), 'model')}{on_data(best)}", *said]
    if any(each.is_unchecked for each in comparison.evaluations):
        lines.append(unchecked())
    heads = [figure_of(name).title for name in columns(main.figures)]
    if chosen is not None:
        heads.append(f"{figure_of(headline).title}, {chosen}")
    rows = []
    for each in comparison.evaluations:
        cells = [
            with_interval(each[name]) if name in each.main.figures else "-" for name in columns(main.figures)
        ]
        if chosen is not None:
            cells.append(with_interval(comparison.choosing(each).figures[headline]))
        ahead = "" if each is best else with_interval(comparison.difference(best.name, each.name))
        rows.append([f"{'*' if each is best else ' '} {each.name}", *cells, ahead])
    titles = ["", *heads, "best is ahead by"]
    widths = [max(len(row[at]) for row in [titles, *rows]) + 2 for at in range(len(titles))]
    lines += [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [titles, *rows]
    ]
    noun = "groups" if main.level == "group" else "samples"
    about = f"{main.part}: {len(main.outcomes)} {noun}. 95 % intervals, differences paired."
    lines.append(f"{about} * {choice(comparison)}")
    for each in comparison.evaluations if full else ():
        lines += ["", each.name, *_every_figure(each.judgements, each)]
    return "\n".join(lines).rstrip()


def _leaks(leaks: Sequence[Leak]) -> list[str]:
    return [f"{'Beware' if flatters(leak.kind) else 'Check'}: {leak}" for leak in leaks]


def _every_figure(judgements: Sequence[Judgement], evaluation: Evaluation) -> list[str]:
    return [line for judgement in judgements for line in _figures(judgement, evaluation)]


def _figures(judgement: Judgement, evaluation: Evaluation) -> list[str]:
    """A line a figure, with its interval."""
    tied = judgement.n_units < len(judgement.outcomes)
    units = f"; {judgement.n_units} independent units: {evaluation.kept_together}" if tied else ""
    lines = [f"{_judged(judgement)}{units}", "", f"  {'':<{_WIDE}}{'value':>8}   95 % interval"]
    for name, estimate in judgement.figures.items():
        interval = between(estimate)
        if name == "calibration_error" and judgement.calibration_by_chance is not None:
            interval = f"{judgement.calibration_by_chance:.3f} by chance alone"
        title = figure_of(name).title
        if name in ("sensitivity", "specificity"):
            title += f" ({evaluation.positive if name == 'sensitivity' else evaluation.negative})"
        lines.append(f"  {title:<{_WIDE}}{number(estimate.value):>8}   {interval}")
    return [*lines, ""]


def _others(judgements: Sequence[Judgement], evaluation: Evaluation) -> list[str]:
    """A line a judgement, with its main figures."""
    shown = columns(evaluation.main.figures, brief=True)
    wide = max(len(_judged(each)) for each in judgements) + 2
    titles = "".join(f"{figure_of(name).title:<23}" for name in shown)
    lines = [f"  {'also judged':<{wide}}{titles}".rstrip()]
    for each in judgements:
        cells = "".join(
            f"{with_interval(each.figures[name]) if name in each.figures else '-':<23}" for name in shown
        )
        lines.append(f"  {_judged(each):<{wide}}{cells}".rstrip())
    return [*lines, ""]


def _judged(judgement: Judgement) -> str:
    noun = "group" if judgement.level == "group" else "sample"
    n = len(judgement.outcomes)
    return f"{judgement.part}: {n} {noun}{'' if n == 1 else 's'}"
