"""Results in words and numbers: what was done in plain sentences, what an interval covers, figures as people read them.

Nothing here names a sample or a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from featx.evaluation.bootstrap import Estimate
from featx.evaluation.figures import figure_of
from featx.evaluation.judgements import Judgement
from featx.evaluation.leaks import GROUP_ACROSS_SPLIT, Leak
from featx.evaluation.overlap import NOTHING_NEW, TRAINED_ON
from featx.evaluation.searches import BLIND_SEARCH

if TYPE_CHECKING:
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation

__all__ = [
    "INTERVAL",
    "REMEMBERED",
    "between",
    "choice",
    "columns",
    "count",
    "covers",
    "flatters",
    "found_words",
    "groups_unchecked",
    "guessing",
    "judged_on",
    "leak_words",
    "noun",
    "number",
    "on_data",
    "position",
    "protocol",
    "unchecked",
    "units_word",
    "with_interval",
]

INTERVAL = "95\u00a0% interval"
"""With a space that no line breaks at."""

REMEMBERED = "Training data: says nothing about new samples."
"""What stands over figures of samples that the model was trained on."""

_LEAKS = {
    NOTHING_NEW: "Every sample judged is one that the model was trained on. The figures tell how well it remembers them, and "
    "nothing of what it is worth on others.",
    TRAINED_ON: "Samples judged that the model was trained on, by their exact content. Figures that count them flatter; those of "
    "the others, where there are any, are given apart.",
    "group across split": "Groups that are both in the training part and in the part judged. Its figures are not those of "
    "unseen groups.",
    "copy across split": "Samples of the part judged that the training part holds as well. The model may know them by heart.",
    "copy across groups": "Samples that occur in several groups. A fold may test what it learned.",
    "copy with another label": "Samples that occur with different labels. At least one of each is wrong, and no model can have "
    "them all right.",
    "near-copy across split": "Samples of the part judged that are in the training part too, encoded anew, resized, cropped or "
    "changed a little. The model may know them by heart.",
    "near-copy across groups": "Samples that occur, changed a little, in several groups. A fold may test what it learned.",
    "near-copies in chains": "Samples that are like others, which are like others again, too many to keep on one side of a fold. "
    "A fold may test what it learned.",
    "near-copy with another label": "Samples that occur, changed a little, with different labels. One of each may be wrong.",
}
"""What a kind of leak means, without the examples of its message, which name files and groups."""


def number(value: float | None) -> str:
    """Three decimals; four digits of large values; a dash for none.

    Examples
    --------
    >>> number(0.77149), number(15234.2), number(None)
    ('0.771', '1.523e+04', '-')
    """
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def between(estimate: Estimate) -> str:
    """An interval, or a dash."""
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{number(estimate.low)} to {number(estimate.high)}"


def with_interval(estimate: Estimate) -> str:
    """A value and its interval behind it, where it has one."""
    if estimate.low is None or estimate.high is None:
        return number(estimate.value)
    return f"{number(estimate.value)} ({number(estimate.low)}, {number(estimate.high)})"


def count(n: int, word: str) -> str:
    """A number and what it counts.

    Examples
    --------
    >>> count(1, "image"), count(1234, "image")
    ('1 image', '1,234 images')
    """
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def columns(figures: Mapping[str, Estimate], *, brief: bool = False) -> list[str]:
    """The figures that a comparison shows, of those that there are; ``brief``: at most two."""
    wanted = ("balanced_accuracy", "macro_f1", "roc_auc", "log_loss", "r2", "mae")
    few = ("balanced_accuracy", "roc_auc", "r2", "mae")
    return [name for name in (few if brief else wanted) if name in figures]


def on_data(evaluation: Evaluation) -> str:
    """The data set behind a model's name: ``" on covid_ct_small"``, or nothing where it has no name."""
    return f" on {evaluation.origin.dataset}" if evaluation.origin.dataset else ""


def flatters(kind: str) -> bool:
    """Whether a leak of that kind makes figures too good; labels that contradict each other, and a search that chooses by what
    recognises groups, make them worse, if anything."""
    return not kind.endswith("with another label") and kind != BLIND_SEARCH


def found_words(leaks: Sequence[Leak]) -> list[str]:
    """What was found, by kind and number: a sentence on what flatters, and one on what else there is to check."""
    others = [leak for leak in leaks if not flatters(leak.kind)]
    labels = all(leak.kind != BLIND_SEARCH for leak in others)
    sentences = []
    for intro, chosen in (
        ("Leaks were found", [leak for leak in leaks if flatters(leak.kind)]),
        ("Labels to check" if labels else "To check", others),
    ):
        if chosen:
            sentences.append(f"{intro}: {'; '.join(f'{leak.kind} ({leak.n:,})' for leak in chosen)}.")
    return sentences


def choice(comparison: Comparison) -> str:
    """How the best one was chosen, and what that does to its figures."""
    best = comparison.best
    figure = f"highest {figure_of(best.main.headline).title}"
    if comparison.chosen_on is not None:
        kept_out = f"figures on {best.main.part.split(', ')[0]} took no part in the choice"
        return f"{figure} on {comparison.chosen_on} (of equals the first); {kept_out}."
    return f"{figure} (of equals the first); the best of several figures flatters itself, the more so the more were compared."


