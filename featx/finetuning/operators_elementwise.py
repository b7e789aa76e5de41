"""Operators that take a number to a number: arithmetic, activation functions, comparisons, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from featx.finetuning.nodes import Build, Compute, Node, torch_dtype

__all__ = ["ELEMENTWISE"]

# ONNX, Selu-6: the constants of Klambauer et al. 2017.
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _plain(function: Compute) -> Build:
    """An operator without attributes."""
    return lambda _: function


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Build:
    return lambda _: lambda *tensors: reduce(function, tensors)


def _divide(left: Tensor, right: Tensor) -> Tensor:
    if left.is_floating_point() or right.is_floating_point():
        return left / right
    return torch.div(left, right, rounding_mode="trunc")  # as C does


def _power(node: Node) -> Compute:
    exponent = node.scalar(1)
    if exponent is not None:

        def raised(x: Tensor, _: Tensor) -> Tensor:
            return x.pow(exponent).to(x.dtype)  # the result has the type of the base (ONNX, Pow-12)

        return raised
    return lambda x, y: x.pow(y).to(x.dtype)


def _modulo(node: Node) -> Compute:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


def _clip(node: Node) -> Compute:
    low, high = node.get("min"), node.get("max")
    if node.opset >= 11:
        low, high = node.scalar(1), node.scalar(2)

    def clipped(x: Tensor, least: Tensor | None = None, most: Tensor | None = None) -> Tensor:
        if low is not None and high is not None and x.is_floating_point():
            return F.hardtanh(x, low, high)  # its gradient is one kernel, that of clamp is three
        lower: Any = low if low is not None else least
        upper: Any = high if high is not None else most
        if lower is None and upper is None:
            return x
        if isinstance(lower, Tensor) != isinstance(
            upper, Tensor
        ):  # torch wants both as tensors, or both as numbers
            lower, upper = least, most
        return x.clamp(lower, upper)

    return clipped


def _leaky(node: Node) -> Compute:
    slope = node.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


def _elu(node: Node) -> Compute:
    alpha = node.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def _celu(node: Node) -> Compute:
    alpha = node.get("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


def _selu(node: Node) -> Compute:
    alpha, gamma = node.get("alpha", _SELU_ALPHA), node.get("gamma", _SELU_GAMMA)
    return lambda x: gamma * F.elu(x, alpha)


def _hard_sigmoid(node: Node) -> Compute:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _thresholded(node: Node) -> Compute:
    alpha = node.get("alpha", 1.0)
    return lambda x: F.threshold(x, alpha, 0.0)


def _gelu(node: Node) -> Compute:
    approximate = node.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _swish(node: Node) -> Compute:
    alpha = node.get("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


def _shrink(node: Node) -> Compute:
    bias, edge = node.get("bias", 0.0), node.get("lambd", 0.5)
    return lambda x: torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x)))


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def _cast(node: Node) -> Compute:
    wanted = torch_dtype(node.get("to"), node.dtype)
    return lambda x: x.to(wanted)


def _dropout(node: Node) -> Compute:
    """Off, as in evaluation mode: what it drops while training would be another network's than the one written back."""
    if node.n_outputs == 1:
        return lambda x, *_: x
    return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))


ELEMENTWISE: dict[str, Build] = {
    "Abs": _plain(torch.abs),
    "Acos": _plain(torch.acos),
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    "Asin": _plain(torch.asin),
    "Atan": _plain(torch.atan),
    "Cast": _cast,
    "CastLike": _plain(lambda x, like: x.to(like.dtype)),
    "Ceil": _plain(torch.ceil),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _plain(torch.cos),
    "Cosh": _plain(torch.cosh),
    "Div": _plain(_divide),
    "Dropout": _dropout,
    "Elu": _elu,
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Floor": _plain(torch.floor),
    "Gelu": _gelu,
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(F.hardswish),
    "Identity": _plain(lambda x: x),
    "IsInf": _plain(torch.isinf),
    "IsNaN": _plain(torch.isnan),
    "LeakyRelu": _leaky,
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "Log": _plain(torch.log),
    "Max": _variadic(torch.maximum),
    "Mean": lambda _: lambda *tensors: reduce(torch.add, tensors) / len(tensors),
    "Min": _variadic(torch.minimum),
    "Mish": _plain(F.mish),
    "Mod": _modulo,
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Not": _plain(torch.logical_not),
    "Or": _plain(torch.logical_or),
    "PRelu": _plain(_prelu),
    "Pow": _power,
    "Reciprocal": _plain(torch.reciprocal),
    "Relu": _plain(F.relu),
    "Round": _plain(torch.round),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _plain(torch.sigmoid),
    "Sign": _plain(torch.sign),
    "Sin": _plain(torch.sin),
    "Sinh": _plain(torch.sinh),
    "Softplus": _plain(F.softplus),
    "Softsign": _plain(F.softsign),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Sum": _variadic(torch.add),
    "Swish": _swish,
    "Tan": _plain(torch.tan),
    "Tanh": _plain(torch.tanh),
    "ThresholdedRelu": _thresholded,
    "Where": _plain(torch.where),
    "Xor": _plain(torch.logical_xor),
}
"""Operator to the function that builds its computation."""
