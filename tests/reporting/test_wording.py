"""What a report says of how it came about."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import featx
from featx.errors import LeakWarning
from featx.evaluation.leaks import Leak
from featx.reporting.evaluations import Evaluation
from featx.reporting.wording import covers, guessing, leak_words, number, protocol, with_interval
from featx.store.digest import digest_array, keys_array


def said(found: Evaluation) -> str:
    return " ".join(protocol(found))


def test_folds_of_groups(two: Evaluation) -> None:
    words = "120 samples of 40 groups. Each was predicted once, by a model that had seen no sample of the same group; 3 folds."
    assert words in said(two)
    shared = replace(two, kept_together="groups, those with copies of each other as one")
    assert "no sample of the same group, nor of a group that shares copies with it; 3 folds." in said(shared)


def test_folds_of_samples(right: Evaluation) -> None:
    assert said(right) == "40 samples. Each was predicted once, by a model that had not seen it; 3 folds."
    copies = replace(right, kept_together="samples, those with copies of each other as one", modality="image")
    assert "40 images. Each was predicted once, by a model that had seen neither it nor a copy of it" in said(
        copies
    )


def test_a_split_and_a_finished_model(right: Evaluation) -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    y, split = [0, 1] * 15, ["train"] * 20 + ["test"] * 10
    few: dict[str, Any] = {"n_bootstrap": 100}
    found = featx.evaluate("logistic", X, y, split=split, **few)
    assert (
        "One model was fitted on the training part (20 samples) and predicted the other parts (10 samples)"
        in said(found)
    )
    fitted = featx.make_head("logistic").fit(X, y)
    words = said(featx.evaluate(fitted, X, y, cv="prefit", **few))
    assert (
        "nothing was fitted here. Whether the model was trained on some of these samples could not be"
        in words
    )


@pytest.mark.parametrize(
    ("n_known", "words"),
    [
        (0, "It was trained on none of them, by the exact content of its training samples."),
        (7, "It was trained on 7 of them."),
        (30, "It was trained on every one of them: no sample here is new to it."),
    ],
)
def test_what_a_finished_model_knows(n_known: int, words: str) -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 2)), [0, 1] * 15
    known = keys_array(digest_array(row) for row in X[:n_known])
    fitted = featx.make_head("logistic").fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        found = featx.evaluate(fitted, X, y, cv="prefit", training_keys=known, n_bootstrap=100)
    assert words in said(found)


def test_what_was_chosen_inside_is_said(two: Evaluation, right: Evaluation) -> None:
    for words in ("searched inside each training part", "calibrated (sigmoid)", "made one (mean)"):
        assert words in said(two)
        assert words not in said(right)


def test_what_an_interval_covers_names_what_was_drawn(two: Evaluation, regression: Evaluation) -> None:
    assert "BCa bootstrap over 40 groups, 100 draws" in covers(two.main, two)[0]
    assert "over 40 groups, each as a whole" in covers(two.judgements[1], two)[0]
    assert "BCa bootstrap over 90 samples" in covers(regression.main, regression)[0]


def test_guessing(two: Evaluation, many: Evaluation, regression: Evaluation) -> None:
    assert guessing(two.main).startswith("Guessing gives 0.500")
    assert guessing(many.main).startswith("Guessing gives 0.050")
    assert guessing(regression.main) == "Always predicting the mean gives 0."


def test_numbers_that_are_none_are_dashes(two: Evaluation) -> None:
    assert [number(value) for value in (None, float("nan"), float("inf"), -0.5, 12345.6)] == [
        "-",
        "-",
        "-",
        "-0.500",
        "1.235e+04",
    ]
    assert with_interval(replace(two["accuracy"], low=None, high=None)) == number(two["accuracy"].value)


def test_an_unknown_kind_of_leak_is_named() -> None:
    assert leak_words("copy of a copy") == "Copy of a copy."
    assert "know them by heart" in leak_words("near-copy across split")


def test_a_split_keeps_nothing_together(pictured: Evaluation, page_of: Any) -> None:
    text = page_of(replace(pictured, kept=(Leak(kind="copy", n=1, message=""),)))
    assert "Kept on one side" not in text
    assert "Resampled as a whole for the intervals: " in text


def test_kept_copies_are_no_leak(right: Evaluation, page_of: Any) -> None:
    kept = Leak(kind="near-copy", n=3, message="for example Jane.png")
    text = page_of(replace(right, kept=(kept,)))
    assert "<strong>near-copy: 3. </strong>Kept on one side of every fold." in text
    assert "No leak found." in text
    assert "Jane" not in text


@pytest.mark.parametrize("kind", ["near-copy across split", "copy across split"])
def test_what_copies_cannot_be_seen_is_said(right: Evaluation, page_of: Any, kind: str) -> None:
    text = page_of(replace(right, looked_for=(kind,)))
    assert ("Only exact copies are found so" in text) == (not kind.startswith("near"))
    assert ("found by likeness" in text) == kind.startswith("near")
