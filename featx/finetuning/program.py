"""A graph as steps that torch runs in order: what can be computed once is, and every tensor is let go after its last use.

Three kinds of tensors are told apart when a program is compiled. *Constants* depend on nothing and are folded. What depends *on
shapes* alone is integers for the most part, computed on the CPU, and the same for the same shapes, so it can be kept between
runs. *Data* is the rest: activations and parameters, on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from onnx import NodeProto
from torch import Tensor

from featx.errors import GraphError
from featx.finetuning.nodes import Compute, Node, read_node
from featx.finetuning.operators import build, host_inputs
from featx.finetuning.wires import SHAPE_READERS

__all__ = ["NOTHING", "Program", "Step", "compile_program"]

NOTHING = 0
"""The slot of inputs that are missing and outputs that nobody takes."""

_SIZES_FROM_NUMBERS = frozenset({"NonZero"})


@dataclass(frozen=True, slots=True)
class Step:
    """One call.

    Parameters
    ----------
    label : str
        How messages call it.
    compute : function or None
        None moves a tensor to the device of the run.
    reads, writes : tuple of int
        Slots.
    by_shape : bool
        Whether the result is the same for inputs of the same shapes.
    frees : tuple of int
        Slots that nobody reads any more.
    """

    label: str
    compute: Compute | None
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    by_shape: bool
    frees: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled graph. Slots are places of one list that lives as long as a run.

    Parameters
    ----------
    n_slots : int
    inputs, outputs : tuple of int
        Slots, in the order of the graph.
    parameters : mapping of str to int
        Slot of every trained weight.
    on_host, on_device : mapping of int to Tensor
        Constants by slot: those read as numbers stay on the CPU, the others go where the module goes.
    steps : tuple of Step
        All of them.
    data_steps : tuple of Step
        Those left when what depends on shapes is known.
    kept : tuple of int
        Slots of that, as far as data steps and outputs read it.
    shapes_decide : bool
        Whether the shapes of the inputs decide all shapes inside.
    """

    n_slots: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: Mapping[str, int]
    on_host: Mapping[int, Tensor]
    on_device: Mapping[int, Tensor]
    steps: tuple[Step, ...]
    data_steps: tuple[Step, ...]
    kept: tuple[int, ...]
    shapes_decide: bool


