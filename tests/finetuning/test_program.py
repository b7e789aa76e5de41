"""What is computed once, what once a shape, and what at every run."""

from __future__ import annotations

from typing import Any

import torch
from onnx import NodeProto, helper

from featx.finetuning.program import Program, compile_program


def node(op: str, taken: str, made: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, taken.split(), [made], **attributes)


def compiled(nodes: list[NodeProto], output: str, **constants: Any) -> Program:
    return compile_program(
        nodes,
        {"": 17},
        inputs=["x"],
        outputs=[output],
        parameters={"w": torch.ones(4, 3)},
        constants={name: torch.as_tensor(value) for name, value in constants.items()},
        dtype=torch.float32,
    )


def labels(program: Program) -> list[str]:
    return [step.label.partition(" ")[0] for step in program.steps]


def test_constants_are_folded() -> None:
    program = compiled(
        [node("Add", "a b", "c"), node("Mul", "c c", "d"), node("Add", "x d", "y")], "y", a=[1.0], b=[2.0]
    )
    assert labels(program) == ["Add"]
    assert [t.tolist() for t in program.on_device.values()] == [[9.0]]


def test_the_shape_of_a_weight_is_a_constant_and_its_numbers_are_not() -> None:
    nodes = [node("Shape", "w", "s"), node("Transpose", "w", "t", perm=[1, 0]), node("Reshape", "t s", "u")]
    program = compiled([*nodes, node("MatMul", "x u", "y")], "y")
    assert labels(program) == ["Transpose", "Reshape", "MatMul"]
    assert [t.tolist() for t in program.on_host.values()] == [[4, 3]]


def test_what_depends_on_shapes_alone_is_no_data_step() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Concat", "n rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    program = compiled(nodes, "y", zero=[0], rest=[-1])
    assert labels(program) == ["Shape", "Gather", "Concat", "Reshape"]
    assert [step.label.partition(" ")[0] for step in program.data_steps] == ["Reshape"]
    assert program.shapes_decide
    assert len(program.kept) == 1


def test_what_is_computed_by_shape_is_moved_where_data_needs_it() -> None:
    nodes = [node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("Mul", "x f", "y")]
    program = compiled(nodes, "y")
    assert [step.compute is None for step in program.steps] == [False, False, True, False]


def test_a_size_that_comes_from_numbers_keeps_nothing() -> None:
    assert not compiled([node("NonZero", "x", "y")], "y").shapes_decide
    nodes = [node("Cast", "x", "n", to=7), node("ConstantOfShape", "n", "y")]
    assert not compiled(nodes, "y").shapes_decide
