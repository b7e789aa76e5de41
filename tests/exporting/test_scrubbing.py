"""Nothing that is written says on which machine, in which folder, or by which file it was made."""

from __future__ import annotations

import getpass
import json
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from featx.backbones.onnx_file import load_graph
from featx.exporting.scrubbing import scrubbed_json

pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
tracing = pytest.importorskip("featx.exporting.tracing")


def traces(checkpoint: Path) -> Iterator[bytes]:
    """What exporters and libraries are known to write of a machine."""
    folders = [Path.home(), Path.cwd(), checkpoint, Path(sysconfig.get_paths()["purelib"])]
    yield from (str(folder).encode() for folder in folders if len(folder.parts) > 1)
    yield from (b"site-packages", b"__main__", b"/tmp/", b"Traceback", b".py")
    if len(getpass.getuser()) > 4:  # a short one is part of words
        yield getpass.getuser().encode()


# One an exporter; the texts have a tokenizer and configurations.
@pytest.mark.parametrize("name", ["resnet", "dinov2_with_registers", "bert", "gpt2"])
def test_no_file_names_the_machine(
    name: str, exported: Callable[..., Path], checkpoint: Callable[[str], Path]
) -> None:
    for file in exported(name).rglob("*"):
        if file.is_file():
            found = [trace for trace in traces(checkpoint(name)) if trace in readable(file)]
            assert found == [], file.name


def readable(file: Path) -> bytes:
    """A file's bytes; of a graph without its numbers, among which three letters may be by chance."""
    if file.suffix != ".onnx":
        return file.read_bytes()
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        assert b"site-packages" not in tensor.raw_data
        tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("name", ["resnet", "dinov2_with_registers"])
def test_the_producer_is_a_public_version(name: str, exported: Callable[..., Path]) -> None:
    model = load_graph(exported(name) / "model.onnx")
    assert model.producer_name == "pytorch"
    assert "+" not in model.producer_version
    assert (model.domain, model.model_version, model.graph.name) == ("", 0, "main_graph")


def test_traces_are_there_before(checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above could not fail."""
    from featx.exporting.checkpoint import open_checkpoint
    from featx.exporting.checkpoints import from_checkpoint

    original = from_checkpoint(open_checkpoint(str(checkpoint("resnet"))))
    with tracing.quiet():
        model = tracing.by_dynamo(original.network, original.inputs, None)
    content = model.SerializeToString()
    assert b"site-packages" in content
    assert b".py" in content


def test_inner_graphs_and_functions_are_scrubbed_too() -> None:
    from featx.exporting.scrubbing import scrubbed_model

    text = """
    <ir_version: 10, opset_import: ["" : 18, "local" : 1], producer_name: "a", domain: "here", doc_string: "trace one">
    main (bool c, float[n] x) => (float[n] y) {
        t = local.twice (x)
        y = If (c) <
            then_branch = yes () => (float[n] a) { a = Identity (t) },
            else_branch = no () => (float[n] b) { b = Neg (t) }
        >
    }
    <domain: "local", opset_import: ["" : 18]> twice (x) => (z) { z = Add (x, x) }
    """
    model = onnx.parser.parse_model(text)

    def mark(graph: Any) -> None:
        graph.doc_string = "trace two"
        for node in graph.node:
            node.doc_string = "trace three"
            node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="trace four")
            for item in node.attribute:
                item.doc_string = "trace five"
                if item.type == onnx.AttributeProto.GRAPH:
                    mark(item.g)
        for value in (*graph.input, *graph.output):
            value.doc_string = "trace six"

    mark(model.graph)
    mark_function = model.functions[0].node[0]
    mark_function.doc_string = "trace seven"
    scrubbed = scrubbed_model(model, version="2.0.0+cpu")
    assert b"trace" not in scrubbed.SerializeToString()
    assert not scrubbed.functions
    assert scrubbed.producer_version == "2.0.0"
    onnx.checker.check_model(scrubbed)


def test_configurations_lose_places_only() -> None:
    kept = b'{"model_max_length": 20}'
    assert scrubbed_json(kept) is kept
    given = json.dumps({"name_or_path": "/home/somebody/bert", "pad_token": "[PAD]", "é": "ü"}).encode()
    assert json.loads(scrubbed_json(given)) == {"pad_token": "[PAD]", "é": "ü"}
