"""Which operators are known in torch, and which of their inputs say how to compute rather than what with."""

from __future__ import annotations

from featx.finetuning.nodes import Build, Compute, Node
from featx.finetuning.operators_dense import DENSE
from featx.finetuning.operators_elementwise import ELEMENTWISE
from featx.finetuning.operators_resizing import RESIZING
from featx.finetuning.operators_shape import SHAPES
from featx.finetuning.operators_windows import WINDOWS

__all__ = ["OPERATORS", "build", "host_inputs", "is_known"]

OPERATORS: dict[str, Build] = {**ELEMENTWISE, **DENSE, **WINDOWS, **RESIZING, **SHAPES}
"""Operator of ONNX's own domain to the function that builds its computation."""


_HOST_INPUTS: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}


def host_inputs(op_type: str) -> tuple[int, ...]:
    """Positions of inputs that are read as Python numbers: shapes, axes, bounds. They stay on the CPU, where reading is free."""
    if op_type.startswith("Reduce"):
        return (1,)
    return _HOST_INPUTS.get(op_type, ())


def is_known(op_type: str) -> bool:
    """Whether an operator, with its domain where that is not ONNX's own, has a torch function."""
    return op_type in OPERATORS


def build(node: Node) -> Compute:
    """The torch function of a node.

    Raises
    ------
    GraphError
        The operator is not known, or not in this form.
    """
    if node.op_type not in OPERATORS:
        raise node.refuse("the operator is not known.")
    return OPERATORS[node.op_type](node)
