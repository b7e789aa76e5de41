"""An ONNX graph as wires: who makes a tensor, who takes it, what shape it has, what it must pass through.

Owns the one analysis that everything else about a graph is read from. ``wire`` runs shape inference at one concrete input
shape on a copy without the large initialisers, so gigabytes of weights cost nothing, then walks the nodes once in order:

* an **activation** depends on the values of the data input (not only on its shape);
* the **dominator** of an activation is the last tensor that every path from the data input to it passes
  (Lengauer and Tarjan 1979; in a graph without cycles one pass in topological order is enough);
* a **map** is an activation that still has height and width; its **stride** is how many input pixels one of
  its steps covers, vertically and horizontally. Global pooling ends a map, so the gates of squeeze-and-excitation are
  no maps.

Refuses nothing: what shape inference cannot tell is simply absent from ``shapes``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

__all__ = [
    "Shape",
    "Wiring",
    "attribute",
    "input_layout",
    "main_opset",
    "node_inputs",
    "tensor_type_shape",
    "wire",
]

Shape = tuple[int | None, ...]

# Larger initialisers never matter to shape inference; they are shown to it as inputs of their shape.
SMALL_TENSOR_ELEMENTS = 1024

_SHAPE_ONLY = frozenset({"Shape", "Size"})
_STRIDED = frozenset(
    {
        "Conv",
        "ConvInteger",
        "QLinearConv",
        "FusedConv",
        "MaxPool",
        "AveragePool",
        "LpPool",
        "QLinearAveragePool",
    }
)
_CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "QLinearConv", "FusedConv"})
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"})
_RESAMPLED = frozenset({"Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "ConvTranspose", "Reshape"})
_SPATIAL_AXES = {"nchw": (2, 3), "nhwc": (1, 2)}


@dataclass(frozen=True, slots=True)
class Wiring:
    """What ``wire`` found out about a graph at one input shape.

    Attributes
    ----------
    nodes : tuple of NodeProto
        In topological order.
    producer : dict
        Tensor name to the index of the node that makes it.
    consumers : dict
        Tensor name to the indices of the nodes that take it, in order.
    constants : dict
        Tensor name to the initialiser or constant that it is, also through Identity.
    shapes : dict
        Tensor name to its shape at the input shape that was wired; absent where unknown.
    dtypes : dict
        Tensor name to its ``TensorProto`` data type.
    source : str
        The data input.
    dominator : dict
        Activation to the last activation that every path to it passes; the source has none.
    layout : dict
        Activation with height and width to ``"nchw"`` or ``"nhwc"``.
    stride : dict
        Map to the input pixels that one of its steps covers, (vertical, horizontal).
    opset : int
        Of the default domain.
    """

    nodes: tuple[NodeProto, ...]
    producer: Mapping[str, int]
    consumers: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, TensorProto]
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, int]
    source: str
    dominator: Mapping[str, str]
    depth: Mapping[str, int]
    layout: Mapping[str, str]
    stride: Mapping[str, tuple[float, float]]
    opset: int

    def made_by(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and initialisers."""
        index = self.producer.get(tensor)
        return None if index is None else self.nodes[index]

    def is_activation(self, tensor: str) -> bool:
        return tensor in self.depth

    def activations_into(self, node: NodeProto) -> list[str]:
        """The activations that a node takes, without repeats, in order."""
        return list(dict.fromkeys(t for t in node_inputs(node) if t in self.depth))

    def users(self, tensor: str) -> list[NodeProto]:
        return [self.nodes[i] for i in self.consumers.get(tensor, ())]

    def constant(self, tensor: str) -> np.ndarray | None:
        """The value of a small constant; None where the tensor is none, or is stored outside the file."""
        proto = self.constants.get(tensor)
        if proto is None or proto.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(proto)

    def common_dominator(self, tensors: Iterable[str]) -> str:
        """The last activation that every path to every one of the tensors passes; of one tensor, itself."""
        first, *rest = tensors
        for other in rest:
            while first != other:
                if self.depth[first] >= self.depth[other]:
                    first = self.dominator[first]
                else:
                    other = self.dominator[other]
        return first

    def dominators(self, tensor: str) -> list[str]:
        """A tensor and its dominators, from the data input on."""
        chain = [tensor]
        while chain[-1] in self.dominator:
            chain.append(self.dominator[chain[-1]])
        return chain[::-1]

    def size_px(self, tensor: str) -> tuple[int, int] | None:
        """Height and width of a map, where they are known."""
        return _size(self.shapes.get(tensor), self.layout.get(tensor))

    def axes(self, node: NodeProto) -> tuple[int, ...] | None:
        """The axes a node names, counted from the front; None where it names none (all of them)."""
        named = attribute(node, "axes")
        if named is None and len(node.input) > 1 and node.input[1]:
            value = self.constant(node.input[1])
            named = None if value is None else value.ravel().tolist()
        if named is None:
            return None
        rank = len(self.shapes.get(node.input[0], ()))
        return tuple(int(a) + rank if a < 0 else int(a) for a in named)

    def ends_map(self, node: NodeProto) -> bool:
        """Whether a node takes a map to one value a channel."""
        return _ends_map(self, node)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or the default."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def node_inputs(node: NodeProto) -> Iterator[str]:
    """Every tensor a node reads, those that its inner graphs take from outside included."""
    yield from (name for name in node.input if name)
    for item in node.attribute:
        graphs = [item.g] if item.type == onnx.AttributeProto.GRAPH else item.graphs
        for graph in graphs:
            inner = {v.name for v in graph.input} | {v.name for v in graph.initializer}
            inner |= {out for n in graph.node for out in n.output}
            reads = [name for n in graph.node for name in node_inputs(n)] + [v.name for v in graph.output]
            yield from (name for name in reads if name not in inner)


