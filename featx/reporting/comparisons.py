"""Several evaluations on the same folds and draws: their figures side by side, and how far the best one is ahead."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from featx.evaluation.bootstrap import Estimate, difference
from featx.evaluation.figures import figure_of
from featx.outputs import json_bytes, make_output
from featx.reporting.evaluations import Evaluation
from featx.reporting.wording import columns, with_interval

__all__ = ["Comparison"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Comparison:
    """Several evaluations on the same folds and the same bootstrap draws.

    Parameters
    ----------
    evaluations : tuple of Evaluation
        In the order asked for.
    """

    evaluations: tuple[Evaluation, ...]

    def __repr__(self) -> str:
        """One line."""
        return f"Comparison({len(self.evaluations)} evaluations, best {self.best!r})"

    @property
    def best(self) -> Evaluation:
        """The one with the highest headline figure to three decimals; of equals the first."""
        headline = self.evaluations[0].main.headline
        return max(self.evaluations, key=lambda each: round(each[headline].value, 3))

    def difference(self, a: str, b: str, figure: str | None = None) -> Estimate:
        """The paired difference ``a - b`` of a figure (default: the headline), with its interval.

        Raises
        ------
        KeyError
            No evaluation of that name.
        """
        named = {evaluation.name: evaluation for evaluation in self.evaluations}
        name = self.evaluations[0].main.headline if figure is None else figure
        return difference(named[a][name], named[b][name])

    def to_dict(self, *, show_names: bool = False) -> dict[str, Any]:
        """Plain values; differences are the best one's to each other one."""
        best = self.best
        return {
            "best": best.name,
            "evaluations": [each.to_dict(show_names=show_names) for each in self.evaluations],
            "differences": {
                other.name: self.difference(best.name, other.name).to_dict()
                for other in self.evaluations
                if other is not best
            },
        }

    def to_json(
        self, path: str | os.PathLike[str], *, show_names: bool = False, overwrite: bool = False
    ) -> None:
        """Write :meth:`to_dict` to a file.

        Raises
        ------
        OutputError
        """
        make_output(path, lambda: json_bytes(self.to_dict(show_names=show_names)), overwrite=overwrite)

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        show_names: bool = False,
        evidence: bool = True,
        overwrite: bool = False,
    ) -> None:
        """Write a page that compares them, with the best one in detail; see :meth:`Evaluation.to_html`.

        Raises
        ------
        OutputError
        """
        from featx.reporting.pages import comparison_page

        make_output(
            path,
            lambda: comparison_page(self, title=title, show_names=show_names, evidence=evidence),
            overwrite=overwrite,
        )

    def to_png(
        self, path: str | os.PathLike[str], *, title: str | None = None, overwrite: bool = False
    ) -> None:
        """Write a picture for slides, 1920 x 1080 pixels: the headline figure of each, and how far the best is ahead.

        Raises
        ------
        OutputError
        """
        from featx.reporting.pictures import comparison_picture

        make_output(path, lambda: comparison_picture(self, title=title), overwrite=overwrite)

    def format_table(self) -> str:
        """A line an evaluation: figures with intervals, and how far the best one is ahead."""
        best, shown = self.best, columns(self.evaluations[0].main.figures)
        width = max(len(evaluation.name) for evaluation in self.evaluations) + 2
        lines = [
            "  "
            + " " * width
            + "".join(f"{figure_of(name).title:<24}" for name in shown)
            + "best is ahead by"
        ]
        for evaluation in self.evaluations:
            cells = "".join(f"{with_interval(evaluation[name]):<24}" for name in shown)
            ahead = "" if evaluation is best else with_interval(self.difference(best.name, evaluation.name))
            mark = "*" if evaluation is best else " "
            lines.append(f"{mark} {evaluation.name:<{width}}{cells}{ahead}")
        main = best.main
        noun = "groups" if main.level == "group" else "samples"
        lines.append(
            f"{main.part}: {len(main.outcomes)} {noun}. 95 % intervals, differences paired. * highest "
            f"{figure_of(main.headline).title} (of equals the first); the best of several figures flatters itself."
        )
        return "\n".join(lines)
