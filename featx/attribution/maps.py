"""Evidence for one sample: a score a position, what it speaks for, and the picture or the sentence that shows it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Evidence", "mean_preserving"]

_FOR, _AGAINST = (
    (178, 24, 43),
    (33, 102, 172),
)  # the ends of ColorBrewer's RdBu, told apart by the colour-blind too
_STRONGEST = 0.75  # opacity of the largest value: what is below stays to be seen


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
        "decision value", "probability" or "prediction".
    values : ndarray of float64, shape (h, w) or (t,)
        A value a position of the network's map, or a token, in the order of the text.
    pieces : tuple of str
        The text of each token, with the space before it; tokens of the network's own are empty. Empty for a picture.
    pixels : ndarray of uint8, shape (H, W, 3), or None
        The part of the picture that the network saw.
    """

    method: str
    label: Any
    score: float
    score_name: str
    values: NDArray[np.float64]
    pieces: tuple[str, ...] = ()
    pixels: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        """One line, without text and pixels."""
        shape = " x ".join(map(str, self.values.shape))
        return f"Evidence({self.method}, {self.label!r}: {self.score_name} {self.score:.3f}, {shape} values)"

    @property
    def words(self) -> str:
        """What the map is, in a sentence to stand beside it."""
        what = "predicted value" if self.label is None else f"{self.label!s}"
        if self.method == "exact":
            return f"Red speaks for {what}, blue against it; the mean over the map is the {self.score_name}, {self.score:.3f}."
        falls = (
            f"Approximation: red where covering lowers the {self.score_name} for {what} ({self.score:.3f})"
        )
        return f"{falls}, blue where it raises it."

    def draw(self, *, largest: float | None = None, size_px: int = 384) -> Image:
        """The picture that the network saw, with the map over it.

        Parameters
        ----------
        largest : float, optional
            The value drawn strongest; the same for several samples makes them comparable. None takes this map's.
        size_px : int
            Of the longer side.

        Returns
        -------
        PIL.Image.Image
            RGB.

        Raises
        ------
        ValueError
            The evidence is of a text: use :meth:`to_html`.
        """
        from PIL import Image

        if self.pixels is None:
            raise ValueError("the evidence is of a text. Use to_html().")
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

    def to_html(self, *, largest: float | None = None) -> str:
        """The text with its tokens on red and blue, as an HTML fragment; everything escaped.

        Raises
        ------
        ValueError
            The evidence is of a picture: use :meth:`draw`.
        """
        if self.pixels is not None:
            raise ValueError("the evidence is of a picture. Use draw().")
        spans = []
        for piece, value, strength in zip(self.pieces, self.values, self._strength(largest), strict=True):
            if not piece:
                continue
            colour = _FOR if strength > 0 else _AGAINST
            rgba = f"rgba({colour[0]},{colour[1]},{colour[2]},{_STRONGEST * abs(strength):.2f})"
            spans.append(f'<span style="background:{rgba}" title="{value:+.3f}">{html.escape(piece)}</span>')
        return f'<p class="evidence">{"".join(spans)}</p>'

    def _strength(self, largest: float | None) -> NDArray[np.float64]:
        top = largest if largest is not None else float(np.abs(self.values).max(initial=0))
        return np.clip(self.values / (top or 1.0), -1, 1)


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
