"""``GraphModule``: an ONNX graph that torch runs and trains.

Its parameters are the graph's own weights under their own names. It runs what ONNX Runtime runs, the cut graph from uint8 pixels
or token ids to vectors, so preprocessing and pooling have one definition. Training and evaluation mode are the same: dropout is
off, and batch normalisation, where an exporter left any, keeps its running statistics and trains scale and bias. A normalisation
that an exporter folded into a convolution stays folded: its scale is part of the weight and its shift part of the bias, which
are trained as they are; there are no statistics, so a small batch is as good as a large one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto
from torch import Tensor

from featx.errors import ParameterError
from featx.finetuning.nodes import array_to_tensor
from featx.finetuning.parameters import trained_weights
from featx.finetuning.program import compile_program
from featx.finetuning.splitting import Split
from featx.finetuning.support import refuse_unsupported, what_works
from featx.finetuning.weights import FLOATS, read_weight, weight_protos
from featx.finetuning.wires import model_inputs, needed_nodes, opsets

__all__ = ["GraphModule"]

_PREFIX = "graph:"  # no attribute of a module has a colon in its name
_MOST_SHAPES = 16  # texts come in many lengths; the tensors kept for each are small


class GraphModule(torch.nn.Module):
    """An ONNX graph as a module.

    It is copied with :func:`copy.deepcopy`; it is not pickled: keep :meth:`arrays`, or its ``state_dict``.

    Parameters
    ----------
    model : ModelProto
        Of :meth:`featx.backbones.backbone.Backbone.cut`, a part of it, or any other, its nodes in topological order. Not changed.
    external : mapping of str to ndarray of uint8
        The files that hold weights outside the model, by the names that it calls them.
    trainable : collection of str, optional
        Weights that become parameters; None takes :func:`featx.finetuning.parameters.trained_weights`. All others are constants.
    outputs : sequence of str, optional
        Tensors to give; None takes the model's outputs.
    dtype : torch.dtype
        Of parameters and arithmetic, whatever the file's is: a float16 file is trained in float32. Use ``torch.autocast`` for
        bfloat16 arithmetic.

    Attributes
    ----------
    input_names, output_names : tuple of str

    Raises
    ------
    GraphError
        An operator is not supported; the message names it and where it is.
    ParameterError
        A name in ``trainable`` is no floating-point weight of the graph.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        external: Mapping[str, NDArray[np.uint8]] | None = None,
        trainable: Collection[str] | None = None,
        outputs: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.output_names = tuple(outputs or (value.name for value in model.graph.output))
        nodes = needed_nodes(model.graph.node, self.output_names)
        refuse_unsupported(nodes)
        self.input_names, parameters, constants = _read(
            model, nodes, self.output_names, external or {}, trainable, dtype
        )
        self._program = compile_program(
            [node for node in nodes if parameters.keys().isdisjoint(node.output)],
            opsets(model),
            inputs=self.input_names,
            outputs=self.output_names,
            parameters=parameters,
            constants=constants,
            dtype=dtype,
        )
        self._maps = _maps_among(self.input_names, nodes)
        self._names = {_mangled(name): name for name in parameters}
        self._slots = {_mangled(name): slot for name, slot in self._program.parameters.items()}
        for name, parameter in parameters.items():
            self.register_parameter(_mangled(name), parameter)
        self._constants = {f"constant:{slot}": slot for slot in self._program.on_device}
        for key, slot in self._constants.items():
            self.register_buffer(key, self._program.on_device[slot], persistent=False)
        self._program = replace(self._program, on_device={})  # the buffers go where the module goes
        self._by_shape: OrderedDict[Any, list[Tensor]] = OrderedDict()

    @classmethod
    def of(cls, split: Split, *, dtype: torch.dtype = torch.float32) -> GraphModule:
        """The trained part of a backbone: what crosses its boundary, and the samples where it needs them, to (n, d) vectors.

        Raises
        ------
        GraphError
            An operator is not supported; the message names it, the taps that need none such, and the taps behind which there is
            none.
        """
        refuse_unsupported(split.suffix.graph.node, lambda: what_works(split))
        external = split.backbone.external_data(split.suffix)
        return cls(split.suffix, external=external, trainable=split.trainable, dtype=dtype)

    def named_initialisers(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The parameters under the names that their weights have in the graph, in its order."""
        for key, name in self._names.items():
            yield name, self.get_parameter(key)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of the parameters as they are now, by the names of their weights."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.named_initialisers()}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the graph.

        Parameters
        ----------
        *inputs : Tensor
            One for each of :attr:`input_names`, on the module's device.

        Returns
        -------
        tuple of Tensor
            One for each of :attr:`output_names`.
        """
        if len(inputs) != len(self.input_names):
            raise ParameterError(
                f"expected {len(self.input_names)} tensors ({', '.join(self.input_names)}), got {len(inputs)}."
            )
        program = self._program
        slots: list[Any] = [None] * program.n_slots
        for name, slot, tensor in zip(self.input_names, program.inputs, inputs, strict=True):
            is_map = name in self._maps and tensor.ndim == 4
            slots[slot] = tensor.contiguous(memory_format=torch.channels_last) if is_map else tensor
        for slot, tensor in program.on_host.items():
            slots[slot] = tensor
        for name, slot in self._constants.items():
            slots[slot] = self._buffers[name]
        for name, slot in self._slots.items():
            slots[slot] = self._parameters[name]
        device = inputs[0].device
        # Tensors made in inference mode cannot take part in training, and autocast may choose other types.
        key = (
            *(tensor.shape for tensor in inputs),
            device,
            torch.is_inference_mode_enabled(),
            torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type),
        )
        known = self._by_shape.get(key)
        if known is None:
            self._run(program.steps, slots, device)
            if program.shapes_decide:
                self._by_shape[key] = [slots[slot] for slot in program.kept]
                while len(self._by_shape) > _MOST_SHAPES:
                    self._by_shape.popitem(last=False)
        else:
            self._by_shape.move_to_end(key)
            for slot, tensor in zip(program.kept, known, strict=True):
                slots[slot] = tensor
            self._run(program.data_steps, slots, device)
        return tuple(slots[slot] for slot in program.outputs)

    def _run(self, steps: Sequence[Any], slots: list[Any], device: torch.device) -> None:
        for step in steps:
            if step.compute is None:
                slots[step.writes[0]] = slots[step.reads[0]].to(device)
                continue
            try:
                made = step.compute(*[slots[slot] for slot in step.reads])
            except Exception as error:
                error.add_note(f"in {step.label}")
                raise
            if isinstance(made, tuple):
                for slot, tensor in zip(step.writes, made, strict=False):
                    slots[slot] = tensor
            else:
                slots[step.writes[0]] = made
            for slot in step.frees:
                slots[slot] = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._by_shape.clear()  # it is of the old device or type
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        """What the module takes and gives."""
        return (
            f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}; {len(self._names)} parameters"
        )


