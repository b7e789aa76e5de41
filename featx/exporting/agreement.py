"""A written graph against the network that it was exported from.

What counts is the largest difference of a number over the largest number of the original's output, with the padding of texts
left out. Float32 kernels that sum in another order stay near 1e-6; a frozen shape, a lost weight or another activation is far
above 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ConversionError
from featx.exporting.inputs import Arrays, ImageInputs, TextInputs
from featx.exporting.network import Network

__all__ = ["TOLERANCE", "Graph", "Reference", "compare", "difference", "reference"]

TOLERANCE = 1e-4


class Graph:
    """A written ONNX file on ONNX Runtime's CPU provider.

    Parameters
    ----------
    path : Path
        With its external data beside it.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch runs beside it
        options.log_severity_level = 4  # an error becomes an exception, and that is enough
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]

    def run(self, inputs: ImageInputs | TextInputs, values: Arrays) -> dict[str, NDArray[np.float32]]:
        """The outputs by name; an input that the graph does not have, because nothing depends on it, is left out."""
        fed = {name: value for name, value in zip(inputs.names, values, strict=True) if name in self._inputs}
        names = [value.name for value in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, fed), strict=True))


@dataclass(frozen=True, slots=True)
class Reference:
    """A batch, and what the original makes of it.

    Parameters
    ----------
    values : tuple of ndarray
        What the graph gets.
    expected : mapping of str to ndarray
        The original's outputs by name, of the same or, for pictures, of what its own preprocessing makes.
    """

    values: Arrays
    expected: Mapping[str, NDArray[np.float32]]


def reference(network: Network, values: Arrays, own: Arrays | None = None, *, name: str) -> Reference:
    """Run the original.

    Parameters
    ----------
    network : Network
    values : tuple of ndarray
        What the graph will get.
    own : tuple of ndarray, optional
        What the original gets instead.
    name : str
        What the batch is called in messages.

    Raises
    ------
    ConversionError
        It does not run; makes nothing but zeros, or numbers that are not finite, and nothing can be compared with those; or
        makes others when it runs again.
    """
    try:
        made, again = network.run(own or values), network.run(own or values)
    except Exception as error:  # a network's code may raise anything
        raise ConversionError(
            f"the network itself does not run on {name} ({_first_line(error)}). Does its preprocessing, or the limit of its "
            "tokenizer, belong to it?"
        ) from error
    for key, output in made.items():
        valid = _valid(output, values)
        if not np.isfinite(valid).all() or not valid.any():
            what = "zero throughout" if np.isfinite(valid).all() else "not finite"
            raise ConversionError(
                f"the network's own {key} of {name} is {what}, so there is nothing to compare. Are these its trained weights?"
            )
        apart = float(np.abs(_valid(again[key], values) - valid).max() / np.abs(valid).max())
        if not apart <= TOLERANCE:
            raise ConversionError(
                f"the network's own {key} of {name} differs by {apart:.2g} of its largest value when it runs again: something in "
                "it is left to chance or remembers, also in evaluation mode (dropout, noise, a counter). Take it out."
            )
    return Reference(values, made)


def compare(
    graph: Graph, inputs: ImageInputs | TextInputs, references: Mapping[str, Reference]
) -> dict[str, float]:
    """How far a graph is from its original, by batch.

    Raises
    ------
    ConversionError
        Further than ``TOLERANCE``, other shapes, or the graph cannot run a batch.
    """
    apart = {}
    for name, batch in references.items():
        values, expected = batch.values, batch.expected
        try:
            found = graph.run(inputs, values)
        except Exception as error:  # ONNX Runtime raises types of its own and RuntimeError alike
            raise ConversionError(f"the graph cannot run {name} ({_first_line(error)})") from error
        apart[name] = difference(found, expected, values, name=name)
    return apart


def difference(
    found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], values: Arrays, *, name: str
) -> float:
    """max |difference| / max |reference| over all outputs.

    Parameters
    ----------
    found, expected : mapping of str to ndarray
        Outputs by name, of the graph and of the original.
    values : tuple of ndarray
        The inputs; of texts, the second is the mask.
    name : str
        What the batch is called in messages.

    Raises
    ------
    ConversionError
        Above ``TOLERANCE``, not finite, or of other shapes.
    """
    worst = 0.0
    for key, theirs in expected.items():
        ours = found.get(key)
        if ours is None or ours.shape != theirs.shape:
            shape = None if ours is None else ours.shape
            raise ConversionError(f"{key} of {name} has shape {shape}, the original's has {theirs.shape}")
        kept = _valid(theirs, values)
        apart = float(np.abs(_valid(ours, values) - kept).max() / np.abs(kept).max())
        if not apart <= TOLERANCE:  # NaN is refused too
            raise ConversionError(
                f"{key} of {name} differs by {apart:.2g} of its largest value; up to {TOLERANCE:g} is allowed"
            )
        worst = max(worst, apart)
    return worst


def _valid(output: NDArray[Any], values: Arrays) -> NDArray[np.float64]:
    """The numbers that mean something: of one vector a token, those that are no padding."""
    if len(values) == 2 and output.ndim == 3 and output.shape[:2] == values[1].shape:
        output = output[values[1].astype(bool)]
    return output.astype(np.float64)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
