"""The worst mistakes of an evaluation as cards: a picture or a text, what it is, and what was predicted.

Invariant: a sample is a number, unless names are asked for.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from featx.reporting.markup import Markup, element, joined
from featx.reporting.mistakes import Mistake, shown_text, shown_thumbnail, worst_mistakes
from featx.reporting.wording import noun, number

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["mistakes"]


def mistakes(evaluation: Evaluation, *, show_names: bool) -> Markup:
    """The most confident wrong predictions, with what was to be seen."""
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
    note = f"{order} first. Numbers count the {one}s evaluated, from 0."
    if main.level == "group":
        note += f" Of a group the {one} is shown that spoke for the wrong prediction most."
    cards = [_mistake(each, evaluation, show_names=show_names) for each in found]
    kind = {"image": "mistakes", "text": "mistakes texts"}.get(evaluation.modality or "", "mistakes plain")
    return joined(
        [element("h2", title), element("p", note, class_="note"), element("ul", *cards, class_=kind)]
    )


def _mistake(mistake: Mistake, evaluation: Evaluation, *, show_names: bool) -> Markup:
    one = noun(evaluation)
    shown: Markup | None = None
    if evaluation.modality == "image":
        picture = shown_thumbnail(evaluation.samples, mistake.sample)
        # A list: evidence stands beside the picture.
        pictures = [] if picture is None else [_picture(picture, f"{one} {mistake.sample}")]
        shown = element("div", *pictures, class_="pictures") if pictures else None
    elif evaluation.modality == "text":
        text = shown_text(evaluation.samples, mistake.sample)
        shown = None if text is None else element("blockquote", text, dir="auto")
    whole = f", of a group of {mistake.n_samples}" if mistake.n_samples > 1 else ""
    name = f": {evaluation.names[mistake.sample]}" if show_names else ""
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
    return element("li", shown, f"{one} {mistake.sample}{whole}{name}", element("br"), *words)


def _picture(jpeg: bytes, alt: str) -> Markup:
    return element("img", src=f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}", alt=alt)
