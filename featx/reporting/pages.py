"""Pages: an evaluation, or several compared, as one HTML file that needs nothing else."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from typing import TYPE_CHECKING

from featx._version import __version__
from featx.evaluation.figures import figure_of
from featx.reporting import sections
from featx.reporting.cards import mistakes
from featx.reporting.cells import stacked
from featx.reporting.charts import draw_intervals
from featx.reporting.drawing import PAGE
from featx.reporting.found import leaks
from featx.reporting.judged import by_class, figures, headline
from featx.reporting.markup import Markup, document, element, joined, table
from featx.reporting.plates import chart, charts, learning_curve
from featx.reporting.repeating import repeat
from featx.reporting.wording import INTERVAL, choice, columns, count, judged_on, on_data

if TYPE_CHECKING:
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation

__all__ = ["comparison_page", "evaluation_page"]


def evaluation_page(
    evaluation: Evaluation, *, title: str | None, show_names: bool, evidence: bool, command: str | None
) -> bytes:
    """The page of an evaluation, UTF-8."""
    heading = title or f"Evaluation of {evaluation.name or 'a model'}{on_data(evaluation)}"
    return _page(
        heading,
        [
            element("h1", heading),
            sections.question(evaluation, named=title is not None),
            sections.data(evaluation),
            leaks(evaluation, show_names=show_names),
            headline(evaluation),
            *_details(evaluation, show_names=show_names, evidence=evidence, command=command),
        ],
    )


def comparison_page(
    comparison: Comparison, *, title: str | None, show_names: bool, evidence: bool, command: str | None
) -> bytes:
    """The page of several evaluations, the best one in detail, UTF-8."""
    best = comparison.best
    heading = title or f"Comparison of {count(len(comparison.evaluations), 'model')}{on_data(best)}"
    return _page(
        heading,
        [
            element("h1", heading),
            element("p", "; ".join(each.name for each in comparison.evaluations), class_="lead"),
            sections.data(best),
            leaks(best, show_names=show_names),
            _compared(comparison),
            element("h2", f"The best: {best.name}"),
            sections.question(best, named=False),
            headline(best),
            *_details(best, show_names=show_names, evidence=evidence, command=command),
        ],
    )


def _details(
    evaluation: Evaluation, *, show_names: bool, evidence: bool, command: str | None
) -> list[Markup | None]:
    return [
        figures(evaluation),
        charts(evaluation),
        by_class(evaluation),
        mistakes(evaluation, show_names=show_names, evidence=evidence),
        learning_curve(evaluation),
        sections.folds(evaluation),
        repeat(evaluation, _versions(), command=command),
    ]


def _compared(comparison: Comparison) -> Markup:
    """The table, the intervals, and how far the best is ahead."""
    best, chosen = comparison.best, comparison.chosen_on
    names = [each.name for each in comparison.evaluations]
    name = best.main.headline
    others = [each for each in comparison.evaluations if each is not best]
    ahead = {each.name: comparison.difference(best.name, each.name) for each in others}
    shown = columns(best.main.figures)
    rows = [
        [
            joined([element("strong", each.name), " (best)"]) if each is best else each.name,
            *(stacked(each[figure]) if figure in each.main.figures else "-" for figure in shown),
            *([] if chosen is None else [stacked(comparison.choosing(each).figures[name])]),
            stacked(ahead[each.name]) if each.name in ahead else "-",
        ]
        for each in comparison.evaluations
    ]
    choosing = [] if chosen is None else [f"{figure_of(name).title} on {chosen}"]
    height_in = 0.9 + 0.3 * len(names)
    title = figure_of(name).title
    drawn = [
        chart(
            lambda ax: draw_intervals(
                ax, names, [each[name] for each in comparison.evaluations], title, PAGE, zero=False
            ),
            f"{title} of each, with {INTERVAL}s; the table has the same numbers.",
            f"Dots: values. Lines: {INTERVAL}s. That two of them overlap does not mean that the two are equal.",
            size_in=(3.8, height_in),
        )
    ]
    if others:
        drawn.append(
            chart(
                lambda ax: draw_intervals(
                    ax, list(ahead), list(ahead.values()), f"{best.name} is ahead by", PAGE, zero=True
                ),
                f"How far {best.name} is ahead of each other one, with {INTERVAL}s.",
                "Paired: the same draws of the same samples for both. Where the line reaches 0, the order may be chance.",
                size_in=(3.8, height_in),
            )
        )
    same = "judged on the same folds" if len(best.fits) > 1 else "fitted and judged on the same samples"
    return joined(
        [
            element("h2", "Side by side"),
            table(
                f"{judged_on(best.main, best)}; {INTERVAL}s below",
                ["", *(figure_of(figure).title for figure in shown), *choosing, "best is ahead by"],
                rows,
                class_="wrapping",
            ),
            element("div", *drawn, class_="charts"),
            element(
                "p",
                f"All were {same}. The best has the {choice(comparison)}",
            ),
        ]
    )


def _page(title: str, body: list[Markup | None]) -> bytes:
    today = datetime.date.today().isoformat()
    foot = element(
        "footer", f"Written {today} by featx {__version__}. This page is one file and loads nothing."
    )
    return document(title, [*body, foot])


def _versions() -> list[tuple[str, str]]:
    installed = [(name, importlib.metadata.version(name)) for name in ("scikit-learn", "numpy")]
    return [("featx", __version__), *installed, ("Python", platform.python_version())]
