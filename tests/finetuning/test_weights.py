"""Weights read and encoded, in every type and place that files have them in."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from featx.errors import GraphError
from featx.finetuning.weights import as_stored, encoded, read_weight, weight_protos

VALUES = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def proto_of(kind: int) -> onnx.TensorProto:
    return helper.make_tensor("w", kind, VALUES.shape, VALUES.ravel().tolist())


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (TensorProto.FLOAT, 0),
        (TensorProto.DOUBLE, 0),
        (TensorProto.FLOAT16, 2**-11),
        (TensorProto.BFLOAT16, 2**-8),
    ],
)
def test_what_is_encoded_is_read_again_rounded_to_its_type(kind: int, step: float) -> None:
    proto = proto_of(kind)
    content = encoded(VALUES, proto)
    again = TensorProto(data_type=kind, dims=VALUES.shape, raw_data=content)
    found = read_weight(again, {})
    np.testing.assert_array_equal(found.astype(np.float32), as_stored(VALUES, proto))
    assert np.abs(found - VALUES).max() <= step * np.abs(VALUES).max()
    # onnx's own rounding and reading agree
    np.testing.assert_array_equal(found, numpy_helper.to_array(again).astype(found.dtype))
    np.testing.assert_array_equal(found, read_weight(proto, {}))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_weights_outside_are_read_from_their_place(kind: int) -> None:
    content = encoded(VALUES, proto_of(kind))
    proto = TensorProto(name="w", data_type=kind, dims=VALUES.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.bin"), ("offset", "4"), ("length", str(len(content)))):
        proto.external_data.add(key=key, value=value)
    data = np.frombuffer(b"\0" * 4 + content + b"\0" * 3, np.uint8)
    np.testing.assert_array_equal(read_weight(proto, {"w.bin": data}), as_stored(VALUES, proto))
    with pytest.raises(GraphError, match=r"lie in 'w\.bin', which was not given"):
        read_weight(proto, {})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_diverged_weights_are_refused(kind: int, value: float) -> None:
    broken = VALUES.copy()
    broken[1, 2] = value
    with pytest.raises(GraphError, match="training diverged"):
        encoded(broken, proto_of(kind))


def test_weights_too_large_for_float16_are_refused() -> None:
    with pytest.raises(GraphError, match="not finite in float16"):
        encoded(VALUES * 1e6, proto_of(TensorProto.FLOAT16))


def test_another_shape_is_refused() -> None:
    with pytest.raises(GraphError, match=r"expected shape \(3, 5\), found \(5, 3\)"):
        encoded(VALUES.T, proto_of(TensorProto.FLOAT))


def test_constant_nodes_hold_weights_too() -> None:
    node = helper.make_node("Constant", [], ["c"], value=proto_of(TensorProto.FLOAT))
    graph = helper.make_graph([node], "g", [], [], [proto_of(TensorProto.FLOAT)])
    assert list(weight_protos(helper.make_model(graph))) == ["w", "c"]