def _read(
    model: onnx.ModelProto,
    nodes: Sequence[NodeProto],
    outputs: Sequence[str],
    external: Mapping[str, NDArray[np.uint8]],
    trainable: Collection[str] | None,
    dtype: torch.dtype,
) -> tuple[tuple[str, ...], dict[str, torch.nn.Parameter], dict[str, Tensor]]:
    """The inputs that the nodes take, the weights that become parameters, and those that are constants, by name."""
    protos = weight_protos(model)
    if trainable is None:
        trainable = trained_weights(model, lambda proto: read_weight(proto, external))
    for name in trainable:
        if name not in protos or protos[name].data_type not in FLOATS:
            raise ParameterError(f"trainable: {name!r} is no floating-point weight of the graph.")
    chosen = frozenset(trainable)
    read = {name for node in nodes for name in node.input} | set(outputs)
    made = {
        out for node in nodes for out in node.output
    }  # by Constant nodes, which are folded unless they are trained
    parameters, constants = {}, {}
    for name, proto in protos.items():
        if name in read and (name in chosen or name not in made):
            values = read_weight(proto, external)
            tensor = _as_read_best(array_to_tensor(values, proto.data_type, dtype))
            if name in chosen:
                parameters[name] = torch.nn.Parameter(tensor)
            else:
                constants[name] = tensor
    return tuple(name for name in model_inputs(model) if name in read), parameters, constants


def _mangled(name: str) -> str:
    """A weight's name as torch takes one, without dots; the rules of percent encoding make it reversible."""
    return _PREFIX + name.replace("%", "%25").replace(".", "%2E")


def _maps_among(inputs: Sequence[str], nodes: Sequence[NodeProto]) -> set[str]:
    """Inputs that are maps with their channels first; pixels, and maps of an NHWC graph, lie well until they are turned."""
    if not any(node.op_type == "Conv" for node in nodes):
        return set()
    names = {name: name for name in inputs}
    turned = set()
    for node in nodes:
        taken = names.get(node.input[0]) if node.input else None
        if taken is not None and node.op_type in ("Cast", "Identity"):
            names[node.output[0]] = taken
        elif taken is not None and node.op_type == "Transpose":
            turned.add(taken)
    return set(inputs) - turned


def _as_read_best(tensor: Tensor) -> Tensor:
    """Kernels of convolutions with their channels last, as the maps are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
