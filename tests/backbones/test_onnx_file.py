"""What is read as ONNX, and what is refused with which words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from featx.backbones.backbone import Backbone
from featx.backbones.onnx_file import count_parameters, external_data, external_files, load_graph
from featx.errors import BackboneError, BackboneNotFoundError, GraphError
from featx.testing import tiny_backbone


def with_external_data(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "model.onnx"
    moved = onnx.ModelProto()
    moved.CopyFrom(model)  # saving empties the tensors that go outside
    onnx.save(moved, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return file


def as_snapshot(file: Path, link: Callable[[Path, Path], None]) -> Path:
    """The files of a folder under other names, and links to them in another folder: a Hugging Face cache."""
    blobs, snapshot = file.parent / "blobs", file.parent / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for i, name in enumerate(("model.onnx", "weights.bin")):
        (file.parent / name).rename(blobs / f"blob{i}")
        try:
            link(blobs / f"blob{i}", snapshot / name)
        except OSError:
            pytest.skip("this user or file system makes no links")
    return snapshot / "model.onnx"


def symbolic(target: Path, link: Path) -> None:
    link.symlink_to(os.path.relpath(target, link.parent))


def hard(target: Path, link: Path) -> None:
    link.hardlink_to(target)


def open_session(model: onnx.ModelProto, folder: Path) -> onnxruntime.InferenceSession:
    """As the inference room opens one: the files are given, so the folder is not."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if files := external_data(model, folder):
        names, buffers = list(files), list(files.values())
        options.add_external_initializers_from_files_in_memory(names, buffers, [b.size for b in buffers])
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def test_a_file_is_read_with_its_weights(graphs: ModuleType, tmp_path: Path) -> None:
    model = graphs.resnet()
    onnx.save(model, tmp_path / "model.onnx")
    read = load_graph(tmp_path / "model.onnx")
    assert read == model
    assert external_files(tmp_path / "model.onnx") == []
    assert count_parameters(read) == sum(numpy_helper.to_array(t).size for t in model.graph.initializer)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(64), "a JPEG picture"),
        (b"PK\x03\x04" + bytes(64), "export the model to ONNX first"),
        (b"<!DOCTYPE html><html></html>", "the download went wrong"),
        (b"just some notes about a model\n", "something else"),
        (b"\x00\x00\x00\x00ORTM" + bytes(32), "ONNX Runtime's own format"),
        (bytes(4096), "something else"),
    ],
)
def test_a_file_that_is_no_onnx_is_refused_by_what_it_is(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(GraphError, match=words) as raised:
        load_graph(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(kept: float, graphs: ModuleType, tmp_path: Path) -> None:
    content = graphs.resnet().SerializeToString()
    file = tmp_path / "model.onnx"
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(GraphError, match="truncated or damaged"):
        load_graph(file)


def test_a_model_without_nodes_is_refused(tmp_path: Path) -> None:
    onnx.save(helper.make_model(helper.make_graph([], "empty", [], [])), tmp_path / "model.onnx")
    with pytest.raises(GraphError):
        load_graph(tmp_path / "model.onnx")


@pytest.mark.parametrize(("name", "found"), [("missing.onnx", "nothing"), ("folder", "a folder")])
def test_a_missing_file_and_a_folder_are_named(name: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BackboneNotFoundError, match=found):
        load_graph(tmp_path / name)


def test_external_weights_stay_on_disk_and_small_tensors_are_read(graphs: ModuleType, tmp_path: Path) -> None:
    whole = graphs.keras(opset=18)
    file = with_external_data(whole, tmp_path)
    read = load_graph(file)
    assert external_files(file) == ["weights.bin"]
    outside = {t.name for t in read.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert outside == {t.name for t in whole.graph.initializer if numpy_helper.to_array(t).size > 1024}
    assert outside
    assert count_parameters(read) == count_parameters(whole)


def test_a_file_of_small_tensors_alone_is_listed(tmp_path: Path, graphs: ModuleType) -> None:
    # `load_graph` reads such tensors in; a digest that left their file out would serve stale vectors.
    model = graphs.resnet()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.zeros(4, np.float32), tensor.name))
    assert external_files(with_external_data(model, tmp_path)) == ["weights.bin"]


@pytest.mark.parametrize("link", [symbolic, hard])
def test_weights_behind_links_are_read_and_run(
    link: Callable[[Path, Path], None], graphs: ModuleType, tmp_path: Path
) -> None:
    whole = graphs.keras(opset=18)
    file = as_snapshot(with_external_data(whole, tmp_path), link)
    read = load_graph(file)
    stored = {t.name: numpy_helper.to_array(t) for t in whole.graph.initializer}
    small = [t for t in read.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
    assert 0 < len(small) < len(stored)
    for tensor in small:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), stored[tensor.name])
    pixels = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    inside, outside = (
        open_session(model, file.parent).run(None, {"input_1:0": pixels})[0] for model in (whole, read)
    )
    np.testing.assert_array_equal(outside, inside)


