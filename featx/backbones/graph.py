"""What an ONNX graph is: the input that takes the samples, and the taps at which it can be read.

``inspect_graph`` describes a graph and names its taps: ``stage1``.. of convolutional networks, ``layer1``.. of
transformers, and ``pooled``, the vector before the head. ``find_tap`` adds any other tensor by its own name. Taps are
found by structure (see ``head``, ``stages`` and ``layers``), never by the names of tensors. Nothing here runs or
changes a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from featx.backbones.batch import NOMINAL_BATCH, coupling_op, free_batch
from featx.backbones.data_input import find_data_input
from featx.backbones.head import find_pooled
from featx.backbones.layers import count_prefix_tokens, find_layers
from featx.backbones.onnx_file import count_parameters, external_data, external_files, load_graph
from featx.backbones.shapes import Shape, main_opset
from featx.backbones.stages import find_stages
from featx.backbones.walks import FLOATS
from featx.backbones.wiring import Wiring, wire
from featx.errors import GraphError, did_you_mean

__all__ = [
    "GraphInfo",
    "Tap",
    "external_data",
    "external_files",
    "find_tap",
    "inspect_graph",
    "load_graph",
    "wire_graph",
]

OLDEST_OPSET = 7  # before it, broadcasting was an attribute; ONNX Runtime promises nothing below it either


@dataclass(frozen=True, slots=True)
class Tap:
    """A tensor of a graph that can become one vector a sample.

    Attributes
    ----------
    name : str
        ``"pooled"``, ``"stage1"``.., ``"layer1"``.., or the tensor's own name.
    tensor : str
        Its name in the graph.
    kind : {"vector", "map", "tokens"}
        (n, d) or (n, d, 1, 1); a map with height and width; (n, tokens, d).
    channels : int
        Length of the vector that pooling makes.
    resolution : (int, int) or None
        Height and width of a map in its own steps, where the file fixes the input's size.
    layout : {"nchw", "nhwc"} or None
        Of a map.
    n_prefix_tokens : int
        Leading tokens that stand for no part of the picture: the class token, then registers.
    """

    name: str
    tensor: str
    kind: str
    channels: int
    resolution: tuple[int, int] | None = None
    layout: str | None = None
    n_prefix_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What ``inspect_graph`` found.

    Attributes
    ----------
    modality : {"image", "text"}
    input_name : str
        The input that takes the samples.
    input_dtype : str
        ``"float32"`` or ``"float16"`` for pictures, ``"int64"`` or ``"int32"`` for token ids.
    layout : {"nchw", "nhwc"} or None
        Of the input picture; None for text.
    input_size : (int, int) or None
        Height and width that the file fixes, in pixels.
    fixed_batch : int or None
        The number of rows that a cut graph still insists on; None where it takes any.
    taps : tuple of Tap
        Named taps in the order data flows, ``pooled`` last. It is missing where a graph has several outputs.
    n_parameters : int
        Numbers in all weights.
    opset : int
    producer : str
        The program that wrote the file, with its version.
    coupled_by : str or None
        Type of the operator through which the rows of a batch change each other, where one is visible.
    channels : int
        3, or 1 for a network that takes grey pictures; 0 for text.
    outputs : tuple of str
        The graph's own outputs.
    n_tokens : int or None
        The length of a text that the file fixes; None where it takes any, and for pictures.
    """

    modality: str
    input_name: str
    input_dtype: str
    layout: str | None
    input_size: tuple[int, int] | None
    fixed_batch: int | None
    taps: tuple[Tap, ...]
    n_parameters: int
    opset: int
    producer: str
    coupled_by: str | None
    channels: int
    outputs: tuple[str, ...]
    n_tokens: int | None = None


def inspect_graph(model: onnx.ModelProto) -> GraphInfo:
    """Describe a graph: its input, its taps, and what limits how it may be run.

    Parameters
    ----------
    model : ModelProto
        From ``load_graph``. Not changed.

    Raises
    ------
    GraphError
        If no input takes pictures or token ids, or the operators are older than opset 7.
    """
    opset = main_opset(model)
    if opset < OLDEST_OPSET:
        raise GraphError(
            f"the graph uses opset {opset}, featx needs {OLDEST_OPSET} or later. Convert it with "
            "onnx.version_converter.convert_version(model, 13) and compare its outputs with the original's."
        )
    source = find_data_input(model)
    wiring = wire(model, source.name, source.feeds)
    outputs = tuple(v.name for v in model.graph.output)
    fixed = source.batch
    if fixed is not None and free_batch(model, wiring) is not None:
        fixed = None
    return GraphInfo(
        modality=source.modality,
        input_name=source.name,
        input_dtype=source.dtype,
        layout=source.layout,
        input_size=source.size,
        fixed_batch=fixed,
        taps=_named_taps(wiring, outputs, sized=source.size is not None),
        n_parameters=count_parameters(model),
        opset=opset,
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        coupled_by=coupling_op(wiring),
        channels=source.channels,
        outputs=outputs,
        n_tokens=source.tokens,
    )


