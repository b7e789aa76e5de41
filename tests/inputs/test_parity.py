"""featx's pixels against the PIL-backed image processors of transformers, on real photographs and odd sizes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.processors import PROCESSORS
from featx.inputs.images import canonical, decode
from featx.inputs.resizing import fit

transformers = pytest.importorskip("transformers", minversion="5.0")

HALF = [0.5, 0.5, 0.5]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

# As publishers write them; a key that is left out takes the class's default.
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 2,
    },
    "vit_old": {
        "feature_extractor_type": "ViTFeatureExtractor",
        "size": 224,
        "image_mean": HALF,
        "image_std": HALF,
    },
    "vit_not_square": {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 96, "width": 160},
        "resample": 1,
    },
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224, **IMAGENET},
    "convnext_224": {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_pct": 0.875,
        **IMAGENET,
    },
    "convnext_odd": {"image_processor_type": "ConvNextImageProcessor", "size": 225, "crop_pct": 0.95},
    "convnext_384": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "efficientnet": {
        "image_processor_type": "EfficientNetImageProcessor",
        "size": {"height": 240, "width": 240},
        "resample": 0,
        **IMAGENET,
    },
    "efficientnet_offset": {
        "image_processor_type": "EfficientNetImageProcessor",
        "size": {"height": 300, "width": 300},
        "do_center_crop": True,
        "crop_size": {"height": 280, "width": 280},
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "include_top": False,
        **IMAGENET,
    },
    "efficientnet_top_only": {
        "image_processor_type": "EfficientNetImageProcessor",
        "do_normalize": False,
        "size": 64,
    },
    "mobilenet_v1": {"image_processor_type": "MobileNetV1ImageProcessor"},
    "mobilenet_v2": {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 257}},
    "clip": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_convert_rgb": True,
        "size": 224,
        "crop_size": 224,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    },
    "dinov2": {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
        "resample": 3,
        **IMAGENET,
    },
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 256, "width": 256}},
    "levit": {"image_processor_type": "LevitImageProcessor"},
    "poolformer": {"image_processor_type": "PoolFormerImageProcessor", "crop_pct": 0.95},
    "mobilevit": {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 288}},
    "beit": {"image_processor_type": "BeitImageProcessor", "do_center_crop": True},
    "segformer": {"image_processor_type": "SegformerImageProcessor", "size": {"height": 64, "width": 64}},
    "no_resize": {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "do_center_crop": True,
        "crop_size": {"height": 151, "width": 130},
        "do_normalize": False,
    },
    "box_raw": {"image_processor_type": "ViTImageProcessor", "size": 50, "resample": 4, "do_rescale": False},
    "hamming": {"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 90}, "resample": 5},
}
WEIGHTS = ("mobilenet_v2", "mobilenet_v2_int8_dynamic", "resnet56_cifar10")
# (height, width): landscape, portrait, smaller than a crop on one or both sides, exactly the size, extreme.
SIZES = [
    (231, 309),
    (309, 231),
    (224, 224),
    (256, 256),
    (120, 400),
    (400, 120),
    (31, 17),
    (5, 7),
    (1, 64),
    (384, 256),
]


def processor_of(folder: Path) -> Any:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert type(processor).__name__.endswith("Pil")
    return processor


def assert_same_pixels(preprocess: ImagePreprocess, processor: Any, rgb: np.ndarray) -> None:
    ours = fit(rgb, preprocess)
    theirs = processor(Image.fromarray(rgb), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    channels = ours if preprocess.channel_order == "rgb" else ours[..., ::-1]
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    values = (channels.astype(np.float64) * preprocess.scale - mean) / std
    # Theirs is float32: 1e-6 of the largest value is a few roundings.
    np.testing.assert_allclose(values, theirs, rtol=0, atol=1e-6 * max(1.0, np.abs(theirs).max()))
    # A float32 value tells the integer it came from without doubt, so this is equality of pixels.
    back = (theirs.astype(np.float64) * std + mean) / preprocess.scale
    np.testing.assert_array_equal(np.rint(back).astype(int), channels.astype(int))


@pytest.fixture(scope="module")
def odd_sizes() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in SIZES]


@pytest.fixture(scope="module")
def photographs(data: Path) -> list[np.ndarray]:
    files = sorted((data / "hymenoptera_small").glob("*/*.jpg"))[::33]
    files += sorted((data / "large_photos").glob("*.jpg"))[1:16:7]
    return [canonical(Image.open(file), ImagePreprocess.imagenet()) for file in files]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_size_has_the_processors_pixels(name: str, tmp_path: Path, odd_sizes: list[np.ndarray]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CONFIGS[name]))
    preprocess = ImagePreprocess.from_folder(tmp_path)
    assert preprocess is not None
    processor = processor_of(tmp_path)
    for rgb in odd_sizes:
        assert_same_pixels(preprocess, processor, rgb)


@pytest.mark.parametrize("name", sorted(PROCESSORS))
def test_a_class_named_alone_has_its_own_defaults(
    name: str, tmp_path: Path, odd_sizes: list[np.ndarray]
) -> None:
    config = {"image_processor_type": f"{name}ImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    processor = processor_of(tmp_path)
    for rgb in odd_sizes[:2]:
        assert_same_pixels(ImagePreprocess.from_config(config), processor, rgb)


@pytest.mark.parametrize(
    "name", ["vit", "convnext_224", "convnext_384", "efficientnet", "mobilenet_v2", "clip"]
)
def test_photographs_have_the_processors_pixels(
    name: str, tmp_path: Path, photographs: list[np.ndarray]
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CONFIGS[name]))
    preprocess = ImagePreprocess.from_folder(tmp_path)
    assert preprocess is not None
    processor = processor_of(tmp_path)
    for rgb in photographs:
        assert_same_pixels(preprocess, processor, rgb)


@pytest.mark.parametrize("name", WEIGHTS)
def test_real_backbones_get_their_processors_pixels(
    name: str, weights: Path, photographs: list[np.ndarray]
) -> None:
    preprocess = ImagePreprocess.from_folder(weights / name)
    assert preprocess is not None
    processor = processor_of(weights / name)
    for rgb in photographs:
        assert_same_pixels(preprocess, processor, rgb)


def test_squeezenet_has_the_pixels_its_classless_config_describes(
    weights: Path, photographs: list[np.ndarray]
) -> None:
    """transformers opens no processor without a class, so its steps are taken one by one."""
    config = json.loads((weights / "squeezenet1_1_fp16" / "preprocessor_config.json").read_text())
    preprocess = ImagePreprocess.from_config(config)
    processor = transformers.models.vit.image_processing_pil_vit.ViTImageProcessorPil(
        size=config["size"],
        do_center_crop=True,
        crop_size=config["crop_size"],
        do_rescale=False,
        do_normalize=False,
    )
    for rgb in photographs:
        resized = processor(Image.fromarray(rgb), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        bgr = fit(rgb, preprocess)[..., ::-1]
        np.testing.assert_array_equal(bgr, resized[..., ::-1])
        assert preprocess.channel_order == "bgr"
        assert (preprocess.scale, preprocess.mean, preprocess.std) == (
            1.0,
            (103.939, 116.779, 123.68),
            (1.0,) * 3,
        )


def test_an_encoded_file_has_the_processors_pixels(data: Path, weights: Path) -> None:
    preprocess = ImagePreprocess.from_folder(weights / "mobilenet_v2")
    assert preprocess is not None
    processor = processor_of(weights / "mobilenet_v2")
    for file in sorted((data / "covid_ct_small").glob("*/*.jpg"))[::97]:  # grey JPEGs
        content = file.read_bytes()
        theirs = processor(
            Image.open(io.BytesIO(content)).convert("RGB"), return_tensors="np", do_normalize=False
        )
        pixels = np.rint(theirs["pixel_values"][0].transpose(1, 2, 0) * 255).astype(np.uint8)
        np.testing.assert_array_equal(decode(content, preprocess), pixels)
