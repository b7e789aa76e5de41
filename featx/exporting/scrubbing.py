"""What exporters and libraries write of the machine they ran on, taken out.

torch writes stack traces with absolute paths, and class hierarchies that begin in ``__main__``, into the metadata of nodes;
transformers writes the folder that a checkpoint was loaded from into its configurations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx
import onnx.inliner

__all__ = ["PRODUCER", "scrubbed_json", "scrubbed_model"]

PRODUCER = "pytorch"

# transformers' configurations and tokenizers; the last three are files of the machine that saved it.
_PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "special_tokens_map_file", "vocab_file")


def scrubbed_model(model: onnx.ModelProto, *, version: str) -> onnx.ModelProto:
    """A graph without doc strings, metadata and local functions, under a plain name.

    Parameters
    ----------
    model : ModelProto
        May be changed.
    version : str
        Of the exporter; what follows a ``+`` names a build and is left out.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    model.producer_name, model.producer_version = PRODUCER, version.partition("+")[0]
    model.ClearField("domain")
    model.ClearField("model_version")
    _clear(model)
    _clear_graph(model.graph)
    model.graph.name = "main_graph"
    return model


def scrubbed_json(content: bytes) -> bytes:
    """A configuration of transformers without the places that it was loaded from; the same bytes where it names none."""
    values: Any = json.loads(content)
    if not isinstance(values, Mapping) or not any(name in values for name in _PLACES):
        return content
    kept = {name: value for name, value in values.items() if name not in _PLACES}
    return json.dumps(kept, indent=2, ensure_ascii=False).encode()


def _clear(message: Any) -> None:
    message.ClearField("doc_string")
    message.ClearField("metadata_props")


def _clear_graph(graph: onnx.GraphProto) -> None:
    _clear(graph)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        _clear(value)
    for node in graph.node:
        _clear(node)
        for item in node.attribute:
            item.ClearField("doc_string")
            for inner in [item.g] if item.type == onnx.AttributeProto.GRAPH else item.graphs:
                _clear_graph(inner)
