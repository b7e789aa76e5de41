"""The tensors at which a network can be divided with one tensor crossing, and how much would be trained behind each.

Unlike the dominators of :mod:`featx.backbones.wiring`, these are of what took weights to compute: a text's mask reaches every
layer around all others, but it can be made from the tokens again, so it does not stand in the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from featx.backbones.shapes import node_inputs
from featx.errors import ParameterError

__all__ = ["Candidate", "choose_by_share", "dominator_chain"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tensor to divide at.

    Parameters
    ----------
    tensor : str
    n_trainable : int
        Numbers in the weights that would be trained behind it.
    row_size : int
        Numbers that would be kept of a sample, or of each of its tokens.
    """

    tensor: str
    n_trainable: int
    row_size: int


def dominator_chain(
    nodes: Sequence[NodeProto], output: str, weighty: set[str], sizes: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Dominators of the output, from the first on, with the numbers in the weights that only nodes behind them read.

    Parameters
    ----------
    nodes : sequence of NodeProto
        In topological order, all of them needed for the output.
    output : str
    weighty : set of str
        Tensors that depend on samples and on weights; the others are passed over.
    sizes : mapping of str to int
        Numbers in each weight that can be trained.
    """
    chain = _chain(nodes, output, weighty)
    place = {tensor: i for i, tensor in enumerate(chain)}
    # A node belongs to the first tensor of the chain that needs it; its weights are trained behind the ones before.
    first: dict[str, int] = {}
    read_first: dict[str, int] = {}
    for node in reversed(nodes):
        at = min(min(place.get(out, len(chain)), first.get(out, len(chain))) for out in node.output if out)
        for name in node_inputs(node):
            first[name] = min(at, first.get(name, len(chain)))
            if name in sizes:
                read_first[name] = first[name]
    return [
        (tensor, sum(sizes[name] for name, at in read_first.items() if at > i))
        for i, tensor in enumerate(chain)
    ]


def _chain(nodes: Sequence[NodeProto], output: str, weighty: set[str]) -> list[str]:
    above: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: 0}  # None stands before everything
    for node in nodes:
        outputs = [out for out in node.output if out in weighty]
        if not outputs:
            continue
        taken = list(dict.fromkeys(name for name in node_inputs(node) if name in weighty))
        common: str | None = taken[0] if taken else None
        for other in taken[1:]:
            step: str | None = other
            while common != step:
                if depth[common] >= depth[step]:
                    common = above[common] if common is not None else None
                else:
                    step = above[step] if step is not None else None
        for out in outputs:
            above[out], depth[out] = common, depth[common] + 1
    found: list[str] = []
    at: str | None = output if output in above else None
    while at is not None:
        found.append(at)
        at = above[at]
    return found[::-1]


def choose_by_share(candidates: Sequence[Candidate], share: float, total: int) -> str:
    """The candidate behind which most is trained without exceeding a share of all; of several the smallest, then the last.

    Raises
    ------
    ParameterError
        Even behind the last one more is trained.
    """
    fitting = [one for one in candidates if 0 < one.n_trainable <= share * total]
    if not fitting:
        least = min((one.n_trainable for one in candidates if one.n_trainable), default=total)
        raise ParameterError(
            f"boundary={share}: the smallest part that can be trained holds {least / total:.3g} of the weights. Give at least "
            "that, or a tap."
        )
    most = max(one.n_trainable for one in fitting)
    equal = [one for one in fitting if one.n_trainable == most]
    smallest = min(one.row_size for one in equal)
    return [one for one in equal if one.row_size == smallest][-1].tensor
