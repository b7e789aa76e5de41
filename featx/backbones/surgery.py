"""A graph cut at taps: from uint8 pixels to (n, d) float32 vectors, all inside one ONNX graph.

The cut graph has one input, ``pixels``, uint8 (n, h, w, 3) in RGB order, and one output a tap, ``embedding_0``,
``embedding_1``... Casting, channel order, scaling and normalisation come before the original nodes, pooling after
them; nodes and weights that no tap needs are left out, and so are doc strings and metadata, in which exporters leave
paths of their machine. Weights in external files are still referred to by name. The same arguments always give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.batch import free_batch
from featx.backbones.graph import GraphInfo, Tap, wire_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.shapes import node_inputs
from featx.errors import GraphError, ParameterError

__all__ = ["GEM_EPS", "GEM_P", "POOLINGS", "cut_image_graph", "resolve_pooling"]

POOLINGS = {
    "vector": ("none",),
    "map": ("avg", "max", "gem"),
    "tokens": ("cls", "mean", "max"),
}
"""What can be done with each kind of tap; ``"auto"`` is one of them."""

# Generalised mean pooling, Radenovic, Tolias and Chum 2018, eq. 3, with the exponent and the floor of their code.
GEM_P = 3.0
GEM_EPS = 1e-6

# Weights of red, green and blue in ITU-R BT.601 luma, as in PIL's conversion to "L".
_LUMA_601 = (0.299, 0.587, 0.114)

_OWN = "featx/"
_OLDEST_IR = 4  # the first in which a weight need not be listed as an input


def resolve_pooling(info: GraphInfo, tap: Tap, pooling: str) -> str:
    """The pooling that a tap gets, with ``"auto"`` spelled out.

    ``"auto"`` is ``"none"`` for a vector, ``"avg"`` for a map, and for tokens ``"cls"`` where the graph puts a class token before
    them, else ``"mean"``. ``"mean"`` and ``"max"`` of tokens leave class token and registers out.

    Raises
    ------
    ParameterError
        If the pooling is unknown or does not fit the tap.
    """
    fitting = POOLINGS[tap.kind]
    if pooling == "auto":
        return ("cls" if tap.n_prefix_tokens else "mean") if tap.kind == "tokens" else fitting[0]
    if pooling not in fitting:
        shape = "x".join(str(d) for d in tap.resolution or ())
        what = (
            f"a {tap.kind} of {shape} with"
            if shape
            else f"{tap.kind} of"
            if tap.kind == "tokens"
            else "a vector of"
        )
        raise ParameterError(
            f"pooling={pooling!r} does not fit tap {tap.name!r}, {what} {tap.channels} channels. "
            f"Expected auto, {', '.join(fitting)}."
        )
    return pooling


def cut_image_graph(
    model: onnx.ModelProto,
    info: GraphInfo,
    taps: Sequence[Tap],
    *,
    poolings: Sequence[str],
    preprocess: ImagePreprocess,
    precision: str = "float32",
) -> onnx.ModelProto:
    """Cut a graph at taps and put preprocessing and pooling inside.

    Parameters
    ----------
    model : ModelProto
        From ``load_graph``. Not changed.
    info : GraphInfo
        Of the same model.
    taps : sequence of Tap
        At least one.
    poolings : sequence of str
        One a tap: ``"auto"`` or one of ``POOLINGS``.
    preprocess : ImagePreprocess
        Scale, mean, standard deviation and channel order go into the graph; its output size must be the graph's.
    precision : {"float32"}
        Of the arithmetic. A graph whose own weights are float16 computes in float16 as it stands.

    Returns
    -------
    ModelProto
        Input ``pixels`` uint8 (n, h, w, 3), 0 to 255, RGB; outputs ``embedding_<i>`` float32 (n, d_i). ``n`` is
        ``info.fixed_batch`` where that is set.

    Raises
    ------
    GraphError
        If the graph takes no pictures, needs further inputs, or takes another size than the preprocessing makes.
    ParameterError
        If a pooling does not fit its tap, or the precision is unknown.
    """
    if precision != "float32":
        raise ParameterError(f"precision={precision!r} is not supported. Expected 'float32'.")
    if len(taps) != len(poolings) or not taps:
        raise ParameterError(
            f"expected one pooling a tap and at least one tap, got {len(taps)} and {len(poolings)}."
        )
    if info.modality != "image":
        raise GraphError(f"the graph takes {info.modality} (input {info.input_name!r}), not pictures.")
    size = _agreed_size(info, preprocess)
    nodes, constants = _any_batch_nodes(model, info)
    outputs = [f"embedding_{i}" for i in range(len(taps))]
    names = _Names(frozenset(["pixels", *outputs]))
    cut = _Writer(info.opset)
    cut.pixels_to_input(info, preprocess, names.free(info.input_name))
    cut.nodes += [names.cleaned(node) for node in _needed(nodes, [tap.tensor for tap in taps])]
    for tap, pooling, out in zip(taps, poolings, outputs, strict=True):
        cut.pool(names.free(tap.tensor), tap, resolve_pooling(info, tap, pooling), out)
    initialisers = [(names.free(t.name), t) for t in (*model.graph.initializer, *constants)]
    initialisers += [(t.name, t) for t in cut.constants]
    return _assemble(model, cut.nodes, initialisers, n=info.fixed_batch or "n", size=size, taps=taps)


def _agreed_size(info: GraphInfo, preprocess: ImagePreprocess) -> tuple[int | str, int | str]:
    made = preprocess.output_size
    if info.input_size is None:
        return made or ("height", "width")
    if made != info.input_size:
        expected = "x".join(str(d) for d in info.input_size)
        found = "pictures of any size" if made is None else "x".join(str(d) for d in made)
        raise GraphError(
            f"the graph takes {expected} pixels, the preprocessing makes {found}. Give a preprocessing whose crop, or exact "
            f"size, is {info.input_size}, or a file exported with dynamic height and width."
        )
    return info.input_size


def _any_batch_nodes(
    model: onnx.ModelProto, info: GraphInfo
) -> tuple[Sequence[NodeProto], Sequence[TensorProto]]:
    wiring = wire_graph(model)
    freed = free_batch(model, wiring) if info.fixed_batch is None else None
    return (wiring.nodes, ()) if freed is None else (freed.nodes, freed.constants)


def _needed(nodes: Sequence[NodeProto], tensors: Iterable[str]) -> list[NodeProto]:
    """The nodes that the tensors are computed from, in order."""
    wanted = set(tensors)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node_inputs(node))
    return kept[::-1]


def _one_channel(factor: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.ptp(factor) or np.ptp(offset):
        raise GraphError(
            "the graph takes one grey channel, and the preprocessing has different mean or std for its channels. "
            "Give the network's one mean and one std three times."
        )
    return factor[:1], offset[:1]


@dataclass(slots=True)
class _Writer:
    """Nodes and constants of featx's own, valid in the opset of the graph they join."""

    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"{_OWN}{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{_OWN}{op}_{out}", **attributes))
        return out

    def constant(self, values: object, dtype: type[np.generic]) -> str:
        name = f"{_OWN}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def reduce(self, op: str, tensor: str, axes: Sequence[int]) -> str:
        # The axes of reductions became an input with opset 18.
        if self.opset >= 18:
            return self.add(op, tensor, self.constant(axes, np.int64), keepdims=0)
        return self.add(op, tensor, axes=list(axes), keepdims=0)

    def at_least(self, tensor: str, floor: float) -> str:
        if self.opset >= 11:
            return self.add("Clip", tensor, self.constant(floor, np.float32))
        return self.add("Clip", tensor, min=floor)

    def from_token(self, tensor: str, first: int) -> str:
        if self.opset >= 10:
            starts, ends, axes = ([first], [2**31 - 1], [1])
            return self.add("Slice", tensor, *(self.constant(v, np.int64) for v in (starts, ends, axes)))
        return self.add("Slice", tensor, starts=[first], ends=[2**31 - 1], axes=[1])

    def pixels_to_input(self, info: GraphInfo, preprocess: ImagePreprocess, out: str) -> None:
        """From ``pixels`` to the tensor that was the graph's input: channel order, type, scale and mean, layout.

        The order is what measured fastest: turned to planes while a pixel is one byte, and for an NHWC graph turned
        back at the end, where the runtime cancels it against the graph's own transpose. Multiplying along a last
        axis of three is eight times slower.
        """
        std = np.asarray(preprocess.std, np.float64)
        factor, offset = preprocess.scale / std, -np.asarray(preprocess.mean, np.float64) / std
        tensor = self.add("Transpose", "pixels", perm=[0, 3, 1, 2])
        if info.channels == 1:
            factor, offset = _one_channel(factor, offset)
        elif preprocess.channel_order == "bgr":
            tensor = self.add("Gather", tensor, self.constant([2, 1, 0], np.int64), axis=1)
        tensor = self.add("Cast", tensor, to=TensorProto.FLOAT)
        if info.channels == 1:
            luma = self.constant(np.reshape(_LUMA_601, (1, 3, 1, 1)), np.float32)
            tensor = self.add("Conv", tensor, luma)
        tensor = self.add("Mul", tensor, self.constant(factor.reshape(-1, 1, 1), np.float32))
        tensor = self.add("Add", tensor, self.constant(offset.reshape(-1, 1, 1), np.float32))
        if info.layout == "nhwc":
            tensor = self.add("Transpose", tensor, perm=[0, 2, 3, 1])
        self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(info.input_dtype)), out=out)

    def pool(self, tensor: str, tap: Tap, pooling: str, out: str) -> None:
        """From a tap to (n, d) float32; sums are taken in float32 whatever the graph computes in."""
        tensor = self.add("Cast", tensor, to=TensorProto.FLOAT)
        if pooling == "gem":
            tensor = self.add("Pow", self.at_least(tensor, GEM_EPS), self.constant(GEM_P, np.float32))
        if tap.kind == "map":
            tensor = self._pool_map(tensor, "ReduceMax" if pooling == "max" else "ReduceMean", tap)
        elif tap.kind == "tokens":
            tensor = self._pool_tokens(tensor, pooling, tap.n_prefix_tokens)
        if pooling == "gem":
            tensor = self.add("Pow", tensor, self.constant(1 / GEM_P, np.float32))
        self.add("Reshape", tensor, self.constant([-1, tap.channels], np.int64), out=out)

    def _pool_map(self, tensor: str, op: str, tap: Tap) -> str:
        if tap.layout == "nhwc":
            return self.reduce(op, tensor, [1, 2])
        return self.add("GlobalMaxPool" if op == "ReduceMax" else "GlobalAveragePool", tensor)

    def _pool_tokens(self, tensor: str, pooling: str, n_prefix: int) -> str:
        if pooling == "cls":
            return self.add("Gather", tensor, self.constant(0, np.int64), axis=1)
        if n_prefix:
            tensor = self.from_token(tensor, n_prefix)
        return self.reduce("ReduceMax" if pooling == "max" else "ReduceMean", tensor, [1])


