"""The worst mistakes: which predictions were most surely wrong, and the sample to look at for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from featx.errors import FeatxError
from featx.evaluation.judgements import Judgement
from featx.evaluation.outcomes import Outcomes
from featx.inputs.samples import as_samples
from featx.inputs.texts import as_texts
from featx.inputs.thumbnails import thumbnail

__all__ = ["LONGEST_TEXT", "Mistake", "shown_text", "shown_thumbnail", "worst_mistakes"]

LONGEST_TEXT = 300
"""Characters of a text that a page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A row that was predicted wrong.

    Parameters
    ----------
    sample : int
        Position in the data of the sample to look at: of a group the one that spoke for the wrong label most.
    n_samples : int
        Samples that the prediction was made of.
    true, predicted : str or float
        Labels, or values of a regression.
    sure : float or None
        The probability given to the wrong label.
    fold : int
        Whose model predicted it.
    """

    sample: int
    n_samples: int
    true: str | float
    predicted: str | float
    sure: float | None
    fold: int


def worst_mistakes(judgement: Judgement, of_samples: Judgement | None, *, most: int = 12) -> list[Mistake]:
    """The wrong rows, most confident first; of a regression the largest errors.

    Parameters
    ----------
    judgement : Judgement
    of_samples : Judgement or None
        That of the same part by samples, where `judgement` is of groups.
    most : int

    Returns
    -------
    list of Mistake
        Shorter where fewer are wrong.
    """
    outcomes = judgement.outcomes
    badness = _badness(outcomes)
    order = np.argsort(-badness, kind="stable")
    order = order[badness[order] > 0][:most]
    found = []
    for row in order.tolist():
        members = _members(outcomes, row, of_samples) if judgement.level == "group" else None
        found.append(_mistake(outcomes, row, None if of_samples is None else of_samples.outcomes, members))
    return found


def shown_thumbnail(samples: Sequence[Any], index: int, *, size_px: int = 128) -> bytes | None:
    """A JPEG of at most `size_px` a side of a sample of an image data set; None where there is no picture of it."""
    try:
        return thumbnail(as_samples(_safe_indexing(samples, [index]), windowed=True)[0], size_px=size_px)
    except FeatxError:
        return None


def shown_text(samples: Sequence[Any], index: int) -> str | None:
    """The beginning of a text, at most 300 characters; None where only its digest is known."""
    try:
        text = as_texts(_safe_indexing(samples, [index]))[0]
    except FeatxError:
        return None
    if not isinstance(text, str):
        return None
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _badness(outcomes: Outcomes) -> NDArray[np.float64]:
    """How bad each row is (n,); 0 where it is right."""
    if outcomes.classes is None:
        return np.abs(outcomes.predicted - outcomes.truth)
    rows, wrong = np.arange(len(outcomes)), outcomes.predicted != outcomes.truth
    if outcomes.scores is None:
        return wrong.astype(np.float64)
    sure = outcomes.scores[rows, outcomes.predicted] - outcomes.scores[rows, outcomes.truth]
    if outcomes.proba is not None:
        sure = outcomes.proba[rows, outcomes.predicted]
    # A machine may predict a label that its own scores put second: wrong all the same, and least surely.
    return np.where(wrong, np.maximum(sure, np.finfo(np.float64).tiny), 0.0)


def _members(group_rows: Outcomes, row: int, of_samples: Judgement | None) -> NDArray[np.intp] | None:
    """Rows of the samples of a group; None where several groups are one unit, so that they cannot be told apart."""
    unit = group_rows.units[row]
    if of_samples is None or np.count_nonzero(group_rows.units == unit) > 1:
        return None
    members = np.flatnonzero(of_samples.outcomes.units == unit)
    return members if len(members) else None


def _mistake(
    outcomes: Outcomes, row: int, of_samples: Outcomes | None, members: NDArray[np.intp] | None
) -> Mistake:
    sample, n_samples = int(outcomes.samples[row]), 1
    predicted = outcomes.predicted[row]
    if members is not None and of_samples is not None:
        n_samples = len(members)
        speaking = (
            np.abs(of_samples.predicted[members] - of_samples.truth[members])
            if outcomes.classes is None
            else (of_samples.predicted[members] == predicted).astype(np.float64)
            if of_samples.scores is None
            else of_samples.scores[members, predicted]
        )
        sample = int(of_samples.samples[members[int(np.argmax(speaking))]])
    if outcomes.classes is None:
        return Mistake(
            sample=sample,
            n_samples=n_samples,
            true=float(outcomes.truth[row]),
            predicted=float(predicted),
            sure=None,
            fold=int(outcomes.folds[row]),
        )
    labels = outcomes.classes.tolist()
    return Mistake(
        sample=sample,
        n_samples=n_samples,
        true=str(labels[int(outcomes.truth[row])]),
        predicted=str(labels[int(predicted)]),
        sure=None if outcomes.proba is None else float(outcomes.proba[row, int(predicted)]),
        fold=int(outcomes.folds[row]),
    )
