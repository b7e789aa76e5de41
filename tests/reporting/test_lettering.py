"""Paragraphs stay in their column and above the edge."""

from __future__ import annotations

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from featx.reporting.drawing import prepared
from featx.reporting.lettering import Paragraph, write_column

WORDS = "One model was fitted on the training part and predicted the others, each image once. "


def written(n: int, *, width_in: float = 2.0) -> tuple[Figure, list[tuple[float, float, float, float]]]:
    """A figure of 400 x 400 pixels and the boxes of its paragraphs: left, bottom, right, top."""
    with prepared():
        figure = Figure(figsize=(4, 4), dpi=100)
        paragraphs = [Paragraph(text=WORDS, size=8, color="#000000", shrinks=True) for _ in range(n)]
        write_column(figure, paragraphs, left_in=0.25, top_in=0.25, width_in=width_in)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts]
    return figure, [(box.x0, box.y0, box.x1, box.y1) for box in boxes]


def test_lines_are_broken_once_and_keep_to_the_width() -> None:
    figure, boxes = written(3)
    assert all(right - 25 <= 200 for _, _, right, _ in boxes)
    assert " ".join(figure.texts[0].get_text().split()) == WORDS.strip()
    lines = figure.texts[0].get_text().split("\n")
    assert all(len(line.split()) > 1 for line in lines[:-1])  # no line of one word in the middle


def test_paragraphs_follow_each_other_without_touching() -> None:
    _, boxes = written(3)
    for above, below in itertools.pairwise(boxes):
        assert 0 < above[1] - below[3] < 15


def test_what_is_too_long_is_set_smaller() -> None:
    (few, _), (many, boxes) = written(2), written(9)
    assert float(many.texts[0].get_fontsize()) < float(few.texts[0].get_fontsize()) == 8
    assert boxes[-1][1] >= 0


def test_a_word_wider_than_the_column_has_a_line_of_its_own() -> None:
    figure, _ = written(1, width_in=0.1)
    assert figure.texts[0].get_text().split("\n") == WORDS.split()
