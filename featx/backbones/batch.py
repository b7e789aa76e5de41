"""Whether a graph may be run on any number of rows at once: fixed batches freed, coupled rows named.

A file exported for a batch of one carries that one in the shapes of its reshapes and in parameters joined to the rows.
``free_batch`` rewrites those and then *checks* the result: with shapes inferred at another batch, every tensor that
depends on the input must have kept all its axes but one, that one must have grown with the batch, and no reshape may
have moved it past other axes. Where that cannot be shown, nothing is rewritten and the graph keeps its batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.shapes import Shape, attribute
from featx.backbones.wiring import Wiring, wire

__all__ = ["NOMINAL_BATCH", "FreedBatch", "coupling_op", "free_batch", "trains_batch_norm"]

# A prime that no layer has as a width: an axis of this length, or of a multiple of it, is the batch.
NOMINAL_BATCH = 7919

_RESHAPES = frozenset({"Reshape", "Flatten"})

_COUPLE_ALWAYS = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
_COUPLE_ON_AXIS_0 = frozenset(
    {"Softmax", "LogSoftmax", "Hardmax", "LayerNormalization", "TopK", "ArgMax", "ArgMin"}
)


@dataclass(frozen=True, slots=True)
class FreedBatch:
    """A graph's nodes, rewritten so that they take any batch.

    Attributes
    ----------
    nodes : tuple of NodeProto
        In the place of the graph's own, in topological order.
    constants : tuple of TensorProto
        Further initialisers that they take.
    """

    nodes: tuple[NodeProto, ...]
    constants: tuple[TensorProto, ...]


def coupling_op(wiring: Wiring) -> str | None:
    """The first operator through which one row of a batch changes another, by its type; None where there is none.

    Dynamic quantisation takes one scale over the batch, batch normalisation in training mode one mean; a
    reduction or softmax along the batch axis speaks for itself. What this cannot see, the probe of row independence finds.
    """
    for node in wiring.nodes:
        if node.input and wiring.is_activation(node.input[0]) and _couples(wiring, node):
            return str(node.op_type)
    return None


def _couples(wiring: Wiring, node: NodeProto) -> bool:
    if node.op_type in _COUPLE_ALWAYS:
        return True
    if trains_batch_norm(node, wiring.opset):
        return True
    shape = wiring.shapes.get(node.input[0])
    if not shape or shape[0] != wiring.batch:
        return False
    if node.op_type.startswith("Reduce"):
        if attribute(node, "noop_with_empty_axes", 0) and not wiring.axes(node):
            return False
        axes = wiring.axes(node)
        return axes is None or 0 in axes
    axis = attribute(node, "axis")
    return node.op_type in _COUPLE_ON_AXIS_0 and axis is not None and axis % len(shape) == 0


def trains_batch_norm(node: NodeProto, opset: int) -> bool:
    """Whether a batch normalisation takes the statistics of the batch instead of its own.

    From opset 14 an attribute says so; before, running statistics as further outputs did (ONNX, BatchNormalization-7, -9, -14).
    """
    if node.op_type != "BatchNormalization":
        return False
    if opset >= 14:
        return bool(attribute(node, "training_mode", 0) == 1)
    return len([t for t in node.output if t]) > 1


def free_batch(model: onnx.ModelProto, wiring: Wiring) -> FreedBatch | None:
    """Rewrite the nodes of a graph with a fixed batch so that they take any; None where that cannot be shown to be right.

    Parameters
    ----------
    model : ModelProto
        Not changed.
    wiring : Wiring
        Of the model, at the batch that it fixes.
    """
    n = wiring.batch
    if n is None or n == NOMINAL_BATCH:
        return FreedBatch(wiring.nodes, ())
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    for node in wiring.nodes:
        if node.op_type == "Reshape" and wiring.is_activation(node.input[0]):
            node = _free_reshape(wiring, node, n, constants)
        elif node.op_type == "Concat" and n == 1 and wiring.opset >= 8:
            node = _free_concat(wiring, node, nodes, constants)
        nodes.append(node)
    free: Shape = (NOMINAL_BATCH, *wiring.shapes[wiring.source][1:])
    freed = wire(model, wiring.source, {wiring.source: free}, nodes=nodes, extra=constants)
    outputs = {value.name for value in model.graph.output}
    grown: dict[str, int] = {}
    for tensor in wiring.depth:
        if tensor not in wiring.consumers and tensor not in outputs:
            continue  # the mask of a dropout, say
        axis = _grown_axis(wiring.shapes.get(tensor), freed.shapes.get(tensor), n)
        if axis is None:
            return None
        grown[tensor] = axis
    rows_kept = all(_keeps_rows(freed, node, grown) for node in nodes if node.op_type in _RESHAPES)
    return FreedBatch(tuple(nodes), tuple(constants)) if rows_kept else None


def _grown_axis(fixed: Shape | None, free: Shape | None, n: int) -> int | None:
    """The one axis that grew with the batch; None where none did, several did, or a shape is unknown."""
    if fixed is None or free is None or len(fixed) != len(free):
        return None
    grown = [axis for axis, (a, b) in enumerate(zip(fixed, free, strict=True)) if a != b]
    if len(grown) != 1:
        return None
    before, after = fixed[grown[0]], free[grown[0]]
    if before is None or after is None or before * NOMINAL_BATCH != after * n:
        return None
    return grown[0]


def _keeps_rows(freed: Wiring, node: NodeProto, grown: dict[str, int]) -> bool:
    """Whether a reshape leaves each row's numbers to that row.

    Numbers keep their order, so they do exactly if as many of them lie before the batch axis as did.
    """
    taken, made = node.input[0], node.output[0]
    if taken not in grown or made not in grown:
        return not freed.is_activation(taken)
    before = freed.shapes[taken][: grown[taken]]
    after = freed.shapes[made][: grown[made]]
    return None not in before + after and math.prod(filter(None, before)) == math.prod(filter(None, after))


def _free_reshape(wiring: Wiring, node: NodeProto, n: int, constants: list[TensorProto]) -> NodeProto:
    """Let the leading axis follow the batch. A reshape keeps the order of elements, so rows that lay one after the other
    still do, also where heads or windows share the axis with them."""
    target = wiring.constant(node.input[1])
    before = wiring.shapes.get(node.input[0])
    if target is None or not before or before[0] is None or not target.size:
        return node
    shape = [int(d) for d in target]
    follows = shape[0] in (n, before[0]) or (before[0] == n and shape[0] % n == 0)
    if shape[0] <= 0 or not follows:
        return node
    if -1 not in shape:
        shape[0] = -1
    elif shape[0] == before[0] and (0 not in shape or not attribute(node, "allowzero", 0)):
        shape[0] = 0
    else:
        return node
    name = f"featx/shape{len(constants)}"
    constants.append(numpy_helper.from_array(np.asarray(shape, np.int64), name))
    return helper.make_node("Reshape", [node.input[0], name], list(node.output), name=node.name)


def _free_concat(
    wiring: Wiring, node: NodeProto, nodes: list[NodeProto], constants: list[TensorProto]
) -> NodeProto:
    """Repeat a parameter of one row, a class token say, for each row that it is joined to."""
    rows = next((t for t in node.input if wiring.is_activation(t)), None)
    rank = len(wiring.shapes.get(node.output[0], ()))
    if rows is None or not rank or attribute(node, "axis", 1) % rank == 0:
        return node
    inputs = []
    for name in node.input:
        shape = wiring.shapes.get(name)
        if not wiring.is_activation(name) and shape and shape[0] == 1 and None not in shape:
            name = _expanded(name, shape, rows, nodes, constants)
        inputs.append(name)
    joined = NodeProto()
    joined.CopyFrom(node)
    del joined.input[:]
    joined.input.extend(inputs)
    return joined


def _expanded(
    name: str, shape: Shape, rows: str, nodes: list[NodeProto], constants: list[TensorProto]
) -> str:
    made = f"featx/rows{len(constants)}"
    zero = numpy_helper.from_array(np.asarray([0], np.int64), f"{made}/axis")
    rest = numpy_helper.from_array(np.asarray(shape[1:], np.int64), f"{made}/rest")
    constants += [zero, rest]
    nodes += [
        helper.make_node("Shape", [rows], [f"{made}/shape"]),
        helper.make_node("Gather", [f"{made}/shape", zero.name], [f"{made}/n"], axis=0),
        helper.make_node("Concat", [f"{made}/n", rest.name], [f"{made}/target"], axis=0),
        helper.make_node("Expand", [name, f"{made}/target"], [made]),
    ]
    return made
