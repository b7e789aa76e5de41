"""How an image becomes the network's input: ``ImagePreprocess``, read from and written to configuration files.

One frozen value says everything that decides the pixels. It is part of a feature space's identity, so a
configuration is either expressed exactly or refused with the name of the key in the way; nothing that would
change a pixel is ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.backbones.processors import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PROCESSORS,
    ProcessorRules,
    processor_name,
)
from featx.errors import ParameterError, PreprocessError

__all__ = ["MISSING_PREPROCESS_HELP", "RESAMPLES", "ImagePreprocess"]

# Position = the number that PIL and Hugging Face configurations use (PIL.Image.Resampling).
RESAMPLES = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_LARGEST_EDGE_PX = 16_384

MISSING_PREPROCESS_HELP = """\
Say how pixels become the network's input, with preprocess=:
  size           shortest edge in pixels, or (height, width), or None for no resize
  crop           centre crop (height, width), or None
  resample       nearest | lanczos | bilinear | bicubic | box | hamming      (default bilinear)
  scale          pixel * scale comes first                                   (default 1/255)
  mean, std      then (x - mean) / std, for each of the network's channels
  channel_order  rgb | bgr                                                   (default rgb)
For a network trained on ImageNet in PyTorch this is usually right:
  from featx import ImagePreprocess
  preprocess = ImagePreprocess(size=256, crop=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
Or put the preprocessor_config.json of the model's publisher beside the .onnx file and open the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocess:
    """From an RGB image to a network's input.

    In this order: alpha composited on `background`, resize, centre crop, channel order, ``pixel * scale``, then
    ``(x - mean) / std``. The first three make uint8 pixels; the rest is part of the network's graph.

    Parameters
    ----------
    size : int, (height, width) or None
        Shortest edge in pixels with the aspect kept (the longer edge is rounded down), or an exact size, or no resize.
    crop : (height, width) or None
        Centre crop after the resize; zeros (black) are padded where the image is smaller.
    resample : {"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"}
        PIL's filters, which widen with the scale when an image shrinks.
    scale : float
        Factor on a pixel of 0 to 255.
    mean, std : (float, float, float)
        For each channel of the network, in the network's channel order, in units of the scaled pixel.
    channel_order : {"rgb", "bgr"}
        The order in which the network takes its channels.
    background : (int, int, int)
        RGB colour under transparent pixels, 0 to 255.
    decode : {"exact", "draft"}
        "draft" decodes a JPEG at the smallest DCT scale that keeps at least twice the target size.

    Raises
    ------
    ParameterError
        If a field has the wrong type or value.

    Examples
    --------
    >>> ImagePreprocess.imagenet().output_size
    (224, 224)
    >>> ImagePreprocess(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).to_config()["size"]
    {'height': 32, 'width': 32}
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None = None
    resample: str = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: str = "rgb"
    background: tuple[int, int, int] = (255, 255, 255)
    decode: str = "exact"

    def __post_init__(self) -> None:
        # Lists and numpy scalars become tuples of plain numbers, so that equal values have equal identities.
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.size is not None:
            one_edge = _is_whole(self.size)
            keep("size", _edge("size", self.size) if one_edge else _height_width("size", self.size))
        if self.crop is not None:
            keep("crop", _height_width("crop", self.crop))
        _one_of("resample", self.resample, RESAMPLES)
        _one_of("channel_order", self.channel_order, ("rgb", "bgr"))
        _one_of("decode", self.decode, ("exact", "draft"))
        keep("scale", _positive("scale", self.scale))
        keep("mean", tuple(_finite("mean", value) for value in _three("mean", self.mean)))
        keep("std", tuple(_positive("std", value) for value in _three("std", self.std)))
        keep("background", tuple(_level(value) for value in _three("background", self.background)))

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) of every fitted image, or None where it depends on the image."""
        if self.crop is not None:
            return self.crop
        return self.size if isinstance(self.size, tuple) else None

    @classmethod
    def imagenet(cls, size: int = 224) -> ImagePreprocess:
        """The evaluation transform of torchvision's IMAGENET1K_V1 weights: resize to 256/224 of `size`, crop `size`.

        Source: ``torchvision.transforms._presets.ImageClassification``.
        """
        crop = _edge("size", size)
        return cls(size=crop * 256 // 224, crop=(crop, crop), mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImagePreprocess:
        """Read a Hugging Face ``preprocessor_config.json``, or a timm ``config.json`` with ``pretrained_cfg``.

        The pixels are those of the PIL-backed processor of transformers 5 that the configuration names. Without a
        class name the keys mean what they mean in transformers' base class; an integer size is a square. timm crops
        through torchvision, whose centre lies one pixel further down or right for every other odd margin.

        Raises
        ------
        PreprocessError
            If the processor class is unknown, or a key asks for what these fields cannot express.
        """
        if not isinstance(config, Mapping):
            raise PreprocessError(
                f"preprocessing: expected a JSON object, found {type(config).__name__}. {_OR_GIVE}"
            )
        try:
            if "pretrained_cfg" in config:
                return cls(**_timm_fields(config["pretrained_cfg"]))
            return cls(**_processor_fields(config))
        except ParameterError as error:
            raise PreprocessError(f"preprocessing configuration: {error}") from error

    @classmethod
    def from_folder(cls, folder: str | Path) -> ImagePreprocess | None:
        """Read the preprocessing of a model folder; None where it has none.

        Looks for ``preprocessor_config.json``, then the ``image_processor`` of ``processor_config.json``, then the
        ``pretrained_cfg`` of ``config.json`` (timm).

        Raises
        ------
        PreprocessError
            If a file is not JSON, or cannot be expressed; the message names the file.
        """
        for name, key in _CONFIG_FILES:
            path = Path(folder) / name
            try:
                config = json.loads(path.read_text(encoding="utf-8-sig"))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                raise PreprocessError(f"{path}: cannot be read as JSON ({error}). {_OR_GIVE}") from error
            if key is not None and not (isinstance(config, dict) and key in config):
                continue
            try:
                return cls.from_config(config["image_processor"] if key == "image_processor" else config)
            except PreprocessError as error:
                raise PreprocessError(f"{path}: {error}") from error
        return None

    def to_config(self) -> dict[str, Any]:
        """The same as a Hugging Face configuration; ``from_config`` gives an equal value back.

        `background` and `decode`, which Hugging Face has no words for, go under the key ``featx``. The class named is
        ViTImageProcessor, which does just these steps; none is named for ``channel_order="bgr"``, which it cannot.
        """
        config: dict[str, Any] = {"do_resize": self.size is not None}
        if self.channel_order == "rgb":
            config["image_processor_type"] = "ViTImageProcessor"
        else:
            config["do_flip_channel_order"] = True
        if isinstance(self.size, int):
            config["size"] = {"shortest_edge": self.size}
        elif self.size is not None:
            config["size"] = {"height": self.size[0], "width": self.size[1]}
        config["resample"] = RESAMPLES.index(self.resample)
        config["do_center_crop"] = self.crop is not None
        if self.crop is not None:
            config["crop_size"] = {"height": self.crop[0], "width": self.crop[1]}
        config |= {"do_rescale": True, "rescale_factor": self.scale, "do_normalize": True}
        config |= {"image_mean": list(self.mean), "image_std": list(self.std)}
        config["featx"] = {"background": list(self.background), "decode": self.decode}
        return config

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON can say it: equal values give equal dictionaries. Part of a feature space's identity."""
        return {
            "kind": "image",
            "size": list(self.size) if isinstance(self.size, tuple) else self.size,
            "crop": None if self.crop is None else list(self.crop),
            "resample": self.resample,
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
            "channel_order": self.channel_order,
            "background": list(self.background),
            "decode": self.decode,
        }


_OR_GIVE = "Correct the file, or pass preprocess=ImagePreprocess(...)."
_CONFIG_FILES = (
    ("preprocessor_config.json", None),
    ("processor_config.json", "image_processor"),
    ("config.json", "pretrained_cfg"),
)
_READ_KEYS = frozenset(
    "do_resize size resample do_center_crop crop_size do_rescale rescale_factor do_normalize image_mean image_std "
    "default_to_square featx".split()
)
# Keys that change no pixel of an image given alone: bookkeeping, label maps, tensor formats. Images are always RGB.
_HARMLESS_KEYS = frozenset(
    "image_processor_type feature_extractor_type processor_class model_input_names _valid_processor_keys do_convert_rgb "
    "data_format input_data_format return_tensors device disable_grouping image_seq_length do_reduce_labels "
    "reduce_labels image_std_comment pad_size size_divisor_comment".split()
)


def _processor_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an ImagePreprocess from a Hugging Face image processor's configuration."""
    # transformers takes null as "not given"
    given = {key: value for key, value in config.items() if value is not None}
    class_name = given.get("image_processor_type") or given.get("feature_extractor_type")
    rules = None if class_name is None else PROCESSORS.get(processor_name(str(class_name)))
    if class_name is not None and rules is None:
        raise PreprocessError(
            f"image processor {class_name!r}: its rules are not known to featx (known: {', '.join(sorted(PROCESSORS))}). "
            "Pass preprocess=ImagePreprocess(...)."
        )
    own = _own_keys(rules)
    for key, value in given.items():
        # A switch that is off asks for nothing, whichever class it belongs to.
        if key not in _READ_KEYS | _HARMLESS_KEYS | own and value is not False:
            raise PreprocessError(
                f"{key!r} = {value!r} has no meaning for {class_name or 'a configuration that names no class'}, and "
                f"may change the pixels. {_OR_GIVE}"
            )
    featx = given.get("featx", {})
    size, crop = _processor_geometry(given, rules)
    return {
        "size": size,
        "crop": crop,
        "resample": _resample_name(given.get("resample", rules.resample if rules else 2)),
        **_processor_values(given, rules),
        "channel_order": "bgr" if given.get("do_flip_channel_order", rules and rules.flip) else "rgb",
        **{key: featx[key] for key in ("background", "decode") if key in featx},
    }


def _own_keys(rules: ProcessorRules | None) -> set[str]:
    """Keys that only some classes read; without a class the flip of channels is the one with a plain meaning."""
    if rules is None:
        return {"do_flip_channel_order"}
    keys = {"crop_pct"} if rules.crop_pct is not None else set()
    keys |= {"rescale_offset", "include_top"} if rules.include_top is not None else set()
    return keys | ({"do_flip_channel_order"} if rules.flip is not None else set())


def _processor_geometry(
    given: Mapping[str, Any], rules: ProcessorRules | None
) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    """(size, crop). Without a class a step is on where its values are given."""
    size: int | tuple[int, int] | None = None
    forced_crop: tuple[int, int] | None = None
    if given.get("do_resize", "size" in given if rules is None else True):
        square = given.get("default_to_square", True if rules is None else rules.int_is_square)
        size = (
            _size_field(given["size"], square=square) if "size" in given else (rules.size if rules else None)
        )
        if size is None:
            raise PreprocessError(f"'do_resize' is on and there is no 'size'. {_OR_GIVE}")
        if rules is not None:
            size, forced_crop = _class_resize(size, rules, given.get("crop_pct", rules.crop_pct))
    crop: tuple[int, int] | None = None
    if rules is None or rules.crops:
        default = "crop_size" in given if rules is None else rules.do_center_crop
        if given.get("do_center_crop", default):
            crop = (
                _crop_field(given["crop_size"]) if "crop_size" in given else (rules.crop if rules else None)
            )
            if crop is None:
                raise PreprocessError(f"'do_center_crop' is on and there is no 'crop_size'. {_OR_GIVE}")
    if forced_crop is not None and crop is not None and crop != forced_crop:
        raise PreprocessError(
            f"two centre crops, to {forced_crop} and {crop}, cannot be expressed. {_OR_GIVE}"
        )
    return size, forced_crop or crop


def _class_resize(
    size: int | tuple[int, int], rules: ProcessorRules, crop_pct: Any
) -> tuple[int | tuple[int, int], tuple[int, int] | None]:
    """The resize a class really does for a configured size, and the crop that comes with it (ConvNext)."""
    if rules.warp_from is not None:
        if not isinstance(size, int):
            raise PreprocessError(
                f"'size' must be {{'shortest_edge': n}} for this class, found {size}. {_OR_GIVE}"
            )
        if size >= rules.warp_from:
            return (size, size), None
        return int(size / _positive("crop_pct", crop_pct)), (size, size)
    if crop_pct is not None:
        # PoolFormer; two different edges are resized to as they are
        if isinstance(size, int) or size[0] == size[1]:
            edge = size if isinstance(size, int) else size[0]
            return int(edge / _positive("crop_pct", crop_pct)), None
        return tuple(int(edge / _positive("crop_pct", crop_pct)) for edge in size), None  # type: ignore[return-value]  # two edges in, two out
    if isinstance(size, int):
        return int(rules.edge_scale * size), None
    return size, None


def _processor_values(given: Mapping[str, Any], rules: ProcessorRules | None) -> dict[str, Any]:
    """scale, mean and std, with EfficientNet's offset and second division folded in.

    ``((p * s - 1) - m) / d`` is ``(p * s - (m + 1)) / d``, and dividing by d once more is a deviation of ``d * d``.
    """
    mean: list[float] = [0.0, 0.0, 0.0]
    std: list[float] = [1.0, 1.0, 1.0]
    normalizes = rules is None or rules.normalizes
    if normalizes and given.get("do_normalize", "image_mean" in given if rules is None else True):
        mean = _three_floats("image_mean", given.get("image_mean", rules.mean if rules else None))
        std = _three_floats("image_std", given.get("image_std", rules.std if rules else None))
    if rules is None and not {"do_rescale", "rescale_factor"} & set(given) and max(map(abs, mean)) > 1:
        raise PreprocessError(
            f"'image_mean' {mean} is not in units of 0 to 1 and 'do_rescale' is not given: say whether it is on. {_OR_GIVE}"
        )
    do_rescale = given.get("do_rescale", True)
    factor = given.get("rescale_factor", rules.rescale_factor if rules else 1 / 255)
    if rules is not None and rules.include_top is not None:
        if do_rescale and given.get("rescale_offset", rules.offset):
            mean = [value + 1.0 for value in mean]
        if given.get("include_top", rules.include_top):
            deviation = _three_floats("image_std", given.get("image_std", rules.std))
            std = [value * again for value, again in zip(std, deviation, strict=True)]
    return {"scale": factor if do_rescale else 1.0, "mean": tuple(mean), "std": tuple(std)}


def _timm_fields(pretrained: object) -> dict[str, Any]:
    """The fields from timm's ``pretrained_cfg``, as ``timm.data.create_transform`` reads it for evaluation."""
    if not isinstance(pretrained, Mapping):
        raise PreprocessError(
            f"'pretrained_cfg' must be an object, found {type(pretrained).__name__}. {_OR_GIVE}"
        )
    input_size = pretrained.get("input_size")
    if not isinstance(input_size, list | tuple) or len(input_size) != 3 or input_size[0] != 3:
        raise PreprocessError(
            f"'pretrained_cfg.input_size' must be [3, height, width], found {input_size!r}. {_OR_GIVE}"
        )
    crop = _height_width("input_size", input_size[1:])
    share = _positive("crop_pct", pretrained.get("crop_pct") or 0.875)  # timm's DEFAULT_CROP_PCT
    mode = pretrained.get("crop_mode") or "center"
    scaled = (math.floor(crop[0] / share), math.floor(crop[1] / share))
    if mode == "squash":
        size: int | tuple[int, int] = scaled
    elif mode == "center" and crop[0] == crop[1]:
        size = scaled[0]
    else:
        raise PreprocessError(
            f"'pretrained_cfg.crop_mode' {mode!r} at {crop} cannot be expressed. {_OR_GIVE}"
        )
    return {
        "size": size,
        "crop": crop,
        "resample": _resample_name(pretrained.get("interpolation") or "bicubic"),
        "mean": tuple(_three_floats("mean", pretrained.get("mean", IMAGENET_MEAN))),
        "std": tuple(_three_floats("std", pretrained.get("std", IMAGENET_STD))),
    }


def _size_field(value: Any, *, square: bool) -> int | tuple[int, int]:
    if _is_whole(value):
        edge = _edge("size", value)
        return (edge, edge) if square else edge
    if isinstance(value, Mapping):
        keys = {key for key, number in value.items() if number is not None}
        if keys == {"height", "width"}:
            return _height_width("size", (value["height"], value["width"]))
        if keys == {"shortest_edge"}:
            return _edge("size", value["shortest_edge"])
        raise PreprocessError(
            f"'size' {dict(value)} cannot be expressed: expected {{'height', 'width'}} or {{'shortest_edge'}}. {_OR_GIVE}"
        )
    return _height_width("size", value)


def _crop_field(value: Any) -> tuple[int, int]:
    if _is_whole(value):
        return _height_width("crop_size", (value, value))
    if isinstance(value, Mapping):
        if {key for key, number in value.items() if number is not None} != {"height", "width"}:
            raise PreprocessError(
                f"'crop_size' {dict(value)} cannot be expressed: expected {{'height', 'width'}}. {_OR_GIVE}"
            )
        return _height_width("crop_size", (value["height"], value["width"]))
    return _height_width("crop_size", value)


def _resample_name(value: Any) -> str:
    if _is_whole(value) and 0 <= int(value) < len(RESAMPLES):
        return RESAMPLES[int(value)]
    if value in RESAMPLES:
        return str(value)
    raise PreprocessError(
        f"'resample' {value!r} is unknown: expected 0 to 5 or one of {', '.join(RESAMPLES)}. {_OR_GIVE}"
    )


def _three_floats(name: str, value: Any) -> list[float]:
    if value is None:
        raise PreprocessError(f"'do_normalize' is on and there is no {name!r}. {_OR_GIVE}")
    if isinstance(value, int | float):
        return [float(value)] * 3
    return [_finite(name, number) for number in _three(name, value)]


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and not hasattr(value, "__len__")


def _edge(name: str, value: Any) -> int:
    if not _is_whole(value) or not 1 <= int(value) <= _LARGEST_EDGE_PX:
        raise ParameterError(f"{name}: expected whole pixels from 1 to {_LARGEST_EDGE_PX}, found {value!r}.")
    return int(value)


def _height_width(name: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ParameterError(f"{name}: expected (height, width) such as (224, 224), found {value!r}.")
    return _edge(name, value[0]), _edge(name, value[1])


def _three(name: str, value: Any) -> tuple[Any, Any, Any]:
    if not hasattr(value, "__len__") or isinstance(value, str | Mapping) or len(value) != 3:
        raise ParameterError(f"{name}: expected three numbers, one a channel, found {value!r}.")
    return value[0], value[1], value[2]


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool | str) or not hasattr(value, "__float__") or not math.isfinite(float(value)):
        raise ParameterError(f"{name}: expected finite numbers, found {value!r}.")
    return float(value) + 0.0  # -0.0 becomes 0.0: equal values must not differ as JSON


def _positive(name: str, value: Any) -> float:
    number = _finite(name, value)
    if number <= 0:
        raise ParameterError(f"{name}: expected numbers above 0, found {value!r}.")
    return number


def _level(value: Any) -> int:
    if not _is_whole(value) or not 0 <= int(value) <= 255:
        raise ParameterError(f"background: expected whole numbers from 0 to 255, found {value!r}.")
    return int(value)


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(f"{name}: expected one of {', '.join(choices)}, found {value!r}.")
