"""The input of a graph that takes the samples: pictures or token ids, in which type, layout and size.

Old files list their weights among the inputs, and many leave axes open, so the declaration alone does not say. A
network of pictures has one float input of four axes with three channels or one; a text encoder has ``input_ids``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from featx.backbones.batch import NOMINAL_BATCH
from featx.backbones.shapes import Shape, attribute, type_and_dims
from featx.backbones.wiring import input_layout
from featx.errors import GraphError

__all__ = ["DataInput", "find_data_input", "is_of_tokens"]

# Stands for height and width where a file leaves them open: divisible by the patches of 14 and 16 and by 32.
NOMINAL_SIZE_PX = 224
NOMINAL_TOKENS = 16

_IMAGE_DTYPES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_TEXT_DTYPES: dict[int, str] = {TensorProto.INT64: "int64", TensorProto.INT32: "int32"}
_MASK_DTYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BOOL)
_IDS = "input_ids"
# What stands beside the ids of a text, and beside the ids of a decoder: none of them takes samples.
_BESIDE_IDS = ("mask", "type", "segment", "position")
_BESIDE_PICTURES = ("mask", "past")

_Dims = Sequence[int | str | None]
_Declared = tuple[str, int, _Dims | None]


@dataclass(frozen=True, slots=True)
class DataInput:
    """The input that takes the samples.

    Attributes
    ----------
    name : str
    modality : {"image", "text"}
    dtype : str
        ``"float32"``, ``"float16"``, ``"int64"`` or ``"int32"``.
    layout : {"nchw", "nhwc"} or None
        Of a picture.
    channels : int
        3 or 1 of a picture, 0 of a text.
    size : (int, int) or None
        Height and width in pixels, where the file fixes both.
    tokens : int or None
        The length of a text, where the file fixes it.
    batch : int or None
        The number of rows, where the file fixes it.
    feeds : dict
        A concrete shape for each input that matters, with nominal numbers where the file leaves axes open.
    """

    name: str
    modality: str
    dtype: str
    layout: str | None
    channels: int
    size: tuple[int, int] | None
    tokens: int | None
    batch: int | None
    feeds: dict[str, Shape]


def find_data_input(model: onnx.ModelProto) -> DataInput:
    """The input of a model that takes pictures or token ids.

    Raises
    ------
    GraphError
        If there is no such input, or more than one; the message lists the inputs there are.
    """
    weights = {t.name for t in model.graph.initializer}
    inputs = [(v.name, *type_and_dims(v.type)) for v in model.graph.input if v.name not in weights]
    texts = [i for i in inputs if is_of_tokens(*i)]
    ids = _ids_among(texts)
    pictures = [i for i in inputs if i[1] in _IMAGE_DTYPES and (i[2] is None or len(i[2]) == 4)]
    pictures = [i for i in pictures if ids is None or not any(word in i[0] for word in _BESIDE_PICTURES)]
    if len(pictures) == 1:
        return _picture_input(model, *pictures[0])
    if ids is not None and not pictures:
        return _text_input(ids, texts)
    raise GraphError(
        "expected one input of pictures, float32 or float16 (n, 3, h, w) or (n, h, w, 3), or the token ids "
        f"{_IDS!r} of a text encoder, int64 or int32 (n, t); found {'; '.join(map(_declaration, inputs)) or 'no input'}."
    )


def is_of_tokens(name: str, dtype: int, dims: _Dims | None) -> bool:
    """Whether an input holds a number for each token of a batch, (n, t): ids, types, positions, or a mask.

    Masks may be floating-point numbers or truth values, 1 and True for a token. Those of padding are none of these: of some
    publishers 1 and True mean the padding, and nothing in a file says which.

    Parameters
    ----------
    name : str
    dtype : int
        ONNX's number of the type.
    dims : sequence of int, str or None
        As declared.
    """
    if dims is None or len(dims) != 2:
        return False
    return dtype in _TEXT_DTYPES or (dtype in _MASK_DTYPES and "mask" in name and "pad" not in name)


def _ids_among(texts: Sequence[_Declared]) -> _Declared | None:
    """The ids by their own name, else the only integers that are nothing else by their name."""
    integers = [i for i in texts if i[1] in _TEXT_DTYPES]
    others = [i for i in integers if not any(word in i[0] for word in _BESIDE_IDS)]
    named = [i for i in integers if i[0] == _IDS]
    found = named or (others if len(others) == 1 else [])
    return found[0] if found else None


def _declaration(item: _Declared) -> str:
    name, dtype, dims = item
    kind = TensorProto.DataType.items()[dtype][0].lower()
    return f"{name}: {kind} {'of unknown shape' if dims is None else _dims_text(dims)}"


def _dims_text(dims: _Dims) -> str:
    return f"({', '.join('?' if d is None else str(d) for d in dims)})"


def _picture_input(model: onnx.ModelProto, name: str, dtype: int, dims: _Dims | None) -> DataInput:
    declared = dims or (None,) * 4
    n, *axes = (d if isinstance(d, int) else None for d in declared)
    layout = input_layout((n, *axes))
    channels = axes[0 if layout == "nchw" else 2]
    if channels not in (1, 3) and None in (axes[0], axes[2]):
        layout, channels = _first_convolution(model, name)
    if channels not in (1, 3):
        raise GraphError(
            f"input {name!r} has shape {_dims_text(declared)}: expected 3 channels (RGB) or 1 (grey), found "
            f"{'an unknown number' if channels is None else channels}."
        )
    height, width = axes[1:] if layout == "nchw" else axes[:2]
    size = None if height is None or width is None else (height, width)
    nominal = (height or NOMINAL_SIZE_PX, width or NOMINAL_SIZE_PX)
    row = (channels, *nominal) if layout == "nchw" else (*nominal, channels)
    feeds: dict[str, Shape] = {name: (n or NOMINAL_BATCH, *row)}
    return DataInput(name, "image", _IMAGE_DTYPES[dtype], layout, channels, size, None, n, feeds)


def _first_convolution(model: onnx.ModelProto, name: str) -> tuple[str, int | None]:
    """Layout and channels of an input that leaves them open, from the transpose and convolution after it."""
    weights = {t.name: t.dims for t in model.graph.initializer}
    layout, on_path = "nchw", {name}
    for node in model.graph.node:
        if not on_path.intersection(node.input):
            continue
        if node.op_type == "Transpose" and list(attribute(node, "perm") or ()) == [0, 3, 1, 2]:
            layout = "nhwc"
        if node.op_type == "Conv" and node.input[1] in weights:
            return layout, int(weights[node.input[1]][1]) * int(attribute(node, "group", 1))
        on_path.update(node.output)
    return layout, None


def _text_input(ids: _Declared, texts: Sequence[_Declared]) -> DataInput:
    name, dtype, dims = ids
    n, tokens = (d if isinstance(d, int) else None for d in dims or (None, None))
    # Masks and token types have the shape of the ids.
    feeds: dict[str, Shape] = {text[0]: (n or NOMINAL_BATCH, tokens or NOMINAL_TOKENS) for text in texts}
    return DataInput(name, "text", _TEXT_DTYPES[dtype], None, 0, None, tokens, n, feeds)
