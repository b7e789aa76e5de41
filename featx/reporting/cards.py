"""The worst mistakes of an evaluation as cards: a picture or a text, its evidence, what it is, and what was predicted.

Invariant: a sample is a row and, where a table lists it, a line, unless names are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.attribution.maps import Evidence
from featx.reporting.evidences import Shown, caption, evidence_of, legend
from featx.reporting.markup import Markup, element, joined, jpeg
from featx.reporting.mistakes import LONGEST_TEXT, Mistake, shown_text, shown_thumbnail, worst_mistakes
from featx.reporting.wording import noun, number

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["mistakes"]

_EDGE_PX = 128


def mistakes(evaluation: Evaluation, *, show_names: bool, evidence: bool) -> Markup:
    """The most confident wrong predictions, with what was to be seen and, where asked for, what they rest on."""
    main = evaluation.main
    of_samples = next(
        (each for each in evaluation.judgements if each.level == "sample" and each.part == main.part), None
    )
    found = worst_mistakes(main, None if main.level == "sample" else of_samples)
    title = "Worst mistakes" if evaluation.classes is not None else "Largest errors"
    if not found:
        return joined([element("h2", title), element("p", "None: every prediction is right.")])
    one = noun(evaluation)
    order = "Most confident" if evaluation.classes is not None else "Largest"
    note = f"{order} first. A number is the row in the data as given, from 0"
    note += "; a line is that of the table." if evaluation.origin.places is not None else "."
    if main.level == "group":
        note += f" Of a group the {one} is shown that spoke for the wrong prediction most."
    seen = {each.sample: _seen(each, evaluation) for each in found}
    readable = [each for each in found if seen[each.sample] is not None]
    shown = evidence_of(evaluation, readable) if evidence else Shown()
    cards = [
        _card(each, seen[each.sample], shown.by_sample.get(each.sample), evaluation, show_names=show_names)
        for each in found
    ]
    kind = {"image": "mistakes", "text": "mistakes texts"}.get(evaluation.modality or "", "mistakes plain")
    if evaluation.modality == "image" and shown.by_sample:
        kind += " pairs"
    return joined(
        [
            element("h2", title),
            element("p", note, class_="note"),
            *(element("p", words, class_="note") for words in legend(shown, evaluation)),
            element("ul", *cards, class_=kind),
        ]
    )


def _seen(mistake: Mistake, evaluation: Evaluation) -> Markup | None:
    """The sample itself, where it can be read."""
    if evaluation.modality == "image":
        picture = shown_thumbnail(evaluation.samples, mistake.sample, size_px=_EDGE_PX)
        return None if picture is None else jpeg(picture, _called(mistake, evaluation))
    if evaluation.modality == "text":
        text = shown_text(evaluation.samples, mistake.sample)
        return None if text is None else element("blockquote", text, dir="auto")
    return None


def _called(mistake: Mistake, evaluation: Evaluation) -> str:
    """Where to find the sample, without its name: ``"image 348 (labels.csv, line 350)"``."""
    origin = evaluation.origin
    line = "" if origin.places is None else f" ({origin.places[mistake.sample]})"
    return f"{noun(evaluation)} {int(origin.rows[mistake.sample])}{line}"


def _card(
    mistake: Mistake,
    seen: Markup | None,
    evidence: Evidence | None,
    evaluation: Evaluation,
    *,
    show_names: bool,
) -> Markup:
    shown = seen
    if evidence is not None:
        drawn = Markup(evidence.fragment(size_px=_EDGE_PX, most_characters=LONGEST_TEXT))
        shown = (
            joined([seen, drawn]) if evidence.pixels is not None else element("blockquote", drawn, dir="auto")
        )
    if seen is not None and evaluation.modality == "image":
        shown = element("div", shown, class_="pictures")
    whole = f", of a group of {mistake.n_samples}" if mistake.n_samples > 1 else ""
    called, name = _called(mistake, evaluation), evaluation.names[mistake.sample]
    named = f": {name}" if show_names and name not in called else ""
    if isinstance(mistake.true, str):
        sure = "" if mistake.sure is None else f" ({number(mistake.sure)})"
        words = [
            "is ",
            element("strong", mistake.true),
            ", predicted ",
            element("strong", str(mistake.predicted)),
            sure,
        ]
    else:
        words = [f"is {number(mistake.true)}, predicted {number(float(mistake.predicted))}"]
    score = None if evidence is None else caption(evidence)
    below = [] if score is None else [element("br"), element("small", score)]
    return element("li", shown, f"{called}{whole}{named}", element("br"), *words, *below)
