"""A tap behind chance or training is refused; the taps before it are not."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from featx.backbones.graph import find_tap, inspect_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.surgery import cut_image_graph
from featx.errors import GraphError


def cut(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    info = inspect_graph(model)
    taps = [find_tap(info, model, name) for name in names]
    preprocess = ImagePreprocess(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    return cut_image_graph(model, info, taps, poolings=["auto"] * len(taps), preprocess=preprocess)


def vector(graphs: ModuleType, opset: int = 15) -> tuple[Any, str]:
    """A network under construction and its vector of 8."""
    net = graphs.Net(opset=opset)
    return net, net.flat(net.conv(net.picture("input"), 8, 3, 2))


def finished(net: Any) -> onnx.ModelProto:
    return net.model({"input": ("n", 3, 16, 16)}, {"embedding": None})


def refused(model: onnx.ModelProto, op: str, below: str) -> None:
    """The output is refused, alone and beside a sound tap; the sound tap alone is cut."""
    for names in (["embedding"], [below, "embedding"]):
        with pytest.raises(GraphError, match=rf"'embedding' depends on {op},.*model\.eval\(\)"):
            cut(model, *names)
    assert cut(model, below).graph.output


@pytest.mark.parametrize("op", ["RandomNormalLike", "RandomUniformLike"])
@pytest.mark.parametrize("seed", [{}, {"seed": 1.0}])
def test_noise_added_to_a_vector_is_refused(op: str, seed: dict[str, float], graphs: ModuleType) -> None:
    net, below = vector(graphs)
    net.op("Add", below, net.op(op, below, **seed), out="embedding")
    refused(finished(net), op, below)


@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniform"])
def test_noise_that_takes_nothing_from_the_picture_is_refused(op: str, graphs: ModuleType) -> None:
    net, below = vector(graphs)
    net.op("Add", below, net.op(op, shape=[1, 8]), out="embedding")
    refused(finished(net), op, below)


def test_draws_by_the_vector_are_refused(graphs: ModuleType) -> None:
    net, below = vector(graphs)
    net.op("Bernoulli", net.op("Sigmoid", below), out="embedding")
    refused(finished(net), "Bernoulli", below)
    net, below = vector(graphs)
    drawn = net.op("Multinomial", below, sample_size=8)
    net.op("Cast", drawn, to=TensorProto.FLOAT, out="embedding")
    refused(finished(net), "Multinomial", below)


def test_chance_inside_a_branch_is_refused(graphs: ModuleType) -> None:
    net, below = vector(graphs)
    branches = {}
    for name, op in (("then_branch", "RandomNormalLike"), ("else_branch", "Identity")):
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        branches[name] = helper.make_graph([helper.make_node(op, [below], [name])], name, [], made)
    net.op("If", net.weight(True, bool), out="chosen", **branches)
    net.op("Add", below, "chosen", out="embedding")
    refused(finished(net), "RandomNormalLike", below)


def test_batch_normalisation_in_training_mode_is_refused(graphs: ModuleType) -> None:
    model = graphs.training_norm()
    refused(model, "BatchNormalization", model.graph.node[0].output[0])


@pytest.mark.parametrize("opset", [9, 13])
def test_running_statistics_as_outputs_meant_training_before_opset_14(opset: int, graphs: ModuleType) -> None:
    net = graphs.Net(opset=opset)
    below = net.conv(net.picture("input"), 8, 3, 2)
    y = net.norm(below)
    net.nodes[-1].output.extend(["running_mean", "running_var"])
    net.op("Identity", net.flat(y), out="embedding")
    refused(finished(net), "BatchNormalization", below)


def test_dropout_in_training_mode_is_refused(graphs: ModuleType) -> None:
    net, below = vector(graphs)
    net.op("Dropout", below, net.weight(0.5), net.weight(True, bool), out="embedding")
    refused(finished(net), "Dropout", below)


def test_dropout_whose_mode_is_computed_is_refused(graphs: ModuleType) -> None:
    net, below = vector(graphs)
    mode = net.op("Cast", net.op("ReduceMax", below, keepdims=0), to=TensorProto.BOOL)
    net.op("Dropout", below, net.weight(0.5), mode, out="embedding")
    refused(finished(net), "Dropout", below)


@pytest.mark.parametrize("mode", ["absent", "false", "constant"])
def test_dropout_that_passes_everything_is_no_chance(mode: str, graphs: ModuleType) -> None:
    net, below = vector(graphs)
    inputs = [below, net.weight(0.5)]
    if mode == "false":
        inputs.append(net.weight(False, bool))
    elif mode == "constant":
        value = helper.make_tensor("off", TensorProto.BOOL, [], [False])
        inputs.append(net.op("Identity", net.op("Constant", value=value)))
    net.op("Mul", net.op("Dropout", *inputs), net.weight(2.0), out="embedding")
    assert cut(finished(net), "embedding").graph.output


def test_chance_beside_the_path_to_a_tap_does_not_matter(graphs: ModuleType) -> None:
    net, below = vector(graphs)
    net.op("RandomNormalLike", below, out="noise")
    net.op("Relu", below, out="embedding")
    model = net.model({"input": ("n", 3, 16, 16)}, {"embedding": None, "noise": None})
    assert "RandomNormalLike" not in {node.op_type for node in cut(model, "embedding").graph.node}
