"""Which nodes make which tensors: the little of it that splitting and running a graph share. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import NodeProto

from featx.backbones.shapes import node_inputs

__all__ = ["OWN", "SHAPE_READERS", "dependents", "model_inputs", "needed_nodes", "opsets"]

OWN = "featx/"
"""What the names of the tensors begin with that featx itself put around a graph: preprocessing, pooling and what follows it."""

SHAPE_READERS = frozenset({"Shape", "Size"})
"""They look at the shape of what they take, never at its numbers."""


def needed_nodes(
    nodes: Sequence[NodeProto], tensors: Iterable[str], given: Iterable[str] = ()
) -> list[NodeProto]:
    """The nodes that the tensors are computed from, in order; what makes a ``given`` one is not needed."""
    known = set(given)
    wanted = set(tensors) - known
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(set(node_inputs(node)) - known)
    return kept[::-1]


def dependents(nodes: Iterable[NodeProto], sources: Iterable[str]) -> set[str]:
    """The sources, and every tensor whose numbers depend on theirs; on a shape alone is not enough.

    Parameters
    ----------
    nodes : iterable of NodeProto
        In topological order.
    sources : iterable of str
    """
    found = set(sources)
    for node in nodes:
        if node.op_type not in SHAPE_READERS and not found.isdisjoint(node_inputs(node)):
            found.update(filter(None, node.output))
    return found


def model_inputs(model: onnx.ModelProto) -> list[str]:
    """Inputs that are fed; old files list their weights among the inputs too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """The version of each domain's operators; ONNX's own is ``""``."""
    return {"" if one.domain in ("", "ai.onnx") else one.domain: one.version for one in model.opset_import}
