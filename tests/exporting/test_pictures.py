"""Architectures of pictures, exported through the public path and held to transformers' own vectors of the same picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featx import Backbone, ImageFeatures, ImagePreprocess

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")

# Both sides compute float32, in other orders and through other fusions: a few roundings of 2**-24 that grow with depth. Measured:
# below 2e-6; the export itself refuses above 1e-4.
TOLERANCE = 1e-5

STAGES = [("stage1", 8), ("stage2", 12), ("stage3", 16), ("stage4", 20)]
LAYERS = [("layer1", 32), ("layer2", 32)]
# Name to taps and to what of transformers' output is the pooled vector.
FAMILIES: dict[str, tuple[list[tuple[str, int]], str]] = {
    "resnet": ([*STAGES, ("pooled", 20)], "pooler_output"),
    "efficientnet": (
        [("stage1", 8), ("stage2", 16), ("stage3", 32), ("stage4", 320), ("pooled", 320)],
        "pooler_output",
    ),
    "mobilenet_v2": (
        [("stage1", 8), ("stage2", 16), ("stage3", 32), ("stage4", 1280), ("pooled", 1280)],
        "pooler_output",
    ),
    "convnext": ([*STAGES, ("pooled", 20)], "pooler_output"),
    "vit": ([*LAYERS, ("pooled", 32)], "cls"),
    "dinov2": ([*LAYERS, ("pooled", 32)], "pooler_output"),
    "dinov2_with_registers": ([*LAYERS, ("pooled", 32)], "pooler_output"),
    "clip": ([*LAYERS, ("pooled", 24)], "image_embeds"),
    "yolos": ([*LAYERS, ("pooled", 32)], "patches"),
}


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Odd-sized, landscape, smooth with an edge: another filter, crop or channel order changes it."""
    rows, columns = np.mgrid[0:91, 0:133]
    pixels = np.stack([rows * 2, columns, np.where(rows > columns, 200, 30)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def their_vector(folder: Path, kind: str, picture: Image.Image) -> NDArray[np.float32]:
    """By transformers alone, in its default arithmetic: the processor in the folder, the model, the pooling."""
    if (
        kind == "patches"
    ):  # a detector's own processor pads; the exported one resizes to the size of its training
        resize = {"size": {"height": 48, "width": 64}, "resample": 2}
        normal = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
        processor = transformers.ViTImageProcessorPil(**resize, **normal)
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    kinds = {"image_embeds": transformers.CLIPVisionModelWithProjection}
    model = kinds.get(kind, transformers.AutoModel).from_pretrained(folder).eval()
    with torch.no_grad():
        made: Any = model(**processor(picture, return_tensors="pt"))
    if kind == "cls":
        found = made.last_hidden_state[:, 0]
    elif kind == "patches":
        found = made.last_hidden_state[:, 1:-5].mean(1)
    else:
        found = made[kind]
    return found.flatten().numpy()


def assert_close(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(found - expected).max() / largest < TOLERANCE


@pytest.mark.parametrize("name", FAMILIES)
def test_taps_of_each_architecture(name: str, exported: Callable[..., Path]) -> None:
    backbone = Backbone.open(exported(name))
    taps, _ = FAMILIES[name]
    assert [(tap.name, tap.channels) for tap in backbone.info.taps] == taps
    assert backbone.info.fixed_batch is None
    assert backbone.card["taps"] == dict(taps)


@pytest.mark.parametrize("name", FAMILIES)
def test_vectors_are_those_of_transformers(
    name: str, exported: Callable[..., Path], checkpoint: Callable[[str], Path], picture: Image.Image
) -> None:
    other = picture.transpose(Image.Transpose.ROTATE_90)
    found = ImageFeatures(exported(name), cache=None).fit_transform([picture, other, picture])
    expected = their_vector(checkpoint(name), FAMILIES[name][1], picture)
    assert_close(found[0], expected)
    assert_close(found[2], expected)
    assert np.abs(found[1] - expected).max() > 100 * TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_vectors_of_photographs_are_those_of_transformers(
    name: str, exported: Callable[..., Path], checkpoint: Callable[[str], Path], data: Path
) -> None:
    file = sorted((data / "hymenoptera_small" / "bees").glob("*.jpg"))[3]
    found = ImageFeatures(exported(name), cache=None).fit_transform([file])
    with Image.open(file) as photograph:
        expected = their_vector(checkpoint(name), FAMILIES[name][1], photograph.convert("RGB"))
    assert_close(found[0], expected)


def test_the_publishers_preprocessing_is_kept_as_it_is(
    exported: Callable[..., Path], checkpoint: Callable[[str], Path]
) -> None:
    name = "preprocessor_config.json"
    own = json.loads((checkpoint("efficientnet") / name).read_text())
    assert json.loads((exported("efficientnet") / name).read_text()) == own


def test_another_size_scales_resize_and_crop(exported: Callable[..., Path]) -> None:
    own = Backbone.open(exported("convnext")).preprocess
    backbone = Backbone.open(exported("convnext", image_size=96))
    assert backbone.info.input_size == (96, 96)
    assert isinstance(own, ImagePreprocess)
    assert isinstance(backbone.preprocess, ImagePreprocess)
    assert (own.size, own.crop) == (73, (64, 64))  # 64 / 0.875
    assert (backbone.preprocess.size, backbone.preprocess.crop) == (110, (96, 96))


def test_a_detectors_patches_are_its_tokens(exported: Callable[..., Path]) -> None:
    backbone = Backbone.open(exported("yolos"))
    pooled = backbone.tap("pooled")
    assert (pooled.kind, pooled.n_prefix_tokens) == ("tokens", 0)
    assert backbone.space().pooling == "mean"
    assert backbone.info.input_size == (48, 64)
    assert "exactly 48 x 64 pixels" in backbone.card["notes"][0]


def test_registers_and_class_token_are_known(exported: Callable[..., Path]) -> None:
    taps = Backbone.open(exported("dinov2_with_registers")).info.taps
    assert [tap.n_prefix_tokens for tap in taps] == [5, 5, 0]


def test_what_one_exporter_lacks_the_other_has(exported: Callable[..., Path]) -> None:
    card = Backbone.open(exported("dinov2_with_registers")).card["exported"]
    assert card["with"].endswith("torch.export")
    assert "TorchScript" in card["passed_over"][0]


def test_the_card_says_where_it_comes_from_and_how_near_it_is(exported: Callable[..., Path]) -> None:
    backbone = Backbone.open(exported("resnet"))
    card = backbone.card
    assert (card["name"], card["source"]) == ("resnet", "checkpoint folder resnet")
    assert card["digest"] == backbone.digest
    assert card["parameters"] == backbone.info.n_parameters
    assert set(card["exported"]["versions"]) == {"featx", "torch", "transformers", "onnx"}
    found = card["agreement"]["found"]
    assert list(found) == ["random, batch of 1", "random, batch of 3", "picture 0, with preprocessing"]
    assert 0 < max(found.values()) < TOLERANCE
