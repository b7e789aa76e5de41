"""Evidence for heads behind one features transformer, whose network is opened once.

Owns both ways to it. Exact: the network's positions through the head's linear map. Covering: parts left out one after the other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.attribution.linear import LinearMap, averages_views, linear_map, score_function
from featx.attribution.maps import Evidence, mean_preserving
from featx.attribution.positions import as_rows, with_positions
from featx.backbone_features import BackboneFeatures
from featx.errors import ParameterError
from featx.inputs.texts import TextTokenizer
from featx.view_head import ViewHead

__all__ = ["Explainer", "Head"]

_CELLS = 8  # a side: 64 covered pictures tell where, in about as much time as 64 samples take
_TOLERANCE = 1e-4  # of the largest entry: pooling inside the graph sums in another order than numpy

_OF_VIEWS = "Predictions are means over views; the map is of the picture as it is, the first of them."
_NO_AVERAGE = "the vectors are no averages over positions (other pooling)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A fitted head as what is explained of it. Make with :meth:`of`."""

    model: Any
    scores: Callable[[NDArray[np.floating]], NDArray[np.float64]]  # (n, d) to (n, k)
    score_name: str
    classes: list[Any]  # empty for a regression
    averages: bool = False  # whether predictions are means over views, and the scores those of one

    @classmethod
    def of(cls, model: Any) -> Head:
        """Whatever follows the features: an estimator, or a Pipeline of some."""
        scores, name = score_function(model)
        classes = [] if name == "prediction" else np.asarray(model.classes_).tolist()
        return cls(
            model=model, scores=scores, score_name=name, classes=classes, averages=averages_views(model)
        )

    @property
    def kind(self) -> str:
        """The name of its last step."""
        model = self.model.head_ if isinstance(self.model, ViewHead) else self.model
        return type(model[-1] if hasattr(model, "steps") else model).__name__

    @property
    def note(self) -> str:
        """What else is to be said of a map."""
        return _OF_VIEWS if self.averages else ""

    def labels(self, vectors: NDArray[np.floating]) -> list[Any]:
        """The predicted label of each vector; None for a regression."""
        if not self.classes:
            return [None] * len(vectors)
        found: list[Any] = np.asarray(self.model.predict(vectors)).tolist()
        return found

    def check(self, label: Any) -> None:
        """Refuse a label that is none of the head's.

        Raises
        ------
        ParameterError
        """
        if label is not None and not self.classes:
            raise ParameterError(f"label={label!r}: the pipeline is a regressor and has no classes.")
        if self.classes and label not in self.classes:
            raise ParameterError(
                f"label={label!r}: expected one of {', '.join(map(repr, self.classes[:20]))}."
            )

    def reading(self, label: Any, n_columns: int) -> tuple[int, float]:
        """The column of the scores that speaks of a label, and the sign to read it with.

        Raises
        ------
        ParameterError
            No such label, or scores that are no label's own.
        """
        self.check(label)
        if not self.classes:
            return 0, 1.0
        at = self.classes.index(label)
        if n_columns == 1:  # a decision value that speaks for the second class
            return 0, 1.0 if at == 1 else -1.0
        if n_columns != len(self.classes):
            raise ParameterError(
                f"{self.kind}: {n_columns} decision values for {len(self.classes)} classes, so none is one class's. Fit it with "
                'decision_function_shape="ovr".'
            )
        return at, 1.0


