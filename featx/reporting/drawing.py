"""Charts on paper: matplotlib figures as SVG inside a page, or as PNG.

Owns colours and fonts. Charts name colours by what they are for; in a page these become CSS variables, so that one SVG serves a
light and a dark screen. No state of matplotlib's is changed beyond a call, and pyplot is not loaded.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = ["PAGE", "SLIDE", "Palette", "as_png", "as_svg", "dress", "new_figure", "prepared"]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by use, as matplotlib takes them.

    Parameters
    ----------
    ink, muted, line, paper : str
        Text and axes; what is said by the way; grids; behind everything.
    series : tuple of str
        Told apart also without red or green (Okabe and Ito 2008).
    """

    ink: str
    muted: str
    line: str
    paper: str
    series: tuple[str, ...]


SLIDE = Palette(
    "#1b1f24",
    "#5b6470",
    "#d5dae0",
    "#ffffff",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9"),
)
"""For pictures: on white."""

PAGE = Palette(
    "#010101",
    "#010102",
    "#010103",
    "#010104",
    tuple(f"#0102{i:02x}" for i in range(1, len(SLIDE.series) + 1)),
)
"""For pages: no colours, but marks that :func:`as_svg` turns into CSS variables."""

_VARIABLES = {
    PAGE.ink: "--ink",
    PAGE.muted: "--muted",
    PAGE.line: "--line",
    PAGE.paper: "--card",
    **{mark: f"--s{i}" for i, mark in enumerate(PAGE.series, 1)},
}
# Text stays text: it can be searched and read aloud, takes the page's font, and is a tenth of the size of outlines.
_SETTINGS: Any = {  # of the literal names that matplotlib knows
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "featx",  # the same chart is the same bytes
    "text.parse_math": False,  # a label may hold dollar signs
    "axes.unicode_minus": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.6,
}


@contextmanager
def prepared() -> Iterator[None]:
    """featx's settings of matplotlib, for making and writing figures."""
    with rc_context(_SETTINGS), warnings.catch_warnings():
        # A page takes its letters from the reader's fonts; those that matplotlib's own lacks are no news.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width_in: float, height_in: float, *, pad_in: float = 0.04) -> Figure:
    """An empty figure that makes room for its own labels, and around its axes."""
    layout = ConstrainedLayoutEngine(w_pad=pad_in, h_pad=pad_in)
    return Figure(figsize=(width_in, height_in), layout=layout)


def dress(ax: Axes, palette: Palette) -> None:
    """Axes in the palette's colours."""
    ax.set_facecolor("none")
    for spine in ax.spines.values():
        spine.set_color(palette.muted)
        spine.set_linewidth(0.8)
    ax.tick_params(colors=palette.muted, labelcolor=palette.ink, length=3, width=0.8)
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set_color(palette.ink)


def as_png(figure: Figure, *, dpi: int) -> bytes:
    """The figure as PNG, on white, without metadata."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, facecolor=SLIDE.paper, metadata={"Software": None})
    return out.getvalue()


def as_svg(figure: Figure) -> str:
    """The figure as an ``svg`` element for a page: sized by its box, coloured and lettered by the page's style."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    size = re.search(r'viewBox="[^"]*"', text)
    assert size is not None
    text = re.sub(r"<svg[^>]*>", f'<svg {size[0]} aria-hidden="true" focusable="false">', text, count=1)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    for mark, variable in _VARIABLES.items():
        text = text.replace(mark, f"var({variable})")
    return re.sub(r"\n\s*", "\n", text)
