"""How a checkpoint's pictures become pixels: its own processor's configuration, the size that the graph is fixed to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.preprocess import MISSING_PREPROCESS_HELP, ImagePreprocess
from featx.errors import ParameterError, PreprocessError
from featx.exporting.checkpoint import Checkpoint

__all__ = ["CONFIG_NAME", "Pictures", "given_pictures", "pictures_of"]

CONFIG_NAME = "preprocessor_config.json"

ImageSize = int | tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """What decides the pixels.

    Parameters
    ----------
    preprocess : ImagePreprocess
        With an output size.
    config : bytes
        The same, for ``preprocessor_config.json``.
    own : callable or None
        The source's own processor: uint8 RGB (h, w, 3) to float32 (1, 3, h, w).
    notes : tuple of str
    """

    preprocess: ImagePreprocess
    config: bytes
    own: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    notes: tuple[str, ...] = ()


def given_pictures(preprocess: ImagePreprocess | Mapping[str, Any], image_size: ImageSize) -> Pictures:
    """Of a preprocessing that the caller names."""
    if isinstance(preprocess, Mapping):
        preprocess = ImagePreprocess.from_config(preprocess)
    if not isinstance(preprocess, ImagePreprocess):
        raise ParameterError(
            f"preprocess must be an ImagePreprocess or a dict, got {type(preprocess).__name__}."
        )
    preprocess = _resized(preprocess, image_size)
    return Pictures(preprocess, _to_json(preprocess.to_config()))


def pictures_of(checkpoint: Checkpoint, config: Any, image_size: ImageSize) -> Pictures:
    """Of the processor that a checkpoint comes with.

    Parameters
    ----------
    checkpoint : Checkpoint
    config : PretrainedConfig
        Of the network.
    image_size : int, (int, int) or None
        Another size than the processor's own.

    Raises
    ------
    PreprocessError
        There is none, or featx cannot express it.
    """
    from transformers import AutoImageProcessor

    found = checkpoint.read_json(CONFIG_NAME)
    found = found or checkpoint.read_json("processor_config.json").get("image_processor") or {}
    if not found:
        raise PreprocessError(f"{checkpoint.source}: no {CONFIG_NAME} in it. {MISSING_PREPROCESS_HELP}")
    processor = checkpoint.load(AutoImageProcessor, backend="pil")
    if not {"image_processor_type", "feature_extractor_type"} & set(found):
        found = json.loads(processor.to_json_string())  # which names the class that the architecture implies
    if _is_detector(config):
        return _of_detector(processor, config, image_size)
    try:
        preprocess = ImagePreprocess.from_config(found)
    except PreprocessError as error:
        raise PreprocessError(f"{checkpoint.source}: {error}") from error
    if image_size is not None or preprocess.output_size is None:
        resized = _resized(preprocess, image_size or _config_size(config))
        return Pictures(resized, _to_json(resized.to_config()))

    def own(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        made = processor(picture, return_tensors="np", input_data_format="channels_last")
        return np.asarray(made["pixel_values"], np.float32)

    return Pictures(preprocess, _to_json(found), own)


def _is_detector(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

    return config.model_type in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES


def _of_detector(processor: Any, config: Any, image_size: ImageSize) -> Pictures:
    """Detectors keep the aspect and pad, which gives every picture a size of its own; a vector needs one."""
    known = json.loads(processor.to_json_string())
    names = ("resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    size = image_size or _config_size(config) or known.get("size", {}).get("shortest_edge")
    if size is None:
        raise PreprocessError("the detector's configuration names no size. Give an image size.")
    height, width = _height_width(size)
    fields = {name: known[name] for name in names if known.get(name) is not None}
    preprocess = ImagePreprocess.from_config({**fields, "size": {"height": height, "width": width}})
    note = (
        f"Pictures are resized to exactly {height} x {width} pixels. The detector's own processor keeps their aspect and pads, "
        "which would give each a size of its own."
    )
    return Pictures(preprocess, _to_json(preprocess.to_config()), None, (note,))


def _config_size(config: Any) -> ImageSize:
    size = getattr(config, "image_size", None)
    if isinstance(size, list | tuple):
        return (size[0], size[1]) if len(size) == 2 else size[0]
    return size


def _resized(preprocess: ImagePreprocess, image_size: ImageSize) -> ImagePreprocess:
    """The same steps for another size of the network's input; the share that a crop cuts away stays."""
    before = preprocess.output_size
    if image_size is None:
        if before is None:
            raise PreprocessError(
                "the preprocessing makes pictures of no one size, and the graph is fixed to one. Give an image size."
            )
        return preprocess
    new = _height_width(image_size)
    if before is None or preprocess.crop is None:
        return replace(preprocess, size=new, crop=None)
    share = max(new[0] / before[0], new[1] / before[1])
    size = preprocess.size
    if isinstance(size, int):
        return replace(preprocess, size=round(size * share), crop=new)
    scaled = (
        None if size is None else (round(size[0] * new[0] / before[0]), round(size[1] * new[1] / before[1]))
    )
    return replace(preprocess, size=scaled, crop=new)


def _height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
        raise ParameterError(f"image_size must be pixels, or (height, width), got {size!r}.")
    return int(pair[0]), int(pair[1])


def _to_json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, indent=2).encode()
