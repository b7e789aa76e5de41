"""Where a backbone is frozen: its cut graph split at a boundary into a part for ONNX Runtime and a part for torch.

Both parts come from the one cut graph, so that prefix and suffix, run one after the other, compute what the backbone computes.
Nothing here needs torch. What crosses a boundary are the tensors that the suffix needs and that took weights to compute: at a
dominator one. What took none (the mask of a text, say) is computed again from the samples, which then cross as well. A shape
crosses as arithmetic on the shapes of what crosses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import NodeProto, TensorProto, helper

from featx.backbones.backbone import Backbone
from featx.backbones.feature_space import FeatureSpace
from featx.backbones.shapes import node_inputs
from featx.errors import ParameterError
from featx.finetuning.chain import Candidate, choose_by_share, dominator_chain
from featx.finetuning.parameters import trained_weights
from featx.finetuning.symbolic import SymbolicShapes, shape_nodes, symbolic_shapes
from featx.finetuning.weights import FLOATS, n_elements, read_weight, weight_protos
from featx.finetuning.wires import OWN, SHAPE_READERS, dependents, needed_nodes

__all__ = ["Boundary", "Split", "split_backbone"]


@dataclass(frozen=True, slots=True)
class Boundary:
    """A tensor that crosses from the frozen part to the trained one.

    Parameters
    ----------
    name : str
        What both parts call it: ``boundary_0``..
    tensor : str
        Its name in the graph.
    row_shape : tuple of (int or None)
        Shape of one sample's, None where it differs from sample to sample. float32.
    """

    name: str
    tensor: str
    row_shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A backbone with one feature space, divided at a boundary.

    Parameters
    ----------
    backbone : Backbone
    space : FeatureSpace
        Of the vectors that come out.
    source : {"pixels", "tokens"}
        The samples: uint8 (n, h, w, 3), or int32 (n, t).
    boundary : tuple of Boundary
        What crosses, besides the samples; empty where all is trained.
    prefix : ModelProto or None
        The frozen part: from ``source`` to the boundary, for ONNX Runtime. None where all is trained.
    suffix : ModelProto
        The trained part: from the boundary, and ``source`` where it is among its inputs, to ``embedding_0`` float32 (n, d).
    trainable, frozen : tuple of str
        Names of the weights that training changes, and of those that it would without the boundary.
    n_trainable, n_frozen : int
        Numbers in them.
    """

    backbone: Backbone
    space: FeatureSpace
    source: str
    boundary: tuple[Boundary, ...]
    prefix: onnx.ModelProto | None
    suffix: onnx.ModelProto
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    n_trainable: int
    n_frozen: int


def split_backbone(backbone: Backbone, space: FeatureSpace, boundary: str | float | None = None) -> Split:
    """Divide a backbone into a frozen and a trained part.

    Parameters
    ----------
    backbone : Backbone
    space : FeatureSpace
        Of the backbone: its tap is where the trained part ends. Precision float16 is trained as float32.
    boundary : str, float or None
        The last tap, or tensor, of the frozen part; or the share of the weights to train, above 0 and at most 1, of which as
        much as possible without exceeding it is taken; or None to train everything.

    Raises
    ------
    ParameterError
        The boundary is not before the tap, nothing that can be trained is behind it, or the share is too small or no share.
    GraphError
        No tap or tensor of that name, or the graph cannot be cut.
    """
    cut = _Cut.of(backbone, replace(space, precision="float32"))
    if not cut.trained:
        raise ParameterError(f"tap {space.tap!r}: nothing before it can be trained.")
    if boundary is None or (boundary == 1 and not isinstance(boundary, bool)):
        return Split(
            backbone=backbone,
            space=space,
            source=cut.source,
            boundary=(),
            prefix=None,
            suffix=cut.model,
            trainable=cut.trained,
            frozen=(),
            n_trainable=sum(cut.sizes[name] for name in cut.trained),
            n_frozen=0,
        )
    found = _named(cut, boundary, space, backbone) if isinstance(boundary, str) else _shared(cut, boundary)
    return _divided(cut, backbone, space, found, str(boundary))