class Explainer:
    """Evidence for samples of one fitted features transformer.

    Parameters
    ----------
    features : BackboneFeatures
        Fitted.
    """

    def __init__(self, features: BackboneFeatures) -> None:
        self.features = features

    def exact(
        self, head: Head, samples: Sequence[Any], vectors: NDArray[np.float32], labels: Sequence[Any]
    ) -> list[Evidence] | str:
        """Exact maps, or why there are none.

        Parameters
        ----------
        head : Head
        samples : sequence of n
        vectors : ndarray of float32, shape (n, d)
            What the features make of them.
        labels : sequence of n
            What each map speaks for; None for a regression.

        Raises
        ------
        ParameterError
            A label that is none of the head's.
        SampleError
        """
        scores = head.scores(vectors)
        reading = [head.reading(label, scores.shape[1]) for label in labels]
        linear = linear_map(head.scores, vectors)
        if linear is None:
            return f"{head.kind} is not linear in the vectors"
        if self._positions is None:
            return _NO_AVERAGE
        session, inputs = self._positions
        text = self.features.modality == "text"
        pieces = self._pieces(samples) if text else [()] * len(samples)
        found = []
        for at, batch in enumerate(inputs(samples)):
            picture = None if text else (int(batch.shape[1]), int(batch.shape[2]))
            column, sign = reading[at]
            values = _map_of(session.run(batch), linear, column, picture)
            if values is None:
                return _NO_AVERAGE
            found.append(
                Evidence(
                    method="exact",
                    label=labels[at],
                    score=float(sign * scores[at, column]),
                    score_name=head.score_name,
                    values=sign * values,
                    pieces=pieces[at],
                    pixels=None if text else batch[0],
                    note=head.note,
                )
            )
        return found

    def covered(
        self, head: Head, sample: Any, label: Any, *, limit_s: float | None = None
    ) -> Evidence | None:
        """By how much the score falls when parts are covered: 64 squares by the mean colour, or each word left out.

        Parameters
        ----------
        head : Head
        sample : sample
        label : label
            What the map speaks for; None for a regression.
        limit_s : float, optional
            Covered parts that would take longer than this, by the time of the first one, are not computed.

        Returns
        -------
        Evidence or None
            None where it would take too long.
        """
        session, inputs = self._network
        pieces: tuple[str, ...]
        grid: tuple[int, ...]
        if self.features.modality == "text":
            pieces, variants = _words_left_out(sample)
            batches, pixels, grid = inputs([sample, *variants]), None, (len(variants),)
        else:
            whole = inputs([sample])[0]
            pieces, pixels, grid = (), whole[0], (_CELLS, _CELLS)
            batches = [whole, *_covered(whole)]
        rows = []
        for at, batch in enumerate(batches):
            started_s = time.perf_counter()
            rows.append(np.concatenate(session.run(batch), axis=1)[0])
            took_s = time.perf_counter() - started_s
            # The first run of a shape takes longer than those after it.
            if at == 1 and limit_s is not None and took_s * (len(batches) - 2) > limit_s:
                return None
        scores = head.scores(np.stack(rows))
        column, sign = head.reading(label, scores.shape[1])
        read = sign * scores[:, column]
        return Evidence(
            method="occlusion",
            label=label,
            score=float(read[0]),
            score_name=head.score_name,
            values=(read[0] - read[1:]).reshape(grid),
            pieces=pieces,
            pixels=pixels,
            note=head.note,
        )

    @cached_property
    def _positions(self) -> Any:
        """A session that gives positions beside vectors, and what it takes; None where vectors are no averages."""

        def change(graph: Any, backbone: Any, spaces: Any) -> Any:
            taps = [backbone.tap(space.tap) for space in spaces]
            poolings = [space.pooling for space in spaces]
            return with_positions(graph, taps, poolings, modality=self.features.modality)

        return self.features.looking_inside(change)

    @cached_property
    def _network(self) -> Any:
        """A session on the graph as it is, and what it takes. No cache: covered variants of a sample are nobody's vectors."""
        inside = self.features.looking_inside(lambda graph, backbone, spaces: graph)
        assert inside is not None  # the graph as it is
        return inside

    def _pieces(self, samples: Sequence[Any]) -> list[tuple[str, ...]]:
        backbone = self.features.backbone_
        tokenizer = TextTokenizer(backbone.tokenizer_path, backbone.text())
        return [tuple(tokenizer.pieces(text)) for text in samples]


def _map_of(
    outputs: list[NDArray[np.float32]], linear: LinearMap, column: int, picture: tuple[int, int] | None
) -> NDArray[np.float64] | None:
    """Values whose mean is the score; None where a vector is not the average of its positions, up to its length."""
    n_taps = len(outputs) // 2
    maps, first = [], 0
    for vector, positions in zip(outputs[:n_taps], outputs[n_taps:], strict=True):
        whole = np.asarray(vector[0], dtype=np.float64)
        laid = as_rows(positions, len(whole), picture)
        if laid is None:
            return None
        rows, grid = laid
        mean = rows.mean(axis=0)
        length = float(mean @ mean)
        factor = (
            float(whole @ mean) / length if length > 0 else 1.0
        )  # 1, or what scales the vector to length 1
        if np.abs(factor * mean - whole).max() > _TOLERANCE * max(np.abs(whole).max(), 1e-12):
            return None
        weights = linear.weights[first : first + len(whole), column]
        maps.append((factor * rows @ weights).reshape(grid))
        first += len(whole)
    finest = max((values.shape for values in maps), key=lambda shape: int(np.prod(shape)))
    if picture is not None:
        maps = [mean_preserving(values, finest) for values in maps]  # type: ignore[arg-type]  # of two axes
    return np.sum(maps, axis=0) + linear.intercept[column]


def _covered(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The picture (1, h, w, 3) with one of 8 x 8 squares after the other in its mean colour, row by row."""
    height, width = picture.shape[1:3]
    rows, columns = (np.linspace(0, edge, _CELLS + 1).round().astype(int) for edge in (height, width))
    colour = picture.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    variants = []
    for i in range(_CELLS):
        for j in range(_CELLS):
            variant = picture.copy()
            variant[:, rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = colour
            variants.append(variant)
    return variants


def _words_left_out(text: str) -> tuple[tuple[str, ...], list[str]]:
    """The words of a text, each with the space before it, and the text without each."""
    pieces = tuple(re.findall(r"\s*\S+", text)) or (text,)
    return pieces, ["".join(pieces[:i] + pieces[i + 1 :]) for i in range(len(pieces))]
