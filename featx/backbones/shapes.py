"""ONNX protobufs read: attributes, constants, and the shape of every tensor at one concrete input shape.

Shapes are inferred on a copy without the large initialisers, so gigabytes of weights cost nothing. onnx's own inference
follows most arithmetic on shapes; where it stops (the ``Expand`` of a class token to a computed shape, say), the few nodes
that compute the value are evaluated and inference goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper

__all__ = [
    "SMALL_TENSOR_ELEMENTS",
    "Constants",
    "Shape",
    "attribute",
    "infer_shapes",
    "is_stored_outside",
    "main_opset",
    "node_inputs",
    "type_and_dims",
]

Shape = tuple[int | None, ...]
Constants = Mapping[str, TensorProto]

# Larger tensors never say anything about a shape; inference is shown their own shapes only.
SMALL_TENSOR_ELEMENTS = 1024

# Each round settles at least one tensor; the files met need at most one round a strided layer.
_MOST_ROUNDS = 64

# Elsewhere the first input is data, and those after it may be a shape, axes, pads or repeats.
_SHAPE_FROM_VALUES = frozenset({"ConstantOfShape", "Range"})

# Onnx's evaluator of single nodes reports what it cannot do through any of these.
_CANNOT_EVALUATE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


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


def main_opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses; 1 where it names none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def type_and_dims(kind: TypeProto) -> tuple[int, tuple[int | str | None, ...] | None]:
    """Data type and shape of a declared tensor: numbers, names of dynamic axes, None for unnamed ones."""
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return tensor.elem_type, None
    dims = (d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
    # A few converters write 0 or -1 for "any".
    return tensor.elem_type, tuple(None if isinstance(d, int) and d <= 0 else d for d in dims)


def is_stored_outside(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes and data types of a graph's tensors at one input shape, and its small constants."""

    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, int]
    constants: Constants


def infer_shapes(
    model: onnx.ModelProto,
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Shape],
    extra: Iterable[TensorProto] = (),
) -> Shapes:
    """Shapes of all tensors at the fed shapes; where inference stops, what the file itself declares.

    Parameters
    ----------
    model : ModelProto
        Not changed.
    nodes : sequence of NodeProto
        Its nodes, or others in their place, in topological order.
    feeds : mapping
        Input name to the shape to assume.
    extra : iterable of TensorProto
        Further small constants that the nodes take.

    Returns
    -------
    Shapes
        Without the tensors that nothing is known of. An axis that is not known is None.
    """
    constants = _small_constants([*model.graph.initializer, *extra], nodes)
    table = _Table(*_declared(model, feeds), constants, nodes, main_opset(model))
    bare = _bare_model(model, nodes, extra, table)
    for _ in range(_MOST_ROUNDS):
        table.learn(bare)
        if not (found := table.settle_blocked()):
            break
        kept = [node for node in bare.graph.node if found.keys().isdisjoint(node.output)]
        del bare.graph.node[:]
        bare.graph.node.extend(kept)
        bare.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in found.items())
    return Shapes(table.shapes, table.dtypes, constants)


def _small_constants(tensors: Iterable[TensorProto], nodes: Iterable[NodeProto]) -> dict[str, TensorProto]:
    """Initialisers and Constant nodes by name, also behind Identity."""
    found = {t.name: t for t in tensors if _is_small(t)}
    for node in nodes:
        if node.op_type == "Constant":
            value = _constant_value(node)
            if value is not None and _is_small(value):
                found[node.output[0]] = value
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _is_small(tensor: TensorProto) -> bool:
    return math.prod(tensor.dims) <= SMALL_TENSOR_ELEMENTS and not is_stored_outside(tensor)


def _constant_value(node: NodeProto) -> TensorProto | None:
    value = attribute(node, "value")
    if isinstance(value, TensorProto):
        return value
    for name, dtype in (("int", np.int64), ("ints", np.int64), ("float", np.float32), ("floats", np.float32)):
        plain = attribute(node, f"value_{name}")
        if plain is not None:
            return numpy_helper.from_array(np.asarray(plain, dtype))
    return None


def _declared(model: onnx.ModelProto, feeds: Mapping[str, Shape]) -> tuple[dict[str, Shape], dict[str, int]]:
    """What the file says of its tensors, named axes resolved by the fed shapes."""
    initialisers = {t.name for t in model.graph.initializer}
    dtypes: dict[str, int] = {t.name: t.data_type for t in model.graph.initializer}
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in model.graph.initializer}
    named: dict[str, int] = {}
    for value in model.graph.input:
        if value.name not in initialisers and value.name in feeds:
            _, dims = type_and_dims(value.type)
            pairs = zip(dims or (), feeds[value.name], strict=False)
            named |= {d: fed for d, fed in pairs if isinstance(d, str) and fed is not None}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        if value.name in initialisers:
            continue
        dtypes[value.name], dims = type_and_dims(value.type)
        if dims is not None:
            shapes[value.name] = tuple(named.get(d) if isinstance(d, str) else d for d in dims)
    return shapes | dict(feeds), dtypes


