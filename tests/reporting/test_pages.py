"""Pages stand on their own, say what they must in the order in which it is to be read, and name nobody."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.errors import OutputError
from featx.evaluation.origins import Origin
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation

KINDS = ("two", "nasty", "many", "right", "regression", "compared", "pictured")
_WITHOUT_END = {"br", "img", "meta"}


class Page(HTMLParser):
    """Elements of a page; fails where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _WITHOUT_END:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def text_of(self, tag: str) -> list[str]:
        return [text for parent, text in self.texts if parent == tag]


@pytest.fixture(params=KINDS)
def found(request: pytest.FixtureRequest) -> Evaluation | Comparison:
    result: Evaluation | Comparison = request.getfixturevalue(request.param)
    return result


def test_a_page_loads_nothing_and_runs_nothing(
    found: Evaluation | Comparison, page_of: Callable[..., str]
) -> None:
    text = page_of(found)
    page = Page(text)
    forbidden = {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video"}
    assert {tag for tag, _ in page.elements} & forbidden == set()
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data", "poster"):
                assert (value or "").startswith(("data:image/jpeg;base64,", "#"))
            else:
                assert not re.search(r"url\((?!#)|https?:", value or "")
    style = "".join(page.text_of("style"))
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").startswith("default-src 'none'; img-src data:;")


def test_a_page_is_for_reading_aloud_and_for_small_screens(
    found: Evaluation | Comparison, page_of: Callable[..., str]
) -> None:
    page = Page(page_of(found))
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("h1")) == len(page.of("title")) == len(page.of("main")) == 1
    assert len(page.of("table")) == len(page.of("caption"))
    assert all(attributes.get("scope") for attributes in page.of("th"))
    assert all(attributes.get("alt") for attributes in page.of("img"))
    charts = [a for a in page.of("div") if a.get("role") == "img"]
    assert len(charts) == len(page.of("svg")) >= 2
    assert all(len(attributes["aria-label"] or "") > 20 for attributes in charts)
    assert {a.get("name"): a.get("content") for a in page.of("meta")}["viewport"] == (
        "width=device-width, initial-scale=1"
    )
    style = "".join(page.text_of("style"))
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def test_ids_within_a_page_are_defined_alike(
    found: Evaluation | Comparison, page_of: Callable[..., str]
) -> None:
    """Several charts stand in one document, so one id must not mean two things."""
    text = page_of(found)
    shapes: dict[str, set[str]] = {}
    for name, shape in re.findall(r'<(?:clipPath|path) id="([^"]+)"[^>]*?(?: d="([^"]*)")?[^>]*>', text):
        shapes.setdefault(name, set()).add(shape)
    assert all(len(each) == 1 for each in shapes.values())
    for name in re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text):
        assert f'id="{name}"' in text


def test_sections_stand_in_order_with_leaks_before_results(
    two: Evaluation, page_of: Callable[..., str]
) -> None:
    assert Page(page_of(two)).text_of("h2") == [
        "Data and groups",
        "Leaks",
        "Result",
        "All figures",
        "Charts",
        "By class",
        "Worst mistakes",
        "Learning curve",
        "Folds",
        "To repeat this",
    ]


def test_the_headline_is_large_and_its_interval_beside_it(
    two: Evaluation, page_of: Callable[..., str]
) -> None:
    text = page_of(two)
    estimate = two["balanced_accuracy"]
    assert f'<div class="value">{estimate.value:.3f}</div>' in text
    assert f"95\u00a0% interval {estimate.low:.3f} to {estimate.high:.3f}</div>" in text
    assert "It does not cover" in text
    assert "Guessing gives 0.500" in text


def test_what_was_done_is_said(two: Evaluation, page_of: Callable[..., str]) -> None:
    text = page_of(two)
    for words in (
        "120 samples of 40 groups. Each was predicted once, by a model that had seen no sample of the same group; 3 folds.",
        "Parameters were searched inside each training part",
        "calibrated (sigmoid)",
        "made one (mean)",
        "No leak found. ",
        "Looked for: copy across groups, copy with another label.",
        two.data_digest,
    ):
        assert words in text.replace("<strong>", "").replace("</strong>", "")


def test_names_are_text_whatever_they_hold(nasty: Evaluation, page_of: Callable[..., str]) -> None:
    text = page_of(nasty)
    assert "<script" not in text
    assert "<b>bold" not in text
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; &amp; $x$" in text
    assert "日本語" in text
    titled = page_of(nasty, title="</title><script>")
    assert "<script" not in titled


