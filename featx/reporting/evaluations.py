"""What an evaluation found: figures with intervals for each held-out part, what leaked, what was chosen in each fold.

Owns results and their tables and plain forms; computes nothing. Nothing here names a group.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import SampleError
from featx.evaluation.bootstrap import Estimate
from featx.evaluation.figures import figure_of
from featx.evaluation.judgements import CurvePoint, Judgement, PartCounts
from featx.evaluation.leaks import Leak
from featx.evaluation.origins import Origin
from featx.evaluation.out_of_fold import FoldFit
from featx.evaluation.predictors import Predictors
from featx.outputs import json_bytes, make_output
from featx.reporting.plain import evaluation_values
from featx.reporting.predictions import csv_bytes, prediction_rows
from featx.reporting.tables import evaluation_table
from featx.reporting.wording import with_interval

__all__ = ["Evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Evaluation:
    """Everything that :func:`featx.evaluate` found.

    Parameters
    ----------
    name : str
        Of what was evaluated.
    judgements : tuple of Judgement
        The one to quote first.
    leaks : tuple of Leak
        Why figures may flatter.
    kept : tuple of Leak
        Copies and near-copies that were found and that folds keep together: they flatter nothing.
    noted : tuple of Leak
        What was found in the data that is no leak, and worth knowing, such as groups with several labels.
    looked_for : tuple of str
        Kinds of leaks that the data allowed to look for.
    fits : tuple of FoldFit
        A fit a fold.
    classes : ndarray or None
        Sorted labels; None for a regression.
    positive : str or None
        Of two classes the one that sensitivity is about.
    parts : tuple of PartCounts
        What the data hold, a part of the split each.
    n_samples, n_units : int
        Samples evaluated, and the units that folds kept together.
    n_groups : int or None
        Groups that the data name.
    n_trained_on : int or None
        Of the samples judged, those that a finished model was trained on; None where that is not known, and where models were
        fitted here.
    kept_together : str
        What a unit is, in words.
    settings : dict
        Everything that decides the result beside data and estimator; plain values.
    spaces : tuple of str
        Ids of the feature spaces that were used.
    data_digest : str
        Of contents, labels, groups and split: equal for the same data in the same order.
    origin : Origin
        Where the samples stand in the data as they were given.
    names : tuple of str
        Of the samples, files as the folder or the table has them.
    samples : sequence
        For pictures in the report.
    modality : {"image", "text"} or None
        None where X are numbers.
    skipped : tuple of SampleError
        Samples left out because they could not be read.
    curve : tuple of CurvePoint
        The learning curve, where asked for.
    predictors : Predictors or None
        The models that predicted, for evidence on the page; a pickled evaluation comes back without.
    """

    name: str
    judgements: tuple[Judgement, ...]
    leaks: tuple[Leak, ...]
    kept: tuple[Leak, ...] = ()
    noted: tuple[Leak, ...] = ()
    looked_for: tuple[str, ...]
    fits: tuple[FoldFit, ...]
    classes: NDArray[Any] | None
    positive: str | None
    parts: tuple[PartCounts, ...]
    n_samples: int
    n_units: int
    n_groups: int | None
    kept_together: str
    settings: dict[str, Any]
    spaces: tuple[str, ...]
    data_digest: str
    origin: Origin
    names: tuple[str, ...]
    samples: Sequence[Any]
    modality: str | None
    skipped: tuple[SampleError, ...] = ()
    n_trained_on: int | None = None
    trained: NDArray[np.bool_] | None = None
    curve: tuple[CurvePoint, ...] = ()
    predictors: Predictors | None = None

    @property
    def is_unchecked(self) -> bool:
        """Whether a finished model was judged of which nobody knows here what it was trained on."""
        return not self.fits and self.n_trained_on is None

    @property
    def judges_training(self) -> bool:
        """Whether every row of :attr:`main` is one that the model was trained on, or belongs with one."""
        if self.fits or self.trained is None:
            return False
        known: set[int] = set()
        for judgement in self.judgements:
            if judgement.level == "sample":
                known |= set(judgement.outcomes.units[self.trained[judgement.outcomes.samples]].tolist())
        return known.issuperset(self.main.outcomes.units.tolist())

    @property
    def main(self) -> Judgement:
        """The judgement to quote."""
        return self.judgements[0]

    def __getitem__(self, figure: str) -> Estimate:
        """An estimate of :attr:`main` by the figure's name.

        Raises
        ------
        KeyError
            No such figure; the message lists those there are.
        """
        try:
            return self.main.figures[figure]
        except KeyError:
            raise KeyError(f"{figure!r}: expected one of {', '.join(map(repr, self.main.figures))}") from None

    def __repr__(self) -> str:
        """One line that names nobody."""
        estimate = self[self.main.headline]
        shown = f"{figure_of(self.main.headline).title} {with_interval(estimate)}"
        n = len(self.main.outcomes)
        return f"Evaluation({self.name!r}: {shown}; {self.main.part}, {n} {self.main.level}{'' if n == 1 else 's'})"

    @property
    def negative(self) -> str:
        """Of two classes the one that specificity is about; empty of more."""
        if self.positive is None:
            return ""
        labels = [] if self.classes is None else [str(c) for c in self.classes.tolist()]
        return next((label for label in labels if label != self.positive), "")

    def to_dict(self, *, show_names: bool = False) -> dict[str, Any]:
        """Plain values that JSON can say; without predictions and samples. Names only where asked for: those of files often
        hold those of patients."""
        return evaluation_values(self, show_names=show_names)

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
        """Write a page to read, print and hand on: one HTML file that loads nothing.

        Parameters
        ----------
        path : path
        title : str, optional
            None names the model and the data set.
        show_names : bool
            Name files and examples of leaks. Without it a sample is a number and no group is named: names of files often hold
            those of patients. Pictures and texts of the worst mistakes are on the page either way.
        evidence : bool
            Show what each of the worst mistakes rests on, by the very model that made it: see :func:`featx.evidence`. Computed
            now: exact maps take a second or two, covering parts up to twenty more.
        command : str, optional
            The line of a command line that repeats this, for the page's last section.
        overwrite : bool
            Replace a file that is already there.

        Raises
        ------
        OutputError
        """
        from featx.reporting.pages import evaluation_page

        make_output(
            path,
            lambda: evaluation_page(
                self, title=title, show_names=show_names, evidence=evidence, command=command
            ),
            overwrite=overwrite,
        )

    def to_png(
        self, path: str | os.PathLike[str], *, title: str | None = None, overwrite: bool = False
    ) -> None:
        """Write a picture for slides, 1920 x 1080 pixels: the headline figure and the charts of :attr:`main`.

        Parameters
        ----------
        path : path
        title : str, optional
            None names the model and the data set.
        overwrite : bool
            Replace a file that is already there.

        Raises
        ------
        OutputError
        """
        from featx.reporting.pictures import evaluation_picture

        make_output(path, lambda: evaluation_picture(self, title=title), overwrite=overwrite)

    def predictions(self, *, show_names: bool = False) -> list[dict[str, Any]]:
        """What was predicted of each sample judged, in the order of the data.

        Parameters
        ----------
        show_names : bool
            Add ``name``: the file as the folder or the table has it. Names of files often hold those of patients.

        Returns
        -------
        list of dict
            ``position``, the row in the data as given, from 0; ``place``, where a table lists it; ``part``, where there is a
            split; ``fold``, from 1 as on the page; ``unit``, what stayed together and is drawn as a whole for intervals;
            ``in_training``, where a finished model knows its training samples; ``truth``; ``predicted``; and ``p_<class>`` for
            each class, or ``score_<class>`` where there are no probabilities.
        """
        return prediction_rows(self, show_names=show_names)

    def to_csv(
        self, path: str | os.PathLike[str], *, show_names: bool = False, overwrite: bool = False
    ) -> None:
        """Write :meth:`predictions` as a CSV, a line a sample; probabilities to six digits.

        Raises
        ------
        OutputError
        """
        make_output(path, lambda: csv_bytes(self.predictions(show_names=show_names)), overwrite=overwrite)

    def format_table(self, *, full: bool = False) -> str:
        """For people: what leaks, then every figure of :attr:`main` with its interval, and a line for each other judgement.

        Parameters
        ----------
        full : bool
            Every figure of every judgement.
        """
        return evaluation_table(self, full=full)