def input_layout(shape: Shape) -> str:
    """``"nhwc"`` where only the last axis can be the channels of a picture, else ``"nchw"``."""
    return "nhwc" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "nchw"


def main_opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses; 1 where it names none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def tensor_type_shape(value: ValueInfoProto) -> tuple[int, tuple[int | str | None, ...] | None]:
    """Data type and shape of a declared tensor: numbers, names of dynamic axes, None for unnamed ones."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return kind.elem_type, None
    dims = (d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in kind.shape.dim)
    # A few converters write 0 or -1 for "any".
    return kind.elem_type, tuple(None if isinstance(d, int) and d <= 0 else d for d in dims)


def wire(
    model: onnx.ModelProto,
    source: str,
    feeds: Mapping[str, Shape],
    *,
    nodes: Sequence[NodeProto] | None = None,
    extra: Sequence[TensorProto] = (),
) -> Wiring:
    """Analyse a graph at one concrete shape of its inputs.

    Parameters
    ----------
    model : ModelProto
        Not changed. Large initialisers may be outside the file.
    source : str
        The input that carries the samples.
    feeds : mapping
        Input name to the shape to assume; the source must be in it.
    nodes : sequence of NodeProto, optional
        Analyse these in the place of the model's own.
    extra : sequence of TensorProto
        Further small constants that those nodes take.

    Returns
    -------
    Wiring
    """
    nodes = _in_order(model.graph.node if nodes is None else nodes)
    small = _small_initialisers(model, extra)
    producer = {out: i for i, node in enumerate(nodes) for out in node.output if out}
    consumers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in dict.fromkeys(node_inputs(node)):
            consumers.setdefault(name, []).append(i)
    shapes, dtypes = _shapes_and_dtypes(model, nodes, small, feeds)
    walk = _Walk({}, {source: 0}, {}, {})
    wiring = Wiring(
        nodes=nodes,
        producer=producer,
        consumers={k: tuple(v) for k, v in consumers.items()},
        constants=_constants(small, nodes),
        shapes=shapes,
        dtypes=dtypes,
        source=source,
        dominator=walk.dominator,
        depth=walk.depth,
        layout=walk.layout,
        stride=walk.stride,
        opset=main_opset(model),
    )
    _follow_activations(wiring, walk)
    return wiring


@dataclass(frozen=True, slots=True)
class _Walk:
    """The tables of a Wiring while the walk fills them; nobody writes to them afterwards."""

    dominator: dict[str, str]
    depth: dict[str, int]
    layout: dict[str, str]
    stride: dict[str, tuple[float, float]]


def _in_order(nodes: Iterable[NodeProto]) -> tuple[NodeProto, ...]:
    """The nodes in topological order; the standard asks for it, and files exist that ignore it."""
    waiting = list(nodes)
    made_later = {out for node in waiting for out in node.output}
    ordered: list[NodeProto] = []
    while waiting:
        blocked = []
        for node in waiting:
            if any(name in made_later for name in node_inputs(node)):
                blocked.append(node)
            else:
                ordered.append(node)
                made_later.difference_update(node.output)
        if len(blocked) == len(waiting):  # a cycle: the runtime will refuse it, with its own words
            return tuple(ordered + blocked)
        waiting = blocked
    return tuple(ordered)


def _constants(small: Mapping[str, TensorProto], nodes: Iterable[NodeProto]) -> dict[str, TensorProto]:
    found = dict(small)
    for node in nodes:
        if node.op_type == "Constant":
            value = _constant_value(node)
            if value is not None:
                found[node.output[0]] = value
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _constant_value(node: NodeProto) -> TensorProto | None:
    value = attribute(node, "value")
    if isinstance(value, TensorProto):
        return value
    for name, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        plain = attribute(node, name)
        if plain is not None:
            return numpy_helper.from_array(np.asarray(plain, dtype))
    return None


def _small_initialisers(model: onnx.ModelProto, extra: Iterable[TensorProto]) -> dict[str, TensorProto]:
    found = {}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL_TENSOR_ELEMENTS and tensor.data_location != TensorProto.EXTERNAL:
            found[tensor.name] = tensor
    return found | {tensor.name: tensor for tensor in extra}


def _shapes_and_dtypes(
    model: onnx.ModelProto,
    nodes: tuple[NodeProto, ...],
    small: Mapping[str, TensorProto],
    feeds: Mapping[str, Shape],
) -> tuple[dict[str, Shape], dict[str, int]]:
    """Shapes inferred at the fed shapes; where inference stops, what the file itself says."""
    initialisers = {t.name: t for t in model.graph.initializer} | dict(small)
    dtypes = {name: t.data_type for name, t in initialisers.items()}
    shapes: dict[str, Shape] = {name: tuple(t.dims) for name, t in initialisers.items()}
    values: dict[str, int] = {}  # dynamic axes by name -> what they are at the fed shapes
    for value in model.graph.input:
        if value.name in initialisers:
            continue
        dtypes[value.name], dims = tensor_type_shape(value)
        shapes[value.name] = feeds.get(
            value.name, tuple(d if isinstance(d, int) else None for d in dims or ())
        )
        for declared, fed in zip(dims or (), shapes[value.name], strict=False):
            if isinstance(declared, str) and fed is not None:
                values[declared] = fed
    for value in (*model.graph.value_info, *model.graph.output):
        dtypes[value.name], dims = tensor_type_shape(value)
        if dims is not None:
            shapes[value.name] = tuple(values.get(d) if isinstance(d, str) else d for d in dims)
    for value in _infer(model, nodes, small, shapes, dtypes):
        dtype, dims = tensor_type_shape(value)
        dtypes[value.name] = dtype or dtypes.get(value.name, 0)
        if dims is not None:
            told = tuple(d if isinstance(d, int) else None for d in dims)
            known = shapes.get(value.name, ())
            if None in told and len(known) == len(told):
                told = tuple(a if a is not None else b for a, b in zip(told, known, strict=True))
            shapes[value.name] = told
    return shapes, dtypes


def _infer(
    model: onnx.ModelProto,
    nodes: tuple[NodeProto, ...],
    small: Mapping[str, TensorProto],
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, int],
) -> list[ValueInfoProto]:
    bare = onnx.ModelProto(
        ir_version=max(model.ir_version, 4)
    )  # from 4 on an initialiser need not be an input
    bare.opset_import.extend(model.opset_import)
    bare.graph.name = "bare"
    bare.graph.node.extend(nodes)
    bare.graph.initializer.extend(small.values())
    large = [t.name for t in model.graph.initializer if t.name not in small]
    names = {t.name for t in model.graph.initializer}
    for name in [v.name for v in model.graph.input if v.name not in names] + large:
        bare.graph.input.append(helper.make_tensor_value_info(name, dtypes[name], shapes[name]))
    for value in model.graph.output:
        bare.graph.output.append(helper.make_tensor_value_info(value.name, dtypes[value.name], None))
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        # An operator that onnx does not know ends inference; the file's own shapes are then all there is.
        return []
    return [*graph.value_info, *graph.output]


def _follow_activations(wiring: Wiring, walk: _Walk) -> None:
    """One walk in order: dominators, layouts and strides of everything that depends on the data input."""
    source_shape = wiring.shapes.get(wiring.source, ())
    if len(source_shape) == 4:
        walk.layout[wiring.source] = input_layout(source_shape)
        walk.stride[wiring.source] = (1.0, 1.0)
    for node in wiring.nodes:
        taken = wiring.activations_into(node)
        if not taken or node.op_type in _SHAPE_ONLY:
            continue
        above = wiring.common_dominator(taken)
        for out in filter(None, node.output):
            walk.dominator[out] = above
            walk.depth[out] = walk.depth[above] + 1
            _follow_map(wiring, walk, node, out)


def _follow_map(wiring: Wiring, walk: _Walk, node: NodeProto, out: str) -> None:
    """Record layout and stride of a node's output, where it still has height and width."""
    maps = [t for t in dict.fromkeys(node.input) if t in walk.stride]
    shape = wiring.shapes.get(out)
    if not maps or (shape is not None and len(shape) < 4) or _ends_map(wiring, node):
        return
    at = max(maps, key=lambda t: walk.stride[t])
    was = walk.layout[at]
    now = _layout_after(node, was)
    vertical, horizontal = walk.stride[at]
    if node.op_type in _STRIDED:
        steps = attribute(node, "strides") or (1, 1)
        vertical, horizontal = vertical * steps[0], horizontal * steps[-1]
    elif node.op_type == "Slice":
        steps = _slice_steps(wiring, node)
        vertical *= steps.get(_SPATIAL_AXES[was][0], 1)
        horizontal *= steps.get(_SPATIAL_AXES[was][1], 1)
    elif node.op_type in _RESAMPLED:
        before, after = _size(wiring.shapes.get(at), was), _size(shape, now)
        if before and after:
            vertical, horizontal = vertical * before[0] / after[0], horizontal * before[1] / after[1]
    walk.layout[out] = now
    walk.stride[out] = (vertical, horizontal)


