"""Paragraphs on a picture, one below the other: lines are broken, and paragraphs placed, by what their letters measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

__all__ = ["Paragraph", "write_column"]

_SMALLEST = 0.75  # of the size asked for: below it nobody in a room reads it
_POINTS_PER_IN = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Text in one size and colour.

    Parameters
    ----------
    text : str
    size : float
        In points.
    color : str
    bold : bool
    gap : float
        Space above, in points.
    back : str or None
        Colour behind the text.
    shrinks : bool
        Whether it may be set smaller where the column is too short.
    """

    text: str
    size: float
    color: str
    bold: bool = False
    gap: float = 4.0
    back: str | None = None
    shrinks: bool = False


def write_column(
    figure: Figure, paragraphs: Sequence[Paragraph], *, left_in: float, top_in: float, width_in: float
) -> None:
    """Write paragraphs one below the other.

    Parameters
    ----------
    figure : Figure
    paragraphs : sequence of Paragraph
    left_in, top_in : float
        Where the first begins, from the left and the upper edge.
    width_in : float
        Of a line.
    """
    scale = 1.0
    while True:
        written, bottom = _write(figure, paragraphs, left_in, top_in, width_in, scale)
        if bottom >= 0.1 or scale <= _SMALLEST:
            return
        for text in written:
            text.remove()
        scale -= 0.05


def _write(
    figure: Figure,
    paragraphs: Sequence[Paragraph],
    left_in: float,
    top_in: float,
    width_in: float,
    scale: float,
) -> tuple[list[Text], float]:
    """The texts written, and where the last one ends, in inches above the lower edge."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    wide, high = figure.get_size_inches()
    y, written = high - top_in, []
    for each in paragraphs:
        size = each.size * (scale if each.shrinks else 1)
        y -= each.gap / _POINTS_PER_IN
        text = figure.text(
            left_in / wide,
            y / high,
            "",
            fontsize=size,
            color=each.color,
            weight="bold" if each.bold else "normal",
            va="top",
            linespacing=1.3,
        )
        if each.back is not None:
            text.set_bbox({"facecolor": each.back, "edgecolor": "none", "boxstyle": "square,pad=0.5"})
        text.set_text("\n".join(_lines(text, each.text, width_in * figure.dpi, renderer)))
        y -= text.get_window_extent(renderer).height / figure.dpi
        written.append(text)
    return written, y


def _lines(text: Text, words: str, width_px: float, renderer: object) -> list[str]:
    """Words in lines of at most a width; a longer word has a line of its own."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        text.set_text(longer)
        if lines and text.get_window_extent(renderer).width <= width_px:  # type: ignore[arg-type]  # a renderer of matplotlib's
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
