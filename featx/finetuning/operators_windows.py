"""Operators with windows that move over maps: convolution, pooling; and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from featx.finetuning.nodes import Build, Compute, Node

__all__ = ["WINDOWS"]

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONVOLVE_BACK = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

_Pads = list[tuple[int, int]]


def _pairs(pads: Sequence[int]) -> _Pads:
    """ONNX's (begins..., ends...) as (begin, end) an axis."""
    return list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))


def _padded(x: Tensor, pads: _Pads, value: float = 0.0) -> Tensor:
    """The last axes padded; negative pads crop."""
    return F.pad(x, [n for pair in reversed(pads) for n in pair], value=value)


def _pads(node: Node, x: Tensor, spans: Sequence[int], strides: Sequence[int]) -> _Pads:
    """How much is padded before and behind each axis of a map, for windows that span so much (ONNX, Conv-11, auto_pad)."""
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return _pairs(node.get("pads") or [0] * (2 * len(spans)))
    if auto == "VALID":
        return [(0, 0)] * len(spans)
    found = []
    for size, span, stride in zip(x.shape[2:], spans, strides, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + span - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found


def _spans(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


def _convolution(node: Node) -> Compute:
    groups = node.get("group", 1)

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        n = weight.ndim - 2
        strides, dilations = node.get("strides") or [1] * n, node.get("dilations") or [1] * n
        pads = _pads(node, x, _spans(weight.shape[2:], dilations), strides)
        if any(before != behind for before, behind in pads):
            x, pads = _padded(x, pads), [(0, 0)] * n
        rest = (strides, [before for before, _ in pads], dilations, groups)
        if _is_slow_in_half(x, weight, strides, groups):
            with torch.autocast("cpu", enabled=False):
                return _CONVOLVE[n](x.float(), weight.float(), None if bias is None else bias.float(), *rest)
        return _CONVOLVE[n](x, weight, bias, *rest)

    return convolved


def _is_slow_in_half(x: Tensor, weight: Tensor, strides: Sequence[int], groups: int) -> bool:
    """Depthwise convolutions whose gradient takes 1.3 to 13 times as long in bfloat16 as in float32.

    All but 3 x 3 with a stride of 1; torch 2.13 on a CPU with bfloat16 arithmetic.
    """
    if x.device.type != "cpu" or not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return False
    return groups == len(weight) > 1 and (max(strides) > 1 or max(weight.shape[2:]) > 3)


def _transposed(node: Node) -> Compute:
    groups = node.get("group", 1)

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        n = weight.ndim - 2
        strides, dilations = node.get("strides") or [1] * n, node.get("dilations") or [1] * n
        extra = node.get("output_padding") or [0] * n
        spans = _spans(weight.shape[2:], dilations)
        wanted = node.get("output_shape")
        auto = node.get("auto_pad", "NOTSET")
        if auto not in ("NOTSET", "", "VALID") and wanted is None:
            wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        # Whole first, then cropped, so that pads may differ from side to side.
        whole = _CONVOLVE_BACK[n](x, weight, bias, strides, 0, 0, groups, dilations)
        if wanted is None:
            # What output_padding adds are further places behind the end, of which pads may crop some.
            pads = _pairs(node.get("pads") or [0] * (2 * n))
            crops = [(before, behind - more) for (before, behind), more in zip(pads, extra, strict=True)]
        else:
            sizes = [
                (s - 1) * stride + span for s, stride, span in zip(x.shape[2:], strides, spans, strict=True)
            ]
            totals = [s + more - w for s, more, w in zip(sizes, extra, wanted[-n:], strict=True)]
            lower = auto == "SAME_LOWER"
            crops = [(t - t // 2, t // 2) if lower else (t // 2, t - t // 2) for t in totals]
            crops = [(before, behind - more) for (before, behind), more in zip(crops, extra, strict=True)]
        if any(behind < 0 for _, behind in crops):
            raise node.refuse("pads less than its output_padding, which is not supported.")
        return _padded(whole, [(-before, -behind) for before, behind in crops])

    return convolved


# Pooling


def _pooling(node: Node) -> tuple[list[int], list[int], list[int]]:
    kernel = node.get("kernel_shape")
    return kernel, node.get("strides") or [1] * len(kernel), node.get("dilations") or [1] * len(kernel)


def _whole_windows(node: Node, x: Tensor, pads: _Pads, spans: Sequence[int], strides: Sequence[int]) -> _Pads:
    """Pads that make all windows whole. With ceil_mode a last one may reach beyond the end, if it begins before it
    (ONNX, MaxPool-12 and torch alike)."""
    whole = []
    for size, (before, behind), span, stride in zip(x.shape[2:], pads, spans, strides, strict=True):
        steps = (size + before + behind - span) / stride
        n = (math.ceil(steps) if node.get("ceil_mode", 0) else math.floor(steps)) + 1
        if (n - 1) * stride >= size + before:
            n -= 1
        whole.append((before, (n - 1) * stride + span - size - before))
    return whole


def _largest(node: Node) -> Compute:
    kernel, strides, dilations = _pooling(node)
    if node.n_outputs > 1:
        raise node.refuse("the places of the largest numbers as an output are not supported.")
    n, spans, ceil = len(kernel), _spans(kernel, dilations), bool(node.get("ceil_mode", 0))

    def pooled(x: Tensor) -> Tensor:
        pads = _pads(node, x, spans, strides)
        if all(a == b and 2 * a <= k for (a, b), k in zip(pads, kernel, strict=True)):
            return _MAX[n](x, kernel, strides, [before for before, _ in pads], dilations, ceil)
        x = _padded(x, _whole_windows(node, x, pads, spans, strides), -math.inf)
        return _MAX[n](x, kernel, strides, 0, dilations)

    return pooled


def _average(node: Node) -> Compute:
    kernel, strides, dilations = _pooling(node)
    if any(d != 1 for d in dilations):
        raise node.refuse("an average over windows with gaps (dilations) is not supported.")
    n, ceil, counted = len(kernel), bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))

    def pooled(x: Tensor) -> Tensor:
        pads = _pads(node, x, kernel, strides)
        if all(a == b and 2 * a <= k for (a, b), k in zip(pads, kernel, strict=True)):
            return _MEAN[n](x, kernel, strides, [before for before, _ in pads], ceil, counted)
        whole = _whole_windows(node, x, pads, kernel, strides)
        # What counts: the map, and its padding where asked; never what only completes a last window.
        ones = x.new_ones((1, 1, *x.shape[2:]))
        if counted:
            ones = _padded(ones, pads, 1.0)
            rest = [(0, w - p) for (_, w), (_, p) in zip(whole, pads, strict=True)]
        else:
            rest = whole
        share = _MEAN[n](_padded(ones, rest), kernel, strides)
        return _MEAN[n](_padded(x, whole), kernel, strides) / share

    return pooled


# Padding


def _pad(node: Node) -> Compute:
    mode = node.get("mode", "constant")
    fill = node.scalar(2) if node.opset >= 11 else node.get("value", 0.0)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise node.refuse(f"mode {mode!r} is not supported.")

    def padded(
        x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
    ) -> Tensor:
        numbers = node.get("pads") if pads is None else pads.tolist()
        where = range(x.ndim) if axes is None else [axis % x.ndim for axis in axes.tolist()]
        by_axis = dict(zip(where, _pairs(numbers), strict=True))
        if mode == "constant":
            filled = fill if fill is not None else 0.0 if value is None else value.item()
            return _padded(x, [by_axis.get(axis, (0, 0)) for axis in range(x.ndim)], filled)
        for axis, (before, behind) in by_axis.items():
            if before or behind:
                at = _mirrored(mode, x.shape[axis], before, behind).to(x.device)
                x = x.index_select(axis, at)
        return x

    return padded


def _mirrored(mode: str, size: int, before: int, behind: int) -> Tensor:
    """Which places of an axis the padded axis takes."""
    at = torch.arange(-before, size + behind)
    if mode == "edge":
        return at.clamp(0, size - 1)
    if mode == "wrap":
        return at % size
    period = max(2 * (size - 1), 1)
    at = at % period
    return torch.minimum(at, period - at)


WINDOWS: dict[str, Build] = {
    "AveragePool": _average,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MaxPool": _largest,
    "Pad": _pad,
}
"""Operator to the function that builds its computation."""
