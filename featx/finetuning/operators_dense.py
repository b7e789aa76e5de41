"""Operators that mix numbers along axes: products, norms, softmax, reductions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from featx.finetuning.nodes import Build, Compute, Node

__all__ = ["DENSE"]

_Axes = tuple[int, ...]


def _gemm(node: Node) -> Compute:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    turn_left, turn_right = node.get("transA", 0), node.get("transB", 0)

    def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        left = left.t() if turn_left else left
        weight = right if turn_right else right.t()
        if alpha == beta == 1 and (bias is None or bias.shape == weight.shape[:1]):
            return F.linear(left, weight, bias)
        made = F.linear(left, weight)
        made = made if alpha == 1 else alpha * made
        return made if bias is None else made + (bias if beta == 1 else beta * bias)

    return product


def _einsum(node: Node) -> Compute:
    equation = node.get("equation")
    return lambda *tensors: torch.einsum(equation, *tensors)


def _softmax(function: Callable[..., Tensor]) -> Build:
    def build(node: Node) -> Compute:
        if node.opset >= 13:
            axis = node.get("axis", -1)
            return lambda x: function(x, dim=axis)
        first = node.get("axis", 1)

        def flattened(x: Tensor) -> Tensor:
            # Before opset 13 the input is seen as a matrix, and all axes from this one on are one (ONNX, Softmax-11).
            if first % x.ndim == x.ndim - 1:
                return function(x, dim=-1)
            return function(x.flatten(first % x.ndim), dim=-1).reshape(x.shape)

        return flattened

    return build


# Norms


def _layer_norm(node: Node) -> Compute:
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    if node.n_outputs > 1:
        raise node.refuse("mean and deviation of a layer normalisation as outputs are not supported.")

    def normalised(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        over = x.shape[axis % x.ndim :]
        if scale.shape == over and (bias is None or bias.shape == over):
            return F.layer_norm(x, over, scale, bias, epsilon)
        made = F.layer_norm(x, over, eps=epsilon) * scale
        return made if bias is None else made + bias

    return normalised


def _rms_norm(node: Node) -> Compute:
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    return lambda x, scale: F.rms_norm(x, x.shape[axis % x.ndim :], eps=epsilon) * scale


def _batch_norm(node: Node) -> Compute:
    """With the statistics that the graph holds; they are never changed, and scale and bias are trained."""
    epsilon = node.get("epsilon", 1e-5)
    if node.get("training_mode", 0) or (node.opset < 14 and node.n_outputs > 1):
        raise node.refuse("takes the statistics of its batch. Export the network in evaluation mode.")
    if not node.get("spatial", 1):
        raise node.refuse("normalises every place by itself (spatial=0), which is not supported.")
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def _instance_norm(node: Node) -> Compute:
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _group_norm(node: Node) -> Compute:
    groups, epsilon = node.get("num_groups"), node.get("epsilon", 1e-5)

    def normalised(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if len(scale) != x.shape[1]:  # one number a group, before opset 21
            scale, bias = (one.repeat_interleave(x.shape[1] // groups) for one in (scale, bias))
        return F.group_norm(x, groups, scale, bias, epsilon)

    return normalised


def _lp_norm(node: Node) -> Compute:
    axis, p = node.get("axis", -1), node.get("p", 2)

    def normalised(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
        return torch.where(length == 0, torch.zeros_like(x), x / length)

    return normalised


def _local_response(node: Node) -> Compute:
    size = node.get("size")
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    before, behind = (size - 1) // 2, size // 2  # torch's own shifts the window of an even size

    def normalised(x: Tensor) -> Tensor:
        squares = F.pad(x.square().flatten(2).unsqueeze(1), (0, 0, before, behind))  # (n, 1, c, places)
        mean = F.avg_pool2d(squares, (size, 1), 1)
        return x / (bias + alpha * mean.reshape(x.shape)).pow(beta)

    return normalised


# Reductions


def _axes(node: Node, x: Tensor, given: Tensor | None) -> _Axes:
    """The axes to reduce over; none where nothing is to be done."""
    named = node.get("axes") if given is None else given.tolist()
    if not named:
        return () if node.get("noop_with_empty_axes", 0) else tuple(range(x.ndim))
    return tuple(int(axis) % x.ndim for axis in named)


def _reduction(function: Callable[[Tensor, _Axes, bool], Tensor]) -> Build:
    def build(node: Node) -> Compute:
        keep = bool(node.get("keepdims", 1))

        def reduced(x: Tensor, given: Tensor | None = None) -> Tensor:
            axes = _axes(node, x, given)
            return function(x, axes, keep) if axes else x

        return reduced

    return build


def _product(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(function: Callable[..., Tensor]) -> Build:
    def build(node: Node) -> Compute:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        if not node.get("select_last_index", 0):
            return lambda x: function(x, dim=axis, keepdim=keep)
        return lambda x: x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keep)

    return build


def _global(function: Callable[[Tensor, _Axes], Tensor]) -> Build:
    return lambda _: lambda x: function(x, tuple(range(2, x.ndim)))


DENSE: dict[str, Build] = {
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "BatchNormalization": _batch_norm,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(lambda x, axes: x.mean(axes, keepdim=True)),
    "GlobalMaxPool": _global(lambda x, axes: x.amax(axes, keepdim=True)),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax(torch.log_softmax),
    "LpNormalization": _lp_norm,
    "MatMul": lambda _: torch.matmul,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: x.logsumexp(axes, keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keep, dtype=x.dtype)),
    "Softmax": _softmax(torch.softmax),
}
"""Operator to the function that builds its computation."""
