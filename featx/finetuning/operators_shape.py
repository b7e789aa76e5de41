"""Operators that move numbers without changing them: shapes, selections, joins; and constants."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from featx.finetuning.nodes import Build, Compute, Node, proto_to_tensor

__all__ = ["SHAPES"]


def _plain(function: Compute) -> Build:
    """An operator without attributes."""
    return lambda _: function


# Shapes


def _reshape(node: Node) -> Compute:
    literal = bool(node.get("allowzero", 0))

    def reshaped(x: Tensor, shape: Tensor) -> Tensor:
        target = shape.tolist()
        return x.reshape(target if literal else [d or x.shape[i] for i, d in enumerate(target)])

    return reshaped


def _flatten(node: Node) -> Compute:
    axis = node.get("axis", 1)

    def flattened(x: Tensor) -> Tensor:
        at = axis + x.ndim if axis < 0 else axis
        return x.reshape(x.shape[:at].numel(), -1)

    return flattened


def _transpose(node: Node) -> Compute:
    perm = node.get("perm")
    return lambda x: x.permute(perm if perm is not None else tuple(range(x.ndim))[::-1])


def _squeeze(node: Node) -> Compute:
    named = node.get("axes")

    def squeezed(x: Tensor, axes: Tensor | None = None) -> Tensor:
        where = named if axes is None else axes.tolist()
        return x.squeeze() if where is None else x.squeeze(tuple(where))

    return squeezed


def _unsqueeze(node: Node) -> Compute:
    named = node.get("axes")

    def unsqueezed(x: Tensor, axes: Tensor | None = None) -> Tensor:
        where = named if axes is None else axes.reshape(-1).tolist()
        rank = x.ndim + len(where)
        for axis in sorted(axis % rank for axis in where):
            x = x.unsqueeze(axis)
        return x

    return unsqueezed


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def _shape(node: Node) -> Compute:
    start, end = node.get("start", 0), node.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


# Joins and parts


def _concat(node: Node) -> Compute:
    axis = node.get("axis", 1)
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Compute:
    axis, named, n = node.get("axis", 0), node.get("split"), node.n_outputs

    def parts(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        given = named if sizes is None else sizes.tolist()
        if given is None:
            width = -(
                -x.shape[axis] // n
            )  # the last part is smaller where they cannot be equal (ONNX, Split-18)
            given = [max(min(width, x.shape[axis] - i * width), 0) for i in range(n)]
        return tuple(x.split(given, axis))

    return parts


def _slice(node: Node) -> Compute:
    if node.opset < 10:
        starts, ends = node.get("starts"), node.get("ends")
        axes = node.get("axes") or list(range(len(starts)))
        return lambda x: _sliced(x, starts, ends, axes, [1] * len(starts))

    def part(
        x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        first = starts.tolist()
        where = list(range(len(first))) if axes is None else axes.tolist()
        by = [1] * len(first) if steps is None else steps.tolist()
        return _sliced(x, first, ends.tolist(), where, by)

    return part


def _sliced(x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = range(*slice(start, end, step).indices(x.shape[axis]))
        if step == 1:
            x = x.narrow(axis, min(at.start, x.shape[axis]), len(at))
        elif step > 1:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(at.start, at.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(at), dtype=torch.int64, device=x.device))
    return x


def _depth_to_space(node: Node) -> Compute:
    size, columns_first = node.get("blocksize"), node.get("mode", "DCR") == "CRD"

    def moved(x: Tensor) -> Tensor:
        if columns_first:
            return F.pixel_shuffle(x, size)
        n, c, h, w = x.shape
        split = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return split.reshape(n, c // size**2, h * size, w * size)

    return moved


def _space_to_depth(node: Node) -> Compute:
    size = node.get("blocksize")

    def moved(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        split = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return split.reshape(n, c * size**2, h // size, w // size)

    return moved


def _triangle(node: Node) -> Compute:
    function = torch.triu if node.get("upper", 1) else torch.tril
    return lambda x, k=None: function(x, 0 if k is None else int(k.item()))


# Selections


def _from_front(at: Tensor, size: int) -> Tensor:
    """Indices of which negative ones count from the end."""
    at = at.long()
    return torch.where(at < 0, at + size, at)


def _gather(node: Node) -> Compute:
    axis = node.get("axis", 0)
    fixed = node.scalar(1)
    if fixed is not None and node.constants[1].ndim == 0:
        return lambda x, _: x.select(axis, int(fixed))

    def gathered(x: Tensor, at: Tensor) -> Tensor:
        along = axis % x.ndim
        at = _from_front(at, x.shape[along])
        if along == 0 and x.ndim == 2 and x.is_floating_point():
            return F.embedding(at, x)
        found = x.index_select(along, at.reshape(-1))
        return found.reshape(*x.shape[:along], *at.shape, *x.shape[along + 1 :])

    return gathered


def _gather_elements(node: Node) -> Compute:
    axis = node.get("axis", 0)
    return lambda x, at: x.gather(axis, _from_front(at, x.shape[axis]))


def _gather_nd(node: Node) -> Compute:
    batch = node.get("batch_dims", 0)

    def gathered(x: Tensor, at: Tensor) -> Tensor:
        rows = [
            torch.arange(size, device=x.device).reshape([-1 if j == i else 1 for j in range(at.ndim - 1)])
            for i, size in enumerate(x.shape[:batch])
        ]
        parts = [_from_front(at[..., i], x.shape[batch + i]) for i in range(at.shape[-1])]
        return x[(*rows, *parts)]

    return gathered


def _scatter_nd(node: Node) -> Compute:
    if node.get("reduction", "none") != "none":
        raise node.refuse("scattering with a reduction is not supported.")

    def scattered(x: Tensor, at: Tensor, updates: Tensor) -> Tensor:
        parts = tuple(_from_front(at[..., i], x.shape[i]) for i in range(at.shape[-1]))
        return x.index_put(parts, updates.to(x.dtype))

    return scattered


def _scatter_elements(node: Node) -> Compute:
    axis = node.get("axis", 0)
    if node.get("reduction", "none") != "none":
        raise node.refuse("scattering with a reduction is not supported.")
    return lambda x, at, updates: x.scatter(axis, _from_front(at, x.shape[axis]), updates)


def _top_k(node: Node) -> Compute:
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    ordered = bool(node.get("sorted", 1))
    if node.opset < 10:
        named = node.get("k")
        return lambda x: tuple(x.topk(named, axis))
    return lambda x, k: tuple(x.topk(int(k.item()), axis, largest, ordered))


def _one_hot(node: Node) -> Compute:
    axis = node.get("axis", -1)

    def hot(at: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        n = int(depth.item())
        known = F.one_hot(_from_front(at, n) % n, n).bool() & ((at >= -n) & (at < n)).unsqueeze(-1)
        return torch.where(known, values[1], values[0]).movedim(-1, axis)

    return hot


def _cumulative(node: Node) -> Compute:
    exclusive, reverse = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))

    def summed(x: Tensor, given: Tensor) -> Tensor:
        axis = int(given.item())
        x = x.flip(axis) if reverse else x
        made = x.cumsum(axis, dtype=x.dtype)
        made = made - x if exclusive else made
        return made.flip(axis) if reverse else made

    return summed


# Constants


def _range(start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _filled(node: Node) -> Compute:
    proto = node.get("value")
    value = torch.zeros(1, dtype=node.dtype) if proto is None else proto_to_tensor(proto, node.dtype)
    return lambda shape: torch.full(shape.tolist(), value.item(), dtype=value.dtype)


def _constant(node: Node) -> Compute:
    if (proto := node.get("value")) is not None:
        value = proto_to_tensor(proto, node.dtype)
        return lambda: value
    kinds: dict[str, Any] = {
        "float": node.dtype,
        "floats": node.dtype,
        "int": torch.int64,
        "ints": torch.int64,
    }
    for kind, dtype in kinds.items():
        if (plain := node.get(f"value_{kind}")) is not None:
            made = torch.tensor(plain, dtype=dtype)
            return lambda: made
    raise node.refuse("a constant of this kind (text, sparse) is not supported.")


SHAPES: dict[str, Build] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "CumSum": _cumulative,
    "DepthToSpace": _depth_to_space,
    "Expand": _plain(_expand),
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _plain(lambda x: torch.nonzero(x).t()),
    "OneHot": _one_hot,
    "Range": _plain(_range),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Size": _plain(lambda x: torch.tensor(x.numel())),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _plain(lambda x, repeats: x.tile(repeats.tolist())),
    "TopK": _top_k,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
"""Operator to the function that builds its computation."""