def compile_program(
    nodes: Sequence[NodeProto],
    opsets: Mapping[str, int],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    parameters: Mapping[str, Tensor],
    constants: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> Program:
    """Compile nodes.

    Parameters
    ----------
    nodes : sequence of NodeProto
        In topological order; those that the outputs need.
    opsets : mapping of str to int
        Version of the operators of each domain.
    inputs, outputs : sequence of str
        What is fed and asked for.
    parameters : mapping of str to Tensor
        Trained weights; only their shapes are looked at.
    constants : mapping of str to Tensor
        The other weights, on the CPU.
    dtype : torch.dtype
        Of all floating-point numbers.

    Raises
    ------
    GraphError
        A node is not supported, or a tensor is never made.
    """
    compiler = _Compiler(dict(constants), dict(parameters))
    for name in (*inputs, *parameters):
        compiler.data[name] = compiler.new()
    with torch.no_grad():
        for node in nodes:
            compiler.add(node, opsets, dtype)
    return compiler.finished(inputs, outputs)


@dataclass(slots=True)
class _Compiler:
    constants: dict[str, Tensor]
    parameters: dict[str, Tensor]
    data: dict[str, int] = field(default_factory=dict)
    by_shape: dict[str, int] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    on_host: dict[int, Tensor] = field(default_factory=dict)
    on_device: dict[int, Tensor] = field(default_factory=dict)
    shapes_decide: bool = True
    _n: int = 1
    _host_slots: dict[str, int] = field(default_factory=dict)
    _device_slots: dict[str, int] = field(default_factory=dict)

    def new(self) -> int:
        self._n += 1
        return self._n - 1

    def add(self, proto: NodeProto, opsets: Mapping[str, int], dtype: torch.dtype) -> None:
        names = list(proto.input)
        self._check(proto)
        fixed = {i: self.constants[name] for i, name in enumerate(names) if name in self.constants}
        node = read_node(proto, opsets, dtype, fixed)
        compute = build(node)
        if proto.op_type in SHAPE_READERS and names[0] in self.parameters:
            self._fold(proto, node, compute, [self.parameters[names[0]]])
        elif len(fixed) == len([name for name in names if name]):
            self._fold(proto, node, compute, [self.constants[name] if name else None for name in names])
        elif proto.op_type in SHAPE_READERS:
            # A shape that is known already is kept anyway; what is data is not kept for the sake of its shape.
            self._step(proto, node, compute, [self._any(names[0])], by_shape=True)
        elif all(not name or name in self.constants or name in self.by_shape for name in names):
            self._step(proto, node, compute, [self._host(name) for name in names], by_shape=True)
        else:
            on_host = host_inputs(node.op_type)
            self.shapes_decide &= node.op_type not in _SIZES_FROM_NUMBERS
            self.shapes_decide &= not any(i < len(names) and names[i] in self.data for i in on_host)
            reads = [self._host(n) if i in on_host else self._device(n) for i, n in enumerate(names)]
            self._step(proto, node, compute, reads, by_shape=False)

    def _check(self, proto: NodeProto) -> None:
        for name in filter(None, proto.input):
            if not (name in self.constants or name in self.data or name in self.by_shape):
                raise GraphError(
                    f"{proto.op_type} takes {name!r}, which nothing before it makes: give a whole graph, its nodes in the order "
                    "of computation."
                )

    def _fold(self, proto: NodeProto, node: Node, compute: Compute, values: Sequence[Tensor | None]) -> None:
        try:
            made = compute(*values)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise node.refuse(f"cannot be computed from its constants ({error}).") from error
        for name, value in zip(proto.output, made if isinstance(made, tuple) else (made,), strict=False):
            if name:
                self.constants[name] = value

    def _step(
        self, proto: NodeProto, node: Node, compute: Compute, reads: Sequence[int], *, by_shape: bool
    ) -> None:
        table = self.by_shape if by_shape else self.data
        writes = []
        for name in proto.output[: node.n_outputs]:
            writes.append(self.new() if name else NOTHING)
            if name:
                table[name] = writes[-1]
        self.steps.append(Step(node.label, compute, tuple(reads), tuple(writes), by_shape))

    # Where a tensor is read

    def _any(self, name: str) -> int:
        return self.data[name] if name in self.data else self._host(name)

    def _host(self, name: str) -> int:
        if not name:
            return NOTHING
        if name in self.data:
            return self.data[name]
        if name in self.by_shape:
            return self.by_shape[name]
        if name not in self._host_slots:
            self._host_slots[name] = self.new()
            self.on_host[self._host_slots[name]] = self.constants[name]
        return self._host_slots[name]

    def _device(self, name: str) -> int:
        if not name:
            return NOTHING
        if name in self.data:
            return self.data[name]
        if name not in self._device_slots:
            slot = self._device_slots[name] = self.new()
            if name in self.constants:
                self.on_device[slot] = self.constants[name]
            else:
                self.steps.append(Step(name, None, (self.by_shape[name],), (slot,), True))
        return self._device_slots[name]

    def finished(self, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        for name in outputs:
            if not (name in self.constants or name in self.data or name in self.by_shape):
                raise GraphError(f"the graph makes no tensor {name!r}.")
        given = tuple(self._device(name) for name in outputs)
        lasting = {*given, *(self.data[name] for name in self.parameters), NOTHING}
        lasting.update(slot for step in self.steps if step.by_shape for slot in step.writes)
        lasting.update(self.on_host, self.on_device)
        read = {slot for step in self.steps if not step.by_shape for slot in step.reads} | set(given)
        made = {slot for step in self.steps if step.by_shape for slot in step.writes}
        return Program(
            n_slots=self._n,
            inputs=tuple(self.data[name] for name in inputs),
            outputs=given,
            parameters={name: self.data[name] for name in self.parameters},
            on_host=self.on_host,
            on_device=self.on_device,
            steps=_with_frees(self.steps, lasting),
            data_steps=_with_frees([step for step in self.steps if not step.by_shape], lasting),
            kept=tuple(sorted(read & made)),
            shapes_decide=self.shapes_decide,
        )


def _with_frees(steps: Sequence[Step], lasting: set[int]) -> tuple[Step, ...]:
    """The same steps, each told which tensors it is the last to touch."""
    seen, found = set(lasting), []
    for step in reversed(steps):
        last = {*step.reads, *step.writes} - seen
        seen |= last
        found.append(
            Step(step.label, step.compute, step.reads, step.writes, step.by_shape, tuple(sorted(last)))
        )
    return tuple(reversed(found))
