"""Token ids and their end as ONNX nodes: what stands before and behind the encoder of texts once it is cut.

A batch is one array, ``tokens`` int32 (n, t): ids, and -1 behind the end of a row. Mask, padding ids, token types and positions
are made from it here, so that a row says itself how long it is, and there is one definition of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from featx.backbones.graph import Tap
from featx.backbones.in_graph import Writer
from featx.errors import GraphError

__all__ = ["TextEnd", "TextTokens", "pool_texts", "tokens_to_inputs"]

_OLDEST_OPSET = 9  # Less of integers, Where
_POSITIONS_OPSET = 11  # CumSum
_LAST_OPSET = 12  # GatherND with batch dimensions
# Masks that are not of the tokens: Longformer's and LED's global attention, a decoder's, those of heads.
_OTHER_MASKS = ("global", "decoder", "cross", "head")
_LOWEST = float(np.finfo(np.float32).min)
# torch.nn.functional.normalize, eps; sentence-transformers, models/Pooling.py, clamp of the mask's sum.
_NORM_FLOOR, _COUNT_FLOOR = 1e-12, 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEnd:
    """What stands behind a tap of an encoder of texts.

    Parameters
    ----------
    pooling : {"cls", "mean", "max", "last", "none"}
    dense : sequence of (weight, bias, activation)
        float32 (out, in), float32 (out,) or None, and a name of :class:`featx.backbones.text_preprocess.Dense`.
    normalize : bool
        Scale vectors to length 1.
    """

    pooling: str
    dense: Sequence[tuple[NDArray[np.float32], NDArray[np.float32] | None, str]] = ()
    normalize: bool = False


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Tensors made from ``tokens``: where a row has ended, bool (n, t), and its mask, int64 (n, t)."""

    absent: str
    mask: str


def tokens_to_inputs(
    writer: Writer, inputs: Mapping[str, int], *, ids: str, pad_id: int, first_position: int = 0
) -> TextTokens:
    """From ``tokens`` to the graph's own inputs.

    Parameters
    ----------
    writer : Writer
    inputs : mapping of str to int
        Names of inputs (n, t) and their ONNX types. Those with "mask", "type", "segment" or "position" in their names are
        known; others, and masks of other things than tokens, are left unfed.
    ids : str
        The input that takes the ids.
    pad_id : int
    first_position : int
        Of the first token.

    Raises
    ------
    GraphError
        The graph's opset is older than 9, or than 11 where it takes positions.
    """
    if writer.opset < _OLDEST_OPSET:
        raise GraphError(
            f"the graph uses opset {writer.opset}, and texts need {_OLDEST_OPSET} or later. Convert it with "
            "onnx.version_converter.convert_version(model, 13) and compare its outputs with the original's."
        )
    absent = writer.add("Less", "tokens", writer.constant(0, np.int32))
    mask = writer.add("Cast", writer.add("Not", absent), to=TensorProto.INT64)
    for name, dtype in inputs.items():
        if name == ids:
            padded = writer.add("Where", absent, writer.constant(pad_id, np.int32), "tokens")
            writer.add("Cast", padded, to=dtype, out=name)
        elif "mask" in name and not any(other in name for other in _OTHER_MASKS):
            writer.add("Cast", mask, to=dtype, out=name)
        elif "type" in name or "segment" in name:
            zeros = writer.add("Mul", mask, writer.constant(0, np.int64))
            writer.add("Cast", zeros, to=dtype, out=name)
        elif "position" in name:
            if writer.opset < _POSITIONS_OPSET:
                raise GraphError(
                    f"the graph uses opset {writer.opset}, and its input {name!r} needs {_POSITIONS_OPSET} or later. Export it "
                    "again."
                )
            counted = writer.add("CumSum", mask, writer.constant(1, np.int64))
            # Behind the end of a row it stands still at the first one, so that no table is read beyond its end.
            before = writer.add("Mul", writer.add("Sub", counted, writer.constant(1, np.int64)), mask)
            position = writer.add("Add", before, writer.constant(first_position, np.int64))
            writer.add("Cast", position, to=dtype, out=name)
    return TextTokens(absent, mask)


def pool_texts(writer: Writer, tensor: str, tap: Tap, tokens: TextTokens, end: TextEnd, out: str) -> None:
    """From a tap to (n, d) float32; sums are taken in float32 whatever the graph computes in.

    Raises
    ------
    GraphError
        The graph's opset is too old for the pooling, or a dense layer takes vectors of another length than the tap's.
    """
    tensor = writer.add("Cast", tensor, to=TensorProto.FLOAT)
    if tap.kind == "tokens":
        tensor = _pool(writer, tensor, tokens, end.pooling)
    width = tap.channels
    tensor = writer.add("Reshape", tensor, writer.constant([-1, width], np.int64))
    for weight, bias, activation in end.dense:
        if weight.shape[1] != width:
            raise GraphError(
                f"tap {tap.name!r}: the dense layer behind its pooling takes vectors of {weight.shape[1]}, found {width}. The "
                "folder's files are of two different models: fetch it again."
            )
        tensor = writer.add("MatMul", tensor, writer.constant(weight.T, np.float32))
        if bias is not None:
            tensor = writer.add("Add", tensor, writer.constant(bias, np.float32))
        tensor, width = _activate(writer, tensor, activation), len(weight)
    if end.normalize:
        squares = writer.sum_last(writer.add("Mul", tensor, tensor))
        length = writer.at_least(writer.add("Sqrt", squares), _NORM_FLOOR)
        tensor = writer.add("Div", tensor, length)
    writer.add("Reshape", tensor, writer.constant([-1, width], np.int64), out=out)


def _pool(writer: Writer, tensor: str, tokens: TextTokens, pooling: str) -> str:
    if pooling == "cls":
        return writer.add("Gather", tensor, writer.constant(0, np.int64), axis=1)
    if pooling == "last":
        return _last(writer, tensor, tokens)
    absent = writer.add("Reshape", tokens.absent, writer.constant([0, 0, 1], np.int64))
    # Replaced and not multiplied: behind the end of a row a network may hold anything, infinities too.
    floor = writer.constant(_LOWEST if pooling == "max" else 0, np.float32)
    kept = writer.add("Where", absent, floor, tensor)
    if pooling == "max":
        return writer.reduce("ReduceMax", kept, [1])
    count = writer.add("Cast", writer.sum_over(tokens.mask, 1), to=TensorProto.FLOAT)
    return writer.add("Div", writer.sum_over(kept, 1, keep=False), writer.at_least(count, _COUNT_FLOOR))


def _last(writer: Writer, tensor: str, tokens: TextTokens) -> str:
    if writer.opset < _LAST_OPSET:
        raise GraphError(
            f"the graph uses opset {writer.opset}, and pooling='last' needs {_LAST_OPSET} or later. Export it again."
        )
    at = writer.add("Sub", writer.sum_over(tokens.mask, 1), writer.constant(1, np.int64))
    return writer.add("GatherND", tensor, at, batch_dims=1)


def _activate(writer: Writer, tensor: str, activation: str) -> str:
    if activation in ("Tanh", "Sigmoid"):
        return writer.add(activation, tensor)
    if activation == "ReLU":
        return writer.add("Relu", tensor)
    if activation == "GELU":  # the exact one: torch.nn.GELU's default
        erf = writer.add("Erf", writer.add("Mul", tensor, writer.constant(0.5**0.5, np.float32)))
        half = writer.add("Mul", tensor, writer.constant(0.5, np.float32))
        return writer.add("Mul", half, writer.add("Add", erf, writer.constant(1, np.float32)))
    return tensor
