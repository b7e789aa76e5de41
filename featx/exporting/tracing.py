"""From a torch module to an ONNX graph, by whichever of torch's exporters gives one that agrees with the module.

The TorchScript exporter comes first: it takes a quarter of the time, and ONNX Runtime recognises more of its graphs, so that a
MiniLM runs 1.2 times as fast. It freezes what depends on the values of its example, without a word, and lacks some operators; the
first is found when the graph is compared, and in both cases the other exporter's turn has come.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from featx.backbones.onnx_file import count_parameters
from featx.exporting.inputs import ImageInputs, TextInputs
from featx.exporting.network import Network

__all__ = ["EXPORTERS", "FLOAT_BYTES", "quiet"]

FLOAT_BYTES = 4
"""Of a weight: only float32 networks are exported."""

# LayerNormalization is one operator from here on.
_TORCHSCRIPT_OPSET = 17
_LARGEST_BATCH = 4096  # an upper bound that torch.export wants named; the graph does not keep it
_LARGEST_FOLDED_BYTES = 1 << 30

_LOUD = ("torch", "transformers", "huggingface_hub", "onnxscript", "onnx_ir")


def by_torchscript(network: Network, inputs: ImageInputs | TextInputs, opset: int | None) -> onnx.ModelProto:
    """Traced by running it."""
    axes = {name: dict(inputs.axes) for name in inputs.names}
    names = [output.name for output in network.outputs]
    with _traced(network, inputs) as (example, path), _without_dump():
        torch.onnx.export(
            network,
            example,
            str(path),  # a Path is not taken for one where the weights need files beside it
            dynamo=False,
            opset_version=opset or _TORCHSCRIPT_OPSET,
            input_names=list(inputs.names),
            output_names=names,
            dynamic_axes=axes | {name: {0: inputs.axes[0]} for name in names},
        )
        model = onnx.load(path)
    return _folded(model) if inputs.modality == "image" else model


def by_dynamo(network: Network, inputs: ImageInputs | TextInputs, opset: int | None) -> onnx.ModelProto:
    """Traced symbolically, by ``torch.export``."""
    longest = getattr(inputs, "longest", None) or _LARGEST_BATCH
    bounds = {axis: _LARGEST_BATCH if axis == 0 else longest for axis in inputs.axes}
    sizes = {axis: torch.export.Dim(name, min=1, max=bounds[axis]) for axis, name in inputs.axes.items()}
    with _traced(network, inputs) as (example, path):
        torch.onnx.export(
            network,
            example,
            path,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=list(inputs.names),
            output_names=[output.name for output in network.outputs],
            dynamic_shapes={"values": tuple(sizes for _ in inputs.names)},
        )
        return onnx.load(path)


Exporter = Callable[[Network, ImageInputs | TextInputs, int | None], onnx.ModelProto]

EXPORTERS: tuple[tuple[str, Exporter], ...] = (("TorchScript", by_torchscript), ("torch.export", by_dynamo))
"""In the order in which they are tried."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that torch and transformers give to developers."""
    import transformers  # noqa: F401  # sets the level of its logger when it is first imported

    before = {name: logging.getLogger(name).level for name in _LOUD}
    try:
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the exporters' own future, and traced constants
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _traced(
    network: Network, inputs: ImageInputs | TextInputs
) -> Iterator[tuple[tuple[torch.Tensor, ...], Path]]:
    """The example, on the network's device, and a file to write to; weights over 2 GB go into files beside it."""
    with tempfile.TemporaryDirectory(prefix="featx-") as folder, torch.no_grad():
        example = tuple(torch.from_numpy(array).to(network.device) for array in inputs.example())
        yield example, Path(folder) / "model.onnx"


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Padding and sizes computed now and not in every run: 1.2 times the speed for an EfficientNet.

    Not for texts: there it takes apart what ONNX Runtime would make one attention operator of, for 0.9 times the speed.
    """
    from onnxscript import optimizer

    if FLOAT_BYTES * count_parameters(model) > _LARGEST_FOLDED_BYTES:
        return model  # it would be copied more than once
    return optimizer.optimize(model)


@contextlib.contextmanager
def _without_dump() -> Iterator[None]:
    """The TorchScript exporter prints a whole graph to the process's standard output when it fails.

    torch 2.7 to 2.13 switch that on by mistake: ``setup_onnx_logging`` tests a function where it means its result.
    """
    name = "setup_onnx_logging"
    try:
        utils: Any = importlib.import_module("torch.onnx._internal.torchscript_exporter.utils")
        kept = getattr(utils, name)
    except (ImportError, AttributeError):  # another version keeps it elsewhere, or mended it
        yield
        return
    setattr(utils, name, lambda verbose: contextlib.nullcontext())
    try:
        yield
    finally:
        setattr(utils, name, kept)
