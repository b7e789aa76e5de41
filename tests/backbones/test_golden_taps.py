"""The tap tables of real files and of both PyTorch exporters, held to what is written in ``tests/data/taps``.

To write a table anew after a deliberate change: ``FEATX_WRITE_GOLDEN=1 pytest tests/backbones/test_golden_taps.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from featx.backbones.graph import GraphInfo, inspect_graph, load_graph

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "taps"
WEIGHTS = ["mobilenet_v2", "mobilenet_v2_int8_dynamic", "resnet56_cifar10", "squeezenet1_1_fp16"]
SKELETONS = ["resnet18", "resnet50", "efficientnet_b0", "vgg16", "vit_small_patch16_224"]


def table(info: GraphInfo, *, tensors: bool) -> list[dict[str, Any]]:
    rows = []
    for tap in info.taps:
        row: dict[str, Any] = {
            "name": tap.name,
            "tensor": tap.tensor,
            "kind": tap.kind,
            "channels": tap.channels,
        }
        row["resolution"] = None if tap.resolution is None else list(tap.resolution)
        row["layout"], row["n_prefix_tokens"] = tap.layout, tap.n_prefix_tokens
        rows.append(row if tensors else {k: v for k, v in row.items() if k != "tensor"})
    return rows


def check(name: str, rows: list[dict[str, Any]]) -> None:
    file = GOLDEN / f"{name}.json"
    if os.environ.get("FEATX_WRITE_GOLDEN"):
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    assert rows == json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_taps_of_the_weights_are_the_golden_ones(name: str, weights: Path) -> None:
    check(name, table(inspect_graph(load_graph(weights / name / "model.onnx")), tensors=True))


@pytest.mark.parametrize("name", SKELETONS)
def test_taps_of_the_skeletons_are_the_golden_ones(name: str, filled: Callable[[str], Path]) -> None:
    check(name, table(inspect_graph(load_graph(filled(name))), tensors=True))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "vit_batch_1", "dinov2"])
def test_both_exporters_of_torch_give_the_same_taps(
    name: str, exporter: str, exported: Callable[[str, str], Path]
) -> None:
    # Tensor names differ between exporters and their versions, so the table leaves them out.
    check(f"exported_{name}", table(inspect_graph(load_graph(exported(name, exporter))), tensors=False))


@pytest.mark.parametrize("opset", [7, 8, 9])
def test_taps_of_a_zoo_like_file_are_the_golden_ones(opset: int, graphs: ModuleType) -> None:
    check("zoo", table(inspect_graph(graphs.zoo(opset)), tensors=True))


@pytest.mark.parametrize("opset", [13, 18])
def test_taps_of_a_keras_like_file_are_the_golden_ones(opset: int, graphs: ModuleType) -> None:
    check("keras", table(inspect_graph(graphs.keras(opset=opset)), tensors=True))


def test_resnet50_has_the_stages_of_its_paper() -> None:
    rows = json.loads((GOLDEN / "resnet50.json").read_text(encoding="utf-8"))
    stages = [(row["channels"], *row["resolution"]) for row in rows if row["name"].startswith("stage")]
    assert stages == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
