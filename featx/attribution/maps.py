"""Evidence for one sample: a score a position, what it speaks for, and the picture or the sentence that shows it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError
from featx.outputs import make_output
from featx.reporting.markup import Markup, document, element, joined, jpeg

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Evidence", "mean_preserving"]

_FOR, _AGAINST = (
    (178, 24, 43),
    (33, 102, 172),
)  # the ends of ColorBrewer's RdBu, told apart by the colour-blind too
_STRONGEST = 0.75  # opacity of the largest value: what is below stays to be seen
_STRONGEST_BEHIND = (
    0.5  # behind words, which stay dark on light (or light on dark): a contrast of 5 to 1 and more
)
_QUALITY = 88  # of 95: edges of colour show at less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Evidence:
    """What one prediction rests on.

    Parameters
    ----------
    method : "exact" or "occlusion"
        "exact": the mean of `values` is `score`. "occlusion": by how much the score falls when a part is covered, an
        approximation that depends on what covers it.
    label : Any
        What positive values speak for: a class; None for a regression.
    score : float
        See `score_name`; of two classes the decision value speaks for the second one, and its sign is turned where `label` is
        the first.
    score_name : str
        "decision value", "decision value before calibration", "probability" or "prediction"; with "from the picture alone" behind
        it where predictions are means over views.
    values : ndarray of float64, shape (h, w) or (t,)
        A value a position of the network's map, or a token, in the order of the text.
    pieces : tuple of str
        The text of each token, with the space before it; tokens of the network's own are empty. Empty for a picture.
    pixels : ndarray of uint8, shape (H, W, 3), or None
        The part of the picture that the network saw.
    note : str
        A sentence that belongs to the map; empty where there is nothing more to say.
    """

    method: str
    label: Any
    score: float
    score_name: str
    values: NDArray[np.float64]
    pieces: tuple[str, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    note: str = ""

    def __repr__(self) -> str:
        """One line, without text and pixels."""
        shape = " x ".join(map(str, self.values.shape))
        return f"Evidence({self.method}, {self.label!r}: {self.score_name} {self.score:.3f}, {shape} values)"

    @property
    def words(self) -> str:
        """What the map is, in a sentence or two to stand beside it."""
        return f"{self._meaning} {self.note}".strip()

    @property
    def _meaning(self) -> str:
        value = f"{self.score_name}, {self.score:.3f}"
        if self.method == "exact" and self.label is None:
            return (
                f"Red says more than the {value}, blue less; the mean over the map is the {self.score_name}."
            )
        if self.method == "exact":
            return f"Red speaks for {self.label!s}, blue against it; the mean over the map is the {value}."
        whose = "" if self.label is None else f" for {self.label!s}"
        falls = f"red where covering lowers the {self.score_name}{whose} ({self.score:.3f})"
        return f"Approximation: {falls}, blue where it raises it."

    def draw(self, *, largest: float | None = None, size_px: int = 384) -> Image:
        """The picture that the network saw, with the map over it.

        Parameters
        ----------
        largest : float, optional
            The value drawn strongest; the same for several samples makes them comparable. None takes this map's. Values of an
            exact map of a regression are drawn as their distance from the prediction.
        size_px : int
            Of the longer side.

        Returns
        -------
        PIL.Image.Image
            RGB.

        Raises
        ------
        ParameterError
            The evidence is of a text: use :meth:`to_html`.
        """
        from PIL import Image

        if self.pixels is None:
            raise ParameterError("draw: the evidence is of a text. Use to_html(path), or fragment().")
        height, width = self.pixels.shape[:2]
        factor = size_px / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        picture = Image.fromarray(self.pixels, "RGB").resize(size, Image.Resampling.BICUBIC)
        shown = self._strength(largest)
        strength = np.asarray(
            Image.fromarray(shown.astype(np.float32), "F").resize(size, Image.Resampling.BICUBIC)
        ).clip(-1, 1)
        # On grey, so that the colours of the map are not mixed with those of the picture.
        grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None].repeat(3, axis=2)
        colour = np.where(
            strength[..., None] > 0, np.asarray(_FOR, np.float32), np.asarray(_AGAINST, np.float32)
        )
        alpha = _STRONGEST * np.abs(strength)[..., None]
        return Image.fromarray(((1 - alpha) * grey + alpha * colour).round().astype(np.uint8), "RGB")

    def fragment(
        self, *, largest: float | None = None, size_px: int = 384, most_characters: int | None = None
    ) -> str:
        """HTML to put into a page of one's own: the picture with the map over it, or the text with its tokens on red and blue.

        Parameters
        ----------
        largest : float, optional
            As for :meth:`draw`.
        size_px : int
            The longer side of a picture.
        most_characters : int, optional
            Cut a longer text here.

        Returns
        -------
        str
            An ``img`` that holds its JPEG, or a run of ``span``; everything escaped.
        """
        if self.pixels is not None:
            drawn = io.BytesIO()
            self.draw(largest=largest, size_px=size_px).save(drawn, format="JPEG", quality=_QUALITY)
            about = "the prediction" if self.label is None else str(self.label)
            return jpeg(drawn.getvalue(), f"Where the picture speaks for {about} (red) and against it (blue)")
        spans: list[Markup | str] = []
        room = most_characters
        for piece, value, strength in zip(self.pieces, self.values, self._strength(largest), strict=True):
            shown = piece if room is None else piece[:room]
            room = None if room is None else room - len(shown)
            word = shown.lstrip()
            if not word:
                spans.append(shown)
                continue
            red, green, blue = _FOR if strength > 0 else _AGAINST
            back = f"background:rgba({red},{green},{blue},{_STRONGEST_BEHIND * abs(strength):.2f})"
            spans += [
                shown[: len(shown) - len(word)],
                element("span", word, style=back, title=f"{value:+.3f}"),
            ]
        if room == 0 and sum(map(len, self.pieces)) > (most_characters or 0):
            spans.append("…")
        return joined(spans)

    def to_png(
        self,
        path: str | os.PathLike[str],
        *,
        largest: float | None = None,
        size_px: int = 384,
        overwrite: bool = False,
    ) -> None:
        """Write :meth:`draw` to a PNG file.

        Parameters
        ----------
        path : path
        largest, size_px
            As for :meth:`draw`.
        overwrite : bool
            Replace a file that is already there.

        Raises
        ------
        ParameterError
            The evidence is of a text: use :meth:`to_html`.
        OutputError
        """

        def png() -> bytes:
            drawn = io.BytesIO()
            self.draw(largest=largest, size_px=size_px).save(drawn, format="PNG")
            return drawn.getvalue()

        if self.pixels is None:
            raise ParameterError("to_png: the evidence is of a text. Use to_html(path).")
        make_output(path, png, overwrite=overwrite)

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        largest: float | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a page that loads nothing: the picture or the text with the map on it, and what its colours mean.

        Parameters
        ----------
        path : path
        title : str, optional
            None says what the evidence is for.
        largest : float, optional
            As for :meth:`draw`.
        overwrite : bool
            Replace a file that is already there.

        Raises
        ------
        OutputError
        """
        make_output(path, lambda: self._page(title, largest), overwrite=overwrite)

    def _page(self, title: str | None, largest: float | None) -> bytes:
        heading = title or ("Evidence" if self.label is None else f"Evidence for {self.label!s}")
        shown = Markup(self.fragment(largest=largest))
        if self.pixels is None:
            body = element("blockquote", shown, class_="evidence", dir="auto")
        else:
            body = element("div", shown, class_="pictures")
        limit = "The map shows what the model's score rests on, not what causes a label."
        return document(
            heading,
            [
                element("h1", heading),
                body,
                element("p", self.words),
                element("p", limit, class_="note"),
            ],
        )

    def _strength(self, largest: float | None) -> NDArray[np.float64]:
        # Every position of a regression says about the mean of the targets: what tells is by how much it says more or less.
        centre = self.score if self.method == "exact" and self.label is None else 0.0
        shown = self.values - centre
        top = largest if largest is not None else float(np.abs(shown).max(initial=0))
        return np.clip(shown / (top or 1.0), -1, 1)


def mean_preserving(values: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """A map (h, w) on a finer grid, each new cell the average of what it covers, so that the mean stays."""
    for axis, n in enumerate(shape):
        values = np.tensordot(_overlap(values.shape[axis], n), values, axes=(1, axis))
        values = np.moveaxis(values, 0, axis)
    return values


def _overlap(n_from: int, n_to: int) -> NDArray[np.float64]:
    """Shares (n_to, n_from) of the old cells in each new one; rows sum to one."""
    new, old = np.linspace(0, 1, n_to + 1), np.linspace(0, 1, n_from + 1)
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    return np.maximum(high - low, 0) * n_to
