"""An ONNX file read: whole and valid, or refused with what it seems to be.

Weights in external files stay on disk. Only small tensors (the shapes of reshapes, say) are read in, because
the analysis of a graph needs their values. External files may be symbolic or hard links, as in the snapshots of a Hugging Face
cache: ``onnx`` and ONNX Runtime refuse those when they open them themselves, so featx opens them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no stubs
from numpy.typing import NDArray
from onnx import TensorProto, helper

from featx.backbones.shapes import SMALL_TENSOR_ELEMENTS, attribute, is_stored_outside
from featx.errors import BackboneNotFoundError, GraphError

__all__ = ["count_parameters", "external_data", "external_files", "external_names", "load_graph"]

_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer: the weights were never downloaded (git lfs pull)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint: export the model to ONNX first"),
    (b"\x80\x02", "a pickle: export the model to ONNX first"),
    (b"\x89HDF", "an HDF5 or Keras file: export the model to ONNX first"),
    (b"<", "a web page or XML: the download went wrong"),
)

# Data types that hold shapes and indices, never weights.
_NO_WEIGHTS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING})

# Packed in a file (ONNX IR 10 and 13), whole bytes in numpy.
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


def load_graph(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file; weights that lie in other files stay there.

    Functions local to the model are inlined.

    Raises
    ------
    BackboneNotFoundError
        If the file, or an external data file that it names, does not exist.
    GraphError
        If the file is not ONNX, is truncated, or holds no network; or its external data is too short, of another length
        than its shape, cannot be read, or is named by a path that leaves the folder.
    """
    file = Path(path)
    model = _parse(file)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_external_data(model, file)
    _read_small_tensors(model, file)
    return model


def external_files(path: str | os.PathLike[str]) -> list[str]:
    """Names of the files that hold weights of an ONNX file, relative to its folder, sorted.

    Also those whose tensors ``load_graph`` reads in. Raises what ``load_graph`` raises.
    """
    file = Path(path)
    model = _parse(file)
    _check_external_data(model, file)
    return _names(model, file)


def external_names(path: str | os.PathLike[str]) -> list[str]:
    """Like :func:`external_files`, without looking whether the files are there: for whoever is about to fetch them.

    Raises
    ------
    BackboneNotFoundError, GraphError
        The ONNX file itself is missing or refused, or a name leaves its folder.
    """
    file = Path(path)
    model = _parse(file)
    for tensor in filter(is_stored_outside, _tensors(model)):
        _check_inside(tensor, _external(tensor, file)[0], file)
    return _names(model, file)


def _names(model: onnx.ModelProto, file: Path) -> list[str]:
    return sorted({_external(tensor, file)[0] for tensor in _tensors(model) if is_stored_outside(tensor)})


def external_data(model: onnx.ModelProto, folder: str | os.PathLike[str]) -> dict[str, NDArray[np.uint8]]:
    """The external files of a graph, mapped into memory by the names that the graph calls them.

    For ``SessionOptions.add_external_initializers_from_files_in_memory``: a session that is given the files in memory
    opens none itself, and so refuses no links.

    Parameters
    ----------
    model : ModelProto
        From ``load_graph``, or cut from it. Not changed.
    folder : path
        The folder of its file.

    Returns
    -------
    dict
        Name of a file, as the graph has it, to its bytes: read-only uint8 (n,), read from disk when they are looked at.
        They must live until the session is made, and may go then. Empty where the graph holds all its weights.

    Raises
    ------
    BackboneNotFoundError
        If a file does not exist.
    GraphError
        If a file is too short, cannot be read, or is named by a path that leaves the folder.
    """
    graph = Path(folder) / "the graph"  # what messages call it: a cut graph has no file
    _check_external_data(model, graph)
    return {name: _mapped(Path(folder) / name) for name in _names(model, graph)}


def _mapped(data: Path) -> NDArray[np.uint8]:
    if data.stat().st_size == 0:
        return np.empty(0, np.uint8)  # tensors without elements; an empty file cannot be mapped
    try:
        return np.memmap(data, np.uint8, mode="r")
    except OSError as error:
        raise GraphError(f"{data}: cannot be read ({error.strerror or error}).") from error


def _parse(file: Path) -> onnx.ModelProto:
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
        raise GraphError(_refusal(file, content)) from error
    # Protobuf takes some foreign bytes for fields that it does not know, and no bytes for an empty model.
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise GraphError(_refusal(file, content))
    return model


