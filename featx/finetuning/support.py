"""What torch cannot run of a graph, said before anything is loaded, with what it can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from onnx import NodeProto

from featx.backbones.shapes import node_inputs
from featx.errors import GraphError
from featx.finetuning.operators import is_known
from featx.finetuning.splitting import Split
from featx.finetuning.wires import needed_nodes

__all__ = ["refuse_unsupported", "unsupported", "what_works"]


def unsupported(nodes: Iterable[NodeProto]) -> Counter[str]:
    """Operators that have no torch function, with how many nodes of each there are."""
    return Counter(name for node in nodes if not is_known(name := _operator(node)))


def refuse_unsupported(nodes: Iterable[NodeProto], advice: Callable[[], str] = str) -> None:
    """Raise where a node's operator has no torch function.

    Parameters
    ----------
    nodes : iterable of NodeProto
    advice : function
        Called for the end of the message.

    Raises
    ------
    GraphError
        Naming the operators, how many nodes there are of each, and what the first one makes.
    """
    listed = list(nodes)
    if missing := unsupported(listed):
        first = next(node for node in listed if not is_known(_operator(node)))
        names = ", ".join(f"{name} ({n} nodes)" if n > 1 else name for name, n in missing.items())
        raise GraphError(
            f"training cannot run {names} in torch; the first makes {first.output[0]!r}. {advice()}".strip()
        )


def what_works(split: Split) -> str:
    """Taps to end at, and taps to freeze up to, that leave out what is not supported and leave something to train."""
    graph, suffix = split.backbone.graph().graph, split.suffix.graph
    outputs = [value.name for value in suffix.output]
    trained = {name.removeprefix("original/") for name in split.trainable} | set(split.trainable)

    def trains(nodes: Sequence[NodeProto]) -> bool:
        return not unsupported(nodes) and any(not trained.isdisjoint(node_inputs(node)) for node in nodes)

    made = {out for node in suffix.node for out in node.output}
    ends, starts = [], []
    for tap in split.backbone.info.taps:
        if trains(needed_nodes(graph.node, [tap.tensor])):
            ends.append(tap.name)
        if (
            tap.name != split.space.tap
            and tap.tensor in made
            and trains(needed_nodes(suffix.node, outputs, [tap.tensor]))
        ):
            starts.append(tap.name)
    if not ends and not starts:
        return "No tap leaves them out and something to train. Of a quantised network, take the file that it was made from."
    below = f"Taps below it that can be trained: {', '.join(ends) or 'none'}."
    return f"{below} Or freeze the network up to {' or '.join(starts)}." if starts else below


def _operator(node: NodeProto) -> str:
    """An operator's type, with its domain in front where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
