"""Several evaluations on the same folds and draws: their figures side by side, and how far the best one is ahead."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from featx.evaluation.bootstrap import Estimate, difference
from featx.evaluation.judgements import Judgement
from featx.outputs import json_bytes, make_output
from featx.reporting.evaluations import Evaluation
from featx.reporting.predictions import csv_bytes
from featx.reporting.tables import comparison_table

__all__ = ["Comparison"]

_CHOSEN_ON = "val"
"""The part of a split that models are chosen by, where another one is left to judge the choice."""


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
    def chosen_on(self) -> str | None:
        """The part that :attr:`best` is chosen by, where it is not the one whose figures are quoted: ``"val"``, else None."""
        return _CHOSEN_ON if self.choosing(self.evaluations[0]) is not self.evaluations[0].main else None

    def choosing(self, evaluation: Evaluation) -> Judgement:
        """The judgement of an evaluation that counts in the choice: of ``val`` beside a test part, so that the test part stays
        out of it; else the one to quote."""
        main = evaluation.main
        if _part(main) == _CHOSEN_ON:
            return main
        of_val = (
            each for each in evaluation.judgements if each.level == main.level and _part(each) == _CHOSEN_ON
        )
        return next(of_val, main)

    @property
    def best(self) -> Evaluation:
        """The one with the highest headline figure to three decimals, on ``val`` where the split has it; of equals the first."""
        headline = self.evaluations[0].main.headline
        return max(self.evaluations, key=lambda each: round(self.choosing(each).figures[headline].value, 3))

    def predictions(self, *, show_names: bool = False) -> list[dict[str, Any]]:
        """The rows of :meth:`Evaluation.predictions`, one evaluation after the other, ``model`` first."""
        return [
            {"model": each.name, **row}
            for each in self.evaluations
            for row in each.predictions(show_names=show_names)
        ]

    def to_csv(
        self, path: str | os.PathLike[str], *, show_names: bool = False, overwrite: bool = False
    ) -> None:
        """Write :meth:`predictions` as a CSV; see :meth:`Evaluation.to_csv`.

        Raises
        ------
        OutputError
        """
        make_output(path, lambda: csv_bytes(self.predictions(show_names=show_names)), overwrite=overwrite)

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
            "chosen_on": self.chosen_on,
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
        command: str | None = None,
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
            lambda: comparison_page(
                self, title=title, show_names=show_names, evidence=evidence, command=command
            ),
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

    def format_table(self, *, full: bool = False) -> str:
        """What leaks, once; then a line an evaluation: figures with intervals, and how far the best one is ahead.

        Parameters
        ----------
        full : bool
            Every figure of every judgement of each of them below.
        """
        return comparison_table(self, full=full)


def _part(judgement: Judgement) -> str:
    """The part of the split, also of "val, as given"."""
    return judgement.part.split(", ")[0]
