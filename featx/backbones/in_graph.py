"""Preprocessing and pooling as ONNX nodes: what stands before and behind the original graph once it is cut.

There is one definition of a vector, and it is in the session's graph: no numpy code scales pixels or pools maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.graph import GraphInfo, Tap
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import GraphError, ParameterError, did_you_mean

__all__ = ["GEM_EPS", "GEM_P", "POOLINGS", "TEXT_POOLINGS", "Writer", "resolve_pooling"]

POOLINGS = {
    "vector": ("none",),
    "map": ("avg", "max", "gem"),
    "tokens": ("cls", "mean", "max"),
}
"""What can be done with each kind of tap; ``"auto"`` is one of them."""

TEXT_POOLINGS = {"vector": ("none",), "tokens": ("cls", "mean", "max", "last")}
"""The same for texts, whose rows have lengths of their own."""

# Generalised mean pooling, Radenovic, Tolias and Chum 2018, eq. 3, with the exponent and the floor of their code.
GEM_P = 3.0
GEM_EPS = 1e-6

# Weights of red, green and blue in ITU-R BT.601 luma, as in PIL's conversion to "L".
_LUMA_601 = (0.299, 0.587, 0.114)

_OWN = "featx/"
_TO_THE_END = 2**31 - 1  # beyond any sequence
_PHRASES = {"vector": "a vector of", "map": "a map of", "tokens": "tokens of"}


def resolve_pooling(info: GraphInfo, tap: Tap, pooling: str) -> str:
    """The pooling that a tap gets, with ``"auto"`` spelled out.

    ``"auto"`` is ``"none"`` for a vector, ``"avg"`` for a map, and for tokens of a picture ``"cls"`` where the graph puts a
    class token before them, else ``"mean"``. ``"mean"`` and ``"max"`` of tokens leave class token and registers out.

    Raises
    ------
    ParameterError
        If the pooling is unknown or does not fit the tap, or is ``"auto"`` for the tokens of a text.
    """
    fitting = (TEXT_POOLINGS if info.modality == "text" else POOLINGS).get(tap.kind, ())
    if pooling == "auto" and tap.kind == "tokens":
        if info.modality == "text":
            raise ParameterError(
                f"tap {tap.name!r} has a vector a token, and the model's folder does not say how they become one: name the "
                f"pooling, one of {', '.join(fitting)}. The model card says which; they differ much."
            )
        return "cls" if tap.n_prefix_tokens else "mean"
    if pooling == "auto":
        return fitting[0]
    if pooling not in fitting:
        raise ParameterError(
            f"pooling={pooling!r} does not fit tap {tap.name!r}, {_PHRASES[tap.kind]} {tap.channels} channels. "
            f"Expected auto, {', '.join(fitting)}.{did_you_mean(str(pooling), fitting)}"
        )
    return pooling


@dataclass(slots=True)
class Writer:
    """Nodes and constants of featx's own, valid in the opset of the graph that they join.

    Parameters
    ----------
    opset : int
        7 or later.
    """

    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Write a node; the name of the tensor that it makes."""
        out = out or f"{_OWN}{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{_OWN}{op}_{out}", **attributes))
        return out

    def constant(self, values: object, dtype: type[np.generic]) -> str:
        """Write a constant; its name."""
        name = f"{_OWN}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def reduce(self, op: str, tensor: str, axes: Sequence[int]) -> str:
        """Reduce over axes and drop them. The axes became an input with opset 18."""
        if self.opset >= 18:
            return self.add(op, tensor, self.constant(axes, np.int64), keepdims=0)
        return self.add(op, tensor, axes=list(axes), keepdims=0)

    def sum_over(self, tensor: str, axis: int, *, keep: bool = True) -> str:
        """Sum over one axis. The axes of ReduceSum became an input with opset 13."""
        if self.opset >= 13:
            return self.add("ReduceSum", tensor, self.constant([axis], np.int64), keepdims=int(keep))
        return self.add("ReduceSum", tensor, axes=[axis], keepdims=int(keep))

    def sum_last(self, tensor: str) -> str:
        """Sum over the last axis, which stays with length 1."""
        return self.sum_over(tensor, -1)

    def at_least(self, tensor: str, floor: float) -> str:
        """Raise smaller values to a floor. The bounds of Clip became inputs with opset 11."""
        if self.opset >= 11:
            return self.add("Clip", tensor, self.constant(floor, np.float32))
        return self.add("Clip", tensor, min=floor)

    def from_token(self, tensor: str, first: int) -> str:
        """Leave out the tokens before the given one. The bounds of Slice became inputs with opset 10."""
        if self.opset >= 10:
            bounds = (self.constant([value], np.int64) for value in (first, _TO_THE_END, 1))
            return self.add("Slice", tensor, *bounds)
        return self.add("Slice", tensor, starts=[first], ends=[_TO_THE_END], axes=[1])

    def pixels_to_input(self, info: GraphInfo, preprocess: ImagePreprocess, *, dtype: str, out: str) -> None:
        """From ``pixels`` to the tensor that was the graph's input: channel order, type, scale and mean, layout.

        The order is what measured fastest: turned to planes while a pixel is one byte, and for an NHWC graph turned
        back at the end, where the runtime cancels it against the graph's own transpose. Multiplying along a last
        axis of three is eight times slower.
        """
        std = np.asarray(preprocess.std, np.float64)
        factor, offset = preprocess.scale / std, -np.asarray(preprocess.mean, np.float64) / std
        tensor = self.add("Transpose", "pixels", perm=[0, 3, 1, 2])
        if info.channels == 1:
            factor, offset = _one_channel(factor, offset)
        elif preprocess.channel_order == "bgr":
            tensor = self.add("Gather", tensor, self.constant([2, 1, 0], np.int64), axis=1)
        tensor = self.add("Cast", tensor, to=TensorProto.FLOAT)
        if info.channels == 1:
            luma = self.constant(np.reshape(_LUMA_601, (1, 3, 1, 1)), np.float32)
            tensor = self.add("Conv", tensor, luma)
        tensor = self.add("Mul", tensor, self.constant(factor.reshape(-1, 1, 1), np.float32))
        tensor = self.add("Add", tensor, self.constant(offset.reshape(-1, 1, 1), np.float32))
        if info.layout == "nhwc":
            tensor = self.add("Transpose", tensor, perm=[0, 2, 3, 1])
        self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), out=out)

    def pool(self, tensor: str, tap: Tap, pooling: str, out: str) -> None:
        """From a tap to (n, d) float32; sums are taken in float32 whatever the graph computes in."""
        tensor = self.add("Cast", tensor, to=TensorProto.FLOAT)
        if pooling == "gem":
            tensor = self.add("Pow", self.at_least(tensor, GEM_EPS), self.constant(GEM_P, np.float32))
        if tap.kind == "map":
            tensor = self._pool_map(tensor, "ReduceMax" if pooling == "max" else "ReduceMean", tap)
        elif tap.kind == "tokens":
            tensor = self._pool_tokens(tensor, pooling, tap.n_prefix_tokens)
        if pooling == "gem":
            tensor = self.add("Pow", tensor, self.constant(1 / GEM_P, np.float32))
        self.add("Reshape", tensor, self.constant([-1, tap.channels], np.int64), out=out)

    def _pool_map(self, tensor: str, op: str, tap: Tap) -> str:
        if tap.layout == "nhwc":
            return self.reduce(op, tensor, [1, 2])
        return self.add("GlobalMaxPool" if op == "ReduceMax" else "GlobalAveragePool", tensor)

    def _pool_tokens(self, tensor: str, pooling: str, n_prefix: int) -> str:
        if pooling == "cls":
            return self.add("Gather", tensor, self.constant(0, np.int64), axis=1)
        if n_prefix:
            tensor = self.from_token(tensor, n_prefix)
        return self.reduce("ReduceMax" if pooling == "max" else "ReduceMean", tensor, [1])


def _one_channel(factor: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.ptp(factor) or np.ptp(offset):
        raise GraphError(
            "the graph takes one grey channel, and the preprocessing has different mean or std for its channels. "
            "Give the network's one mean and one std three times."
        )
    return factor[:1], offset[:1]
