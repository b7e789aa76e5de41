"""Evidence drawn and written: which colour says what, and nothing of a text or a label taken for HTML."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.attribution.maps import Evidence, mean_preserving
from featx.errors import OutputError, ParameterError


def of_text(*pieces: str, values: list[float] | None = None) -> Evidence:
    return Evidence(
        method="exact",
        label="<b>",
        score=0.0,
        score_name="decision value",
        values=np.asarray(values if values is not None else np.arange(1.0, len(pieces) + 1)),
        pieces=pieces,
    )


def test_a_drawing_is_red_where_values_are_positive_and_blue_where_negative() -> None:
    values = np.asarray([[1.0, 0.0], [0.0, -1.0]])
    grey = np.full((10, 20, 3), 128, dtype=np.uint8)
    found = Evidence(
        method="exact", label="a", score=0.0, score_name="decision value", values=values, pixels=grey
    )
    drawn = found.draw(size_px=100)
    assert drawn.size == (100, 50)
    pixels = np.asarray(drawn, dtype=int)
    assert pixels[5, 5, 0] > pixels[5, 5, 2] + 50
    assert pixels[45, 95, 2] > pixels[45, 95, 0] + 50


def test_a_regression_is_drawn_by_what_says_more_and_less_than_its_prediction() -> None:
    grey = np.full((10, 20, 3), 128, dtype=np.uint8)
    values = np.asarray([[51.0, 50.0], [50.0, 49.0]])
    found = Evidence(
        method="exact", label=None, score=50.0, score_name="prediction", values=values, pixels=grey
    )
    pixels = np.asarray(found.draw(size_px=100), dtype=int)
    assert pixels[5, 5, 0] > pixels[5, 5, 2] + 50
    assert pixels[45, 95, 2] > pixels[45, 95, 0] + 50
    assert (
        found.words
        == "Red says more than the prediction, 50.000, blue less; the mean over the map is the prediction."
    )


def test_html_of_a_text_is_escaped() -> None:
    found = of_text("<script>", "")
    assert "&lt;script&gt;" in found.fragment()
    assert "<script>" not in found.fragment()
    with pytest.raises(ParameterError, match="to_html"):
        found.draw()


def test_words_are_shaded_and_the_space_between_them_is_not() -> None:
    assert re.findall(r">([^<>]+)<", f">{of_text('a', '  b', ' ', '', 'c').fragment()}<") == [
        "a",
        "  ",
        "b",
        " ",
        "c",
    ]


def test_a_long_text_is_cut_where_asked() -> None:
    found = of_text("one", " two", " three")
    text = re.sub("<[^>]*>", "", found.fragment(most_characters=8))
    assert text == "one two …"
    assert re.sub("<[^>]*>", "", found.fragment(most_characters=13)) == "one two three"


def test_a_picture_is_written_as_it_is_drawn_and_as_a_page(tmp_path: Path) -> None:
    grey = np.full((10, 20, 3), 128, dtype=np.uint8)
    found = Evidence(
        method="exact",
        label="<b>",
        score=0.5,
        score_name="decision value",
        values=np.asarray([[1.0, -1.0]]),
        pixels=grey,
    )
    found.to_png(tmp_path / "map.png", size_px=100)
    with Image.open(tmp_path / "map.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(found.draw(size_px=100)))
    found.to_html(tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/jpeg;base64,') == 1
    assert (
        "Red speaks for &lt;b&gt;, blue against it; the mean over the map is the decision value, 0.500."
        in page
    )
    assert "default-src &#x27;none&#x27;" in page
    for write in (found.to_png, found.to_html):
        with pytest.raises(OutputError, match="overwrite=True"):
            write(tmp_path / "map.png")


def test_a_text_is_written_as_a_page_and_not_as_a_picture(tmp_path: Path) -> None:
    found = of_text("red", " fox")
    found.to_html(tmp_path / "text.html", title="Which words")
    page = (tmp_path / "text.html").read_text(encoding="utf-8")
    assert "<h1>Which words</h1>" in page
    assert re.search(r"<blockquote[^>]*><span [^>]*>red</span> <span [^>]*>fox</span></blockquote>", page)
    with pytest.raises(ParameterError, match="to_html"):
        found.to_png(tmp_path / "text.png")
    assert not (tmp_path / "text.png").exists()


def test_maps_of_other_resolution_keep_their_mean() -> None:
    rng = np.random.default_rng(0)
    for shape in ((14, 14), (8, 9), (7, 7)):
        values = rng.normal(size=(7, 6))
        finer = mean_preserving(values, shape)
        assert finer.shape == shape
        assert finer.mean() == pytest.approx(values.mean())
