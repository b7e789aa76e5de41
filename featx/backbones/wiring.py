"""An ONNX graph as wires: who makes a tensor, who takes it, what shape it has, what it must pass through.

Owns the one analysis that everything else about a graph is read from. ``wire`` infers shapes at one concrete input
shape, then walks the nodes once in order:

* an **activation** depends on the values of the data input, not only on its shape;
* the **dominator** of an activation is the last tensor that every path from the data input to it passes
  (Lengauer and Tarjan 1979; in a graph without cycles one pass in topological order finds it);
* a **map** is an activation that still has height and width; its **stride** is how many input pixels one of
  its steps covers. Global pooling ends a map, so the gates of squeeze-and-excitation are no maps.

Refuses nothing: what cannot be told is absent from the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from featx.backbones.shapes import Constants, Shape, attribute, infer_shapes, main_opset, node_inputs

__all__ = ["CONVOLUTIONS", "WINDOWS", "Wiring", "input_layout", "wire"]

CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "QLinearConv", "FusedConv"})
WINDOWS = CONVOLUTIONS | {"MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"}

_SHAPE_ONLY = frozenset({"Shape", "Size"})
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool"})
_RESAMPLING = frozenset({"Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "ConvTranspose", "Reshape"})
_SPATIAL_AXES = {"nchw": (2, 3), "nhwc": (1, 2)}
_TURNS = {(0, 3, 1, 2): "nchw", (0, 2, 3, 1): "nhwc"}


@dataclass(frozen=True, slots=True)
class Wiring:
    """What ``wire`` found out about a graph at one input shape.

    Attributes
    ----------
    nodes : tuple of NodeProto
        In topological order.
    producer : mapping
        Tensor to the index of the node that makes it.
    consumers : mapping
        Tensor to the indices of the nodes that take it, in order.
    constants : mapping
        Tensor to the small constant that it is, also behind Identity.
    shapes : mapping
        Tensor to its shape at the input shape that was wired.
    dtypes : mapping
        Tensor to its ``TensorProto`` data type.
    source : str
        The data input.
    dominator : mapping
        Activation to the last activation that every path to it passes; the source has none.
    depth : mapping
        Activation to the number of its dominators.
    layout : mapping
        Map to ``"nchw"`` or ``"nhwc"``.
    stride : mapping
        Map to the input pixels that one of its steps covers, (vertical, horizontal).
    opset : int
        Of the default domain.
    """

    nodes: tuple[NodeProto, ...]
    producer: Mapping[str, int]
    consumers: Mapping[str, tuple[int, ...]]
    constants: Constants
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, int]
    source: str
    dominator: Mapping[str, str]
    depth: Mapping[str, int]
    layout: Mapping[str, str]
    stride: Mapping[str, tuple[float, float]]
    opset: int

    @property
    def batch(self) -> int | None:
        """The number of rows that was wired."""
        return self.shapes[self.source][0]

    def made_by(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and initialisers."""
        index = self.producer.get(tensor)
        return None if index is None else self.nodes[index]

    def users(self, tensor: str) -> list[NodeProto]:
        """The nodes that take a tensor, in order."""
        return [self.nodes[i] for i in self.consumers.get(tensor, ())]

    def is_activation(self, tensor: str) -> bool:
        """Whether a tensor depends on the values of the data input."""
        return tensor in self.depth

    def activations_into(self, node: NodeProto) -> list[str]:
        """The activations that a node takes, without repeats, in order."""
        return list(dict.fromkeys(t for t in node_inputs(node) if t in self.depth))

    def constant(self, tensor: str) -> np.ndarray | None:
        """The value of a small constant; None where the tensor is none."""
        proto = self.constants.get(tensor)
        return None if proto is None else numpy_helper.to_array(proto)

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

    def ancestors(self, tensors: Iterable[str]) -> set[str]:
        """The tensors, where they are activations, and every activation that they are computed from."""
        found: set[str] = set()
        waiting = [t for t in tensors if t in self.depth]
        while waiting:
            tensor = waiting.pop()
            if tensor not in found:
                found.add(tensor)
                node = self.made_by(tensor)
                waiting.extend([] if node is None else self.activations_into(node))
        return found

    def size(self, tensor: str) -> tuple[int, int] | None:
        """Height and width of a map in its own steps, where they are known."""
        return _size(self.shapes.get(tensor), self.layout.get(tensor))

    def axes(self, node: NodeProto) -> tuple[int, ...] | None:
        """The axes that a node names, counted from the front; None where it names none, or none that is known."""
        named = attribute(node, "axes")
        if named is None and len(node.input) > 1 and node.input[1]:
            value = self.constant(node.input[1])
            named = None if value is None else value.ravel().tolist()
        if named is None:
            return None
        rank = len(self.shapes.get(node.input[0], ()))
        return tuple(int(a) + rank if a < 0 else int(a) for a in named)

    def ends_map(self, node: NodeProto) -> bool:
        """Whether a node takes a map to one value a channel: global pooling in any of its spellings."""
        if node.op_type in _GLOBAL_POOLS:
            return True
        layout = self.layout.get(node.input[0]) if node.input else None
        if layout is None:
            return False
        if node.op_type.startswith("Reduce"):
            axes = self.axes(node)
            return axes is None or set(_SPATIAL_AXES[layout]) <= set(axes)
        return node.op_type in WINDOWS and self._covers_map(node)

    def _covers_map(self, node: NodeProto) -> bool:
        """A window as large as the map: pooling of 7 x 7 in old files, a dense layer written as a convolution."""
        kernel = attribute(node, "kernel_shape")
        if kernel is None and node.op_type in CONVOLUTIONS:
            kernel = self.shapes.get(node.input[1], ())[2:]
        size = self.size(node.input[0])
        if size is None or size == (1, 1) or any(attribute(node, "pads") or ()):
            return False
        return tuple(kernel or ()) == size


