"""Names of timm and torchvision, by packages that answer as they do: neither has a build for every torch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featx import Backbone, ImageFeatures, ImagePreprocess, export_backbone
from featx.errors import BackboneNotFoundError, MissingExtraError, ParameterError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")


def network(n_out: int | None) -> Any:
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 24, 3, 2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    ]
    return torch.nn.Sequential(*layers, *([] if n_out is None else [torch.nn.Linear(24, n_out)]))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool, num_classes: int) -> Any:
        if name != "tiny.in1k":
            raise RuntimeError(f"Unknown model ({name})")
        assert pretrained
        assert num_classes == 0
        model = network(None)
        model.pretrained_cfg = {
            "input_size": (3, 56, 56),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "license": "apache-2.0",
        }
        return model

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model, __version__="1.0"))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = SimpleNamespace(
        crop_size=[56],
        resize_size=[64],
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
        interpolation=SimpleNamespace(value="bilinear"),
    )
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(transforms=lambda: transform))

    def get_model_weights(name: str) -> Any:
        if name != "tiny":
            raise ValueError(f"Unknown model {name}")
        return weights

    def get_model(name: str, *, weights: Any) -> Any:
        assert weights.transforms() is transform
        return network(10)

    models = SimpleNamespace(get_model_weights=get_model_weights, get_model=get_model)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models, __version__="0.1"))


def vectors(folder: Path) -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 70, 60, 3), dtype=np.uint8)
    return ImageFeatures(folder, cache=None).fit_transform(pictures)


@pytest.mark.usefixtures("timm")
def test_a_name_of_timm(tmp_path: Path) -> None:
    backbone = Backbone.open(export_backbone("timm:tiny.in1k", tmp_path / "out"))
    card = backbone.card
    assert (card["name"], card["source"], card["licence"]) == ("out", "timm:tiny.in1k", "apache-2.0")
    assert card["exported"]["versions"]["timm"] == "1.0"
    assert backbone.preprocess == ImagePreprocess(
        size=64, crop=(56, 56), resample="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    assert vectors(backbone.folder).shape == (2, 24)


@pytest.mark.usefixtures("torchvision")
def test_a_name_of_torchvision(tmp_path: Path) -> None:
    backbone = Backbone.open(export_backbone("torchvision:tiny", tmp_path / "out"))
    assert backbone.preprocess == ImagePreprocess(
        size=64, crop=(56, 56), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    assert backbone.tap("pooled").channels == 24
    assert vectors(backbone.folder).shape == (2, 24)


@pytest.mark.usefixtures("timm", "torchvision")
@pytest.mark.parametrize("reference", ["timm:nothing", "torchvision:nothing"])
def test_a_name_that_they_do_not_know_is_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneNotFoundError, match=f"{reference}: .*Unknown model"):
        export_backbone(reference, tmp_path / "out")
    with pytest.raises(ParameterError, match="takes pictures"):
        export_backbone(reference, tmp_path / "out", pooling="mean")


@pytest.mark.parametrize("reference", ["timm:tiny", "torchvision:tiny"])
def test_a_package_that_is_not_here_is_named(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = reference.partition(":")[0]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{reference}: needs {package}.*pip install {package}"):
        export_backbone(reference, tmp_path / "out")


def test_the_extra_is_named_where_it_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.exporting import exporting

    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'needs torch.*pip install "featx\[finetune\]"'):
        export_backbone("hf:microsoft/resnet-50", tmp_path / "out")
