"""A graph as a module: its parameters, its gradients, what it keeps and what it lets go."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from featx.backbones.backbone import Backbone
from featx.errors import GraphError, ParameterError
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import split_backbone
from featx.testing import tiny_backbone
from featx.testing_texts import tiny_text_backbone

Arrays = dict[str, NDArray[Any]]


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(
    nodes: list[NodeProto],
    weights: Arrays,
    inputs: dict[str, tuple[Any, ...]],
    *outputs: str,
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def convolutions() -> onnx.ModelProto:
    """Convolution, batch normalisation, a strided depthwise one, a residual sum, pooling, a dense layer with a tied weight."""
    node = helper.make_node
    weights: Arrays = {
        "stem.weight": drawn(4, 3, 3, 3, seed=1),
        "stem.bias": drawn(4, seed=2),
        "norm.scale": drawn(4, seed=3),
        "norm.shift": drawn(4, seed=4),
        "norm.mean": drawn(4, seed=5),
        "norm.var": np.abs(drawn(4, seed=6)) + 0.5,
        "deep": drawn(4, 1, 3, 3, seed=7),
        "dense": drawn(4, 4, seed=8),
        "half": np.asarray(0.5, np.float32),
    }
    nodes = [
        node("Conv", ["x", "stem.weight", "stem.bias"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "norm.scale", "norm.shift", "norm.mean", "norm.var"], ["b"]),
        node("Elu", ["b"], ["c"]),
        node("Conv", ["c", "deep"], ["d"], group=4, strides=[2, 2], pads=[0, 0, 1, 1]),
        node("AveragePool", ["c"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Mul", ["e", "half"], ["f"]),
        node("Add", ["d", "f"], ["g"]),
        node("GlobalAveragePool", ["g"], ["h"]),
        node("Flatten", ["h"], ["i"]),
        node("Gemm", ["i", "dense"], ["j"]),
        node("Gemm", ["j", "dense"], ["y"], transB=1),
    ]
    return model_of(nodes, weights, {"x": ("n", 3, 6, 6)}, "y")


def test_parameters_are_the_initialisers_under_their_own_names() -> None:
    model = convolutions()
    module = GraphModule(model)
    named = dict(module.named_initialisers())
    assert list(named) == ["stem.weight", "stem.bias", "norm.scale", "norm.shift", "deep", "dense"]
    assert [id(p) for p in named.values()] == [id(p) for p in module.parameters()]
    for tensor in model.graph.initializer:
        if tensor.name in named:
            np.testing.assert_array_equal(module.arrays()[tensor.name], numpy_helper.to_array(tensor))


def test_single_numbers_and_running_statistics_are_not_trained() -> None:
    names = [name for name, _ in GraphModule(convolutions()).named_initialisers()]
    assert {"half", "norm.mean", "norm.var"}.isdisjoint(names)


def test_statistics_are_the_same_after_a_step_in_training_mode() -> None:
    module = GraphModule(convolutions()).train()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    assert any(buffer.shape == (4,) for buffer in before.values())
    x = torch.randn(2, 3, 6, 6)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    first = module(x)[0]
    first.square().sum().backward()
    optimiser.step()
    assert not torch.equal(module(x)[0], first)
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name])


@pytest.mark.parametrize("kind", ["convolutions", "transformer", "text"])
def test_gradients_are_those_of_finite_differences(kind: str, graphs: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if kind == "convolutions":
        module = GraphModule(convolutions(), dtype=torch.float64)
        inputs: tuple[Any, ...] = (torch.randn(2, 3, 6, 6, dtype=torch.float64),)
    elif kind == "transformer":
        module = GraphModule(graphs.encoder(n_layers=1), dtype=torch.float64)
        inputs = (torch.randn(1, 3, 16, 16, dtype=torch.float64),)
    else:
        backbone = Backbone.open(tiny_text_backbone(tmp_path / "text", width=4, positions=8))
        module = GraphModule.of(split_backbone(backbone, backbone.space()), dtype=torch.float64)
        inputs = (torch.tensor([[2, 5, 9, 3], [2, 7, 3, -1]], dtype=torch.int32),)
    parameters = list(module.parameters())
    assert len(parameters) >= 4
    base = [p.detach().clone() for p in parameters]
    directions = [torch.randn_like(p) for p in parameters]

    def value(step: float) -> torch.Tensor:
        with torch.no_grad():
            for parameter, start, direction in zip(parameters, base, directions, strict=True):
                parameter.copy_(start + step * direction)
        return sum(
            (out.double().sin().sum() for out in module(*inputs)), torch.zeros((), dtype=torch.float64)
        )

    # One direction for each weight and one for all: central differences of float64 are good to about 1e-9.
    value(0.0).backward()
    slopes = [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in parameters]
    whole = directions
    for chosen in (*range(len(parameters)), None):
        directions = [d if chosen in (None, i) else torch.zeros_like(d) for i, d in enumerate(whole)]
        expected = (value(1e-5) - value(-1e-5)).item() / 2e-5
        found = sum((s * d).sum().item() for s, d in zip(slopes, directions, strict=True))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7), chosen


def test_any_tensors_can_be_asked_for() -> None:
    module = GraphModule(convolutions(), outputs=["c", "i"])
    maps, vectors = module(torch.randn(2, 3, 6, 6))
    assert maps.shape == (2, 4, 6, 6)
    assert vectors.shape == (2, 4)
    assert "dense" not in dict(module.named_initialisers())


def test_what_is_named_alone_is_trained() -> None:
    module = GraphModule(convolutions(), trainable=["dense"])
    assert [name for name, _ in module.named_initialisers()] == ["dense"]
    with pytest.raises(ParameterError, match="'nowhere'"):
        GraphModule(convolutions(), trainable=["nowhere"])


def test_half_precision_files_are_trained_in_float32() -> None:
    weights = {"w": drawn(3, 2).astype(np.float16)}
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    module = GraphModule(model_of(nodes, weights, {"x": ("n", 3)}, "y"))
    (made,) = module(torch.ones(1, 3))
    assert made.dtype == torch.float32
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_bfloat16_autocast_trains(tmp_path: Path) -> None:
    text = Backbone.open(tiny_text_backbone(tmp_path / "text"))
    pictures = Backbone.open(tiny_backbone(tmp_path / "pictures", size_px=32))
    tokens = torch.tensor([[2, 5, 9, 3]], dtype=torch.int32)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    for backbone, samples in ((text, tokens), (pictures, pixels)):
        module = GraphModule.of(split_backbone(backbone, backbone.space()))
        (exact,) = module(samples)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (rough,) = module(samples)
        assert rough.dtype == torch.float32  # pooling is float32 whatever the network computes in
        rough.square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
        # bfloat16 rounds at 2**-8, and a few layers add up.
        assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_strided_depthwise_convolutions_train_in_bfloat16() -> None:
    module, x = GraphModule(convolutions()), torch.randn(2, 3, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (made,) = module(x)
    made.float().sum().backward()
    assert dict(module.named_initialisers())["deep"].grad is not None


def test_what_was_kept_by_shape_serves_other_shapes_and_training_after_inference(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_text_backbone(tmp_path / "text"))
    module = GraphModule.of(split_backbone(backbone, backbone.space()))
    short = torch.tensor([[2, 5, 3]], dtype=torch.int32)
    long = torch.tensor([[2, 5, 9, 8, 3], [2, 7, 3, -1, -1]], dtype=torch.int32)
    with torch.inference_mode():
        first = [module(tokens)[0].clone() for tokens in (short, long)]
    for tokens, expected in ((long, first[1]), (short, first[0]), (long, first[1])):
        (again,) = module(tokens)
        torch.testing.assert_close(again, expected, rtol=0, atol=1e-6)
        again.sum().backward()


def test_activations_are_let_go_after_their_last_use() -> None:
    n = 30
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(n)]
    module = GraphModule(model_of(nodes, {}, {"t0": ("n",)}, f"t{n}"))
    alive: list[int] = []
    steps = [step for step in module._program.steps if step.compute is not None]
    assert sum(len(step.frees) for step in steps) >= n - 1
    with torch.no_grad():
        slots: list[Any] = [None] * module._program.n_slots
        slots[module._program.inputs[0]] = torch.ones(4)
        for step in steps:
            module._run([step], slots, torch.device("cpu"))
            alive.append(sum(slot is not None for slot in slots))
    assert max(alive) == 1


def test_pixels_run_with_channels_last(tmp_path: Path) -> None:
    backbone = Backbone.open(tiny_backbone(tmp_path / "pictures", size_px=32))
    space = backbone.space()
    module = GraphModule(backbone.cut([space]), outputs=[backbone.tap("stage2").tensor])
    (maps,) = module(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    assert maps.is_contiguous(memory_format=torch.channels_last)


def test_maps_that_come_with_their_channels_first_are_turned_and_others_are_not(graphs: ModuleType) -> None:
    first = GraphModule(convolutions(), outputs=["c"])
    assert first(torch.randn(2, 3, 6, 6))[0].is_contiguous(memory_format=torch.channels_last)
    keras = graphs.keras()
    turned = next(node for node in keras.graph.node if node.op_type == "Transpose").output[0]
    (maps,) = GraphModule(keras, outputs=[turned])(torch.randn(2, 32, 32, 3))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert maps.shape[1] == 3


def test_copies_train_on_their_own() -> None:
    module = GraphModule(convolutions())
    other = copy.deepcopy(module)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    x = torch.randn(1, 3, 6, 6)
    assert not torch.equal(module(x)[0], other(x)[0])
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(x)[0], other(x)[0])


def test_names_that_torch_forbids_come_back() -> None:
    names = ["a.b", "a%2Eb", "keys", "a/b:0", "weight"]
    nodes = [
        helper.make_node("Add", ["x" if i == 0 else f"y{i - 1}", name], [f"y{i}"])
        for i, name in enumerate(names)
    ]
    model = model_of(nodes, {name: drawn(3, seed=i) for i, name in enumerate(names)}, {"x": ("n", 3)}, "y4")
    assert [name for name, _ in GraphModule(model).named_initialisers()] == names


def test_wrong_inputs_and_failures_inside_are_named() -> None:
    module = GraphModule(convolutions())
    with pytest.raises(ParameterError, match="expected 1 tensors \\(x\\), got 0"):
        module()
    with pytest.raises(RuntimeError) as caught:
        module(torch.randn(1, 5, 6, 6))
    assert any("Conv" in note for note in caught.value.__notes__)


def test_an_unknown_operator_is_named() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Det", ["a"], ["y"])]
    with pytest.raises(GraphError, match="cannot run Det in torch; the first makes 'y'"):
        GraphModule(model_of(nodes, {}, {"x": (1, 2, 2)}, "y"))


def test_nodes_out_of_order_are_refused() -> None:
    nodes = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Relu", ["x"], ["a"])]
    model = model_of(nodes, {}, {"x": (2,)}, "y")
    with pytest.raises(GraphError, match="nothing before it makes"):
        GraphModule(model)


def test_folded_normalisation_stays_folded(weights: Path) -> None:
    backbone = Backbone.open(weights / "resnet56_cifar10")
    split = split_backbone(backbone, backbone.space())
    module = GraphModule.of(split)
    shapes = {name: tuple(p.shape) for name, p in module.named_initialisers()}
    # Its 55 convolutions hold 55 kernels and 55 biases, and there is nothing that could be a statistic.
    assert sorted(len(shape) for shape in shapes.values()) == [1] * 55 + [4] * 55
    assert not any(node.op_type == "BatchNormalization" for node in split.suffix.graph.node)
