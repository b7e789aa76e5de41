"""Texts compared by their words: edits agree, sentences that merely sound alike do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.evaluation.near_texts import COPY_AT, text_agreement, words_of

ORIGINAL = "The crew on flight 42 to Denver was rude, and nobody said sorry for the delay"
OTHERS = [
    "thanks for the help",
    "the flight to Boston was fine and on time",
    "was my bag found? nobody said",
    "I am on hold",
]


def agreement(one: str, other: str) -> float:
    words = [words_of(text) for text in [one, other, *OTHERS]]
    return float(text_agreement(words, np.array([[0, 1]]))[0])


@pytest.mark.parametrize(
    "edited",
    [
        ORIGINAL.upper(),
        f"RT @ann: {ORIGINAL}",
        f"@united {ORIGINAL}! http://t.co/abc",
        ORIGINAL.replace(",", " -- ").replace(" ", "  "),
        ORIGINAL.replace("and", "&amp;"),
        f"{ORIGINAL} #fail",
        ORIGINAL.replace("rude", "nasty"),
    ],
)
def test_an_edited_text_is_the_same_text(edited: str) -> None:
    assert agreement(ORIGINAL, edited) >= COPY_AT


@pytest.mark.parametrize(
    "other",
    [
        "The crew on flight 17 to Boston was kind, and everybody said sorry for the delay",
        "the flight to Denver was rude and late",
        ORIGINAL[: len(ORIGINAL) // 2],
    ],
)
def test_a_text_with_other_rare_words_is_another(other: str) -> None:
    assert agreement(ORIGINAL, other) < COPY_AT


def test_texts_of_few_words_are_not_compared() -> None:
    assert agreement("@a thank you very much", "@b Thank you very much!") == 0
    assert agreement("", "") == 0


def test_only_case_marks_links_and_mentions_are_left_out() -> None:
    assert words_of("“@JetBlue: Our fleet's on fleek.” www.x.org/a RT") == ("our", "fleet's", "on", "fleek")
    assert words_of("start the ART") == ("start", "the", "art")
    assert words_of("naïve Straße 5mg") == ("naïve", "strasse", "5mg")


@given(st.lists(st.text(max_size=40), min_size=2, max_size=6))
def test_agreement_is_symmetric_and_between_0_and_1(texts: list[str]) -> None:
    words = [words_of(text) for text in texts]
    pairs = np.array([(i, j) for i in range(len(texts)) for j in range(len(texts))])
    found = text_agreement(words, pairs).reshape(len(texts), -1)
    np.testing.assert_allclose(found, found.T, rtol=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    long = [i for i, text in enumerate(words) if len(text) >= 5]
    np.testing.assert_allclose(np.diagonal(found)[long], 1, rtol=1e-6)
