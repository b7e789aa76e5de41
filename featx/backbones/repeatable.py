"""Operators whose result depends on chance or on earlier runs: no vector behind one may be kept.

Such operators belong to training and reach a file when a network is exported without being put into evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, NodeProto

from featx.backbones.batch import trains_batch_norm
from featx.backbones.wiring import Wiring

__all__ = ["unrepeatable_op"]

# A seed changes nothing: the generator goes on from run to run.
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def unrepeatable_op(nodes: Iterable[NodeProto], wiring: Wiring) -> str | None:
    """The first operator through which equal inputs give unequal outputs, by its type; None where there is none.

    Parameters
    ----------
    nodes : iterable of NodeProto
        To look at, their inner graphs (If, Loop, Scan) included.
    wiring : Wiring
        Of the graph that they are part of.
    """
    return next((str(node.op_type) for node in _with_inner(nodes) if _is_unrepeatable(node, wiring)), None)


def _is_unrepeatable(node: NodeProto, wiring: Wiring) -> bool:
    if node.op_type == "Dropout":
        return _drops(node, wiring)
    return node.op_type in _RANDOM or trains_batch_norm(node, wiring.opset)


def _drops(node: NodeProto, wiring: Wiring) -> bool:
    """Whether a dropout is, or may be, active: its third input (from opset 12) is anything but a constant false."""
    if len(node.input) < 3 or not node.input[2]:
        return False
    training = wiring.constant(node.input[2])
    return training is None or bool(training.any())


def _with_inner(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for item in node.attribute:
            for graph in [item.g] if item.type == AttributeProto.GRAPH else item.graphs:
                yield from _with_inner(graph.node)