def find_tap(info: GraphInfo, model: onnx.ModelProto, name: str) -> Tap:
    """A named tap, or the tap at any tensor by its own name.

    Raises
    ------
    GraphError
        If there is no such tap or tensor, or the tensor cannot become one vector a sample. The message lists the
        taps there are.
    """
    for tap in info.taps:
        if tap.name == name:
            return tap
    wiring = wire_graph(model)
    found = _tap_at(wiring, name, name, sized=info.input_size is not None)
    if found is not None:
        return found
    known = ", ".join(t.name for t in info.taps) or "none"
    raise GraphError(
        f"{_why_no_tap(info, wiring, name)}. Taps of this graph: {known}; or name any float tensor of it."
        f"{'' if name in wiring.shapes else did_you_mean(name, [t.name for t in info.taps])}"
    )


def _why_no_tap(info: GraphInfo, wiring: Wiring, name: str) -> str:
    if name == "pooled":
        outputs = ", ".join(f"{t} {_shape_text(wiring.shapes.get(t))}" for t in info.outputs)
        reason = f"the graph does not end in one vector, map or token sequence (its outputs: {outputs})"
    elif name in wiring.shapes:
        shape = _shape_text(wiring.shapes[name])
        reason = f"tensor {name!r} of shape {shape} cannot become one float vector a sample"
    else:
        reason = f"no tap and no tensor is named {name!r}"
    if any(node.op_type.startswith("QLinear") for node in wiring.nodes):
        reason += "; its activations are 8-bit (QLinear operators), so quantise it in the QDQ format instead"
    return reason


def wire_graph(model: onnx.ModelProto) -> Wiring:
    """The wiring of a graph at the input shape that ``inspect_graph`` looks at it with."""
    source = find_data_input(model)
    return wire(model, source.name, source.feeds)


def _shape_text(shape: Shape | None) -> str:
    if shape is None:
        return "(unknown)"
    return "(" + ", ".join("n" if d == NOMINAL_BATCH else "?" if d is None else str(d) for d in shape) + ")"


# Taps


def _named_taps(wiring: Wiring, outputs: Sequence[str], *, sized: bool) -> tuple[Tap, ...]:
    """The named taps in the order data flows, ``pooled`` last, where the graph ends in a way that is known."""
    pooled = find_pooled(wiring, outputs)
    ends = [t for t in outputs if wiring.is_activation(t)] if pooled is None else [pooled]
    stages, layers = find_stages(wiring, ends), find_layers(wiring, ends)
    if layers and len(stages) < 2:
        stages = []  # the patch embedding of a vision transformer is its only map, and no stage
    named = [(f"stage{i}", t) for i, t in enumerate(stages, 1)]
    named += [(f"layer{i}", t) for i, t in enumerate(layers, 1)]
    named += [] if pooled is None else [("pooled", pooled)]
    found = [_tap_at(wiring, name, tensor, sized=sized) for name, tensor in named]
    return tuple(tap for tap in found if tap is not None)


def _tap_at(wiring: Wiring, name: str, tensor: str, *, sized: bool) -> Tap | None:
    """The tap at one tensor; None where it cannot become one vector a sample."""
    shape = wiring.shapes.get(tensor, ())
    if not wiring.is_activation(tensor) or wiring.dtypes.get(tensor) not in FLOATS:
        return None
    if not shape or shape[0] not in (wiring.batch, None):
        return None
    if tensor in wiring.stride:
        layout = wiring.layout[tensor]
        channels = shape[1 if layout == "nchw" else -1]
        resolution = wiring.size(tensor) if sized else None
        return None if channels is None else Tap(name, tensor, "map", channels, resolution, layout)
    width = _vector_width(shape)
    if width is not None:
        return Tap(name, tensor, "vector", width)
    if len(shape) == 3 and shape[2] is not None:
        return Tap(name, tensor, "tokens", shape[2], n_prefix_tokens=count_prefix_tokens(wiring, tensor))
    return None


def _vector_width(shape: Shape) -> int | None:
    """The width of (n, d), (n, d, 1, 1) or (n, 1, 1, d)."""
    if len(shape) == 2:
        return shape[1]
    if len(shape) == 4 and shape[2:] == (1, 1):
        return shape[1]
    return shape[3] if len(shape) == 4 and shape[1:3] == (1, 1) else None
