"""Evidence for the worst mistakes, each of the very model that made it, and what its colours mean in words.

Nothing here fails a page: where there can be no evidence, the page says so and why. Nothing is computed before a page is asked
for.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import _safe_indexing

from featx.attribution.explainer import Explainer, Head
from featx.attribution.maps import Evidence
from featx.errors import FeatxWarning
from featx.reporting.mistakes import Mistake
from featx.reporting.wording import noun, number

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["Shown", "caption", "evidence_of", "legend"]

_log = logging.getLogger("featx")

# A page: twelve pictures take about 5 s with MobileNetV2 on one core. Exact maps take a run each and need no limit.
_COVERING_S = 20.0

_STORED = "this evaluation came from a file, and the models that predicted are not in it"
_LARGE = "models that hold many training samples are not kept"
_LONG = f"covering parts would take over {_COVERING_S:g} s"
_FAILED = "the model has no score to explain, or its backbone or the file has changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Evidence by sample, and how many have none for which reason."""

    by_sample: dict[int, Evidence] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)


def evidence_of(
    evaluation: Evaluation, mistakes: Sequence[Mistake], *, limit_s: float = _COVERING_S
) -> Shown:
    """What each mistake rests on, for the label that was predicted.

    Parameters
    ----------
    evaluation : Evaluation
    mistakes : sequence of Mistake
        Whose samples can be read; the worst first.
    limit_s : float
        How long covering parts may take, where there are no exact maps.
    """
    predictors = evaluation.predictors
    if not mistakes or evaluation.modality is None:
        return Shown()
    if predictors is None:
        return Shown(missing={_STORED: len(mistakes)})
    shown = Shown()
    explainer: Explainer | None = None
    to_cover: dict[int, tuple[Explainer, Head]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FeatxWarning
        )  # what befell the samples was said when they were evaluated
        for fold in sorted({each.fold for each in mistakes}):
            mine = [each for each in mistakes if each.fold == fold]
            model, features = predictors.models[fold], predictors.features_of(fold)
            if model is None or features is None:
                _miss(shown, _LARGE if model is None else _FAILED, len(mine))
                continue
            # A network that several folds share is opened once, and one of a fold's own closed before the next is.
            if explainer is None or explainer.features is not features:
                explainer = Explainer(features)
            try:
                head = Head.of(model)
                found = _exact(explainer, head, evaluation, mine)
            except (
                Exception
            ):  # a head of anybody's may raise anything, and the page is worth more than its evidence
                _log.info("no evidence for the mistakes of fold %d", fold, exc_info=True)
                _miss(shown, _FAILED, len(mine))
                continue
            if isinstance(found, str):
                to_cover |= {each.sample: (explainer, head) for each in mine}
            else:
                shown.by_sample.update(zip((each.sample for each in mine), found, strict=True))
        ends_s = time.monotonic() + limit_s
        for each in mistakes:
            if each.sample in to_cover:
                _cover(shown, *to_cover[each.sample], evaluation, each, ends_s - time.monotonic())
    return shown


def caption(found: Evidence) -> str | None:
    """The score that a map is of, where the card does not say it already: ``"decision value for bee: 0.831"``."""
    if found.score_name in ("probability", "prediction"):
        return None
    rough = "" if found.method == "exact" else " (map: approximation)"
    return f"{found.score_name} for {found.label!s}: {number(found.score)}{rough}"


def legend(shown: Shown, evaluation: Evaluation) -> list[str]:
    """What the colours mean, whether they are exact, and why some samples have none: a paragraph or two."""
    found = list(shown.by_sample.values())
    sentences = [*_where(evaluation), *_how(found, evaluation)] if found else []
    missing = [f"{n} without evidence: {reason}." for reason, n in shown.missing.items()]
    return [" ".join(each) for each in (sentences, missing) if each]


def _where(evaluation: Evaluation) -> list[str]:
    image, one = evaluation.modality == "image", noun(evaluation)
    place = "Beside each picture: what the network saw of it, in grey, with evidence over it."
    means = "Red speaks for the predicted label, blue against it"
    if evaluation.classes is None:
        means = "Red speaks for a higher value, blue for a lower one"
    over = "" if image else " behind a word"
    return [
        *([place] if image else []),
        f"{means}{over}, the stronger the more; colours are scaled for each {one} by itself.",
    ]


def _how(found: Sequence[Evidence], evaluation: Evaluation) -> list[str]:
    image, model = evaluation.modality == "image", "the very model that made the prediction"
    exact = [each for each in found if each.method == "exact"]
    covered = [each for each in found if each.method != "exact"]
    sentences = []
    if exact:
        over = "" if image else " over all tokens, with the network's own at both ends,"
        value = (
            f"the {exact[0].score_name}" if evaluation.classes is None else f"the {exact[0].score_name} below"
        )
        which = "Some maps are exact" if covered else "The maps are exact"
        sentences.append(f"{which}: the mean of each{over} is {value}, of {model}.")
        if evaluation.classes is None:
            sentences.append("Colours show what says more than this mean, or less.")
    if covered:
        parts = "64 squares of the picture were covered" if image else "the words were left out"
        which = "Others are approximations" if exact else "The maps are approximations"
        sentences.append(
            f"{which}: {parts} one after the other, red where that lowers the {covered[0].score_name} and blue where it raises "
            f"it, of {model}."
        )
    notes = dict.fromkeys(each.note for each in found if each.note)
    return [*sentences, *notes, "They show what a score rests on, not what causes a label."]


def _exact(
    explainer: Explainer, head: Head, evaluation: Evaluation, mistakes: Sequence[Mistake]
) -> list[Evidence] | str:
    samples = _samples(explainer, evaluation, mistakes)
    vectors = explainer.features.transform(samples)
    return explainer.exact(head, samples, vectors, [_label(head, each) for each in mistakes])


def _cover(
    shown: Shown, explainer: Explainer, head: Head, evaluation: Evaluation, mistake: Mistake, left_s: float
) -> None:
    try:
        (sample,) = _samples(explainer, evaluation, [mistake])
        found = explainer.covered(head, sample, _label(head, mistake), limit_s=left_s)
    except Exception:  # as above
        _log.info("no evidence for sample %d", mistake.sample, exc_info=True)
        _miss(shown, _FAILED, 1)
        return
    if found is None:
        _miss(shown, _LONG, 1)
    else:
        shown.by_sample[mistake.sample] = found


def _samples(explainer: Explainer, evaluation: Evaluation, mistakes: Sequence[Mistake]) -> Sequence[Any]:
    chosen = np.asarray([each.sample for each in mistakes])
    return explainer.features.samples_of(_safe_indexing(evaluation.samples, chosen))


def _label(head: Head, mistake: Mistake) -> Any:
    """The label predicted, as the head knows it; None for a regression."""
    return next((label for label in head.classes if str(label) == mistake.predicted), None)


def _miss(shown: Shown, reason: str, n: int) -> None:
    shown.missing[reason] = shown.missing.get(reason, 0) + n
