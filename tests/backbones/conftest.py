"""Graphs for the tests of the graph rooms: made by hand, filled from skeletons, or written by PyTorch's exporters.

And repositories of a hub on this machine, for the tests of what is fetched from there.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from featx.testing import tiny_backbone

HERE = Path(__file__).resolve().parent

# Its squeeze-and-excitation gates shrink random activations; the tool's own help says 2.0.
GAINS = {"efficientnet_b0": 2.0}
# beside the plain file of the same network
VARIANTS = ("O1", "O2", "O3", "O4", "qint8_avx512", "quint8_avx2", "fp16", "quantized")


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def graphs() -> ModuleType:
    """The makers of small graphs in ``graphs.py``."""
    return _module("featx_test_graphs", HERE / "graphs.py")


@pytest.fixture(scope="session")
def filled(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """A function from a skeleton's name to a runnable file with seeded random weights."""
    tool = _module("featx_test_fill_weights", shared / "tools" / "fill_weights.py")
    folder = tmp_path_factory.mktemp("skeletons")

    def fill(name: str) -> Path:
        target = folder / f"{name}.onnx"
        if not target.exists():
            tool.fill(
                str(shared / "weights" / "skeletons" / target.name), str(target), 0, GAINS.get(name, 1.0)
            )
        return target

    yield fill
    for file in folder.iterdir():
        file.unlink()  # VGG-16 alone takes half a gigabyte


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A function from an architecture and an exporter, ``"torchscript"`` or ``"dynamo"``, to the file that it writes."""
    pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("exported")

    def export(name: str, exporter: str) -> Path:
        target = folder / f"{name}.{exporter}.onnx"
        if not target.exists():
            _export(*_architecture(transformers, name), exporter, target)
        return target

    return export


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a repository of a small network of pictures publishes, by name."""
    folder = tiny_backbone(tmp_path_factory.mktemp("hub") / "tiny")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def published(hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]) -> Any:
    """``owner/net``: a plain file among optimised and quantised ones, as Optimum and sentence-transformers publish."""
    files = {f"onnx/model_{name}.onnx": name.encode() * 2000 for name in VARIANTS}
    files |= {
        "onnx/model.onnx": tiny_files["model.onnx"],
        "preprocessor_config.json": tiny_files["preprocessor_config.json"],
        "config.json": b"{}",
        "README.md": b"# net",
        "pytorch_model.bin": b"p" * 5000,
        "model.safetensors": b"s" * 5000,
        "images/sample.png": b"i" * 5000,
    }
    hub.repositories["owner/net"] = fake_hub.Repository(files, licence="apache-2.0")
    return hub


@pytest.fixture
def with_external(tiny_files: dict[str, bytes], tmp_path: Path) -> Callable[[str, str], dict[str, bytes]]:
    """The files of a repository whose graph keeps its weights in another file."""

    def make(model: str, location: str) -> dict[str, bytes]:
        graph = onnx.load_from_string(tiny_files["model.onnx"])
        folder = tmp_path / "external"
        folder.mkdir(exist_ok=True)
        onnx.save(
            graph, folder / "model.onnx", save_as_external_data=True, location=location, size_threshold=0
        )
        home = model.rpartition("/")[0]
        prefix = f"{home}/" if home else ""
        return {
            model: (folder / "model.onnx").read_bytes(),
            f"{prefix}{location}": (folder / location).read_bytes(),
            f"{prefix}other.onnx_data": b"o" * 4000,
            "preprocessor_config.json": tiny_files["preprocessor_config.json"],
        }

    return make


def _architecture(transformers: Any, name: str) -> tuple[Any, int, str | None, tuple[str, ...]]:
    """A tiny seeded model, the side of its pictures, the name of its batch axis (None: fixed at 1), its outputs."""
    import torch

    torch.manual_seed(0)
    t = transformers
    encoder: dict[str, Any] = {
        "num_hidden_layers": 3,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    if name == "resnet":
        config = t.ResNetConfig(
            embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[2, 1, 1, 1], num_labels=10
        )
        return t.ResNetForImageClassification(config), 64, "batch", ("logits",)
    if name == "mobilenet_v2":
        config = t.MobileNetV2Config(depth_multiplier=0.35, image_size=96, num_labels=10)
        return t.MobileNetV2ForImageClassification(config), 96, "batch", ("logits",)
    if name == "vit_batch_1":
        config = t.ViTConfig(**encoder, image_size=64, num_labels=10)
        return t.ViTForImageClassification(config), 64, None, ("logits",)
    assert name == "dinov2"
    config = t.Dinov2Config(**encoder, image_size=56, patch_size=14)
    return t.Dinov2Model(config), 56, "batch", ("last_hidden_state", "pooler_output")


def _export(
    model: Any, side: int, batch: str | None, outputs: tuple[str, ...], exporter: str, target: Path
) -> None:
    import torch

    class Chosen(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, pixel_values: Any) -> Any:
            made = self.model(pixel_values)
            return tuple(made[name] for name in outputs)

    example = torch.zeros(1 if batch is None else 2, 3, side, side)
    names: dict[str, Any] = {"input_names": ["pixel_values"], "output_names": list(outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the exporters warn about their own future and about traced constants
        if exporter == "torchscript":
            axes = None if batch is None else {"pixel_values": {0: batch}}
            torch.onnx.export(
                Chosen(), (example,), target, dynamo=False, opset_version=17, dynamic_axes=axes, **names
            )
        else:
            shapes = None if batch is None else ({0: torch.export.Dim(batch)},)
            torch.onnx.export(
                Chosen(),
                (example,),
                target,
                dynamo=True,
                verbose=False,
                external_data=False,
                dynamic_shapes=shapes,
                **names,
            )
