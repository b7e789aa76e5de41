"""The encoder layers of a transformer, and the tokens that stand for no patch.

On the chain of dominators from the input to the end, a residual sum around attention begins a layer. A layer's end is the last
residual sum before the next layer begins, or the norm behind that sum in networks that normalise after it (BERT).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest

from onnx import NodeProto

from featx.backbones.shapes import attribute
from featx.backbones.walks import IDENTITIES
from featx.backbones.wiring import Wiring

__all__ = ["count_prefix_tokens", "find_layers"]

_ATTENTION = frozenset({"Softmax", "Attention", "MultiHeadAttention", "QAttention", "GroupQueryAttention"})
_SUMS = IDENTITIES | {"Add", "Cast"}


def find_layers(wiring: Wiring, ends: Sequence[str]) -> list[str]:
    """The tensors at which encoder layers end, in order; empty for networks without attention.

    Parameters
    ----------
    wiring : Wiring
    ends : sequence of str
        Where the body of the network ends: the pooled tensor, or all outputs.
    """
    if not ends:
        return []
    chain = wiring.dominators(wiring.common_dominator(ends))
    blocks = {end: _residual_block(wiring, start, end) for start, end in pairwise(chain)}
    sums = [i for i, t in enumerate(chain) if blocks.get(t)]
    starts = [i - 1 for i in sums if any(node.op_type in _ATTENTION for node in blocks[chain[i]])]
    found, behind = [], 0
    for start, following in zip_longest(starts, starts[1:]):
        shape = wiring.shapes.get(chain[start])
        inside = [i for i in sums if i > start and (following is None or i <= following)]
        # The head of an attention-pooled network has sums of its own, around other tokens.
        last = max((i for i in inside if wiring.shapes.get(chain[i]) == shape), default=inside[0])
        if following is not None:
            # The norm after a sum is the layer's; the merging of patches, which changes the shape, is the next one's.
            behind = following - last if wiring.shapes.get(chain[following]) == shape else 0
        found.append(chain[min(last + behind, len(chain) - 1)])
    return [t for t in found if len(wiring.shapes.get(t, ())) in (3, 4)]


def _residual_block(wiring: Wiring, start: str, end: str) -> list[NodeProto]:
    """The nodes between a tensor and a residual sum around them; empty where ``end`` is no such sum."""
    node = wiring.made_by(end)
    if node is None or node.op_type != "Add" or not _sums_lead(wiring, start, end):
        return []
    inside: dict[int, NodeProto] = {}
    waiting = [end]
    while waiting:
        tensor = waiting.pop()
        index = wiring.producer.get(tensor)
        if tensor != start and index is not None and index not in inside:
            inside[index] = wiring.nodes[index]
            waiting.extend(wiring.activations_into(wiring.nodes[index]))
    return list(inside.values())


def _sums_lead(wiring: Wiring, start: str, end: str) -> bool:
    """Whether a path of sums alone leads from ``start`` to ``end``."""
    waiting, seen = [end], set()
    while waiting:
        tensor = waiting.pop()
        if tensor == start:
            return True
        node = wiring.made_by(tensor)
        if tensor not in seen and node is not None and node.op_type in _SUMS:
            seen.add(tensor)
            waiting.extend(wiring.activations_into(node))
    return False


def count_prefix_tokens(wiring: Wiring, tensor: str) -> int:
    """Tokens that learned parameters put before those of the picture, on the way to a tensor (n, tokens, d).

    Registers (Darcet et al. 2024) come between class token and patches, so a parameter counts that stands before
    the last activation; one that stands behind it, such as the detection tokens of YOLOS, does not. A slice may take them away
    again, where an export gives the patches only.
    """
    count = 0
    for joined in wiring.dominators(tensor):
        node = wiring.made_by(joined)
        if node is not None and len(wiring.shapes.get(joined, ())) == 3:
            count = max(count + _learned_before(wiring, node) - _cut_before(wiring, node), 0)
    return count


def _learned_before(wiring: Wiring, node: NodeProto) -> int:
    if node.op_type != "Concat" or attribute(node, "axis") not in (1, -2):
        return 0
    names = list(node.input)
    last = max(i for i, name in enumerate(names) if wiring.is_activation(name))
    return sum(_n_tokens(wiring, name) for name in names[:last] if not wiring.is_activation(name))


def _cut_before(wiring: Wiring, node: NodeProto) -> int:
    """Leading tokens of (n, tokens, d) that a slice leaves out."""
    if node.op_type != "Slice":
        return 0
    starts, axes = attribute(node, "starts"), attribute(node, "axes")
    if starts is None:  # since opset 10 they are inputs
        starts = wiring.constant(node.input[1])
        axes = wiring.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    if starts is None:
        return 0
    where = range(len(starts)) if axes is None else [int(axis) % 3 for axis in axes]
    return max(int(dict(zip(where, starts, strict=True)).get(1, 0)), 0)


def _n_tokens(wiring: Wiring, tensor: str) -> int:
    shape = wiring.shapes.get(tensor, ())
    return (shape[1] or 0) if len(shape) == 3 else 0