def _layout_after(node: NodeProto, was: str) -> str:
    if node.op_type in _STRIDED:
        return "nchw"
    if node.op_type == "Transpose":
        turn = {(0, 3, 1, 2): "nchw", (0, 2, 3, 1): "nhwc"}
        return turn.get(tuple(attribute(node, "perm") or ()), was)
    return was


def _ends_map(wiring: Wiring, node: NodeProto) -> bool:
    """Whether a node takes a map to one value a channel: global pooling in any of its spellings."""
    if node.op_type in _GLOBAL_POOLS:
        return True
    was = wiring.layout.get(node.input[0]) if node.input else None
    if was is None:
        return False
    if node.op_type.startswith("Reduce"):
        axes = wiring.axes(node)
        return axes is None or set(_SPATIAL_AXES[was]) <= set(axes)
    if node.op_type in _STRIDED:
        # A window as large as the map: average pooling of 7 x 7 in old files, a dense layer written as a convolution.
        size = _size(wiring.shapes.get(node.input[0]), was)
        kernel = attribute(node, "kernel_shape")
        if kernel is None and node.op_type in _CONVOLUTIONS:
            kernel = wiring.shapes.get(node.input[1], ())[2:]
        covered = size is not None and size != (1, 1) and tuple(kernel or ()) == size
        return covered and not any(attribute(node, "pads") or ())
    return False


def _slice_steps(wiring: Wiring, node: NodeProto) -> dict[int, int]:
    """Axis to step of a Slice; before opset 10 it had none."""
    if len(node.input) < 5 or not node.input[4]:
        return {}
    steps = wiring.constant(node.input[4])
    axes = wiring.constant(node.input[3]) if node.input[3] else None
    if steps is None:
        return {}
    rank = len(wiring.shapes.get(node.input[0], (None,) * 4))
    where = range(len(steps)) if axes is None else [int(a) % rank for a in axes]
    return {axis: abs(int(step)) for axis, step in zip(where, steps, strict=True)}


def _size(shape: Shape | None, layout: str | None) -> tuple[int, int] | None:
    if shape is None or len(shape) != 4 or layout is None:
        return None
    height, width = (shape[axis] for axis in _SPATIAL_AXES[layout])
    return None if height is None or width is None else (height, width)