def test_no_group_and_no_file_is_named(pictured: Evaluation, page_of: Callable[..., str]) -> None:
    plain = page_of(pictured)
    assert pictured.leaks
    assert "Jane" not in plain
    assert str(Path(pictured.names[0]).parent) not in plain
    assert re.search(r"image \d+<br>is <strong>(cat|dog)</strong>", plain)
    assert "Jane Doe" in page_of(pictured, show_names=True)


def test_leaks_are_told_in_words(pictured: Evaluation, page_of: Callable[..., str]) -> None:
    text = page_of(pictured)
    assert "<strong>copy across split: 1. </strong>" in text
    assert "only what training has not seen" in text
    assert "test, as given" in text
    assert text.index("copy across split: 1.") < text.index('class="value"')


def test_mistakes_of_images_are_small_pictures_without_metadata(
    pictured: Evaluation, page_of: Callable[..., str]
) -> None:
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page_of(pictured))
    assert 0 < len(pictures) <= 24  # each with its evidence
    for data in pictures:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert max(image.size) == 128
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_mistake_is_found_again_by_its_row_and_its_line(
    pictured: Evaluation, page_of: Callable[..., str]
) -> None:
    plain = page_of(pictured).split("Worst mistakes")[1]
    assert "A number is the row in the data as given, from 0." in plain
    assert set(map(int, re.findall(r"image (\d+)<br>", plain))) <= set(range(24, 40))
    places = tuple(f"pets.csv, line {i + 3}" for i in range(40))
    listed = page_of(replace(pictured, origin=Origin(rows=np.arange(40) + 1, places=places)))
    listed = listed.split("Worst mistakes")[1]
    shown = re.findall(r"image (\d+) \(pets.csv, line (\d+)\)<br>", listed)
    assert shown
    assert all(int(line) == int(row) + 2 for row, line in shown)


def test_what_a_scrolling_table_hides_casts_a_shadow_and_pictures_keep_their_shape(
    right: Evaluation, page_of: Callable[..., str]
) -> None:
    style = page_of(right).split("<style>")[1]
    assert "linear-gradient(to left, var(--shade), transparent) right" in style
    pictures = re.search(r"\.pictures \{([^}]*)\}", style)
    assert pictures is not None
    assert (
        "align-items: flex-start" in pictures[1]
    )  # stretched, a small picture is as high as the one beside it


def test_no_line_breaks_between_a_number_and_its_percent_sign(
    two: Evaluation, page_of: Callable[..., str]
) -> None:
    assert "95 %" not in page_of(two)


def test_nothing_wrong_is_said(right: Evaluation, page_of: Callable[..., str]) -> None:
    assert "None: every prediction is right." in page_of(right)


def test_many_classes_are_shown_by_what_is_confused(many: Evaluation, page_of: Callable[..., str]) -> None:
    text = page_of(many)
    assert "Confusion: 12 of 20 classes" in text
    assert ">ROC<" not in text
    assert text.count("species number 7") >= 1


def test_a_comparison_shows_how_far_the_best_is_ahead(
    compared: Comparison, page_of: Callable[..., str]
) -> None:
    text = page_of(compared)
    other = next(each for each in compared.evaluations if each is not compared.best)
    ahead = compared.difference(compared.best.name, other.name)
    assert f"{ahead.value:.3f}<small>{ahead.low:.3f} to {ahead.high:.3f}</small>" in text
    assert "one &lt;i&gt;" in text
    assert "flatters itself" in text
    assert text.index("Side by side") < text.index("All figures")


def test_the_folder_of_a_backbone_is_not_shown(pictured: Evaluation, page_of: Callable[..., str]) -> None:
    assert "…/tiny" in page_of(pictured)


def test_a_file_that_is_there_stays(two: Evaluation, compared: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.write_text("mine")
    for write in (two.to_html, two.to_png, two.to_json, compared.to_html, compared.to_png, compared.to_json):
        call: Any = write
        with pytest.raises(OutputError, match="overwrite"):
            call(path)
    assert path.read_text() == "mine"


def test_pages_are_small(found: Evaluation | Comparison, page_of: Callable[..., str]) -> None:
    assert len(page_of(found).encode()) < 400_000


def test_half_a_surrogate_pair_in_a_label_does_no_harm(two: Evaluation, page_of: Callable[..., str]) -> None:
    assert "a?b" in page_of(two, title="a\ud800b")
