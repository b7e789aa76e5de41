"""What a configuration means, what is refused, and that nothing is lost between the two."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.backbones.augment import Augment, View
from featx.backbones.preprocess import MISSING_PREPROCESS_HELP, RESAMPLES, ImagePreprocess
from featx.backbones.window import Window
from featx.errors import ParameterError, PreprocessError

VIT = {"image_processor_type": "ViTImageProcessor"}

edges = st.integers(1, 2000)
numbers = st.floats(-300, 300)
positives = st.floats(1e-6, 300)
preprocesses = st.builds(
    ImagePreprocess,
    size=st.none() | edges | st.tuples(edges, edges),
    crop=st.none() | st.tuples(edges, edges),
    resample=st.sampled_from(RESAMPLES),
    scale=positives,
    mean=st.tuples(numbers, numbers, numbers),
    std=st.tuples(positives, positives, positives),
    channel_order=st.sampled_from(["rgb", "bgr"]),
    background=st.tuples(*[st.integers(0, 255)] * 3),
    decode=st.sampled_from(["exact", "draft"]),
)


@given(preprocesses)
def test_a_written_configuration_reads_back_equal(preprocess: ImagePreprocess) -> None:
    config = json.loads(json.dumps(preprocess.to_config()))
    assert ImagePreprocess.from_config(config) == preprocess


@given(preprocesses, preprocesses)
def test_identities_are_equal_exactly_where_values_are(one: ImagePreprocess, other: ImagePreprocess) -> None:
    assert (json.dumps(one.to_dict()) == json.dumps(other.to_dict())) == (one == other)
    assert ImagePreprocess(**{k: v for k, v in one.to_dict().items() if k != "kind"}) == one


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ImagePreprocess)])
def test_every_field_is_part_of_the_identity(field: str) -> None:
    other: dict[str, Any] = {
        "size": (256, 256),
        "crop": (223, 224),
        "resample": "bicubic",
        "scale": 1.0,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "channel_order": "bgr",
        "background": (0, 0, 0),
        "decode": "draft",
        "window": Window(40, 400),
        "view": View(Augment(horizontal_flip=True), 1),
    }
    base = ImagePreprocess.imagenet()
    changed = dataclasses.replace(base, **{field: other[field]})
    assert changed.to_dict() != base.to_dict()


def test_equal_numbers_of_other_types_give_one_identity() -> None:
    plain = ImagePreprocess(size=(8, 8), scale=1.0, mean=(0.0, 1.0, 2.0), std=(1.0, 1.0, 1.0))
    other = ImagePreprocess(
        size=[np.int64(8), 8],  # type: ignore[arg-type]  # JSON and numpy give these types
        scale=1,
        mean=np.array([-0.0, 1, 2], dtype=np.float32),  # type: ignore[arg-type]
        std=[1, 1, 1],  # type: ignore[arg-type]
    )
    assert other == plain
    assert hash(other) == hash(plain)
    assert json.dumps(other.to_dict()) == json.dumps(plain.to_dict())


def test_a_preprocess_is_pickled_and_frozen() -> None:
    preprocess = ImagePreprocess.imagenet()
    assert pickle.loads(pickle.dumps(preprocess)) == preprocess
    with pytest.raises(dataclasses.FrozenInstanceError):
        preprocess.size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("size", "crop", "expected"),
    [(256, (224, 200), (224, 200)), ((32, 48), None, (32, 48)), (256, None, None), (None, None, None)],
)
def test_output_size_is_known_where_it_does_not_depend_on_the_image(
    size: Any, crop: Any, expected: Any
) -> None:
    assert dataclasses.replace(ImagePreprocess.imagenet(), size=size, crop=crop).output_size == expected


def test_imagenet_is_torchvisions_evaluation_transform() -> None:
    preset = ImagePreprocess.imagenet()
    assert (preset.size, preset.crop, preset.resample, preset.scale) == (256, (224, 224), "bilinear", 1 / 255)
    assert preset.mean == (0.485, 0.456, 0.406)
    assert preset.std == (0.229, 0.224, 0.225)
    assert ImagePreprocess.imagenet(384).size == 438


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", 224.0),
        ("size", True),
        ("size", "224"),
        ("size", (224,)),
        ("size", 20_000),
        ("crop", 224),
        ("crop", (0, 224)),
        ("resample", "cubic"),
        ("resample", 3),
        ("scale", 0),
        ("scale", math.nan),
        ("scale", "1"),
        ("mean", 0.5),
        ("mean", (0.5, 0.5)),
        ("mean", (0.5, 0.5, math.inf)),
        ("std", (0.0, 1.0, 1.0)),
        ("std", (True, 1.0, 1.0)),
        ("channel_order", "grb"),
        ("background", (0, 0, 256)),
        ("background", (0.5, 0, 0)),
        ("decode", "fast"),
    ],
)
def test_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"^{field}: expected .*, found .*\.$"):
        dataclasses.replace(ImagePreprocess.imagenet(), **{field: value})  # type: ignore[arg-type]  # on purpose


def test_the_help_can_be_pasted_and_gives_imagenet() -> None:
    code = [line.strip() for line in MISSING_PREPROCESS_HELP.splitlines() if line.startswith("  ")]
    start = code.index("from featx import ImagePreprocess")
    names: dict[str, Any] = {}
    exec("\n".join([code[start], " ".join(code[start + 1 : start + 3])]), names)
    assert names["preprocess"] == ImagePreprocess.imagenet()
    for field in ("size", "crop", "resample", "scale", "mean, std", "channel_order"):
        assert f"\n  {field} " in MISSING_PREPROCESS_HELP


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (VIT, {"size": (224, 224), "crop": None, "resample": "bilinear", "mean": (0.5,) * 3}),
        ({**VIT, "size": 64}, {"size": (64, 64)}),
        ({**VIT, "size": [64, 48]}, {"size": (64, 48)}),
        ({**VIT, "size": {"shortest_edge": 64}}, {"size": 64}),
        ({**VIT, "size": {"shortest_edge": 64, "longest_edge": None}}, {"size": 64}),
        ({**VIT, "size": 64, "default_to_square": False}, {"size": 64}),
        ({**VIT, "do_resize": False}, {"size": None}),
        ({**VIT, "do_rescale": False}, {"scale": 1.0}),
        ({**VIT, "do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({**VIT, "image_mean": 0.25, "image_std": 2}, {"mean": (0.25,) * 3, "std": (2.0,) * 3}),
        ({**VIT, "do_center_crop": True, "crop_size": 200}, {"crop": (200, 200)}),
        ({**VIT, "crop_size": 200}, {"crop": None}),
        ({**VIT, "resample": "lanczos"}, {"resample": "lanczos"}),
        (
            {**VIT, "do_flip_channel_order": False, "crop_pct": None, "do_pad": False},
            {"channel_order": "rgb"},
        ),
        (
            {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224},
            {"size": 256, "crop": (224, 224)},
        ),
        (
            {"image_processor_type": "ConvNextImageProcessorFast", "size": 384},
            {"size": (384, 384), "crop": None},
        ),
        ({"image_processor_type": "LevitImageProcessor"}, {"size": 256, "crop": (224, 224)}),
        ({"size": 32, "image_mean": 0.5, "image_std": 0.5}, {"size": (32, 32), "scale": 1 / 255}),
        ({"do_rescale": False, "do_normalize": False}, {"size": None, "mean": (0.0,) * 3}),
        ({"image_processor_type": "MobileViTImageProcessor"}, {"channel_order": "bgr", "mean": (0.0,) * 3}),
    ],
)
def test_a_configuration_means_what_its_class_does(config: dict[str, Any], expected: dict[str, Any]) -> None:
    preprocess = ImagePreprocess.from_config(config)
    assert {name: getattr(preprocess, name) for name in expected} == expected


def test_efficientnets_second_normalisation_is_folded_into_the_deviation() -> None:
    config = {
        "image_processor_type": "EfficientNetImageProcessor",
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.5, 2, 3],
    }
    assert ImagePreprocess.from_config(config).std == (0.25, 4.0, 9.0)
    assert ImagePreprocess.from_config({**config, "include_top": False}).std == (0.5, 2.0, 3.0)
    assert ImagePreprocess.from_config({**config, "rescale_offset": True}).mean == (1.1, 1.2, 1.3)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"image_processor_type": "DetrImageProcessor"}, "DetrImageProcessor"),
        ({"feature_extractor_type": "WhisperFeatureExtractor"}, "WhisperFeatureExtractor"),
        ({**VIT, "size": {"shortest_edge": 224, "longest_edge": 400}}, "longest_edge"),
        ({**VIT, "size": {"longest_edge": 400}}, "longest_edge"),
        ({**VIT, "size": {"min_pixels": 10, "max_pixels": 20}}, "min_pixels"),
        ({**VIT, "size": "224"}, "size"),
        ({**VIT, "size": 224.5}, "size"),
        ({**VIT, "size": 0}, "size"),
        ({**VIT, "do_center_crop": True, "crop_size": {"shortest_edge": 3}}, "crop_size"),
        ({**VIT, "do_center_crop": True}, "crop_size"),
        ({**VIT, "resample": 9}, "resample"),
        ({**VIT, "image_mean": [0.5]}, "image_mean"),
        ({**VIT, "image_std": [0, 1, 1]}, "std"),
        ({**VIT, "do_pad": True}, "do_pad"),
        ({**VIT, "crop_pct": 0.9}, "crop_pct"),
        ({**VIT, "include_top": True}, "include_top"),
        ({**VIT, "do_flip_channel_order": True}, "do_flip_channel_order"),
        ({**VIT, "size_divisor": 32}, "size_divisor"),
        ({**VIT, "auto_map": {"AutoImageProcessor": "own.Processor"}}, "auto_map"),
        ({**VIT, "featx": {"blur": 1}}, "featx"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": [224, 224]}, "shortest_edge"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 0}, "crop_pct"),
        (
            {
                "image_processor_type": "ConvNextImageProcessor",
                "size": 224,
                "do_center_crop": True,
                "crop_size": 200,
            },
            "two centre crops",
        ),
        ({"do_resize": True}, "size"),
        ({"size": 224}, "normalisation"),
        ({"do_normalize": True, "do_rescale": True}, "image_mean"),
        ({"size": 224, "image_mean": [103.9, 116.8, 123.7], "image_std": [1, 1, 1]}, "do_rescale"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(config: dict[str, Any], named: str) -> None:
    with pytest.raises(PreprocessError, match=named) as caught:
        ImagePreprocess.from_config(config)
    assert "preprocess=ImagePreprocess(...)" in str(caught.value) or "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("pretrained", "expected"),
    [
        (
            {
                "input_size": [3, 224, 224],
                "interpolation": "bicubic",
                "crop_pct": 0.9,
                "mean": [0.5] * 3,
                "std": [0.5] * 3,
            },
            {"size": 248, "crop": (224, 224), "resample": "bicubic", "mean": (0.5,) * 3},
        ),
        ({"input_size": [3, 224, 224]}, {"size": 256, "crop": (224, 224), "std": (0.229, 0.224, 0.225)}),
        (
            {"input_size": [3, 384, 384], "crop_pct": 1.0, "crop_mode": "squash"},
            {"size": (384, 384), "crop": (384, 384)},
        ),
    ],
)
def test_timms_configuration_is_read(
    pretrained: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    config = {"architecture": "some_net", "num_classes": 10, "pretrained_cfg": pretrained}
    (tmp_path / "config.json").write_text(json.dumps(config))
    preprocess = ImagePreprocess.from_folder(tmp_path)
    assert {name: getattr(preprocess, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("pretrained", "named"),
    [
        ({}, "input_size"),
        ({"input_size": [1, 28, 28]}, "input_size"),
        ({"input_size": [3, 224, 200]}, "crop_mode"),
        ({"input_size": [3, 224, 224], "crop_mode": "border"}, "border"),
        ({"input_size": [3, 224, 224], "interpolation": "random"}, "random"),
        ({"input_size": [3, 224, 224], "crop_pct": 90}, "crop_pct"),
        ("resnet", "pretrained_cfg"),
    ],
)
def test_what_timm_asks_for_and_cannot_be_expressed_is_refused(pretrained: Any, named: str) -> None:
    with pytest.raises(PreprocessError, match=named):
        ImagePreprocess.from_config({"pretrained_cfg": pretrained})


def test_a_folder_without_preprocessing_gives_none(tmp_path: Path) -> None:
    assert ImagePreprocess.from_folder(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert ImagePreprocess.from_folder(tmp_path) is None


def test_a_nested_processor_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {**VIT, "size": 48}}))
    preprocess = ImagePreprocess.from_folder(tmp_path)
    assert preprocess is not None
    assert preprocess.size == (48, 48)


@pytest.mark.parametrize("content", ["{", "[1]", '{"size": {"longest_edge": 3}}', "\x00"])
def test_an_unusable_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(content)
    with pytest.raises(PreprocessError) as caught:
        ImagePreprocess.from_folder(tmp_path)
    assert str(path) in str(caught.value)


def test_the_real_backbones_are_described(weights: Path) -> None:
    mobilenet = ImagePreprocess.from_folder(weights / "mobilenet_v2")
    assert mobilenet == dataclasses.replace(ImagePreprocess.imagenet(), size=232)
    squeezenet = ImagePreprocess.from_folder(weights / "squeezenet1_1_fp16")
    assert squeezenet == ImagePreprocess(
        size=227,
        crop=(224, 224),
        scale=1.0,
        mean=(103.939, 116.779, 123.68),
        std=(1.0, 1.0, 1.0),
        channel_order="bgr",
    )
    resnet = ImagePreprocess.from_folder(weights / "resnet56_cifar10")
    assert resnet is not None
    assert resnet.output_size == (32, 32)