@dataclass(frozen=True, slots=True)
class _Cut:
    """The cut graph, and what depends on what in it."""

    model: onnx.ModelProto
    source: str
    trained: tuple[str, ...]
    sizes: dict[str, int]
    of_samples: set[str]
    weighty: set[str]  # depends on samples and on weights: costly to compute again

    @classmethod
    def of(cls, backbone: Backbone, space: FeatureSpace) -> _Cut:
        model = backbone.cut([space])
        external = backbone.external_data(model)
        source = model.graph.input[0].name
        protos = weight_protos(model)
        trained = trained_weights(model, lambda proto: read_weight(proto, external))
        heavy = [
            name for name, proto in protos.items() if proto.data_type in FLOATS and n_elements(proto) > 1
        ]
        of_weights = dependents(model.graph.node, [name for name in heavy if not name.startswith(OWN)])
        of_samples = dependents(model.graph.node, [source])
        sizes = {name: n_elements(proto) for name, proto in protos.items()}
        return cls(model, source, trained, sizes, of_samples, of_samples & of_weights)

    @property
    def nodes(self) -> Sequence[NodeProto]:
        return self.model.graph.node

    @property
    def outputs(self) -> list[str]:
        return [value.name for value in self.model.graph.output]


def _named(cut: _Cut, boundary: str, space: FeatureSpace, backbone: Backbone) -> str:
    tensor = backbone.tap(boundary).tensor
    made = {out for node in cut.nodes for out in node.output}
    for name in (f"original/{tensor}", tensor):  # as a cut graph calls what would clash with its own names
        if name in made and name in cut.weighty:
            return name
    raise ParameterError(
        f"boundary {boundary!r} is not before tap {space.tap!r}, or nothing is computed before it."
    )


def _shared(cut: _Cut, share: float) -> str:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ParameterError(
            f"boundary must be a tap, the share of the weights to train (above 0, at most 1) or None, got {share!r}."
        )
    chain = dominator_chain(cut.nodes, cut.outputs[0], cut.weighty, {n: cut.sizes[n] for n in cut.trained})
    shapes = symbolic_shapes(cut.model, cut.source)
    usable = [
        Candidate(tensor, trained, size)
        for tensor, trained in chain
        if (size := shapes.row_size(tensor)) is not None and not tensor.startswith((OWN, "embedding_"))
    ]
    return choose_by_share(usable, share, sum(cut.sizes[name] for name in cut.trained))


def _divided(cut: _Cut, backbone: Backbone, space: FeatureSpace, tensor: str, asked: str) -> Split:
    shapes = symbolic_shapes(cut.model, cut.source)
    crossing, behind = _behind(cut, tensor, shapes)
    if tensor not in crossing:
        raise ParameterError(f"boundary {asked!r}: tap {space.tap!r} does not depend on it.")
    before = needed_nodes(cut.nodes, crossing)
    held = {name for node in before for name in node_inputs(node)}
    read = {name for node in behind for name in node_inputs(node)}
    for name in crossing if cut.source == "tokens" else ():
        if any(size is not None and size.by_tokens for size in shapes.dims.get(name, ())[2:]):
            raise ParameterError(
                f"boundary {asked!r}: of {name} a text's part is not one vector for each token. Name the output of a layer, as "
                "featx backbones show lists them."
            )
    trainable = tuple(name for name in cut.trained if name in read and name not in held)
    if not trainable:
        raise ParameterError(f"boundary {asked!r}: nothing between it and tap {space.tap!r} can be trained.")
    frozen = tuple(name for name in cut.trained if name not in trainable)
    boundary = tuple(
        Boundary(f"boundary_{i}", name, shapes.row_shape(name)) for i, name in enumerate(crossing)
    )
    return Split(
        backbone=backbone,
        space=space,
        source=cut.source,
        boundary=boundary,
        prefix=_prefix(cut, before, boundary, shapes),
        suffix=_suffix(cut, behind, boundary, shapes),
        trainable=trainable,
        frozen=frozen,
        n_trainable=sum(cut.sizes[name] for name in trainable),
        n_frozen=sum(cut.sizes[name] for name in frozen),
    )