def input_layout(shape: Shape) -> str:
    """``"nhwc"`` where only the last axis can be the channels of a picture, else ``"nchw"``."""
    return "nhwc" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "nchw"


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
    ordered = _in_order(model.graph.node if nodes is None else nodes)
    consumers: dict[str, list[int]] = {}
    for i, node in enumerate(ordered):
        for name in dict.fromkeys(node_inputs(node)):
            consumers.setdefault(name, []).append(i)
    inferred = infer_shapes(model, ordered, feeds, extra)
    walk = _Walk({}, {source: 0}, {}, {})
    wiring = Wiring(
        nodes=ordered,
        producer={out: i for i, node in enumerate(ordered) for out in node.output if out},
        consumers={name: tuple(indices) for name, indices in consumers.items()},
        constants=inferred.constants,
        shapes=inferred.shapes,
        dtypes=inferred.dtypes,
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
    if node.op_type in WINDOWS:
        _find_again(wiring, walk, node.input[0])
    maps = [t for t in dict.fromkeys(node.input) if t in walk.stride]
    shape = wiring.shapes.get(out)
    if not maps or wiring.ends_map(node):
        return
    if shape is not None and (len(shape) < 4 or shape[0] != wiring.batch):
        return  # tokens, or windows that share the batch axis
    at = max(maps, key=lambda t: walk.stride[t])
    was = walk.layout[at]
    now = _layout_after(node, was)
    vertical, horizontal = walk.stride[at]
    if node.op_type in WINDOWS:
        steps = attribute(node, "strides") or (1, 1)
        vertical, horizontal = vertical * steps[0], horizontal * steps[-1]
    elif node.op_type == "Slice":
        steps = _slice_steps(wiring, node)
        vertical *= steps.get(_SPATIAL_AXES[was][0], 1)
        horizontal *= steps.get(_SPATIAL_AXES[was][1], 1)
    elif node.op_type in _RESAMPLING:
        before, after = wiring.size(at), _size(shape, now)
        if before and after:
            vertical, horizontal = vertical * before[0] / after[0], horizontal * before[1] / after[1]
    walk.layout[out] = now
    walk.stride[out] = (vertical, horizontal)


def _find_again(wiring: Wiring, walk: _Walk, tensor: str) -> None:
    """Tokens laid out as a map again (MobileViT, SegFormer) are one from where a window runs over them."""
    size, whole = _size(wiring.shapes.get(tensor), "nchw"), wiring.size(wiring.source)
    if tensor in walk.stride or tensor not in walk.depth or not size or not whole or size == (1, 1):
        return
    walk.layout[tensor] = "nchw"
    walk.stride[tensor] = (whole[0] / size[0], whole[1] / size[1])


def _layout_after(node: NodeProto, was: str) -> str:
    if node.op_type in WINDOWS:
        return "nchw"
    if node.op_type == "Transpose":
        return _TURNS.get(tuple(attribute(node, "perm") or ()), was)
    return was


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