def noun(evaluation: Evaluation) -> str:
    """What one sample is: "image", "text" or "sample"."""
    return evaluation.modality or "sample"


def judged_on(judgement: Judgement, evaluation: Evaluation) -> str:
    """What a judgement is of: ``"5 folds: 384 groups"``."""
    what = "group" if judgement.level == "group" else noun(evaluation)
    return f"{judgement.part}: {count(len(judgement.outcomes), what)}"


def units_word(judgement: Judgement, evaluation: Evaluation) -> str:
    """What the bootstrap drew: "groups" where several rows are one unit, or where rows are groups; else the samples."""
    if judgement.level == "group" or evaluation.n_groups is not None:
        return "groups"
    return f"{noun(evaluation)}s" if judgement.n_units == len(judgement.outcomes) else "sets of copies"


def protocol(evaluation: Evaluation) -> list[str]:
    """What was done, a sentence or two each."""
    one, settings, fits = noun(evaluation), evaluation.settings, evaluation.fits
    grouped = evaluation.n_groups is not None
    data = count(evaluation.n_samples, one)
    if evaluation.n_groups is not None:
        data += f" of {count(evaluation.n_groups, 'group')}"
    copies = "copies" in evaluation.kept_together
    if not fits:
        sentences = [
            f"{data}. A finished model predicted each once; nothing was fitted here.",
            _trained_on(evaluation),
        ]
    elif len(fits) == 1:
        sentences = [
            f"{data}. One model was fitted on the training part ({count(fits[0].n_train, one)}) and predicted the other parts "
            f"({count(fits[0].n_test, one)}), each {one} once."
        ]
    else:
        if grouped:
            shared = ", nor of a group that shares copies with it" if copies else ""
            unseen = f"seen no {one} of the same group{shared}"
        else:
            unseen = "seen neither it nor a copy of it" if copies else "not seen it"
        sentences = [f"{data}. Each was predicted once, by a model that had {unseen}; {len(fits)} folds."]
    if settings.get("param_grid"):
        sentences.append(
            f"Parameters were searched inside each training part, so no {one} judged took part in their choice."
        )
    if settings.get("calibrate"):
        sentences.append(
            f"Probabilities were calibrated ({settings['calibrate']}) on folds of each training part."
        )
    if evaluation.main.level == "group":
        sentences.append(
            f"Predictions of a group's {one}s were made one ({settings.get('aggregate')}), and figures count groups, not {one}s."
        )
    return sentences


def unchecked() -> str:
    """Said of a finished model whose training samples are not known."""
    return (
        "Whether the model was trained on some of these samples could not be checked: digests of its training samples are not "
        "known."
    )


def groups_unchecked(evaluation: Evaluation) -> str | None:
    """Said of a finished model that is judged on groups, where its training part is not in the data."""
    if evaluation.fits or evaluation.n_groups is None or GROUP_ACROSS_SPLIT in evaluation.looked_for:
        return None
    return "Whether the model was trained on others of these groups could not be checked: it remembers samples, not groups."


def _trained_on(evaluation: Evaluation) -> str:
    """What is known of a finished model's training."""
    one, n = noun(evaluation), evaluation.n_trained_on
    if n is None:
        return unchecked()
    if n == 0:
        return f"It was trained on none of them, by the exact content of its training {one}s."
    if n == sum(part.n_samples for part in evaluation.parts if part.part != "not used"):
        return f"It was trained on every one of them: no {one} here is new to it."
    return f"It was trained on {n:,} of them."


def covers(judgement: Judgement, evaluation: Evaluation) -> list[str]:
    """What an interval of a judgement is, and what it is not; of training samples that there is nothing to cover."""
    if evaluation.judges_training:
        return [
            f"Every {noun(evaluation)} judged is one that the model was trained on, or belongs with one. The figure tells how "
            "well it remembers them; an interval would tell nothing more. Judge it on others."
        ]
    units = units_word(judgement, evaluation)
    drawn = f"{judgement.n_units:,} {units}"
    together = "" if judgement.n_units == len(judgement.outcomes) else ", each as a whole"
    n_draws = evaluation.settings.get("n_bootstrap")
    draws = "" if n_draws is None else f", {n_draws:,} draws"
    first = (
        f"The interval covers chance in which {units} were judged: of many intervals made like this, 95\u00a0% hold the figure "
        f"that these models would reach on very many {units} like these (BCa bootstrap over {drawn}{together}{draws})."
    )
    second = (
        "It does not cover what other training data would have changed, wrong labels, or data that come from elsewhere: another "
        "device, place, year or way of choosing them."
    )
    return [first, second]


def guessing(judgement: Judgement) -> str:
    """What the headline figure would be without any knowledge."""
    if judgement.outcomes.classes is None:
        return "Always predicting the mean gives 0."
    k = len(np.unique(judgement.outcomes.truth))
    return f"Guessing gives {number(1 / k)}, as would one label for everything."


def leak_words(kind: str) -> str:
    """What a kind of leak means; its own name where it is not known here."""
    return _LEAKS.get(kind, f"{kind[:1].upper()}{kind[1:]}.")


def position(evaluation: Evaluation, label: str) -> int:
    """Where a label stands among the classes."""
    assert evaluation.classes is not None
    return [str(each) for each in evaluation.classes.tolist()].index(label)