def test_external_data_is_mapped_read_only_and_as_it_lies_in_its_file(
    graphs: ModuleType, tmp_path: Path
) -> None:
    file = with_external_data(graphs.resnet(), tmp_path)
    ((name, data),) = external_data(load_graph(file), tmp_path).items()
    assert name == "weights.bin"
    assert data.tobytes() == (tmp_path / "weights.bin").read_bytes()
    assert isinstance(data, np.memmap)
    assert not data.flags.writeable


def test_a_graph_that_holds_its_weights_has_no_external_data(graphs: ModuleType, tmp_path: Path) -> None:
    assert external_data(graphs.resnet(), tmp_path) == {}


def test_data_that_was_cut_since_the_graph_was_read_is_refused(graphs: ModuleType, tmp_path: Path) -> None:
    # A session over a mapped file that ends too early would crash the process.
    read = load_graph(with_external_data(graphs.resnet(), tmp_path))
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:4])
    with pytest.raises(GraphError, match=r"weights\.bin: truncated"):
        external_data(read, tmp_path)


def test_packed_weights_of_four_bits_are_read(tmp_path: Path) -> None:
    packed = helper.make_tensor("w", onnx.TensorProto.INT4, [3], [1, -2, 3])
    node = helper.make_node("Cast", ["w"], ["y"], to=onnx.TensorProto.FLOAT)
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3])]
    model = helper.make_model(helper.make_graph([node], "g", [], outputs, [packed]))
    read = load_graph(with_external_data(model, tmp_path))
    assert numpy_helper.to_array(read.graph.initializer[0]).astype(int).tolist() == [1, -2, 3]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("length", "2", "take"), ("offset", "-4", "take"), ("offset", "here", "at no number")],
)
def test_entries_of_external_data_that_make_no_sense_are_refused(
    key: str, value: str, words: str, graphs: ModuleType, tmp_path: Path
) -> None:
    file = with_external_data(graphs.resnet(), tmp_path)
    model = onnx.load(file, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = value if entry.key == key else entry.value
    file.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match=words):
        load_graph(file)


def test_an_unknown_data_type_is_refused(graphs: ModuleType, tmp_path: Path) -> None:
    file = with_external_data(graphs.resnet(), tmp_path)
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer[0].data_type = 999
    file.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="data type 999"):
        load_graph(file)


def test_missing_external_data_is_named(graphs: ModuleType, tmp_path: Path) -> None:
    file = with_external_data(graphs.resnet(), tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BackboneNotFoundError, match=r"weights\.bin: missing"):
        load_graph(file)


def test_truncated_external_data_is_refused(graphs: ModuleType, tmp_path: Path) -> None:
    file = with_external_data(graphs.resnet(), tmp_path)
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(GraphError, match=r"weights\.bin: truncated"):
        load_graph(file)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "C:\\weights.bin", ""]
)
def test_external_data_outside_the_folder_is_refused(
    location: str, graphs: ModuleType, tmp_path: Path
) -> None:
    model = onnx.load(with_external_data(graphs.resnet(), tmp_path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="outside the model's folder"):
        load_graph(tmp_path / "model.onnx")


def test_a_skeleton_without_its_weights_says_which_file_is_missing(shared: Path) -> None:
    with pytest.raises(BackboneNotFoundError, match="missing"):
        load_graph(shared / "weights" / "skeletons" / "resnet18.onnx")


def test_functions_local_to_a_model_are_inlined(graphs: ModuleType, tmp_path: Path) -> None:
    model = graphs.projection("logits", 10)
    body = [helper.make_node("Mul", ["x", "x"], ["y"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("custom", "Square", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("custom", 1))
    last = model.graph.node[-1]
    squared = helper.make_node("Square", [last.input[0]], ["squared"], domain="custom")
    last.input[0] = "squared"
    model.graph.node.insert(len(model.graph.node) - 1, squared)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    read = load_graph(tmp_path / "model.onnx")
    assert not read.functions
    assert "Square" not in {node.op_type for node in read.graph.node}


def test_files_of_a_backbone_that_are_none_are_told(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net")
    model = folder / "model.onnx"
    graph = onnx.load(model)
    onnx.save(graph, model, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "weights.bin").unlink()
    with pytest.raises(BackboneNotFoundError, match=r"weights\.bin: missing"):
        Backbone.open(folder)
    model.unlink()
    model.mkdir()
    with pytest.raises(BackboneNotFoundError, match="no model here"):
        Backbone.open(folder)
    (folder / "featx.json").write_text("[" * 100_000, encoding="utf-8")
    model.rmdir()
    onnx.save(graph, model)
    with pytest.raises(BackboneError, match="not a readable card"):
        Backbone.open(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_model_is_not_waited_for(tmp_path: Path) -> None:
    folder = tiny_backbone(tmp_path / "net")
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(BackboneNotFoundError, match="no model here"):
        Backbone.open(folder)
