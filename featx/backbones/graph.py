"""What an ONNX file is: read without its external weights, described, and its taps named.

``load_graph`` refuses what is no whole ONNX model, with words; ``inspect_graph`` says which input takes the samples, how, and
where the network can be read; ``find_tap`` adds any other tensor by its own name. Nothing here runs or changes a graph.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper, numpy_helper

from featx.backbones.batch import NOMINAL_BATCH, coupling_op, free_batch
from featx.backbones.taps import Tap, find_taps, tap_at
from featx.backbones.wiring import (
    SMALL_TENSOR_ELEMENTS,
    Shape,
    Wiring,
    attribute,
    input_layout,
    main_opset,
    tensor_type_shape,
    wire,
)
from featx.errors import BackboneNotFoundError, GraphError

__all__ = ["GraphInfo", "Tap", "external_files", "find_tap", "inspect_graph", "load_graph"]

# Stands for height and width where a file leaves them open: divisible by the patches of 14 and 16 and by 32.
NOMINAL_SIZE_PX = 224
NOMINAL_TOKENS = 16

OLDEST_OPSET = 7  # before it, broadcasting was an attribute; ONNX Runtime promises nothing below it either

_IMAGE_DTYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_TEXT_DTYPES = {TensorProto.INT64: "int64", TensorProto.INT32: "int32"}
_NOT_ONNX = (
    (b"version https://git-lfs", "a Git LFS pointer: the weights were never downloaded (git lfs pull)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint: export it to ONNX first"),
    (b"\x80\x02", "a pickle: export the model to ONNX first"),
    (b"\x89HDF", "an HDF5 or Keras file: export the model to ONNX first"),
    (b"<", "a web page or XML: the download went wrong"),
)


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What ``inspect_graph`` found.

    Attributes
    ----------
    modality : {"image", "text"}
    input_name : str
        The input that takes the samples.
    input_dtype : str
        ``"float32"`` or ``"float16"`` for pictures, ``"int64"`` or ``"int32"`` for token ids.
    layout : {"nchw", "nhwc"} or None
        Of the input picture; None for text.
    input_size : (int, int) or None
        Height and width that the file fixes, in pixels.
    fixed_batch : int or None
        The number of rows that a cut graph still insists on; None where it takes any.
    taps : tuple of Tap
        Named taps in the order data flows, ``pooled`` last. It is missing where a graph has several outputs.
    n_parameters : int
        Numbers in all weights.
    opset : int
    producer : str
        The program that wrote the file, with its version.
    coupled_by : str or None
        Type of the operator through which the rows of a batch change each other, where one is visible.
    channels : int
        3, or 1 for a network that takes grey pictures; 0 for text.
    outputs : tuple of str
        The graph's own outputs.
    """

    modality: str
    input_name: str
    input_dtype: str
    layout: str | None
    input_size: tuple[int, int] | None
    fixed_batch: int | None
    taps: tuple[Tap, ...]
    n_parameters: int
    opset: int
    producer: str
    coupled_by: str | None
    channels: int
    outputs: tuple[str, ...]


