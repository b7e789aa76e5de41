"""``evidence``: the maps of a fitted pipeline's predictions, exact where they can be, by covering parts where they cannot."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from featx.attribution.linear import LinearMap, linear_map, score_function
from featx.attribution.maps import Evidence, mean_preserving
from featx.attribution.positions import as_rows, with_positions
from featx.backbone_features import BackboneFeatures
from featx.errors import FeatxWarning, ParameterError
from featx.inputs.texts import TextTokenizer

__all__ = ["evidence"]

_METHODS = ("auto", "exact", "occlusion")
_CELLS = 8  # a side: 64 covered pictures tell where, in about as much time as 64 samples take
_TOLERANCE = 1e-4  # of the largest entry: pooling inside the graph sums in another order than numpy


def evidence(pipeline: Any, X: Any, *, label: Any = None, method: str = "auto") -> list[Evidence]:
    """Where in each picture, or in which words of each text, the score of a fitted pipeline comes from.

    With average pooling (of texts: mean pooling, normalised or not) and linear steps behind it the map is exact: its mean is the
    decision value. With other pooling, trees or kernels there is no such map; then parts are covered one after the other (64
    squares of the picture by its mean colour; each word left out), and the fall of the score is shown, labelled an
    approximation.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted; its first step an :class:`featx.ImageFeatures` or :class:`featx.TextFeatures`. A fitted search over one, too.
    X : sequence of samples
        What that step takes.
    label : optional
        The class to explain. None takes the predicted one of each sample.
    method : "auto", "exact" or "occlusion"
        "auto" is exact where that is possible, else occlusion with a warning that says why.

    Returns
    -------
    list of Evidence
        One a sample.

    Raises
    ------
    ParameterError
        No such pipeline or label; or ``method="exact"`` where there is no exact map.
    SampleError

    Notes
    -----
    A map says what the model's score is made of. It does not say that these parts cause the label, and a position sees the
    surroundings that its receptive field covers.

    Examples
    --------
    >>> import featx
    >>> from sklearn.datasets import load_sample_image
    >>> X = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    >>> model = Pipeline([("features", featx.ImageFeatures()), ("head", featx.make_head("logistic"))]).fit(X, ["tower", "bloom"])
    >>> found = featx.evidence(model, X[:1])[0]
    >>> found.method, bool(abs(found.values.mean() - found.score) < 1e-4)
    ('exact', True)
    """
    if method not in _METHODS:
        raise ParameterError(f"method={method!r}: expected one of {', '.join(map(repr, _METHODS))}.")
    model = _Model.of(pipeline)
    samples = model.features.samples_of(X)
    # No cache: a hundred covered variants of a sample are nobody's vectors.
    vectors = model.features.transform(samples)
    columns = model.columns(vectors, label)
    if method == "occlusion":
        return _occluded(model, samples, columns)
    found = _exact(model, samples, vectors, columns)
    if isinstance(found, str):
        if method == "exact":
            raise ParameterError(f'method="exact": {found}. Use method="occlusion", an approximation.')
        warnings.warn(
            f"{found}, so there is no exact map: parts are covered instead.", FeatxWarning, stacklevel=2
        )
        return _occluded(model, samples, columns)
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Model:
    """A fitted pipeline, parted."""

    features: BackboneFeatures
    head: Any
    scores: Callable[[NDArray[np.floating]], NDArray[np.float64]]  # (n, d) to (n, k)
    score_name: str
    classes: list[Any]  # empty for a regression

    @classmethod
    def of(cls, pipeline: Any) -> _Model:
        fitted = getattr(pipeline, "best_estimator_", pipeline)
        if (
            not isinstance(fitted, Pipeline)
            or len(fitted.steps) < 2
            or not isinstance(fitted[0], BackboneFeatures)
        ):
            raise ParameterError(
                "evidence: expected a fitted Pipeline whose first step is an ImageFeatures or TextFeatures, followed by a "
                f"classifier or regressor; found {type(fitted).__name__}."
            )
        check_is_fitted(fitted[0])
        head = fitted[1:]
        scores, name = score_function(head)
        classes = [] if name == "prediction" else np.asarray(head.classes_).tolist()
        return cls(features=fitted[0], head=head, scores=scores, score_name=name, classes=classes)

    def columns(self, vectors: NDArray[np.floating], label: Any) -> list[tuple[Any, int, float]]:
        """For each sample the label explained, the column of the scores, and the sign to read it with."""
        if not self.classes:
            if label is not None:
                raise ParameterError(f"label={label!r}: the pipeline is a regressor and has no classes.")
            return [(None, 0, 1.0)] * len(vectors)
        if label is not None and label not in self.classes:
            raise ParameterError(
                f"label={label!r}: expected one of {', '.join(map(repr, self.classes[:20]))}."
            )
        wanted = (
            [label] * len(vectors) if label is not None else np.asarray(self.head.predict(vectors)).tolist()
        )
        single = self.scores(vectors[:1]).shape[1] == 1  # a decision value that speaks for the second class
        found = []
        for each in wanted:
            at = self.classes.index(each)
            found.append((each, 0, 1.0 if at == 1 else -1.0) if single else (each, at, 1.0))
        return found


def _exact(
    model: _Model,
    samples: Sequence[Any],
    vectors: NDArray[np.float32],
    columns: list[tuple[Any, int, float]],
) -> list[Evidence] | str:
    """Exact maps, or why there are none."""
    linear = linear_map(model.scores, vectors)
    if linear is None:
        return f"{type(model.head[-1]).__name__} is not linear in the vectors"
    features = model.features
    text = features.modality == "text"

    def change(graph: Any, backbone: Any, spaces: Any) -> Any:
        taps = [backbone.tap(space.tap) for space in spaces]
        return with_positions(graph, taps, [space.pooling for space in spaces], modality=features.modality)

    inside = features.looking_inside(change)
    if inside is None:
        return "the vectors are no averages over positions (other pooling)"
    session, inputs = inside
    pieces = _pieces(features, samples) if text else [()] * len(samples)
    found = []
    for at, batch in enumerate(inputs(samples)):
        outputs = session.run(batch)
        picture = None if text else (int(batch.shape[1]), int(batch.shape[2]))
        values = _map_of(outputs, linear, columns[at][1], picture)
        if values is None:
            return "the vectors are no averages over positions (other pooling)"
        label, _, sign = columns[at]
        found.append(
            Evidence(
                method="exact",
                label=label,
                score=float(sign * model.scores(vectors[at : at + 1])[0, columns[at][1]]),
                score_name=model.score_name,
                values=sign * values,
                pieces=pieces[at],
                pixels=None if text else batch[0],
            )
        )
    return found


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


def _pieces(features: BackboneFeatures, samples: Sequence[Any]) -> list[tuple[str, ...]]:
    backbone = features.backbone_
    tokenizer = TextTokenizer(backbone.tokenizer_path, backbone.text())
    return [tuple(tokenizer.pieces(text)) for text in samples]


def _occluded(model: _Model, samples: Sequence[Any], columns: list[tuple[Any, int, float]]) -> list[Evidence]:
    inside = model.features.looking_inside(lambda graph, backbone, spaces: graph)
    assert inside is not None  # the graph as it is
    session, inputs = inside

    def score(batches: list[NDArray[Any]], column: int, sign: float) -> NDArray[np.float64]:
        rows = [np.concatenate(session.run(batch), axis=1)[0] for batch in batches]
        return sign * model.scores(np.stack(rows))[:, column]

    found = []
    pieces: tuple[str, ...]
    grid: tuple[int, ...]
    for sample, (label, column, sign) in zip(samples, columns, strict=True):
        if model.features.modality == "text":
            pieces, variants = _words_left_out(sample)
            batches, pixels, grid = inputs([sample, *variants]), None, (len(variants),)
        else:
            whole = inputs([sample])[0]
            pieces, pixels, grid = (), whole[0], (_CELLS, _CELLS)
            batches = [whole, *_covered(whole)]
        scores = score(batches, column, sign)
        found.append(
            Evidence(
                method="occlusion",
                label=label,
                score=float(scores[0]),
                score_name=model.score_name,
                values=(scores[0] - scores[1:]).reshape(grid),
                pieces=pieces,
                pixels=pixels,
            )
        )
    return found


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
