"""A graph cut at taps: from uint8 pixels or token ids to (n, d) float32 vectors, all inside one ONNX graph.

The cut graph has one input, ``pixels``, uint8 (n, h, w, 3) in RGB order, or ``tokens``, int32 (n, t) with -1 behind the
end of a row, and one output a tap, ``embedding_0``, ``embedding_1``... Casting, channel order, scaling, masks and
positions come before the original nodes, pooling and what follows it after them; nodes and weights that no tap needs are
left out, and so are doc strings and metadata, in which exporters leave paths of their machine. Weights in external files
are still referred to by name. The same arguments always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, helper

from featx.backbones.batch import free_batch
from featx.backbones.data_input import is_of_tokens
from featx.backbones.graph import GraphInfo, Tap, wire_graph
from featx.backbones.in_graph import GEM_EPS, GEM_P, POOLINGS, Writer, resolve_pooling
from featx.backbones.precision import in_float16
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.repeatable import unrepeatable_op
from featx.backbones.shapes import node_inputs, type_and_dims
from featx.backbones.text_in_graph import TextEnd, TextTokens, pool_texts, tokens_to_inputs
from featx.backbones.wiring import Wiring
from featx.errors import GraphError, ParameterError

__all__ = [
    "GEM_EPS",
    "GEM_P",
    "POOLINGS",
    "PRECISIONS",
    "cut_image_graph",
    "cut_text_graph",
    "resolve_pooling",
]

PRECISIONS = ("float32", "float16")

_OLDEST_IR = 4  # the first in which a weight need not be listed as an input


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
    precision : {"float32", "float16"}
        Of the arithmetic between scaled pixels and taps. A file whose own weights are float16 computes in float16 under
        either name.

    Returns
    -------
    ModelProto
        Input ``pixels`` uint8 (n, h, w, 3), 0 to 255, RGB; outputs ``embedding_<i>`` float32 (n, d_i). ``n`` is
        ``info.fixed_batch`` where that is set.

    Raises
    ------
    GraphError
        If the graph takes no pictures, needs further inputs, or takes another size than the preprocessing makes; or a tap
        depends on chance or on earlier runs, because the network was exported in training mode.
    ParameterError
        If a pooling does not fit its tap, or the precision is unknown or too narrow for a constant of the graph.
    """
    _check_cut(info, "image", taps, poolings, precision)
    size = _agreed_size(info, preprocess)

    def before(writer: Writer, names: _Names, dtype: str) -> None:
        writer.pixels_to_input(info, preprocess, dtype=dtype, out=names.free(info.input_name))

    def after(writer: Writer, names: _Names) -> None:
        for i, (tap, pooling) in enumerate(zip(taps, poolings, strict=True)):
            resolved = resolve_pooling(info, tap, pooling)
            writer.pool(names.free(tap.tensor), tap, resolved, f"embedding_{i}")

    inside = _body(model, info, taps, precision, "pixels", before, after)
    shape = [info.fixed_batch or "n", *size, 3]
    source = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    return _assemble(model, inside, source, shape[0], [tap.channels for tap in taps])


def cut_text_graph(
    model: onnx.ModelProto,
    info: GraphInfo,
    taps: Sequence[Tap],
    *,
    ends: Sequence[TextEnd],
    pad_id: int,
    first_position: int = 0,
    precision: str = "float32",
) -> onnx.ModelProto:
    """Cut a graph of texts at taps and put masks, pooling and what follows it inside.

    Parameters
    ----------
    model : ModelProto
        From ``load_graph``. Not changed.
    info : GraphInfo
        Of the same model.
    taps : sequence of Tap
        At least one.
    ends : sequence of TextEnd
        One a tap, poolings resolved.
    pad_id : int
        The id that stands behind the end of a row.
    first_position : int
        Of the first token, where the graph takes positions.
    precision : {"float32", "float16"}

    Returns
    -------
    ModelProto
        Input ``tokens`` int32 (n, t), -1 behind the end of a row; outputs ``embedding_<i>`` float32 (n, d_i). ``n`` is
        ``info.fixed_batch`` and ``t`` ``info.n_tokens`` where these are set.

    Raises
    ------
    GraphError
        If the graph takes no token ids, needs further inputs, or a tap depends on chance or on earlier runs.
    ParameterError
        If a pooling does not fit its tap, or the precision is unknown or too narrow for a constant of the graph.
    """
    _check_cut(info, "text", taps, ends, precision)
    weights = {t.name for t in model.graph.initializer}
    declared = {v.name: type_and_dims(v.type) for v in model.graph.input if v.name not in weights}
    of_tokens = {n: t for n, (t, dims) in declared.items() if is_of_tokens(n, t, dims)}

    def before(writer: Writer, names: _Names, dtype: str) -> None:
        inputs = {names.free(name): kind for name, kind in of_tokens.items()}
        ids = names.free(info.input_name)
        tokens.append(tokens_to_inputs(writer, inputs, ids=ids, pad_id=pad_id, first_position=first_position))

    def after(writer: Writer, names: _Names) -> None:
        for i, (tap, end) in enumerate(zip(taps, ends, strict=True)):
            resolve_pooling(info, tap, end.pooling)
            pool_texts(writer, names.free(tap.tensor), tap, tokens[0], end, f"embedding_{i}")

    tokens: list[TextTokens] = []
    inside = _body(model, info, taps, precision, "tokens", before, after)
    shape = [info.fixed_batch or "n", info.n_tokens or "t"]
    source = helper.make_tensor_value_info("tokens", TensorProto.INT32, shape)
    widths = [
        len(end.dense[-1][0]) if end.dense else tap.channels for tap, end in zip(taps, ends, strict=True)
    ]
    return _assemble(model, inside, source, shape[0], widths)