def load_graph(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file; weights that lie in other files stay there.

    Functions local to the model are inlined, and small tensors stored outside (the shapes of reshapes, say) are read in.

    Raises
    ------
    BackboneNotFoundError
        If the file, or an external data file that it names, does not exist.
    GraphError
        If the file is not ONNX, is truncated, holds no network, or its external data is too short.
    """
    file = Path(path)
    if not file.is_file():
        found = "a folder" if file.is_dir() else "nothing"
        raise BackboneNotFoundError(f"{file}: expected an ONNX file, found {found}.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise GraphError(f"{file}: cannot be read ({error.strerror or error}).") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise GraphError(_not_onnx(file, content)) from error
    # Protobuf takes some foreign bytes for fields it does not know, and an empty file for an empty model.
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise GraphError(_not_onnx(file, content))
    del content
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_external_data(model, file)
    return model


def external_files(model: onnx.ModelProto) -> list[str]:
    """Names of the files that hold a model's external weights, relative to its folder, sorted."""
    return sorted({_external(tensor)[0] for tensor in _tensors(model) if _is_external(tensor)})


def inspect_graph(model: onnx.ModelProto) -> GraphInfo:
    """Describe a graph: its input, its taps, and what limits how it may be run.

    Parameters
    ----------
    model : ModelProto
        From ``load_graph``. Not changed.

    Raises
    ------
    GraphError
        If no input takes pictures or token ids, or the operators are older than opset 7.
    """
    opset = main_opset(model)
    if opset < OLDEST_OPSET:
        raise GraphError(
            f"the graph uses opset {opset}, featx needs {OLDEST_OPSET} or later. Convert it with "
            "onnx.version_converter.convert_version(model, 13) and compare its outputs with the original's."
        )
    source = _find_source(model)
    wiring = wire(model, source.name, source.feeds)
    outputs = tuple(v.name for v in model.graph.output)
    fixed = source.batch
    if fixed is not None and free_batch(model, wiring) is not None:
        fixed = None
    return GraphInfo(
        modality=source.modality,
        input_name=source.name,
        input_dtype=source.dtype,
        layout=source.layout,
        input_size=source.size,
        fixed_batch=fixed,
        taps=find_taps(wiring, outputs, sized=source.size is not None),
        n_parameters=_count_parameters(model),
        opset=opset,
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        coupled_by=coupling_op(wiring),
        channels=source.channels,
        outputs=outputs,
    )


def find_tap(info: GraphInfo, model: onnx.ModelProto, name: str) -> Tap:
    """A named tap, or the tap at any tensor by its own name.

    Raises
    ------
    GraphError
        If there is no such tap or tensor, or the tensor cannot become one vector a sample; the message lists the taps.
    """
    for tap in info.taps:
        if tap.name == name:
            return tap
    wiring = wire_graph(model)
    tap = tap_at(wiring, name, name, sized=info.input_size is not None)
    if tap is not None:
        return tap
    known = ", ".join(t.name for t in info.taps) or "none"
    if name == "pooled":
        outputs = ", ".join(f"{t} {_shape_text(wiring.shapes.get(t))}" for t in info.outputs)
        reason = f"the graph does not end in one vector, map or token sequence (its outputs: {outputs})"
    elif name in wiring.shapes:
        reason = (
            f"tensor {name!r} of shape {_shape_text(wiring.shapes[name])} cannot become one vector a sample"
        )
    else:
        reason = f"no tap and no tensor is named {name!r}"
    raise GraphError(f"{reason}. Taps of this graph: {known}; or name any float tensor of it.")


def wire_graph(model: onnx.ModelProto) -> Wiring:
    """The wiring of a graph at the input shape that ``inspect_graph`` looks at it with."""
    source = _find_source(model)
    return wire(model, source.name, source.feeds)


def _shape_text(shape: Shape | None) -> str:
    if shape is None:
        return "(unknown)"
    return "(" + ", ".join("n" if d == NOMINAL_BATCH else "?" if d is None else str(d) for d in shape) + ")"


# The data input


@dataclass(frozen=True, slots=True)
class _Source:
    """The input that takes the samples, and the shapes to look at the graph with."""

    name: str
    modality: str
    dtype: str
    layout: str | None
    channels: int
    size: tuple[int, int] | None
    batch: int | None
    feeds: dict[str, Shape]


def _find_source(model: onnx.ModelProto) -> _Source:
    initialisers = {t.name for t in model.graph.initializer}
    found = []
    for value in model.graph.input:
        if value.name in initialisers:
            continue
        dtype, dims = tensor_type_shape(value)
        found.append((value.name, dtype, dims))
    pictures = [item for item in found if item[1] in _IMAGE_DTYPES and (item[2] is None or len(item[2]) == 4)]
    if len(pictures) == 1:
        return _picture_source(model, *pictures[0])
    texts = [item for item in found if item[1] in _TEXT_DTYPES and item[2] is not None and len(item[2]) == 2]
    for name, dtype, dims in texts:
        if not pictures and (name == "input_ids" or len(texts) == 1):
            return _text_source(name, dtype, dims, texts)
    listed = "; ".join(
        f"{name}: {TensorProto.DataType.Name(dtype).lower()} {'of unknown shape' if dims is None else list(dims)}"
        for name, dtype, dims in found
    )
    raise GraphError(
        "expected one input of pictures, float32 or float16 (n, 3, h, w) or (n, h, w, 3), or the token ids 'input_ids' "
        f"of a text encoder; found {listed or 'no input'}."
    )


def _picture_source(
    model: onnx.ModelProto, name: str, dtype: int, dims: Sequence[int | str | None] | None
) -> _Source:
    numbers: list[int | None] = [d if isinstance(d, int) else None for d in dims or (None,) * 4]
    layout = input_layout(tuple(numbers))
    if numbers[1] is None and numbers[3] is None:
        layout, channels = _first_convolution(model, name)
        numbers[1 if layout == "nchw" else 3] = channels
    n, channels = numbers[0], numbers[1 if layout == "nchw" else 3]
    height, width = numbers[2:] if layout == "nchw" else numbers[1:3]
    if channels not in (1, 3):
        raise GraphError(
            f"input {name!r} has shape {list(dims or ())}: expected 3 channels (RGB) or 1 (grey), found "
            f"{'an unknown number' if channels is None else channels}."
        )
    size = None if height is None or width is None else (height, width)
    high, wide = height or NOMINAL_SIZE_PX, width or NOMINAL_SIZE_PX
    shape = (channels, high, wide) if layout == "nchw" else (high, wide, channels)
    feeds = {name: (n or NOMINAL_BATCH, *shape)}
    return _Source(name, "image", _IMAGE_DTYPES[dtype], layout, channels, size, n, feeds)


def _first_convolution(model: onnx.ModelProto, name: str) -> tuple[str, int | None]:
    """Layout and channels of an input that declares neither, from the first transpose and convolution after it."""
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


def _text_source(
    name: str,
    dtype: int,
    dims: Sequence[int | str | None],
    texts: Sequence[tuple[str, int, Sequence[int | str | None] | None]],
) -> _Source:
    n = dims[0] if isinstance(dims[0], int) else None
    tokens = dims[1] if isinstance(dims[1], int) else NOMINAL_TOKENS
    feeds: dict[str, Shape] = {text: (n or NOMINAL_BATCH, tokens) for text, _, _ in texts}
    return _Source(name, "text", _TEXT_DTYPES[dtype], None, 0, None, n, feeds)


def _count_parameters(model: onnx.ModelProto) -> int:
    """Numbers in the float and 8-bit tensors: shapes and axes are int64 and no parameters."""
    shapes = (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING)
    return sum(math.prod(t.dims) for t in _tensors(model) if t.data_type not in shapes and t.dims)


# External data


def _tensors(model: onnx.ModelProto) -> list[TensorProto]:
    """Initialisers and the values of Constant nodes."""
    values = [attribute(node, "value") for node in model.graph.node if node.op_type == "Constant"]
    return [*model.graph.initializer, *(v for v in values if isinstance(v, TensorProto))]


def _is_external(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _external(tensor: TensorProto) -> tuple[str, int, int]:
    """File name, offset and length in bytes of an external tensor."""
    entries = {item.key: item.value for item in tensor.external_data}
    item_bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    length = int(entries.get("length") or math.prod(tensor.dims) * item_bits // 8)
    return entries.get("location", ""), int(entries.get("offset") or 0), length


def _check_external_data(model: onnx.ModelProto, file: Path) -> None:
    sizes: dict[str, int] = {}
    for tensor in _tensors(model):
        if not _is_external(tensor):
            continue
        name, offset, length = _external(tensor)
        inside = PurePosixPath(name.replace("\\", "/"))
        if not name or inside.is_absolute() or ".." in inside.parts or ":" in name:
            raise GraphError(
                f"{file}: weights {tensor.name!r} point outside the model's folder, at {name!r}."
            )
        if name not in sizes:
            data = file.parent / name
            if not data.is_file():
                raise BackboneNotFoundError(
                    f"{data}: {file.name} keeps weights in this file, and it is missing. "
                    "Copy or download it beside the model, under this name."
                )
            sizes[name] = data.stat().st_size
        if sizes[name] < offset + length:
            raise GraphError(
                f"{file.parent / name}: truncated. {file.name} expects at least {offset + length:,} bytes, found "
                f"{sizes[name]:,}. Download it again."
            )
        if math.prod(tensor.dims) <= SMALL_TENSOR_ELEMENTS:
            external_data_helper.load_external_data_for_tensor(tensor, str(file.parent))
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))


def _not_onnx(file: Path, content: bytes) -> str:
    if not content:
        return f"{file}: expected an ONNX model, found an empty file."
    for magic, what in _NOT_ONNX:
        if content.startswith(magic):
            return f"{file}: expected an ONNX model, found {what}."
    if content[4:8] == b"ORTM":
        return f"{file}: expected an ONNX model, found ONNX Runtime's own format; featx needs the .onnx it was made from."
    if content[0] == 0x08 and b"\x12" in content[:4]:
        return f"{file}: a truncated or damaged ONNX model ({len(content):,} bytes). Download it again."
    return f"{file}: not an ONNX model, or a damaged one ({len(content):,} bytes)."
