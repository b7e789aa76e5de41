"""Shapes of a cut graph's tensors as numbers times the batch and the length of its texts.

Told by inferring shapes at several sizes of the input and comparing: what stays is fixed, what grows as the batch does is a
multiple of it. Anything else is unknown, and nobody builds on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from featx.backbones.shapes import Shape, attribute, type_and_dims
from featx.backbones.wiring import wire

__all__ = ["Dim", "SymbolicShapes", "shape_nodes", "symbolic_shapes"]

# Primes, so that a multiple is no accident; small enough for every table of positions.
_ROWS, _TOKENS, _PIXELS = (7919, 7907), (29, 31), (224, 256)


@dataclass(frozen=True, slots=True)
class Dim:
    """The length of an axis: ``factor``, times the batch, times the tokens of a text, as far as it is so."""

    factor: int
    by_rows: bool = False
    by_tokens: bool = False


@dataclass(frozen=True, slots=True)
class SymbolicShapes:
    """Shapes by tensor; an axis that follows no simple rule is None."""

    dims: Mapping[str, tuple[Dim | None, ...]]
    dtypes: Mapping[str, int]

    def row_shape(self, tensor: str) -> tuple[int | None, ...]:
        """Shape of one sample's, without the batch; None where a length differs or is unknown."""
        fixed = (
            d.factor if d and not (d.by_rows or d.by_tokens) else None for d in self.dims.get(tensor, ())[1:]
        )
        return tuple(fixed)

    def row_size(self, tensor: str) -> int | None:
        """Numbers a sample, or a token where texts differ in length; None where the first axis is not the batch alone."""
        dims = self.dims.get(tensor)
        if not dims or dims[0] != Dim(1, by_rows=True) or any(d is None or d.by_rows for d in dims[1:]):
            return None
        return int(np.prod([d.factor for d in dims[1:] if d], dtype=np.int64))


def symbolic_shapes(model: onnx.ModelProto, source: str) -> SymbolicShapes:
    """Infer the shapes of a cut graph.

    Parameters
    ----------
    model : ModelProto
        From :meth:`featx.backbones.backbone.Backbone.cut`.
    source : str
        Its input.
    """
    declared = type_and_dims(model.graph.input[0].type)[1] or ()
    free = {axis: _sizes(source, axis) for axis, size in enumerate(declared) if not isinstance(size, int)}
    base: Shape = _fed(declared, free, -1)
    first = wire(model, source, {source: base})
    grown: list[tuple[int, Mapping[str, Shape]]] = []
    for axis in free:
        other: Shape = _fed(declared, free, axis)
        grown.append((axis, wire(model, source, {source: other}).shapes))
    found = {}
    for name, shape in first.shapes.items():
        others = [(axis, shapes.get(name, ())) for axis, shapes in grown]
        if all(len(other) == len(shape) for _, other in others):
            columns = [[(axis, other[i]) for axis, other in others] for i in range(len(shape))]
            found[name] = tuple(
                _dim(d, column, free, source) for d, column in zip(shape, columns, strict=True)
            )
    return SymbolicShapes(found, first.dtypes)


def _fed(declared: tuple[int | str | None, ...], free: Mapping[int, tuple[int, int]], grown: int) -> Shape:
    """Sizes of the input's axes, the free ones at their first size but for the grown one."""
    return tuple(d if isinstance(d, int) else free[a][int(a == grown)] for a, d in enumerate(declared))


def _sizes(source: str, axis: int) -> tuple[int, int]:
    if axis == 0:
        return _ROWS
    return _TOKENS if source == "tokens" else _PIXELS


def _dim(
    size: int | None, others: list[tuple[int, int | None]], free: Mapping[int, tuple[int, int]], source: str
) -> Dim | None:
    follows = []
    factor = size
    for axis, other in others:
        if other == size:
            continue
        before, after = free[axis]
        if (
            size is None
            or other is None
            or factor is None
            or size * after != other * before
            or factor % before
        ):
            return None
        follows.append(axis)
        factor //= before
    if factor is None or (source == "pixels" and set(follows) - {0}):
        return None
    return Dim(factor, 0 in follows, 1 in follows)


def shape_nodes(
    node: NodeProto, shapes: SymbolicShapes, reference: str, *, prefix: str
) -> list[NodeProto] | None:
    """Nodes that make what a Shape node makes from the shape of another tensor; None where that cannot be said.

    Parameters
    ----------
    node : NodeProto
        A Shape node.
    shapes : SymbolicShapes
    reference : str
        The tensor whose shape may be looked at.
    prefix : str
        What the names of new tensors begin with.
    """
    wanted, given = shapes.dims.get(node.input[0]), shapes.dims.get(reference)
    if node.op_type != "Shape" or wanted is None or given is None:
        return None
    parts: list[str] = []
    made = [helper.make_node("Shape", [reference], [f"{prefix}/shape"])]

    def constant(name: str, value: int) -> str:
        tensor = numpy_helper.from_array(np.asarray([value], np.int64))
        made.append(helper.make_node("Constant", [], [f"{prefix}/{name}"], value=tensor))
        return f"{prefix}/{name}"

    for i, dim in enumerate(wanted[attribute(node, "start", 0) : attribute(node, "end")]):
        if dim is None:
            return None
        part = constant(f"factor{i}", dim.factor)
        for kind, follows in (("rows", dim.by_rows), ("tokens", dim.by_tokens)):
            if follows:
                plain = Dim(1, by_rows=kind == "rows", by_tokens=kind == "tokens")
                if plain not in given:
                    return None
                size = f"{prefix}/{kind}{i}"
                at = constant(f"axis_of_{kind}{i}", given.index(plain))
                made.append(helper.make_node("Gather", [f"{prefix}/shape", at], [size], axis=0))
                made.append(helper.make_node("Mul", [part, size], [f"{part}x{kind}"]))
                part = f"{part}x{kind}"
        parts.append(part)
    made.append(helper.make_node("Concat", parts, [node.output[0]], axis=0))
    return made if parts else None
