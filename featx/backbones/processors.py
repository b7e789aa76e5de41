"""What each Hugging Face image processor does where its configuration is silent.

Owns the table of processor classes whose pixels featx reproduces. A class that is not in the table is refused
rather than guessed: its name is the only sign of what it does to an image. The numbers are those of the
PIL-backed classes of transformers 5 (``models/*/image_processing_pil_*.py``); a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PROCESSORS", "ProcessorRules", "Triple", "processor_name"]

Triple = tuple[float, float, float]

# torchvision's IMAGENET1K weights, timm's and transformers' IMAGENET_DEFAULT_MEAN and _STD.
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
# transformers' IMAGENET_STANDARD_*: what the TensorFlow models were trained with.
_HALF: Triple = (0.5, 0.5, 0.5)
_CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorRules:
    """Defaults and peculiarities of one image processor class.

    Attributes
    ----------
    size : int or (height, width)
        An int is the shortest edge.
    int_is_square : bool
        Whether a bare integer in the configuration means a square or the shortest edge.
    edge_scale : float
        LeViT resizes the shortest edge to this multiple of what is configured.
    crop_pct : float or None
        Only ConvNext and PoolFormer have it: they resize to ``size / crop_pct``.
    warp_from : int or None
        ConvNext: from this edge on the image is warped to a square; below it is cropped to ``size``.
    offset, include_top : bool or None
        EfficientNet's ``rescale_offset`` and ``include_top``; None where the class has no such key.
    flip : bool or None
        MobileViT's ``do_flip_channel_order``; None where the class has no such key.
    normalizes, crops : bool
        False where the class ignores ``do_normalize`` or ``do_center_crop``.
    """

    size: int | tuple[int, int]
    resample: int = 3
    crop: tuple[int, int] | None = None
    do_center_crop: bool = False
    rescale_factor: float = 1 / 255
    mean: Triple = _HALF
    std: Triple = _HALF
    int_is_square: bool = True
    edge_scale: float = 1.0
    crop_pct: float | None = None
    warp_from: int | None = None
    offset: bool | None = None
    include_top: bool | None = None
    flip: bool | None = None
    normalizes: bool = True
    crops: bool = True


def _clip_like() -> ProcessorRules:
    return ProcessorRules(
        size=224, int_is_square=False, crop=(224, 224), do_center_crop=True, mean=_CLIP_MEAN, std=_CLIP_STD
    )


def _mobilenet() -> ProcessorRules:
    return ProcessorRules(size=256, int_is_square=False, resample=2, crop=(224, 224), do_center_crop=True)


PROCESSORS: dict[str, ProcessorRules] = {
    "Beit": ProcessorRules(size=(224, 224), crop=(224, 224)),
    "Bit": _clip_like(),
    "Blip": ProcessorRules(size=(384, 384), mean=_CLIP_MEAN, std=_CLIP_STD),
    "CLIP": _clip_like(),
    "Chameleon": ProcessorRules(
        size=512,
        int_is_square=False,
        resample=1,
        crop=(512, 512),
        do_center_crop=True,
        rescale_factor=0.0078,
        mean=(1.0, 1.0, 1.0),
        std=(1.0, 1.0, 1.0),
    ),
    "ChineseCLIP": _clip_like(),
    "ConvNext": ProcessorRules(size=384, int_is_square=False, crop_pct=224 / 256, warp_from=384),
    "DeiT": ProcessorRules(size=(256, 256), crop=(224, 224), do_center_crop=True),
    "EfficientNet": ProcessorRules(size=(346, 346), crop=(289, 289), offset=False, include_top=True),
    "Levit": ProcessorRules(
        size=224,
        int_is_square=False,
        edge_scale=256 / 224,
        crop=(224, 224),
        do_center_crop=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    "MobileNetV1": _mobilenet(),
    "MobileNetV2": _mobilenet(),
    "MobileViT": ProcessorRules(
        size=224, int_is_square=False, crop=(256, 256), do_center_crop=True, flip=True, normalizes=False
    ),
    "PoolFormer": ProcessorRules(
        size=224,
        int_is_square=False,
        crop=(224, 224),
        do_center_crop=True,
        crop_pct=0.9,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    "Pvt": ProcessorRules(size=(224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "Segformer": ProcessorRules(
        size=(512, 512), resample=2, mean=IMAGENET_MEAN, std=IMAGENET_STD, crops=False
    ),
    "Siglip": ProcessorRules(size=(224, 224), int_is_square=False),
    "ViT": ProcessorRules(size=(224, 224), resample=2),
}


def processor_name(class_name: str) -> str:
    """The table's name of a class: ``ViTFeatureExtractor`` and ``ViTImageProcessorFast`` are ``ViT``."""
    name = class_name
    for suffix in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(suffix)
    return name