@dataclass(frozen=True, slots=True)
class _Names:
    """Keeps the original graph's tensors clear of the names that the cut graph promises."""

    promised: frozenset[str]

    def free(self, name: str) -> str:
        return f"original/{name}" if name in self.promised else name

    def cleaned(self, node: NodeProto) -> NodeProto:
        """A copy of a node without doc string and metadata, its tensors under free names."""
        copy = NodeProto()
        copy.CopyFrom(node)
        self._clean(copy)
        return copy

    def _clean(self, node: NodeProto) -> None:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for names in (node.input, node.output):
            names[:] = [self.free(name) for name in names]
        for item in node.attribute:
            item.ClearField("doc_string")
            for graph in [item.g] if item.type == onnx.AttributeProto.GRAPH else item.graphs:
                for value in (*graph.input, *graph.output, *graph.initializer):
                    value.name = self.free(value.name)
                for inner in graph.node:
                    self._clean(inner)


def _assemble(
    model: onnx.ModelProto,
    nodes: Sequence[NodeProto],
    initialisers: Sequence[tuple[str, TensorProto]],
    *,
    n: int | str,
    size: tuple[int | str, int | str],
    taps: Sequence[Tap],
) -> onnx.ModelProto:
    cut = onnx.ModelProto(ir_version=max(model.ir_version, _OLDEST_IR), producer_name="featx")
    cut.opset_import.extend(model.opset_import)
    cut.graph.name = "featx"
    cut.graph.node.extend(nodes)
    cut.graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, [n, *size, 3]))
    for i, tap in enumerate(taps):
        shape = [n, tap.channels]
        cut.graph.output.append(helper.make_tensor_value_info(f"embedding_{i}", TensorProto.FLOAT, shape))
    read = {name for node in nodes for name in node_inputs(node)}
    made = {"pixels", *(out for node in nodes for out in node.output)}
    for name, tensor in initialisers:
        if name in read - made:
            made.add(name)
            kept = cut.graph.initializer.add()
            kept.CopyFrom(tensor)
            kept.name = name
            kept.ClearField("doc_string")
    if missing := sorted(read - made):
        raise GraphError(
            f"the taps need further inputs: {', '.join(missing)}. featx feeds pictures only: export the picture encoder alone."
        )
    return cut
