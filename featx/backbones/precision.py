"""A float32 graph that computes in float16.

Weights inside the file are rounded here; weights in external files stay as they are and are cast by the runtime when
it loads them, so nothing is read that the session would not read anyway. Activations follow their inputs. A constant that
float16 cannot hold is refused; which networks overflow float16 on the way no rule can tell: compare vectors with float32 before
relying on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.shapes import attribute, is_stored_outside, node_inputs
from featx.errors import ParameterError

__all__ = ["in_float16"]

_SUFFIX = "/float16"

# The scales of a resize are float32 whatever it resizes (ONNX, Resize-11 to -19, type constraints; Upsample-9).
_ALWAYS_FLOAT32 = {"Resize": (1, 2), "Upsample": (1,)}

_LARGEST = float(np.finfo(np.float16).max)
# Half a step beyond the largest number; from here on IEEE 754 rounds to infinity.
_OVERFLOW = 65520.0
# What is written for an infinity: bounds of an open Clip and masks of attention are +-3.4e38, the end of float32. No weight,
# scale or statistic of a network comes near; -1e9, as some masks have it, cannot be told from a scale and is refused.
_AS_INFINITE = 1e30
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)

Named = tuple[str, TensorProto]


def in_float16(
    nodes: Sequence[NodeProto], initialisers: Sequence[Named]
) -> tuple[list[NodeProto], list[Named]]:
    """Nodes and initialisers of a float32 graph, rewritten to compute in float16.

    Parameters
    ----------
    nodes : sequence of NodeProto
        In topological order. Their float inputs from outside must be float16 from now on.
    initialisers : sequence of (str, TensorProto)
        Under the names that the nodes use.

    Raises
    ------
    ParameterError
        If the graph is quantised already, holds graphs of its own (If, Loop, Scan), or a constant inside the file that float16
        cannot hold.
    """
    _refuse(nodes)
    floats = {name: tensor for name, tensor in initialisers if tensor.data_type == TensorProto.FLOAT}
    kept_float32 = _float32_arithmetic(nodes)
    rewritten = [
        node if kept_float32.intersection(node.output) else _rewritten(node, floats) for node in nodes
    ]
    halves: list[Named] = []
    casts: list[NodeProto] = []
    for name in sorted({t for node in rewritten for t in node.input if t.endswith(_SUFFIX)}):
        tensor = floats[name.removesuffix(_SUFFIX)]
        if is_stored_outside(tensor):
            casts.append(
                helper.make_node("Cast", [name.removesuffix(_SUFFIX)], [name], to=TensorProto.FLOAT16)
            )
        else:
            halves.append((name, _half(tensor, tensor.name)))
    return [*casts, *rewritten], [*initialisers, *halves]


def _refuse(nodes: Sequence[NodeProto]) -> None:
    for node in nodes:
        inner = any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)
        if (
            inner
            or "Quantize" in node.op_type
            or node.op_type.startswith("QLinear")
            or node.op_type.endswith("Integer")
        ):
            why = "holds graphs of its own" if inner else "is quantised"
            raise ParameterError(
                f"precision='float16' does not fit this graph: it {why} ({node.op_type}). Use precision='float32'."
            )


def _float32_arithmetic(nodes: Sequence[NodeProto]) -> set[str]:
    """Tensors that inputs which are always float32 are computed from."""
    wanted: set[str] = set()
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node_inputs(node))
        for i in _ALWAYS_FLOAT32.get(node.op_type, ()):
            if i < len(node.input) and node.input[i]:
                wanted.add(node.input[i])
    return wanted


def _rewritten(node: NodeProto, floats: dict[str, TensorProto]) -> NodeProto:
    node = _copy(node)
    keep = _ALWAYS_FLOAT32.get(node.op_type, ())
    node.input[:] = [t + _SUFFIX if t in floats and i not in keep else t for i, t in enumerate(node.input)]
    for item in node.attribute:
        if node.op_type == "Cast" and item.name == "to" and item.i == TensorProto.FLOAT:
            item.i = TensorProto.FLOAT16
        elif item.type == AttributeProto.TENSOR and item.t.data_type == TensorProto.FLOAT:
            item.t.CopyFrom(_half(item.t, node.output[0]))
    if node.op_type == "Constant" and attribute(node, "value") is None:
        _replace_plain_floats(node)
    return node


def _replace_plain_floats(node: NodeProto) -> None:
    for name in ("value_float", "value_floats"):
        plain = attribute(node, name)
        if plain is not None:
            tensor = _half(numpy_helper.from_array(np.asarray(plain, np.float32)), node.output[0])
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))


def _half(tensor: TensorProto, name: str) -> TensorProto:
    """Rounded; an infinity, written out or meant, becomes the largest number.

    A scalar that would vanish (an epsilon) becomes the smallest.
    """
    values = numpy_helper.to_array(tensor)
    magnitude = np.abs(values)
    too_large = magnitude[(magnitude >= _OVERFLOW) & (magnitude < _AS_INFINITE)]
    if too_large.size:
        raise ParameterError(
            f"precision='float16' cannot hold constant {name!r}: its largest magnitude is {too_large.max():,.0f}, float16 "
            f"ends at {_LARGEST:,.0f}. Use precision='float32'."
        )
    values = np.clip(values, -_LARGEST, _LARGEST)
    rounded = values.astype(np.float16)
    if values.size == 1 and values.any() and not rounded.any():
        rounded = np.copysign(np.full_like(rounded, _SMALLEST), values.astype(np.float32)).astype(np.float16)
    return numpy_helper.from_array(rounded)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
