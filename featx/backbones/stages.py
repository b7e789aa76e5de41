"""The stages of a convolutional network: where its maps are widest just before they shrink.

A network's body is cut where its stride grows. A stage's end is the common dominator of the layers that leave
its stride, walked back over padding and over the 1 x 1 expansion that begins an inverted bottleneck (Sandler et al. 2018,
MobileNetV2). The last stage ends at the map that is pooled. Which strides make a stage:

* only those at which the network convolves: pooling alone makes none;
* a network whose first convolution is strided has a stem, so its stages begin at a quarter of the input's size: 56, 28,
  14, 7 of 224 pixels for ResNet, MobileNet and EfficientNet alike. Where that leaves fewer than four, the strides before
  count too if they hold more than one convolution;
* a network whose first convolution keeps the input's size has stages from there on: VGG, the CIFAR ResNets.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from featx.backbones.shapes import attribute
from featx.backbones.walks import (
    IDENTITIES,
    as_float,
    back_over,
    before_activation,
    is_pointwise,
    layer_input,
    linear_layer,
    weight_shape,
)
from featx.backbones.wiring import CONVOLUTIONS, Wiring

__all__ = ["find_stages"]

# As areas, since a map may shrink along one axis at a time.
_STEM_AREA = 4 * 4
_USUAL_STAGES = 4

# Padding belongs to the convolution after it.
_NO_END = IDENTITIES | {"Pad"}


def find_stages(wiring: Wiring, ends: Sequence[str]) -> list[str]:
    """The maps at which the stages of a network end, largest first.

    Parameters
    ----------
    wiring : Wiring
    ends : sequence of str
        Where the body of the network ends: the pooled tensor, or all outputs.
    """
    body = wiring.ancestors(ends)
    found = [_stage_end(wiring, area, ends, body) for area in _stage_areas(wiring, body)]
    return [tensor for tensor in found if tensor is not None]


def _stage_areas(wiring: Wiring, body: set[str]) -> list[float]:
    convolutions: dict[float, int] = {}
    for node in wiring.nodes:
        out = node.output[0] if node.output else ""
        if out in body and out in wiring.stride and node.op_type in CONVOLUTIONS:
            convolutions[_area(wiring, out)] = convolutions.get(_area(wiring, out), 0) + 1
    areas = sorted(convolutions)
    has_stem = next(iter(convolutions), 1) > 1  # in the order of the nodes
    if not has_stem:
        return areas
    after = [area for area in areas if area >= _STEM_AREA]
    early = [area for area in areas if area < _STEM_AREA and convolutions[area] > 1]
    return after if len(after) >= _USUAL_STAGES else early + after


def _area(wiring: Wiring, tensor: str) -> float:
    """Input pixels under one step of a map; it grows with every strided layer."""
    vertical, horizontal = wiring.stride[tensor]
    return round(vertical * horizontal, 3)


def _stage_end(wiring: Wiring, area: float, ends: Sequence[str], body: set[str]) -> str | None:
    leaving = [t for t in ends if t in wiring.stride and _area(wiring, t) == area]
    shrinking: list[NodeProto] = []
    pooled: list[str] = []
    for node in wiring.nodes:
        taken = [t for t in wiring.activations_into(node) if t in wiring.stride and _area(wiring, t) == area]
        out = next((t for t in node.output if t in body), None)
        if not taken or out is None:
            continue
        if out in wiring.stride and _area(wiring, out) > area:
            shrinking.append(node)
            leaving += taken
        elif out not in wiring.stride and not _returns_to_maps(wiring, out, body):
            pooled += taken
    if not shrinking:
        leaving += pooled
    if not leaving:
        return None
    end = back_over(wiring, wiring.common_dominator(dict.fromkeys(leaving)), _NO_END)
    if len(shrinking) == 1:
        end = _before_expansion(wiring, shrinking[0], end)
    end = as_float(wiring, back_over(wiring, end, _NO_END))
    return end if end in wiring.stride and _area(wiring, end) == area else None


def _returns_to_maps(wiring: Wiring, tensor: str, body: set[str]) -> bool:
    """Whether a tensor without height and width only gates a map, as in squeeze-and-excitation, or becomes one again."""
    waiting, seen = [tensor], set()
    while waiting:
        at = waiting.pop()
        if at in wiring.stride:
            return True
        if at not in seen:
            seen.add(at)
            waiting.extend(out for node in wiring.users(at) for out in node.output if out in body)
    return False


def _before_expansion(wiring: Wiring, depthwise: NodeProto, end: str) -> str:
    """The narrow map before an inverted bottleneck whose depthwise convolution is the strided one.

    MobileNetV1 has strided depthwise convolutions too, but its 1 x 1 convolutions end a block. What tells them apart is
    that an inverted bottleneck projects to fewer channels afterwards.
    """
    if depthwise.op_type not in CONVOLUTIONS or attribute(depthwise, "group", 1) == 1:
        return end
    layer = linear_layer(wiring, before_activation(wiring, end))
    if layer is None or not is_pointwise(wiring, layer):
        return end
    wide, narrow = weight_shape(wiring, layer)[:2]
    projected = _projected_channels(wiring, depthwise)
    if wide is None or narrow is None or projected is None or not (wide > narrow and wide > projected):
        return end
    return layer_input(wiring, layer)


def _projected_channels(wiring: Wiring, depthwise: NodeProto) -> int | None:
    """Channels after the next 1 x 1 convolution on the map that a depthwise convolution makes."""
    waiting = [depthwise.output[0]]
    seen = set(waiting)
    while waiting:
        for node in wiring.users(waiting.pop(0)):
            if is_pointwise(wiring, node):
                return weight_shape(wiring, node)[0]
            # The gate of squeeze-and-excitation is no map, and its small convolutions are no projection.
            found = [out for out in node.output if out in wiring.stride and out not in seen]
            seen.update(found)
            waiting.extend(found)
    return None
