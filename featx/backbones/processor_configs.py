"""Configurations of Hugging Face image processors and of timm, read as the fields of an ``ImagePreprocess``.

Keeps one rule: a key is expressed exactly, or is known to leave the pixels alone, or is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict

from featx.backbones.processors import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PROCESSORS,
    ProcessorRules,
    Triple,
    processor_name,
)
from featx.errors import PreprocessError

__all__ = ["OR_GIVE", "RESAMPLES", "PreprocessFields", "processor_fields", "timm_fields"]

# Position = the number that PIL and Hugging Face configurations use (PIL.Image.Resampling).
RESAMPLES = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
OR_GIVE = "Correct the file, or pass preprocess=ImagePreprocess(...)."

Size = int | tuple[int, int] | None  # shortest edge, or (height, width), or as it is

_READ_KEYS = {"do_resize", "size", "default_to_square", "resample", "do_center_crop", "crop_size"}
_READ_KEYS |= {"do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "featx"}
# Bookkeeping, label maps, tensor formats; images are always RGB; pad_size says nothing while do_pad is off.
_HARMLESS_KEYS = {"image_processor_type", "feature_extractor_type", "processor_class", "model_input_names"}
_HARMLESS_KEYS |= {"_valid_processor_keys", "do_convert_rgb", "data_format", "input_data_format", "device"}
_HARMLESS_KEYS |= {"return_tensors", "disable_grouping", "do_reduce_labels", "reduce_labels", "pad_size"}


class PreprocessFields(TypedDict, total=False):
    """Arguments of ``ImagePreprocess``, which checks their ranges."""

    size: Size
    crop: tuple[int, int] | None
    resample: str
    scale: float
    mean: Triple
    std: Triple
    channel_order: str
    background: Any
    decode: Any
    window: Any
    view: Any


def processor_fields(config: Mapping[str, Any]) -> PreprocessFields:
    """Read the configuration of a Hugging Face image processor.

    Raises
    ------
    PreprocessError
        If the class is not in the table of processors, or a key cannot be expressed.
    """
    given = {key: value for key, value in config.items() if value is not None}  # null is "not given" there
    class_name = given.get("image_processor_type") or given.get("feature_extractor_type")
    rules = None if class_name is None else PROCESSORS.get(processor_name(str(class_name)))
    if class_name is not None and rules is None:
        raise PreprocessError(
            f"image processor {class_name!r}: featx does not know its rules (it knows those of "
            f"{', '.join(sorted(PROCESSORS))}). Pass preprocess=ImagePreprocess(...)."
        )
    readable = _READ_KEYS | _HARMLESS_KEYS | _own_keys(rules)
    for key, value in given.items():
        # A switch that is off asks for nothing, whichever class it belongs to.
        if key not in readable and value is not False:
            owner = class_name or "a configuration that names no class"
            raise PreprocessError(
                f"{key!r} = {value!r} may change pixels and {owner} has no such key. {OR_GIVE}"
            )
    size, crop = _geometry(given, rules)
    if rules is None and not given.keys() & {"do_normalize", "image_mean", "image_std"}:
        raise PreprocessError(
            "it names no processor class and says nothing of normalisation: expected 'image_mean' and 'image_std', or "
            "'do_normalize': false where the network takes plain pixels."
        )
    scale, mean, std = _values(given, rules)
    fields = PreprocessFields(size=size, crop=crop, scale=scale, mean=mean, std=std)
    fields["resample"] = _resample_name(given.get("resample", rules.resample if rules else 2))
    flips = given.get("do_flip_channel_order", rules is not None and rules.flip)
    fields["channel_order"] = "bgr" if flips else "rgb"
    own = given.get("featx", {})
    if not isinstance(own, Mapping) or not set(own) <= {"background", "decode", "window", "view"}:
        raise PreprocessError(
            f"'featx': expected {{'background', 'decode', 'window', 'view'}}, found {own!r}. {OR_GIVE}"
        )
    if "background" in own:
        fields["background"] = own["background"]
    if "decode" in own:
        fields["decode"] = own["decode"]
    if "window" in own:
        fields["window"] = own["window"]
    if "view" in own:
        fields["view"] = own["view"]
    return fields


def timm_fields(pretrained: object) -> PreprocessFields:
    """Read timm's ``pretrained_cfg`` as ``timm.data.create_transform`` does for evaluation.

    Raises
    ------
    PreprocessError
        If the crop mode or the input size cannot be expressed.
    """
    if not isinstance(pretrained, Mapping):
        raise PreprocessError(f"'pretrained_cfg': expected an object, found {pretrained!r}. {OR_GIVE}")
    input_size = pretrained.get("input_size")
    if not isinstance(input_size, list | tuple) or len(input_size) != 3 or input_size[0] != 3:
        raise PreprocessError(f"'input_size': expected [3, height, width], found {input_size!r}. {OR_GIVE}")
    height, width = _whole("input_size", input_size[1]), _whole("input_size", input_size[2])
    share = _share(pretrained.get("crop_pct") or 0.875)  # timm's DEFAULT_CROP_PCT
    mode = pretrained.get("crop_mode") or "center"
    size: Size
    if mode == "squash":
        size = math.floor(height / share), math.floor(width / share)
    elif mode == "center" and height == width:
        size = math.floor(height / share)
    else:
        raise PreprocessError(f"'crop_mode' {mode!r} at {height} x {width} cannot be expressed. {OR_GIVE}")
    return PreprocessFields(
        size=size,
        crop=(height, width),
        resample=_resample_name(pretrained.get("interpolation") or "bicubic"),
        mean=_numbers("mean", pretrained.get("mean", IMAGENET_MEAN)),
        std=_numbers("std", pretrained.get("std", IMAGENET_STD)),
    )


def _own_keys(rules: ProcessorRules | None) -> set[str]:
    """Keys that only some classes read; where none is named, flipping the channels has a plain meaning."""
    if rules is None:
        return {"do_flip_channel_order"}
    keys = {"crop_pct"} if rules.crop_pct is not None else set()
    keys |= {"rescale_offset", "include_top"} if rules.include_top is not None else set()
    return keys | ({"do_flip_channel_order"} if rules.flip is not None else set())


def _geometry(given: Mapping[str, Any], rules: ProcessorRules | None) -> tuple[Size, tuple[int, int] | None]:
    """(size, crop). Where no class is named, a step is on when its values are given."""
    size: Size = None
    crop: tuple[int, int] | None = None
    comes_with: tuple[int, int] | None = None
    if given.get("do_resize", "size" in given if rules is None else True):
        if "size" in given:
            square = given.get("default_to_square", True if rules is None else rules.int_is_square)
            size = _size(given["size"], square=square)
        elif rules is not None:
            size = rules.size
        else:
            raise PreprocessError(f"'do_resize' is on and there is no 'size'. {OR_GIVE}")
        if rules is not None:
            size, comes_with = _class_resize(size, rules, given.get("crop_pct", rules.crop_pct))
    crops = given.get("do_center_crop", "crop_size" in given if rules is None else rules.do_center_crop)
    if crops and (rules is None or rules.crops):
        if "crop_size" in given:
            crop = _crop(given["crop_size"])
        elif rules is not None and rules.crop is not None:
            crop = rules.crop
        else:
            raise PreprocessError(f"'do_center_crop' is on and there is no 'crop_size'. {OR_GIVE}")
    if comes_with is not None and crop is not None and crop != comes_with:
        raise PreprocessError(f"two centre crops, {comes_with} then {crop}, cannot be expressed. {OR_GIVE}")
    return size, comes_with or crop


def _class_resize(
    size: int | tuple[int, int], rules: ProcessorRules, crop_pct: Any
) -> tuple[int | tuple[int, int], tuple[int, int] | None]:
    """What a class really resizes to for a configured size, and the crop that comes with it."""
    square = size if isinstance(size, int) else size[0] if size[0] == size[1] else None
    if rules.warp_from is not None:  # ConvNext
        if not isinstance(size, int):
            raise PreprocessError(f"'size': this class takes {{'shortest_edge': n}}, found {size}. {OR_GIVE}")
        if size >= rules.warp_from:
            return (size, size), None
        return int(size / _share(crop_pct)), (size, size)
    if crop_pct is not None:  # PoolFormer, which resizes to two different edges but keeps the aspect for one
        share = _share(crop_pct)
        if square is not None:
            return int(square / share), None
        height, width = size if isinstance(size, tuple) else (size, size)
        return (int(height / share), int(width / share)), None
    return (int(rules.edge_scale * size), None) if isinstance(size, int) else (size, None)


def _values(given: Mapping[str, Any], rules: ProcessorRules | None) -> tuple[float, Triple, Triple]:
    """(scale, mean, std), with EfficientNet's offset and second division folded in.

    ``((p * s - 1) - m) / d`` is ``(p * s - (m + 1)) / d``; dividing by d again is a deviation of ``d * d``.
    """
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    normalizes = given.get("do_normalize", "image_mean" in given if rules is None else True)
    if normalizes and (rules is None or rules.normalizes):
        mean = _numbers("image_mean", given.get("image_mean", rules and rules.mean))
        std = _numbers("image_std", given.get("image_std", rules and rules.std))
    if rules is None and not {"do_rescale", "rescale_factor"} & set(given) and max(map(abs, mean)) > 1:
        raise PreprocessError(
            f"'image_mean' {list(mean)} is not on the scale of 0 to 1 and 'do_rescale' is not given: say "
            f"whether pixels are rescaled. {OR_GIVE}"
        )
    rescales = given.get("do_rescale", True)
    scale = given.get("rescale_factor", rules.rescale_factor if rules else 1 / 255) if rescales else 1.0
    if rules is not None and rules.include_top is not None:  # EfficientNet
        if rescales and given.get("rescale_offset", rules.offset):
            mean = (mean[0] + 1.0, mean[1] + 1.0, mean[2] + 1.0)
        if given.get("include_top", rules.include_top):
            again = _numbers("image_std", given.get("image_std", rules.std))
            std = (std[0] * again[0], std[1] * again[1], std[2] * again[2])
    return scale, mean, std


def _size(value: Any, *, square: bool) -> int | tuple[int, int]:
    if isinstance(value, Mapping):
        edges = {key: number for key, number in value.items() if number is not None}
        if set(edges) == {"height", "width"}:
            return _whole("size", edges["height"]), _whole("size", edges["width"])
        if set(edges) == {"shortest_edge"}:
            return _whole("size", edges["shortest_edge"])
        raise PreprocessError(
            f"'size' {edges} cannot be expressed: expected {{'height', 'width'}} or {{'shortest_edge'}}. "
            f"{OR_GIVE}"
        )
    if isinstance(value, list | tuple) and len(value) == 2:
        return _whole("size", value[0]), _whole("size", value[1])
    edge = _whole("size", value)
    return (edge, edge) if square else edge


def _crop(value: Any) -> tuple[int, int]:
    crop = _size(value, square=True)
    if isinstance(crop, tuple):
        return crop
    raise PreprocessError(f"'crop_size' {value!r}: expected {{'height', 'width'}} or a number. {OR_GIVE}")


def _resample_name(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(RESAMPLES):
        return RESAMPLES[value]
    if isinstance(value, str) and value in RESAMPLES:
        return value
    names = ", ".join(RESAMPLES)
    raise PreprocessError(f"'resample': expected 0 to 5 or one of {names}, found {value!r}. {OR_GIVE}")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PreprocessError(f"{name!r}: expected whole pixels, found {value!r}. {OR_GIVE}")
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise PreprocessError(f"'crop_pct': expected a share above 0 and up to 1, found {value!r}. {OR_GIVE}")
    return float(value)


def _numbers(name: str, value: Any) -> Triple:
    """Three numbers; one alone counts for every channel, as in transformers."""
    if value is None:
        raise PreprocessError(f"'do_normalize' is on and there is no {name!r}. {OR_GIVE}")
    numbers = list(value) if isinstance(value, list | tuple) else [value] * 3
    if len(numbers) != 3 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise PreprocessError(f"{name!r}: expected three numbers, found {value!r}. {OR_GIVE}")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