def _bare_model(
    model: onnx.ModelProto, nodes: Sequence[NodeProto], extra: Iterable[TensorProto], table: _Table
) -> onnx.ModelProto:
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 4))  # in 3 an initialiser had to be an input
    bare.opset_import.extend(model.opset_import)
    bare.graph.name = "bare"
    bare.graph.node.extend(nodes)
    inputs = {value.name for value in model.graph.input}
    for tensor in (*model.graph.initializer, *extra):
        inputs.discard(tensor.name)
        if _is_small(tensor):
            bare.graph.initializer.append(tensor)
        else:
            inputs.add(tensor.name)
    for name in sorted(inputs):
        value = helper.make_tensor_value_info(name, table.dtypes[name], table.shapes.get(name))
        bare.graph.input.append(value)
    for output in model.graph.output:
        bare.graph.output.append(helper.make_tensor_value_info(output.name, table.dtypes[output.name], None))
    return bare


@dataclass(slots=True)
class _Table:
    """What is known so far, and what had to be evaluated to know it."""

    shapes: dict[str, Shape]
    dtypes: dict[str, int]
    constants: Constants
    nodes: Sequence[NodeProto]
    opset: int
    _producer: dict[str, NodeProto] = field(init=False)
    _values: dict[str, np.ndarray | None] = field(init=False, default_factory=dict)
    _settled: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._producer = {out: node for node in self.nodes for out in node.output if out}

    def learn(self, bare: onnx.ModelProto) -> None:
        """Run onnx's inference and keep what it adds."""
        try:
            graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            return  # nodes of a kind that onnx does not know; what the file declares is then all there is
        for value in (*graph.value_info, *graph.output):
            dtype, dims = type_and_dims(value.type)
            self.dtypes[value.name] = dtype or self.dtypes.get(value.name, 0)
            if dims is None:
                continue
            told: Shape = tuple(d if isinstance(d, int) else None for d in dims)
            known = self.shapes.get(value.name, ())
            if len(known) == len(told):
                told = tuple(b if a is None else a for a, b in zip(told, known, strict=True))
            self.shapes[value.name] = told

    def settle_blocked(self) -> dict[str, np.ndarray]:
        """Values that nodes with an unknown output shape wait for, of the first such nodes."""
        found: dict[str, np.ndarray] = {}
        for node in self.nodes:
            if all(self._is_known(out) for out in node.output if out):
                continue
            read = node.input if node.op_type in _SHAPE_FROM_VALUES else node.input[1:]
            for name in read:
                waits = name and name not in self.constants and name not in self._settled
                value = self._value(name) if waits else None
                if value is not None and value.size <= SMALL_TENSOR_ELEMENTS:
                    found[name] = value
                    self.shapes[name] = value.shape
        self._settled.update(found)
        # A value that was out of reach may be within it once more shapes are known.
        self._values = {name: value for name, value in self._values.items() if value is not None}
        return found

    def _is_known(self, tensor: str) -> bool:
        shape = self.shapes.get(tensor)
        return shape is not None and None not in shape

    def _value(self, tensor: str) -> np.ndarray | None:
        if tensor in self.constants:
            return numpy_helper.to_array(self.constants[tensor])
        if tensor not in self._values:
            self._values[tensor] = None  # until it is found
            node = self._producer.get(tensor)
            if node is not None:
                self._values.update(self._evaluate(node))
        return self._values[tensor]

    def _evaluate(self, node: NodeProto) -> dict[str, np.ndarray]:
        if node.op_type == "Shape":
            if not self._is_known(node.input[0]):
                return {}
            shape = np.asarray(self.shapes[node.input[0]], np.int64)
            return {node.output[0]: shape[attribute(node, "start", 0) : attribute(node, "end")]}
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            return {}
        inputs = {name: self._value(name) for name in node.input if name}
        if not inputs or any(v is None or v.size > SMALL_TENSOR_ELEMENTS for v in inputs.values()):
            return {}
        from onnx.reference import ReferenceEvaluator  # rarely needed, and slow to import

        try:
            # The logarithm of a distance of 0, in T5, goes into a branch that is not taken.
            with np.errstate(all="ignore"):
                made = ReferenceEvaluator(node, opsets={"": self.opset}).run(None, inputs)
        except _CANNOT_EVALUATE:
            return {}
        return {name: np.asarray(value) for name, value in zip(node.output, made, strict=False) if name}
