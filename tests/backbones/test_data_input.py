"""Which input of a graph takes the samples, and how it is declared."""

from __future__ import annotations

from types import ModuleType

import pytest
from onnx import TensorProto, helper

from featx.backbones.data_input import find_data_input
from featx.backbones.graph import inspect_graph
from featx.errors import GraphError


def test_an_nchw_input_of_fixed_size_is_read(graphs: ModuleType) -> None:
    found = find_data_input(graphs.resnet())
    assert (found.modality, found.name, found.dtype, found.layout) == ("image", "input", "float32", "nchw")
    assert (found.channels, found.size, found.batch) == (3, (64, 64), None)


def test_an_nhwc_input_is_told_by_its_last_axis(graphs: ModuleType) -> None:
    found = find_data_input(graphs.keras())
    assert (found.layout, found.channels, found.size) == ("nhwc", 3, (64, 64))


def test_weights_listed_as_inputs_are_no_data(graphs: ModuleType) -> None:
    model = graphs.zoo()
    assert len(model.graph.input) > 10
    found = find_data_input(model)
    assert (found.name, found.batch) == ("gpu_0/data_0", 1)


def test_open_height_and_width_leave_the_size_open(graphs: ModuleType) -> None:
    assert find_data_input(graphs.resnet(size=("h", "w"))).size is None
    assert find_data_input(graphs.resnet(size=(64, "w"))).size is None


@pytest.mark.parametrize(("make", "layout"), [("resnet", "nchw"), ("keras", "nhwc")])
def test_an_input_that_declares_nothing_is_told_by_the_first_convolution(
    make: str, layout: str, graphs: ModuleType
) -> None:
    model = getattr(graphs, make)()
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "any"
    found = find_data_input(model)
    assert (found.layout, found.channels, found.size) == (layout, 3, None)


def test_a_shape_that_is_not_declared_at_all_is_open(graphs: ModuleType) -> None:
    model = graphs.resnet()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    found = find_data_input(model)
    assert (found.layout, found.channels, found.size, found.batch) == ("nchw", 3, None, None)


def test_one_channel_is_grey(graphs: ModuleType) -> None:
    assert find_data_input(graphs.resnet(channels=1)).channels == 1


def test_four_channels_are_refused(graphs: ModuleType) -> None:
    with pytest.raises(GraphError, match=r"\(batch, 4, 64, 64\).*3 channels \(RGB\) or 1 \(grey\), found 4"):
        find_data_input(graphs.resnet(channels=4))


def test_token_ids_are_text() -> None:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
        for name in ("input_ids", "attention_mask")
    ]
    nodes = [helper.make_node("Cast", ["input_ids"], ["y"], to=TensorProto.FLOAT)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs))
    found = find_data_input(model)
    assert (found.modality, found.name, found.layout) == ("text", "input_ids", None)
    assert set(found.feeds) == {"input_ids", "attention_mask"}


def test_other_inputs_are_refused_with_what_was_found() -> None:
    inputs = [helper.make_tensor_value_info("video", TensorProto.FLOAT, ["n", 3, 8, 64, 64])]
    nodes = [helper.make_node("Relu", ["video"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs))
    with pytest.raises(GraphError, match=r"video: float \(n, 3, 8, 64, 64\)"):
        inspect_graph(model)


def test_two_inputs_of_pictures_are_refused(graphs: ModuleType) -> None:
    model = graphs.resnet()
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["n", 3, 64, 64]))
    with pytest.raises(GraphError, match="expected one input of pictures"):
        find_data_input(model)


def test_operators_older_than_opset_7_are_refused(graphs: ModuleType) -> None:
    with pytest.raises(GraphError, match="opset 6"):
        inspect_graph(graphs.resnet(opset=6))
