"""The leaks of an evaluation on its page: what was found, the samples of it beside each other, and what was looked for.

Invariant: a sample is a row and a line of the table; neither its name nor a group is on the page unless names are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.evaluation.leaks import GROUP_ACROSS_SPLIT, MIXED_GROUPS, Leak
from featx.evaluation.overlap import NOTHING_NEW, TRAINED_ON
from featx.reporting.markup import Markup, element, joined, jpeg
from featx.reporting.mistakes import shown_text, shown_thumbnail
from featx.reporting.wording import groups_unchecked, leak_words, noun, unchecked

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["leaks"]

_SHOWN = 12  # pairs of pictures a finding, some 100 KB
_LISTED = 12
_OF_ONE = 4  # pictures of one sample's copies
_EDGE_PX = 128
# Of these there is nothing to be seen by laying samples beside each other.
_IN_WORDS = (GROUP_ACROSS_SPLIT, MIXED_GROUPS, NOTHING_NEW, TRAINED_ON)


def leaks(evaluation: Evaluation, *, show_names: bool) -> Markup:
    """Why figures may flatter, with the samples; what was looked for where nothing was found."""
    parts = [element("h2", "Leaks")]
    if evaluation.is_unchecked:
        parts.append(
            element("p", element("strong", "Training samples not known. "), unchecked(), class_="finding")
        )
    for leak in evaluation.leaks:
        parts.append(_finding(leak, evaluation, show_names=show_names))
    for kept in evaluation.kept if len(evaluation.fits) > 1 else ():  # a given split keeps nothing together
        parts.append(_finding(kept, evaluation, show_names=show_names, harmless=True))
    return joined([*parts, *_looked_for(evaluation), *(_note(each, evaluation) for each in evaluation.noted)])


def _finding(leak: Leak, evaluation: Evaluation, *, show_names: bool, harmless: bool = False) -> Markup:
    """A finding in words, and its samples; of a harmless one they are folded away."""
    unworded = "Kept on one side of every fold." if harmless else leak_words(leak.kind)
    words = _sentence(leak.anonymous) or unworded
    explained = leak.anonymous and leak.kind.startswith("near-cop") and not harmless
    samples = _samples(leak, evaluation, show_names=show_names)
    if harmless and samples is not None:
        samples = element("details", element("summary", "Which they are"), samples)
    found = [
        element("p", element("strong", f"{leak.kind}: {leak.n:,}. "), words),
        element("p", leak_words(leak.kind), class_="note") if explained else None,
        element("p", leak.message, class_="note") if show_names and leak.samples else None,
    ]
    if harmless or leak.kind in _IN_WORDS:
        return element("div", *found, samples, class_="finding clean" if harmless else "finding")
    return joined([element("div", *found, class_="finding"), samples])


def _samples(leak: Leak, evaluation: Evaluation, *, show_names: bool) -> Markup | None:
    """Where the samples stand, and what they look like where that tells something."""
    if not leak.samples:
        return None
    seen = evaluation.modality is not None and leak.kind not in _IN_WORDS
    most = _SHOWN if seen else _LISTED
    rest = len(leak.samples) - most
    more = f"And {rest:,} more; the JSON of this evaluation lists the rows of all." if rest > 0 else None
    if seen:
        kind = "mistakes pairs" if evaluation.modality == "image" else "mistakes texts"
        cards = [_card(leak, at, evaluation, show_names) for at in range(min(most, len(leak.samples)))]
        below = None if more is None else element("p", more, class_="note")
        return joined([element("ul", *cards, class_=kind), below])
    listed = "; ".join(
        " and ".join(_called(i, evaluation, show_names) for i in each) for each in leak.samples[:most]
    )
    return element("p", f"{listed}. {more or ''}".strip(), class_="note")


def _card(leak: Leak, at: int, evaluation: Evaluation, show_names: bool) -> Markup:
    """Copies of one sample, or a pair of near-copies, beside each other."""
    positions = leak.samples[at]
    seen = [_seen(i, evaluation) for i in positions[:_OF_ONE]]
    words: list[str | None] = []
    for place, i in enumerate(positions[:_OF_ONE]):
        label = leak.labels[at][place] if leak.labels else None
        words += [element("br")] if place else []
        words += [_called(i, evaluation, show_names)]
        words += [": ", element("strong", label)] if label is not None else []
    rest = len(positions) - _OF_ONE
    if rest > 0:
        words += [element("br"), f"and {rest:,} more"]
    shown = (
        element("div", *seen, class_="pictures")
        if evaluation.modality == "image" and any(seen)
        else joined(seen)
    )
    return element("li", shown, *words)


def _seen(index: int, evaluation: Evaluation) -> Markup | None:
    if evaluation.modality == "image":
        picture = shown_thumbnail(evaluation.samples, index, size_px=_EDGE_PX)
        return None if picture is None else jpeg(picture, _called(index, evaluation, show_names=False))
    text = shown_text(evaluation.samples, index)
    return None if text is None else element("blockquote", text, dir="auto")


def _called(index: int, evaluation: Evaluation, show_names: bool) -> str:
    """Where to find a sample: ``"image 348 (labels.csv, line 350)"``, and its name where that is asked for."""
    origin, name = evaluation.origin, evaluation.names[index]
    line = "" if origin.places is None else f" ({origin.places[index]})"
    called = f"{noun(evaluation)} {int(origin.rows[index])}{line}"
    return f"{called}: {name}" if show_names and name not in called else called


def _note(leak: Leak, evaluation: Evaluation) -> Markup:
    """What flatters nothing and is worth a look."""
    return joined(
        [
            element("p", element("strong", f"{leak.kind}: {leak.n:,}. "), _sentence(leak.anonymous)),
            _samples(leak, evaluation, show_names=False),
        ]
    )


def _looked_for(evaluation: Evaluation) -> Sequence[Markup]:
    looked = ", ".join(evaluation.looked_for)
    parts = []
    if looked and not evaluation.leaks:
        found = element("p", element("strong", "No leak found. "), f"Looked for: {looked}.")
        parts.append(element("div", found, class_="finding clean"))
    elif looked:
        parts.append(element("p", f"Looked for: {looked}.", class_="note"))
    elif not evaluation.leaks:
        words = "There is nothing to look for without groups, a split or labels, or in samples whose contents cannot be compared."
        parts.append(element("p", words))
    limits = []
    if looked:
        near = any("near" in kind for kind in evaluation.looked_for)
        limits.append(
            "Near-copies are found by likeness: some that were changed much are not."
            if near
            else "Only exact copies are found so: nothing that was cropped, resized, encoded or written anew."
        )
    if TRAINED_ON in evaluation.looked_for:
        limits.append(
            "Of the model's training samples only digests are known, so only exact copies of them are found."
        )
    limits.append(groups_unchecked(evaluation) or "")
    return [*parts, *(element("p", words, class_="note") for words in limits if words)]


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
