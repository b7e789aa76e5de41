"""The numbers of a graph's weights: read from where they lie, inside the file or outside, and turned into bytes of the same type.

Weights are initialisers, and the values of Constant nodes under the names of their outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from featx.backbones.shapes import attribute, is_stored_outside
from featx.errors import GraphError

__all__ = ["FLOATS", "as_stored", "encoded", "n_elements", "outside", "read_weight", "weight_protos"]

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)

External = Mapping[str, NDArray[np.uint8]]
"""External files by the names that a graph calls them, as :meth:`featx.backbones.backbone.Backbone.external_data` gives them."""


def weight_protos(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Every weight by name, in the graph's order. The protos are the model's own: what is changed in them changes the model."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if isinstance(value, TensorProto):
            found[node.output[0]] = value
    return found


def n_elements(proto: TensorProto) -> int:
    return math.prod(proto.dims)


def outside(proto: TensorProto) -> tuple[str, int]:
    """File name and offset in bytes of a weight that lies outside."""
    entries = {item.key: item.value for item in proto.external_data}
    return entries["location"], int(entries.get("offset") or 0)


def read_weight(proto: TensorProto, external: External) -> NDArray[Any]:
    """The numbers of a weight, in its own type; bfloat16, which numpy does not have, as float32.

    Raises
    ------
    GraphError
        It lies in a file that was not given.
    """
    if not is_stored_outside(proto):
        values = numpy_helper.to_array(proto)
        return values.astype(np.float32) if proto.data_type == TensorProto.BFLOAT16 else values
    name, offset = outside(proto)
    if name not in external:
        raise GraphError(
            f"weights {proto.name!r} lie in {name!r}, which was not given: pass external=backbone.external_data(model)."
        )
    if proto.data_type == TensorProto.BFLOAT16:
        bits = _view(external[name], offset, np.dtype("<u2"), proto)
        return (bits.astype("<u4") << 16).view("<f4")
    return _view(external[name], offset, helper.tensor_dtype_to_np_dtype(proto.data_type), proto)


def _view(data: NDArray[np.uint8], offset: int, dtype: np.dtype[Any], proto: TensorProto) -> NDArray[Any]:
    little = dtype.newbyteorder("<")
    content = data[offset : offset + n_elements(proto) * dtype.itemsize]
    return content.view(little).reshape(tuple(proto.dims))


def encoded(values: NDArray[Any], proto: TensorProto) -> bytes:
    """Numbers as the bytes of a weight of the proto's type and shape.

    Raises
    ------
    GraphError
        The shape is another one, or a number is not finite in that type.
    """
    if values.shape != tuple(proto.dims):
        raise GraphError(
            f"weights {proto.name!r}: expected shape {tuple(proto.dims)}, found {values.shape}. Write back what was read from "
            "the same graph."
        )
    with np.errstate(over="ignore"):  # said below, with the weight's name
        stored = _rounded(values, proto)
    if not np.isfinite(stored[0]).all():
        kind = TensorProto.DataType.Name(proto.data_type).lower()
        raise GraphError(
            f"weights {proto.name!r}: not finite in {kind}. The training diverged: lower the learning rate."
        )
    return stored[1].tobytes()


def as_stored(values: NDArray[Any], proto: TensorProto) -> NDArray[np.float32]:
    """Numbers as they will be read again from a weight of the proto's type."""
    with np.errstate(over="ignore"):
        return _rounded(values, proto)[0].astype(np.float32)


def _rounded(values: NDArray[Any], proto: TensorProto) -> tuple[NDArray[Any], NDArray[Any]]:
    """The numbers as they will be read again, and as they lie in a file."""
    if proto.data_type != TensorProto.BFLOAT16:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.data_type)).newbyteorder("<")
        made = values.astype(dtype)
        return made, made
    # The upper half of a float32, rounded to the nearest, ties to even.
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    finite = np.where(np.isfinite(values), (upper.astype("<u4") << 16).view("<f4"), np.nan)
    return finite, upper
