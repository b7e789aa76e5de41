"""The samples of a leak stand beside each other on the page, and are named nowhere unless names are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import featx
from featx.evaluation.leaks import Leak
from featx.reporting.evaluations import Evaluation
from featx.reporting.found import leaks

Page = Callable[..., str]


def near(*pairs: tuple[int, ...], **known: object) -> Leak:
    found = f"{len(pairs)} samples of test have near-copies in train"
    return Leak(
        kind="near-copy across split",
        n=len(pairs),
        message=f"{found}, for example Jane.png: look",
        anonymous=f"{found}: look",
        samples=pairs,
        **known,  # type: ignore[arg-type]
    )


def test_pairs_of_pictures_stand_side_by_side(pictured: Evaluation) -> None:
    text = leaks(replace(pictured, leaks=(near((0, 30), (1, 31)),)), show_names=False)
    assert text.count("<li>") == 2
    assert text.count('<img src="data:image/jpeg') == 4
    assert "2 samples of test have near-copies in train: look" in text
    assert "image 0<br>image 30" in text
    assert "Jane" not in text


def test_names_are_there_where_they_are_asked_for(pictured: Evaluation) -> None:
    text = leaks(replace(pictured, leaks=(near((0, 30)),)), show_names=True)
    assert "Jane Doe 30.png" in text
    assert "for example Jane.png" in text


def test_labels_that_contradict_each_other_stand_below_the_pictures(pictured: Evaluation) -> None:
    text = leaks(replace(pictured, leaks=(near((0, 30), labels=(("cat", "dog"),)),)), show_names=False)
    assert "image 0: <strong>cat</strong><br>image 30: <strong>dog</strong>" in text


def test_a_page_shows_twelve_pairs_and_counts_the_others(pictured: Evaluation) -> None:
    text = leaks(replace(pictured, leaks=(near(*((i, i + 13) for i in range(13))),)), show_names=False)
    assert text.count("<li>") == 12
    assert "And 1 more; the JSON" in text


def test_many_copies_of_one_sample_are_counted(pictured: Evaluation) -> None:
    text = leaks(replace(pictured, leaks=(near(tuple(range(7))),)), show_names=False)
    assert text.count("<img") == 4
    assert "and 3 more" in text


def test_what_folds_keep_together_is_folded_away(pictured: Evaluation) -> None:
    two_folds = replace(pictured, leaks=(), kept=(near((0, 1)),), fits=pictured.fits * 2)
    text = leaks(two_folds, show_names=False)
    assert text.index("<details>") < text.index("<img")


def test_a_group_is_a_row_on_each_side_and_no_picture(pictured: Evaluation) -> None:
    leak = replace(near((0, 30), (2, 31)), kind="group across split")
    text = leaks(replace(pictured, leaks=(leak,)), show_names=False)
    assert "image 0 and image 30; image 2 and image 31." in text
    assert "<img" not in text


def test_the_same_pairs_are_in_the_plain_values(pictured: Evaluation) -> None:
    found = replace(pictured, leaks=(near((0, 30)),))
    (plain,) = found.to_dict()["leaks"]
    assert plain == {"kind": "near-copy across split", "n": 1, "rows": [[0, 30]]}
    (named,) = found.to_dict(show_names=True)["leaks"]
    assert [name.endswith(("Jane Doe 0.png", "Jane Doe 30.png")) for name in named["names"][0]] == [
        True,
        True,
    ]


def test_texts_are_quoted_beside_each_other(pictured: Evaluation) -> None:
    texts = [f"the flight <b>{i}</b> was late" for i in range(40)]
    found = replace(pictured, modality="text", samples=texts, leaks=(near((3, 4)),))
    text = leaks(found, show_names=False)
    assert text.count("<blockquote") == 2
    assert "the flight &lt;b&gt;3&lt;/b&gt; was late" in text


def test_what_the_parts_hold_is_not_said_of_all(pictured: Evaluation) -> None:
    """Of a model judged on its training part and another, "every one" is of the training part."""
    found = "the model was trained on every one of these 24 samples of train"
    leak = Leak(kind="nothing but training samples", n=24, message=f"{found}, for example a", anonymous=found)
    text = leaks(replace(pictured, leaks=(leak,)), show_names=False)
    assert "Every sample judged" not in text
    assert "The model was trained on every one of these 24 samples of train" in text


def test_a_comparison_and_an_evaluation_have_the_section(pictured: Evaluation, page_of: Page) -> None:
    both = featx.Comparison(evaluations=(pictured, replace(pictured, name="other")))
    for each in (pictured, both):
        text = page_of(each)
        assert text.count("<h2>Leaks</h2>") == 1
        assert "1 sample is in both train and test: the scores on test count what was learned." in text