def count_parameters(model: onnx.ModelProto) -> int:
    """Numbers in all weights of a model."""
    return sum(math.prod(t.dims) for t in _tensors(model) if t.data_type not in _NO_WEIGHTS)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Initialisers and the values of Constant nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if isinstance(value, TensorProto):
            yield value


def _external(tensor: TensorProto, file: Path) -> tuple[str, int, int]:
    """File name, offset and length in bytes of an external tensor."""
    entries = {item.key: item.value for item in tensor.external_data}
    expected = _n_bytes(tensor, file)
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or expected)
    except ValueError as error:
        raise GraphError(
            f"{file}: weights {tensor.name!r} are at no number in their file ({error})."
        ) from error
    if offset < 0 or length != expected:
        raise GraphError(
            f"{file}: weights {tensor.name!r} of shape {tuple(tensor.dims)} take {expected:,} bytes, their entry says "
            f"{length:,} bytes from {offset:,}. The file is damaged: download or export it again."
        )
    return entries.get("location", ""), offset, length


def _n_bytes(tensor: TensorProto, file: Path) -> int:
    elements = math.prod(tensor.dims)
    try:
        name = TensorProto.DataType.Name(tensor.data_type)
        whole_bits = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError) as error:
        raise GraphError(
            f"{file}: weights {tensor.name!r} are of data type {tensor.data_type}, which this version of onnx does not know. "
            "Update onnx, or export the model in float32."
        ) from error
    return -(-elements * _PACKED_BITS.get(name, whole_bits) // 8)


def _check_external_data(model: onnx.ModelProto, file: Path) -> None:
    sizes: dict[str, int] = {}
    for tensor in _tensors(model):
        if not is_stored_outside(tensor):
            continue
        name, offset, length = _external(tensor, file)
        _check_inside(tensor, name, file)
        if name not in sizes:
            sizes[name] = _data_size(file, name)
        if sizes[name] < offset + length:
            raise GraphError(
                f"{file.parent / name}: truncated. {file.name} expects at least {offset + length:,} bytes, "
                f"found {sizes[name]:,}. Download it again."
            )


def _check_inside(tensor: TensorProto, name: str, file: Path) -> None:
    inside = PurePosixPath(name.replace("\\", "/"))
    if not name or inside.is_absolute() or ".." in inside.parts or ":" in name:
        raise GraphError(f"{file}: weights {tensor.name!r} point outside the model's folder, to {name!r}.")


def _read_small_tensors(model: onnx.ModelProto, file: Path) -> None:
    """Shapes of reshapes and the like are needed to read the graph."""
    for tensor in _tensors(model):
        if is_stored_outside(tensor) and math.prod(tensor.dims) <= SMALL_TENSOR_ELEMENTS:
            name, offset, length = _external(tensor, file)
            tensor.raw_data = _read_bytes(file.parent / name, offset, length)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")


def _read_bytes(data: Path, offset: int, length: int) -> bytes:
    # Not onnx.external_data_helper: it refuses links, which caches are made of.
    try:
        with data.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)
    except OSError as error:
        raise GraphError(f"{data}: cannot be read ({error.strerror or error}).") from error


def _data_size(file: Path, name: str) -> int:
    data = file.parent / name
    if not data.is_file():
        raise BackboneNotFoundError(
            f"{data}: missing. {file.name} keeps weights in it: copy or download it into the same folder, under this name."
        )
    return data.stat().st_size


def _refusal(file: Path, content: bytes) -> str:
    if not content:
        return f"{file}: expected an ONNX model, found an empty file."
    for magic, what in _FOREIGN:
        if content.startswith(magic):
            return f"{file}: expected an ONNX model, found {what}."
    if content[4:8] == b"ORTM":
        return (
            f"{file}: expected an ONNX model, found ONNX Runtime's own format. Use the file it was made from."
        )
    # A model begins with its IR version (field 1, a small number), then the producer's name (field 2).
    if len(content) > 2 and content[0] == 0x08 and content[2] in (0x12, 0x1A, 0x3A):
        return f"{file}: a truncated or damaged ONNX model ({len(content):,} bytes). Download it again."
    return f"{file}: expected an ONNX model, found {len(content):,} bytes of something else."