def _check_cut(
    info: GraphInfo, modality: str, taps: Sequence[Tap], ends: Sequence[object], precision: str
) -> None:
    if precision not in PRECISIONS:
        raise ParameterError(f"precision={precision!r} is unknown. Expected {' or '.join(PRECISIONS)}.")
    if len(taps) != len(ends) or not taps:
        raise ParameterError(
            f"expected one pooling a tap and at least one tap, got {len(taps)} and {len(ends)}."
        )
    if info.modality != modality:
        kinds = {"image": "pictures", "text": "token ids"}
        estimators = {"image": "ImageFeatures", "text": "TextFeatures"}
        raise GraphError(
            f"the graph takes {kinds[info.modality]} (input {info.input_name!r}), not {kinds[modality]}: "
            f"{estimators[info.modality]} is its estimator."
        )


@dataclass(frozen=True, slots=True)
class _Inside:
    """Nodes in order, and the initialisers that they may use, under their names."""

    nodes: list[NodeProto]
    initialisers: list[tuple[str, TensorProto]]


def _body(
    model: onnx.ModelProto,
    info: GraphInfo,
    taps: Sequence[Tap],
    precision: str,
    source: str,
    before: Callable[[Writer, _Names, str], None],
    after: Callable[[Writer, _Names], None],
) -> _Inside:
    """The original nodes that the taps need, with featx's own before and behind them."""
    names = _Names(frozenset([source, *(f"embedding_{i}" for i in range(len(taps)))]))
    wiring = wire_graph(model)
    _refuse_unrepeatable(wiring, taps)
    nodes, constants = _any_batch_nodes(model, info, wiring)
    body = [names.cleaned(node) for node in _needed(nodes, [tap.tensor for tap in taps])]
    initialisers = [(names.free(t.name), t) for t in (*model.graph.initializer, *constants)]
    dtype = info.input_dtype
    if precision == "float16" and dtype != "float16":
        body, initialisers = in_float16(body, initialisers)
        dtype = precision
    writer = Writer(info.opset)
    before(writer, names, dtype)
    writer.nodes += body
    after(writer, names)
    return _Inside(writer.nodes, initialisers + [(t.name, t) for t in writer.constants])


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


def _refuse_unrepeatable(wiring: Wiring, taps: Sequence[Tap]) -> None:
    """One vector a sample holds for graphs that give a sample one vector."""
    for tap in taps:
        op = unrepeatable_op(_needed(wiring.nodes, [tap.tensor]), wiring)
        if op is not None:
            raise GraphError(
                f"tap {tap.name!r} depends on {op}, whose result changes from run to run: the network was exported in training "
                "mode. Export it in evaluation mode (PyTorch: model.eval()), or take a tap before that operator."
            )


def _any_batch_nodes(
    model: onnx.ModelProto, info: GraphInfo, wiring: Wiring
) -> tuple[Sequence[NodeProto], Sequence[TensorProto]]:
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
    model: onnx.ModelProto, inside: _Inside, source: onnx.ValueInfoProto, n: int | str, widths: Sequence[int]
) -> onnx.ModelProto:
    cut = onnx.ModelProto(ir_version=max(model.ir_version, _OLDEST_IR), producer_name="featx")
    cut.opset_import.extend(model.opset_import)
    cut.graph.name = "featx"
    cut.graph.node.extend(inside.nodes)
    cut.graph.input.append(source)
    for i, width in enumerate(widths):
        cut.graph.output.append(
            helper.make_tensor_value_info(f"embedding_{i}", TensorProto.FLOAT, [n, width])
        )
    read = {name for node in inside.nodes for name in node_inputs(node)}
    made = {source.name, *(out for node in inside.nodes for out in node.output)}
    for name, tensor in inside.initialisers:
        if name in read - made:
            made.add(name)
            kept = cut.graph.initializer.add()
            kept.CopyFrom(tensor)
            kept.name = name
            kept.ClearField("doc_string")
    if missing := sorted(read - made):
        what = "pictures" if source.name == "pixels" else "token ids, their mask, types and positions"
        raise GraphError(
            f"the taps need further inputs: {', '.join(missing)}. featx feeds {what} only: export the encoder alone."
        )
    return cut
