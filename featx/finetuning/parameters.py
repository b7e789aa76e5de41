"""Which weights of a graph are trained: told by what they do, since a file does not say.

A weight is trained where it multiplies, adds to or looks up what depends on the samples: of convolutions, dense layers, norms,
embeddings, biases, scales a channel, class tokens, positions. It is not where it is a single number (an epsilon, the half of a
GELU), a bound, a shape, the running statistics of a batch normalisation, a mask (0 and minus infinity), or a table of sines and
cosines that multiplies position by position (rotary embeddings). Nothing that featx put around the graph is trained.

Followed through operators that only move numbers. The rules lean to leaving a constant alone: whoever knows better names the
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from featx.finetuning.weights import FLOATS, n_elements, weight_protos
from featx.finetuning.wires import OWN, dependents, model_inputs

__all__ = ["trained_weights"]

_WEIGHTS_AT: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (0, 1, 2),
    "PRelu": (1,),
    "RMSNormalization": (0, 1),
}
_MOVE_FIRST = frozenset(
    {
        "Cast",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
        "Resize",
    }
    | {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
_MASKED = -50.0  # Swin's masks are -100; others -1e4 and beyond

Read = Callable[[TensorProto], NDArray[Any]]


def trained_weights(model: onnx.ModelProto, read: Read) -> tuple[str, ...]:
    """Names of the weights to train, in the graph's order.

    Parameters
    ----------
    model : ModelProto
        In topological order; from :meth:`featx.backbones.backbone.Backbone.cut`, or any other.
    read : function
        From a weight's proto to its numbers; called for the few that might be masks.
    """
    protos = weight_protos(model)
    candidates = {
        name: proto
        for name, proto in protos.items()
        if proto.data_type in FLOATS and n_elements(proto) > 1 and not name.startswith(OWN)
    }
    walk = _Walk(candidates, {name for name, proto in protos.items() if n_elements(proto) == 1}, read)
    data = dependents(model.graph.node, model_inputs(model))
    for node in model.graph.node:
        walk.visit(node, data)
    return tuple(name for name in candidates if name in walk.trained)


class _Walk:
    """What was found so far: which tensors are candidates, moved at most, and which candidates are trained."""

    def __init__(self, candidates: Mapping[str, TensorProto], scalars: set[str], read: Read) -> None:
        self.candidates = candidates
        self.scalars = scalars
        self.read = read
        self.trained: set[str] = set()
        self.moved: dict[str, set[str]] = {name: {name} for name in candidates}

    def visit(self, node: NodeProto, data: set[str]) -> None:
        taken = [(i, name) for i, name in enumerate(node.input) if name in self.moved]
        if not taken:
            return
        meets_data = any(name in data for name in node.input) or len(taken) > 1
        for i, name in taken:
            found = self.moved[name]
            if self._only_moves(node, i):
                for out in filter(None, node.output):
                    self.moved[out] = self.moved.get(out, set()) | found
            if meets_data:
                others = [other for at, other in taken if at != i]
                self.trained |= {c for c in found - self.trained if self._is_weight(node, i, c, others)}

    def _only_moves(self, node: NodeProto, position: int) -> bool:
        if node.op_type in _MOVE_FIRST:
            return position == 0
        if node.op_type == "Concat":
            return True
        scaled = node.op_type in ("Mul", "Add", "Div", "Sub") and len(node.input) == 2
        return scaled and node.input[1 - position] in self.scalars

    def _is_weight(self, node: NodeProto, position: int, name: str, others: list[str]) -> bool:
        wide = sum(size > 1 for size in self.candidates[name].dims)
        match node.op_type:
            case "Mul":  # a scale a channel; sines and cosines differ from place to place as well
                return wide <= 1 and node.input[1 - position] not in self.scalars
            case (
                "MatMul"
            ):  # one number a channel times the positions makes angles; a learned query meets weights
                return wide >= 2 or bool(others)
            case "Add":
                return node.input[1 - position] not in self.scalars and not self._is_mask(name, wide)
            case "Concat" | "Einsum":
                return True
        return position in _WEIGHTS_AT.get(node.op_type, ())

    def _is_mask(self, name: str, wide: int) -> bool:
        if wide < 2:
            return False
        values = self.read(self.candidates[name])
        if values.max() != 0 or values.min() > _MASKED:
            return False
        return bool(np.isin(values, (0, values.min())).all())
