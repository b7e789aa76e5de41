"""A network written as ``model.onnx``: exporters in turn, until one's file agrees with the original."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from featx.backbones.onnx_file import count_parameters
from featx.errors import ConversionError
from featx.exporting.agreement import Graph, Reference, compare, reference
from featx.exporting.inputs import TextInputs
from featx.exporting.network import Original
from featx.exporting.scrubbing import scrubbed_model
from featx.exporting.tracing import EXPORTERS, FLOAT_BYTES

__all__ = ["DATA_NAME", "MODEL_NAME", "Conversion", "Samples", "convert"]

MODEL_NAME, DATA_NAME = "model.onnx", "model.onnx.data"

# A protobuf holds at most 2 GiB; below this the graph around the weights cannot take a file there.
_LARGEST_FILE_BYTES = 1_500_000_000

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # torch.export writes for a terminal

Samples = Sequence[Any]
"""Pictures as uint8 RGB arrays (h, w, 3), or texts as token ids."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a graph was made, and how far it is from its original.

    Parameters
    ----------
    exporter : str
        Which of torch's exporters.
    opset : int
    agreement : mapping of str to float
        max |difference| / max |reference|, by what was compared.
    passed_over : tuple of str
        Why exporters before it did not do.
    """

    exporter: str
    opset: int
    agreement: Mapping[str, float]
    passed_over: tuple[str, ...]


def convert(original: Original, folder: Path, samples: Samples, *, opset: int | None) -> Conversion:
    """Write ``model.onnx`` into a folder.

    Parameters
    ----------
    original : Original
        Its module in evaluation mode.
    folder : Path
        External data, where the weights take more than 1.5 GB, becomes one file in it.
    samples : sequence
        What to compare on besides random inputs, through the original's own preprocessing: uint8 RGB arrays, or token ids.
    opset : int or None
        None takes what suits the exporter.

    Raises
    ------
    ConversionError
        The original makes nothing that could be compared; or no exporter's graph runs and agrees, and the message says why.
    """
    references = _references(original, samples)
    refused: list[str] = []
    for name, export in EXPORTERS:
        try:
            model = scrubbed_model(
                export(original.network, original.inputs, opset), version=torch.__version__
            )
            _save(model, folder)
            found = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
            agreement = compare(Graph(folder / MODEL_NAME), original.inputs, references)
        except Exception as error:  # the exporters raise whatever tracing meets
            reason = " ".join(_COLOURS.sub("", str(error)).split())
            refused.append(f"{name}: {type(error).__name__}: {reason[:200]}".removesuffix("."))
            continue
        return Conversion(name, found, agreement, tuple(refused))
    raise ConversionError(
        f"{original.name}: neither of torch's exporters makes a graph that agrees with the network ({'; '.join(refused)}). "
        "Nothing was written. Export a part of it, or another size, or a newer torch may do."
    )


def _save(model: onnx.ModelProto, folder: Path) -> None:
    for name in (MODEL_NAME, DATA_NAME):
        (folder / name).unlink(missing_ok=True)  # onnx would append to data that is there
    outside = FLOAT_BYTES * count_parameters(model) > _LARGEST_FILE_BYTES
    onnx.save_model(
        model,
        folder / MODEL_NAME,
        save_as_external_data=outside,
        all_tensors_to_one_file=True,
        location=DATA_NAME,
        size_threshold=1024,
    )


def _references(original: Original, samples: Samples) -> dict[str, Reference]:
    """What the graphs will be compared on, and what the original makes of it."""
    network, inputs = original.network, original.inputs
    found = {name: reference(network, values, name=name) for name, values in inputs.batches().items()}
    if isinstance(inputs, TextInputs):
        rows = [row for row in samples if row]
        return found | ({"samples": reference(network, inputs.padded(rows), name="samples")} if rows else {})
    for i, picture in enumerate(samples):
        # featx's pixels go through the graph, the source's own through the original: preprocessing is compared too.
        own = None if original.own_pixels is None else (original.own_pixels(picture),)
        name = f"picture {i}, with preprocessing"
        found[name] = reference(network, inputs.of_picture(picture), own, name=name)
    return found
