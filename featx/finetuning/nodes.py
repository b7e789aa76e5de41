"""One node of a graph as its torch function sees it: attributes read once, the version of its operators, constant inputs.

An operator is a pair of functions: one that builds, called once with a :class:`Node`, and the one that it returns, called with
tensors at every run. Whatever does not depend on tensors is settled in the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.errors import GraphError

__all__ = ["Build", "Compute", "Node", "array_to_tensor", "proto_to_tensor", "read_node", "torch_dtype"]

Compute: TypeAlias = Callable[..., Any]
"""From the node's input tensors, None where an optional one is missing, to its output tensor or a tuple of them."""

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
_OTHERS: dict[int, torch.dtype] = {
    TensorProto.BOOL: torch.bool,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A node, read.

    Parameters
    ----------
    op_type : str
        With its domain in front where that is not ONNX's own: ``"com.microsoft.Gelu"``.
    label : str
        How messages call it.
    attributes : mapping
        Values as onnx gives them, strings decoded.
    opset : int
        Of the node's domain.
    n_outputs : int
        Outputs that the graph names, up to the last one.
    dtype : torch.dtype
        In which the module computes all that is floating-point.
    constants : mapping of int to Tensor
        Inputs that are the same in every run, by position; on the CPU.
    """

    op_type: str
    label: str
    attributes: Mapping[str, Any]
    opset: int
    n_outputs: int
    dtype: torch.dtype
    constants: Mapping[int, torch.Tensor] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default."""
        return self.attributes.get(name, default)

    def scalar(self, position: int) -> float | int | None:
        """The number that a constant input of one element is; None where it is no such thing."""
        value = self.constants.get(position)
        return None if value is None or value.numel() != 1 else value.item()

    def refuse(self, what: str) -> GraphError:
        """An error about this node, to be raised."""
        return GraphError(f"{self.label}: {what}")


Build: TypeAlias = Callable[[Node], Compute]


def read_node(
    proto: NodeProto, opsets: Mapping[str, int], dtype: torch.dtype, constants: Mapping[int, torch.Tensor]
) -> Node:
    """A node of a graph, its attributes as plain values."""
    domain = "" if proto.domain in ("", "ai.onnx") else proto.domain
    op_type = f"{domain}.{proto.op_type}" if domain else str(proto.op_type)
    return Node(
        op_type,
        f"{op_type} (makes {next(filter(None, proto.output), '')!r})",
        {item.name: _plain(helper.get_attribute_value(item)) for item in proto.attribute},
        opsets.get(domain, 1),
        max((i for i, out in enumerate(proto.output, 1) if out), default=0),
        dtype,
        constants,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def torch_dtype(onnx_type: int, dtype: torch.dtype) -> torch.dtype:
    """torch's type for ONNX's; every floating-point one becomes ``dtype``, so that a float16 file trains in float32.

    Raises
    ------
    GraphError
        torch has no such type.
    """
    if onnx_type in _FLOATS:
        return dtype
    if onnx_type not in _OTHERS:
        name = onnx.TensorProto.DataType.Name(onnx_type)
        raise GraphError(f"numbers of type {name} cannot be computed with in torch.")
    return _OTHERS[onnx_type]


def proto_to_tensor(proto: TensorProto, dtype: torch.dtype) -> torch.Tensor:
    """A tensor whose numbers are inside its proto."""
    return array_to_tensor(numpy_helper.to_array(proto), proto.data_type, dtype)


def array_to_tensor(array: Any, onnx_type: int, dtype: torch.dtype) -> torch.Tensor:
    """A copy of an array; floats in ``dtype``."""
    wanted = torch_dtype(onnx_type, dtype)
    if onnx_type == TensorProto.BFLOAT16:  # numpy has no such type, and torch takes none from elsewhere
        array = array.astype("float32")
    return torch.tensor(array, dtype=wanted)
