"""Walking back from a tensor: over layers that change nothing, behind a bias, before an activation function.

Small steps that finding the head and finding the stages share. Each returns a tensor or node of the same wiring; none
looks at names.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import NodeProto, TensorProto

from featx.backbones.shapes import Shape, attribute
from featx.backbones.wiring import CONVOLUTIONS, WINDOWS, Wiring

__all__ = [
    "FLOATS",
    "IDENTITIES",
    "as_float",
    "back_over",
    "before_activation",
    "is_pointwise",
    "layer_input",
    "linear_layer",
    "weight_shape",
]

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
IDENTITIES = frozenset({"Identity", "Dropout"})

_QUANTISING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_MATMULS = frozenset(
    {"MatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"}
)
# What stands between a dense layer or convolution and its output: bias, scales of quantisation, normalisation.
_LINEAR_TAIL = frozenset(
    {"Add", "Mul", "Cast", "Reshape", "QuantizeLinear", "DequantizeLinear", "BatchNormalization"}
)


def back_over(wiring: Wiring, tensor: str, ops: Collection[str]) -> str:
    """What a tensor was before operators of the named types."""
    while (node := wiring.made_by(tensor)) is not None and node.op_type in ops:
        tensor = node.input[0]
    return tensor


def as_float(wiring: Wiring, tensor: str) -> str:
    """A tensor, or the float one that it was quantised from."""
    return tensor if wiring.dtypes.get(tensor) in FLOATS else back_over(wiring, tensor, _QUANTISING)


def before_activation(wiring: Wiring, tensor: str) -> str:
    """What the elementwise layers before a map (normalisation, activation function) were computed from."""
    while (node := wiring.made_by(tensor)) is not None and node.op_type not in WINDOWS:
        above = wiring.dominator[tensor]
        if wiring.stride.get(above) != wiring.stride.get(tensor):
            return tensor
        if wiring.shapes.get(above) != wiring.shapes.get(tensor):
            return tensor
        tensor = above
    return tensor


def linear_layer(wiring: Wiring, tensor: str) -> NodeProto | None:
    """The dense layer or convolution that makes a tensor, behind its bias and the scales of quantisation."""
    node = wiring.made_by(tensor)
    while node is not None:
        if node.op_type == "Gemm" or node.op_type in _MATMULS | CONVOLUTIONS:
            return node
        if node.op_type not in _LINEAR_TAIL:
            return None
        paths = [t for t in wiring.activations_into(node) if wiring.shapes.get(t) not in ((), (1,))]
        node = wiring.made_by(paths[0]) if len(paths) == 1 else None
    return None


def layer_input(wiring: Wiring, node: NodeProto) -> str:
    """What a dense layer or convolution takes, before it was quantised."""
    return as_float(wiring, node.input[0])


def weight_shape(wiring: Wiring, node: NodeProto) -> Shape:
    """Shape of a convolution's weight, (out, in, height, width); empty where it is unknown."""
    return wiring.shapes.get(node.input[3 if node.op_type == "QLinearConv" else 1], ())


def is_pointwise(wiring: Wiring, node: NodeProto) -> bool:
    """Whether a node is a 1 x 1 convolution over all channels."""
    if node.op_type not in CONVOLUTIONS or attribute(node, "group", 1) != 1:
        return False
    shape = weight_shape(wiring, node)
    return len(shape) == 4 and shape[2:] == (1, 1)
