"""Networks that other packages know by name, timm's and torchvision's, with the preprocessing published for their weights."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from featx.backbones.preprocess import ImagePreprocess
from featx.errors import BackboneNotFoundError, MissingExtraError
from featx.exporting.inputs import ImageInputs
from featx.exporting.network import Network, Original, Output
from featx.exporting.pictures import CONFIG_NAME, ImageSize, Pictures, given_pictures

__all__ = ["ZOOS", "from_zoo"]


def from_zoo(
    reference: str, *, preprocess: ImagePreprocess | Mapping[str, Any] | None, image_size: ImageSize
) -> Original:
    """A network by its name in ``timm:`` or ``torchvision:``.

    Raises
    ------
    MissingExtraError
        The package is not here, or cannot be imported.
    BackboneNotFoundError
        It knows no network, or no weights, of that name.
    """
    package, _, name = reference.partition(":")
    zoo = _imported(package, reference)
    try:
        model, output, own = ZOOS[package](zoo, name)
    except (RuntimeError, ValueError, KeyError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BackboneNotFoundError(
            f"{reference}: {package} has no such network with weights, or cannot fetch them ({reason[:200]})."
        ) from error
    pictures: Pictures = given_pictures(preprocess or own, image_size)
    inputs = ImageInputs(pictures.preprocess)
    return Original(
        name=name.split(".")[0].replace("/", "-"),
        source=reference,
        network=Network(model.eval(), (Output(output, "output"),)),
        inputs=inputs,
        files={CONFIG_NAME: pictures.config},
        licence=(getattr(model, "pretrained_cfg", None) or {}).get("license"),
        versions={package: str(getattr(zoo, "__version__", "unknown"))},
    )


def _from_timm(timm: Any, name: str) -> tuple[Any, str, ImagePreprocess]:
    """Without its classifier, so that what comes out is the pooled vector whatever the architecture."""
    model = timm.create_model(name, pretrained=True, num_classes=0)
    config = json.loads(json.dumps(dict(model.pretrained_cfg), default=str))
    return model, "pooler_output", ImagePreprocess.from_config({"pretrained_cfg": config})


def _from_torchvision(torchvision: Any, name: str) -> tuple[Any, str, ImagePreprocess]:
    """With its classifier: featx finds the vector before it."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    preprocess = ImagePreprocess(
        size=transform.resize_size[0],
        crop=(transform.crop_size[0], transform.crop_size[0]),
        resample=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
    return torchvision.models.get_model(name, weights=weights), "logits", preprocess


ZOOS: dict[str, Callable[[Any, str], tuple[Any, str, ImagePreprocess]]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
}
"""Prefix of a reference, which is the package's name, to what it takes to get one of its networks."""


def _imported(package: str, reference: str) -> Any:
    try:
        return importlib.import_module(package)
    except (
        Exception
    ) as error:  # torchvision of another build than torch's fails with RuntimeError, not ImportError
        reason = " ".join(str(error).split())
        raise MissingExtraError(
            f"{reference}: needs {package}, which cannot be imported here ({reason[:200]}). Install one that fits the torch "
            f"that is here: pip install {package}. The same network may be had as hf:owner/name, without it."
        ) from error
