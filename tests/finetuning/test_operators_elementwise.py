"""Operators from a number to a number, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

Agrees = Callable[..., None]

ANYWHERE = [
    "Abs",
    "Atan",
    "Ceil",
    "Cos",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "Neg",
    "Relu",
]
ANYWHERE += ["Round", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tan", "Tanh", "IsNaN", "IsInf"]
ANYWHERE += ["Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "Shrink", "Sinh", "Cosh", "Mish"]


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return (3 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("op", ANYWHERE)
def test_functions_of_any_number(agrees: Agrees, op: str) -> None:
    values = drawn(3, 5)
    values[0] = [0.0, 0.5, -0.5, 1.5, 2.5]  # where roundings and branches are
    agrees(op, values)


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Reciprocal"])
def test_functions_of_positive_numbers(agrees: Agrees, op: str) -> None:
    agrees(op, np.abs(drawn(3, 5)) + 0.1)


@pytest.mark.parametrize("op", ["Acos", "Asin"])
def test_functions_of_small_numbers(agrees: Agrees, op: str) -> None:
    agrees(op, np.tanh(drawn(3, 5)))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Celu", {"alpha": 2.0}),
        ("Elu", {"alpha": 0.4}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Selu", {"alpha": 1.2, "gamma": 1.1}),
        ("Shrink", {"bias": 0.3, "lambd": 0.8}),
        ("ThresholdedRelu", {"alpha": 0.7}),
    ],
)
def test_attributes_of_activations(agrees: Agrees, op: str, attributes: dict[str, Any]) -> None:
    agrees(op, drawn(4, 6), **attributes)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(agrees: Agrees, approximate: str) -> None:
    agrees("Gelu", drawn(4, 6), opset=20, approximate=approximate)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize(("left", "right"), [((2, 3, 4), (2, 3, 4)), ((3, 4), (2, 3, 1)), ((2, 3), ())])
def test_arithmetic_broadcasts(
    agrees: Agrees, op: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    agrees(op, drawn(*left), np.asarray(drawn(*right, seed=1)))


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_any_number_of_inputs(agrees: Agrees, op: str) -> None:
    agrees(op, drawn(2, 3), drawn(3, seed=1), drawn(2, 1, seed=2))


def test_integers_are_divided_towards_zero(agrees: Agrees) -> None:
    agrees("Div", np.asarray([7, -7, 7, -7]), np.asarray([2, 2, -2, -2]))


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders(agrees: Agrees, fmod: int) -> None:
    agrees("Mod", np.asarray([7, -7, 7, -7]), np.asarray([3, 3, -3, -3]), fmod=fmod)


@pytest.mark.parametrize("exponent", [np.float32(2), np.float32(0.5), np.asarray([1, 2, 3], np.float32)])
def test_powers(agrees: Agrees, exponent: Any) -> None:
    agrees("Pow", np.abs(drawn(2, 3)), np.asarray(exponent))


def test_a_power_has_the_type_of_its_base(agrees: Agrees) -> None:
    agrees("Pow", np.asarray([1, 2, 3]), np.asarray(2, np.float32))


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(agrees: Agrees, op: str) -> None:
    agrees(op, np.asarray([[1, 2, 3]], np.float32), np.asarray([[2], [1]], np.float32))


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(agrees: Agrees, op: str) -> None:
    agrees(op, np.asarray([True, True, False, False]), np.asarray([True, False, True, False]))


def test_not_and_where(agrees: Agrees) -> None:
    choice = np.asarray([[True, False, True]])
    agrees("Not", choice)
    agrees("Where", choice, drawn(2, 1), drawn(2, 3, seed=1))


@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (None, 2.0), (-1.0, None), (None, None)])
def test_clip_by_inputs(agrees: Agrees, bounds: tuple[float | None, float | None]) -> None:
    given = [None if bound is None else np.asarray(bound, np.float32) for bound in bounds]
    while given and given[-1] is None:
        given.pop()
    agrees("Clip", drawn(3, 4), *given)


@pytest.mark.parametrize("bounds", [{"min": -1.0, "max": 2.0}, {"max": 2.0}, {}])
def test_clip_by_attributes(agrees: Agrees, bounds: dict[str, float]) -> None:
    agrees("Clip", drawn(3, 4), opset=10, **bounds)


def test_slopes_a_channel(agrees: Agrees) -> None:
    agrees("PRelu", drawn(2, 3, 4), np.asarray([[0.1], [0.2], [0.3]], np.float32))


@pytest.mark.parametrize(
    "to", [TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT, TensorProto.UINT8]
)
def test_casts(agrees: Agrees, to: int) -> None:
    agrees("Cast", np.asarray([0.0, 0.6, 1.5, 2.0], np.float32), to=to)
    agrees("Cast", np.asarray([0, 1, 200], np.int32), to=to)


def test_cast_like(agrees: Agrees) -> None:
    agrees("CastLike", np.asarray([0.0, 0.6, -1.5], np.float32), np.asarray([1]))


def test_dropout_is_off(agrees: Agrees) -> None:
    agrees("Dropout", drawn(3, 4), n_outputs=2)
