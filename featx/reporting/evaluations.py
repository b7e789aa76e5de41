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
from featx.evaluation.overlap import NOTHING_NEW, TRAINED_ON
from featx.evaluation.predictors import Predictors
from featx.outputs import json_bytes, make_output
from featx.reporting.wording import between, number, unchecked, with_interval

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
        return f"Evaluation({self.name!r}: {shown}; {self.main.part}, {self.n_samples} samples)"

    @property
    def _negative(self) -> str:
        labels = [] if self.classes is None else [str(c) for c in self.classes.tolist()]
        return next((label for label in labels if label != self.positive), "")

    def to_dict(self, *, show_names: bool = False) -> dict[str, Any]:
        """Plain values that JSON can say; without predictions and samples. Names only where asked for: those of files often
        hold those of patients."""
        return {
            "name": self.name,
            "classes": None if self.classes is None else self.classes.tolist(),
            "positive": self.positive,
            "parts": [
                {
                    "part": part.part,
                    "n_samples": part.n_samples,
                    "n_groups": part.n_groups,
                    "by_class": part.by_class,
                }
                for part in self.parts
            ],
            "n_samples": self.n_samples,
            "n_groups": self.n_groups,
            "n_units": self.n_units,
            "n_trained_on": self.n_trained_on,
            "kept_together": self.kept_together,
            "judgements": [judgement.to_dict() for judgement in self.judgements],
            "leaks": [_found(leak, show_names) for leak in self.leaks],
            "kept_together_copies": [_found(each, show_names) for each in self.kept],
            "looked_for": list(self.looked_for),
            "folds": [
                {
                    "n_train": fit.n_train,
                    "n_test": fit.n_test,
                    "fit_time_s": fit.fit_time_s,
                    "params": {name: _plain(value) for name, value in fit.params.items()},
                    "thresholds": fit.thresholds,
                }
                for fit in self.fits
            ],
            "learning_curve": [
                {"n_train": point.n_train, **point.estimate.to_dict()} for point in self.curve
            ],
            "settings": self.settings,
            "spaces": list(self.spaces),
            "data_digest": self.data_digest,
            "skipped": [
                {
                    **({"file": error.name, "place": error.place} if show_names else {}),
                    "index": error.index,
                    "reason": error.message,
                }
                for error in self.skipped
            ],
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
        """Write a page to read, print and hand on: one HTML file that loads nothing.

        Parameters
        ----------
        path : path
        title : str, optional
            None takes the evaluation's name.
        show_names : bool
            Name files and examples of leaks. Without it a sample is a number and no group is named: names of files often hold
            those of patients. Pictures and texts of the worst mistakes are on the page either way.
        evidence : bool
            Show what each of the worst mistakes rests on, by the very model that made it: see :func:`featx.evidence`. Computed
            now: exact maps take a second or two, covering parts up to twenty more.
        overwrite : bool
            Replace a file that is already there.

        Raises
        ------
        OutputError
        """
        from featx.reporting.pages import evaluation_page

        make_output(
            path,
            lambda: evaluation_page(self, title=title, show_names=show_names, evidence=evidence),
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
            None takes the evaluation's name.
        overwrite : bool
            Replace a file that is already there.

        Raises
        ------
        OutputError
        """
        from featx.reporting.pictures import evaluation_picture

        make_output(path, lambda: evaluation_picture(self, title=title), overwrite=overwrite)

    def format_table(self) -> str:
        """Figures for people: a line each, with its interval."""
        lines = [self.name] if self.name else []
        lines += [f"Beware: {leak}" for leak in self.leaks if leak.kind in (TRAINED_ON, NOTHING_NEW)]
        for judgement in self.judgements:
            noun = "groups" if judgement.level == "group" else "samples"
            tied = judgement.n_units < len(judgement.outcomes)
            units = f"; {judgement.n_units} independent units: {self.kept_together}" if tied else ""
            lines += [f"{judgement.part}: {len(judgement.outcomes)} {noun}{units}", ""]
            lines += [f"  {'':<38}{'value':>8}   95 % interval"]
            for name, estimate in judgement.figures.items():
                interval = between(estimate)
                if name == "calibration_error" and judgement.calibration_by_chance is not None:
                    interval = f"{judgement.calibration_by_chance:.3f} by chance alone"
                title = figure_of(name).title
                if name in ("sensitivity", "specificity"):
                    title += f" ({self.positive if name == 'sensitivity' else self._negative})"
                lines.append(f"  {title:<38}{number(estimate.value):>8}   {interval}")
            lines.append("")
        if self.curve:
            lines.append(f"{figure_of(self.main.headline).title} by training samples, mean over folds")
            lines += [f"  {point.n_train:<38,.0f}{with_interval(point.estimate)}" for point in self.curve]
            lines.append("")
        lines += [f"Beware: {leak}" for leak in self.leaks if leak.kind not in (TRAINED_ON, NOTHING_NEW)]
        lines += [unchecked()] if self.is_unchecked else []
        return "\n".join(lines).rstrip()


def _found(leak: Leak, show_names: bool) -> dict[str, Any]:
    """A leak as plain values; its message names samples and groups."""
    plain = {"kind": leak.kind, "n": leak.n}
    return {**plain, "message": leak.message} if show_names else plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
