"""How an image becomes the network's input: ``ImagePreprocess``, read from and written to configurations.

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
from typing import Any, SupportsFloat

from featx.backbones.augment import View
from featx.backbones.processor_configs import OR_GIVE, RESAMPLES, processor_fields, timm_fields
from featx.backbones.processors import IMAGENET_MEAN, IMAGENET_STD
from featx.backbones.window import Window
from featx.errors import ParameterError, PreprocessError

__all__ = ["MISSING_PREPROCESS_HELP", "RESAMPLES", "ImagePreprocess"]

_LARGEST_EDGE_PX = 8192  # squared, still below the limit at which PIL suspects a decompression bomb

MISSING_PREPROCESS_HELP = """\
Say how pixels become the network's input, with preprocess=:
  size           shortest edge in pixels, or (height, width), or None for no resize
  crop           centre crop (height, width), or None
  resample       nearest | lanczos | bilinear | bicubic | box | hamming      (default bilinear)
  scale          pixel * scale comes first                                   (default 1/255)
  mean, std      then (x - mean) / std, for each of the network's channels
  channel_order  rgb | bgr                                                   (default rgb)
  window         of images of more than 8 bits: featx.Window(center, width)
For a network trained on ImageNet in PyTorch this is usually right:
  from featx import ImagePreprocess
  preprocess = ImagePreprocess(size=256, crop=(224, 224),
                               mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
Or put the preprocessor_config.json of the model's publisher beside the .onnx file and open the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocess:
    """From an RGB image to a network's input.

    In this order: values of more than 8 bits shown through `window`, alpha composited on `background`, resize, centre crop,
    channel order, ``pixel * scale``, then ``(x - mean) / std``. The first four make uint8 pixels; the rest is part of the
    network's graph.

    Parameters
    ----------
    size : int, (height, width) or None
        Shortest edge in pixels with the aspect kept (the longer edge is rounded down), or an exact size, or
        no resize.
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
    window : Window, optional
        Which values of an image of more than 8 bits, or of a grey DICOM image, become black and white. None takes what a file
        itself says, as DICOM files do. Other 8-bit pictures and colour stay as they are.
    view : View, optional
        Which augmented view of the picture, made of the fitted uint8 pixels; None is the picture as it is.

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
    window: Window | None = None
    view: View | None = None

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
        keep("window", _window(self.window))
        keep("view", _view(self.view))

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) of every fitted image, or None where it depends on the image."""
        if self.crop is not None:
            return self.crop
        return self.size if isinstance(self.size, tuple) else None

    @classmethod
    def imagenet(cls, size: int = 224) -> ImagePreprocess:
        """The evaluation transform of torchvision's IMAGENET1K_V1 weights: shortest edge to 256, crop to 224.

        Another `size` keeps that ratio. Source: ``torchvision.transforms._presets.ImageClassification``.
        """
        crop = _edge("size", size)
        return cls(size=crop * 256 // 224, crop=(crop, crop), mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImagePreprocess:
        """Read a Hugging Face ``preprocessor_config.json``, or a timm one with ``pretrained_cfg``.

        The pixels are those of the PIL-backed processor of transformers 5 that the configuration names. Where
        it names none, the keys mean what they mean in transformers' base class: an integer size is a square.
        timm crops through torchvision, whose centre lies one pixel further on for every other odd margin.

        Raises
        ------
        PreprocessError
            If the processor class is unknown, or a key asks for what these fields cannot express.
        """
        if not isinstance(config, Mapping):
            raise PreprocessError(
                f"preprocessing: expected a JSON object, found {type(config).__name__}. {OR_GIVE}"
            )
        try:
            if "pretrained_cfg" in config:
                return cls(**timm_fields(config["pretrained_cfg"]))
            return cls(**processor_fields(config))
        except ParameterError as error:
            raise PreprocessError(f"preprocessing configuration: {error}") from error

    @classmethod
    def from_folder(cls, folder: str | Path) -> ImagePreprocess | None:
        """Read the preprocessing of a model folder; None where it has none.

        Looks for ``preprocessor_config.json``, then the ``image_processor`` of ``processor_config.json``,
        then the ``pretrained_cfg`` of ``config.json`` (timm).

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
            except (OSError, ValueError, RecursionError) as error:
                raise PreprocessError(f"{path}: cannot be read as JSON ({error}). {OR_GIVE}") from error
            if key is not None and not (isinstance(config, dict) and key in config):
                continue
            try:
                return cls.from_config(config["image_processor"] if key == "image_processor" else config)
            except PreprocessError as error:
                raise PreprocessError(f"{path}: {error}") from error
        return None

    def to_config(self) -> dict[str, Any]:
        """The same as a Hugging Face configuration; ``from_config`` gives an equal value back.

        `background`, `decode`, `window` and `view`, which Hugging Face has no words for, go under the key ``featx``. The class
        named is ViTImageProcessor, which takes these steps; for ``channel_order="bgr"`` none is named, as no
        class of theirs both flips and normalises.
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
        config["featx"] = {"background": list(self.background), "decode": self.decode, **self._own_dict()}
        return config

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON has it, for a feature space's identity: equal values, equal dictionaries.

        Without a window, or a view, there is no key for it, so that spaces from before there were any keep their ids.
        """
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
            **self._own_dict(),
        }

    def _own_dict(self) -> dict[str, Any]:
        given = {"window": self.window, "view": self.view}
        return {name: value.to_dict() for name, value in given.items() if value is not None}


_CONFIG_FILES = (
    ("preprocessor_config.json", None),
    ("processor_config.json", "image_processor"),
    ("config.json", "pretrained_cfg"),
)


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
    if isinstance(value, bool) or not isinstance(value, SupportsFloat) or not math.isfinite(float(value)):
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


def _window(value: Any) -> Window | None:
    if isinstance(value, Mapping):
        return Window.from_dict(value)
    if value is not None and not isinstance(value, Window):
        raise ParameterError(
            f"window: expected a featx.Window such as Window(-600, 1500), or None, found {value!r}."
        )
    return value


def _view(value: Any) -> View | None:
    if isinstance(value, Mapping):
        return View.from_dict(value)
    if value is not None and not isinstance(value, View):
        raise ParameterError(f"view: expected a View of a featx.Augment, or None, found {value!r}.")
    return value


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(f"{name}: expected one of {', '.join(choices)}, found {value!r}.")