def _behind(cut: _Cut, tensor: str, shapes: SymbolicShapes) -> tuple[list[str], list[NodeProto]]:
    """Tensors that cross, the asked one first, and the nodes behind them."""
    before = needed_nodes(cut.nodes, [tensor])
    frozen = cut.weighty.intersection(out for node in before for out in node.output)
    crossing, followed = [tensor], set[str]()
    while True:
        kept, missing = _walk_back(cut, set(crossing), frozen, followed)
        crossing += missing
        made = {out for node in kept for out in node.output} | set(crossing)
        read = {name for node in kept if node.op_type not in SHAPE_READERS for name in node_inputs(node)}
        # A tensor is not carried over for the sake of its shape alone, where that can be told from another one's.
        there = made | ({cut.source} if cut.source in read else set())
        reference = cut.source if cut.source in there else tensor
        settled: list[NodeProto] = []
        unknown = list(missing)
        for i, node in enumerate(kept):
            looked_at = node.input[0] if node.op_type in SHAPE_READERS else ""
            told = None
            if looked_at in cut.of_samples and looked_at not in there | followed:
                told = shape_nodes(node, shapes, reference, prefix=f"{OWN}split{i}")
                if told is None:
                    unknown.append(looked_at)
            settled += told or [node]
        if not unknown:
            used = {name for node in settled for name in node_inputs(node)}
            return [name for name in crossing if name in used], settled
        crossing += [name for name in dict.fromkeys(unknown) if name in frozen and name not in crossing]
        followed.update(name for name in unknown if name not in frozen)


def _walk_back(
    cut: _Cut, crossing: set[str], frozen: set[str], followed: set[str]
) -> tuple[list[NodeProto], list[str]]:
    """Nodes from what crosses to the outputs, and frozen tensors that they need besides."""
    wanted, kept, missing = set(cut.outputs) | followed, [], []
    wanted -= crossing
    for node in reversed(cut.nodes):
        if wanted.isdisjoint(node.output):
            continue
        kept.append(node)
        for name in node_inputs(node):
            looked_at = node.op_type in SHAPE_READERS and name in cut.of_samples and name not in followed
            if name in crossing or looked_at:
                continue
            if name in frozen:
                missing.append(name)
            else:
                wanted.add(name)
    return kept[::-1], list(dict.fromkeys(missing))


# The two models


def _prefix(
    cut: _Cut, nodes: Sequence[NodeProto], boundary: Sequence[Boundary], shapes: SymbolicShapes
) -> onnx.ModelProto:
    ends = [_as_type(one.tensor, one.name, shapes.dtypes[one.tensor], TensorProto.FLOAT) for one in boundary]
    outputs = [_declared(one, cut, shapes) for one in boundary]
    return _model(cut, [*nodes, *ends], cut.model.graph.input, outputs)


def _suffix(
    cut: _Cut, nodes: Sequence[NodeProto], boundary: Sequence[Boundary], shapes: SymbolicShapes
) -> onnx.ModelProto:
    starts = []
    for one in boundary:
        dtype = shapes.dtypes[one.tensor]
        starts.append(_as_type(one.name, one.tensor, TensorProto.FLOAT, dtype))
    inputs = [_declared(one, cut, shapes) for one in boundary]
    if any(cut.source in node_inputs(node) for node in nodes):
        inputs += cut.model.graph.input
    return _model(cut, [*starts, *nodes], inputs, cut.model.graph.output)


def _as_type(taken: str, made: str, now: int, wanted: int) -> NodeProto:
    if now == wanted or now not in FLOATS or wanted not in FLOATS:
        return helper.make_node("Identity", [taken], [made])
    return helper.make_node("Cast", [taken], [made], to=wanted)


def _declared(one: Boundary, cut: _Cut, shapes: SymbolicShapes) -> onnx.ValueInfoProto:
    dtype = shapes.dtypes[one.tensor]
    rows = shapes.dims.get(one.tensor, (None,))[0]
    fixed = rows is not None and not rows.by_rows
    first = rows.factor if rows is not None and fixed else "n"
    axes = [size if size is not None else f"{one.name}_{i}" for i, size in enumerate(one.row_shape, 1)]
    return helper.make_tensor_value_info(
        one.name, TensorProto.FLOAT if dtype in FLOATS else dtype, [first, *axes]
    )


def _model(
    cut: _Cut,
    nodes: Sequence[NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=cut.model.ir_version, producer_name="featx")
    model.opset_import.extend(cut.model.opset_import)
    model.graph.name = "featx"
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    model.graph.output.extend(outputs)
    read = {name for node in nodes for name in node_inputs(node)}
    model.graph.initializer.extend(t for t in cut.model.graph.initializer if t.name in read)
    return model
