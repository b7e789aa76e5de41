"""A features estimator as an entry of ``artifact.json``, and made again from one.

The invariant: an estimator made from a record has the feature spaces of the record, or is not made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.artifact.parts import without_paths
from featx.artifact.records import FeaturesRecord
from featx.artifact.substitution import substitute
from featx.artifact.words import space_in_words
from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone, Preprocess
from featx.backbones.feature_space import RULES, FeatureSpace
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.errors import ArtifactError, BackboneError, FeatxError, ParameterError, PreprocessError
from featx.features import ImageFeatures, TextFeatures

__all__ = ["Found", "fitted_from", "preprocess_of", "record_of", "unfitted_from"]

# Set when an artefact is loaded: they are places on a machine.
_PLACES = frozenset({"backbone", "cache"})
# Written in forms of their own.
_OF_IMAGES = frozenset({"preprocess", "window"})
_SET_APART = _PLACES | _OF_IMAGES


@dataclass(frozen=True, slots=True)
class Found:
    """A backbone of a loaded artefact.

    Parameters
    ----------
    reference : str or Backbone
        What the estimator's parameter becomes.
    backbone : Backbone
        What that means, opened.
    """

    reference: str | Backbone
    backbone: Backbone


def record_of(features: BackboneFeatures, backbone: str) -> FeaturesRecord:
    """Describe an estimator, fitted or not, whose backbone has the name ``backbone`` in the artefact.

    Raises
    ------
    ArtifactError
        A parameter has no form in JSON, or was changed after ``fit``.
    """
    spaces: tuple[FeatureSpace, ...] = ()
    words: tuple[str, ...] = ()
    n_features = None
    used: Preprocess | None = None
    if hasattr(features, "spaces_"):
        _check_unchanged(features)
        spaces, n_features = tuple(features.spaces_), int(features.n_features_out_)
        widths = [features.backbone_.n_features(space) for space in spaces]
        words = tuple(space_in_words(space, backbone, n) for space, n in zip(spaces, widths, strict=True))
        used = features.backbone_.preprocess
    parameters = {
        name: _plain(name, value)
        for name, value in features.get_params(deep=False).items()
        if name not in _SET_APART
    }
    if isinstance(features, ImageFeatures):
        own = used if isinstance(used, ImagePreprocess) else None
        parameters["preprocess"] = _preprocess_out(features.preprocess, own)
        if features.window is not None:
            own_window = features.window
            parameters["window"] = _plain(
                "window", own_window.to_dict() if isinstance(own_window, Window) else own_window
            )
    return FeaturesRecord(
        kind=features.modality,
        backbone=backbone,
        spaces=spaces,
        words=words,
        n_features=n_features,
        parameters=parameters,
    )


def preprocess_of(record: FeaturesRecord) -> ImagePreprocess | None:
    """The preprocessing that a record names; None where it leaves it to the backbone.

    Raises
    ------
    ArtifactError
        This version of featx cannot read it.
    """
    _, config = _preprocess_entry(record)
    try:
        return None if config is None else ImagePreprocess.from_config(config)
    except PreprocessError as error:
        raise ArtifactError(
            f"the preprocessing of its ImageFeatures cannot be used: {error} Upgrade featx, or fetch the artefact again."
        ) from error


def unfitted_from(
    record: FeaturesRecord, backbone: str | Backbone, *, cache: Any, device: str | None
) -> BackboneFeatures:
    """Make an estimator with the parameters of a record, ``cache`` and, unless it is None, ``device``.

    Raises
    ------
    ArtifactError
        A parameter that this version of featx does not know.
    """
    if record.kind == "text":
        return _make(TextFeatures, record, backbone, {}, cache=cache, device=device)
    given_as, config = _preprocess_entry(record)
    preprocess = config if given_as == "dict" else preprocess_of(record)
    further = {"preprocess": preprocess, "window": _window_of(record)}
    return _make(ImageFeatures, record, backbone, further, cache=cache, device=device)


def fitted_from(record: FeaturesRecord, found: Found, *, cache: Any, device: str | None) -> BackboneFeatures:
    """Make an estimator as it was after ``fit``.

    Parameters
    ----------
    record : FeaturesRecord
        Of a fitted estimator.
    found : Found
        Its backbone, with the digest it had.
    cache : "default", path, EmbeddingStore or None
        Becomes the parameter.
    device : str or None
        Becomes the parameter; None keeps the saved one.

    Raises
    ------
    ArtifactError
        With this backbone and this version of featx the vectors would be others than those the pipeline was fitted on.
    """
    make = _fitted_text if record.kind == "text" else _fitted_image
    features, backbone = make(record, found, cache=cache, device=device)
    taps = features.tap if isinstance(features.tap, list) else [features.tap]
    texts = (*taps, features.pooling, features.precision)
    if not all(isinstance(text, str) for text in texts):
        raise ArtifactError(f"tap, pooling or precision of its features is no text: {texts!r:.200}.")
    try:
        spaces = _spaces(features, backbone)
        n_features = sum(backbone.n_features(space) for space in spaces)
    except FeatxError as error:
        raise ArtifactError(
            f"the backbone {record.backbone} cannot give the features it was fitted with: {error}"
        ) from error
    if spaces != record.spaces:
        raise ArtifactError(_other_spaces(record.spaces, spaces))
    if n_features != record.n_features:
        raise ArtifactError(
            f"the backbone {record.backbone} gives {n_features} features, expected {record.n_features}."
        )
    features.backbone_ = backbone
    features.spaces_ = list(spaces)
    features.n_features_out_ = n_features
    return features


def _fitted_image(
    record: FeaturesRecord, found: Found, *, cache: Any, device: str | None
) -> tuple[BackboneFeatures, Backbone]:
    given_as, config = _preprocess_entry(record)
    used = preprocess_of(record)
    if used is None:
        raise ArtifactError(
            "fitted ImageFeatures without their preprocessing. The artefact was tampered with."
        )
    # Left to the backbone when it was saved, it is left to it again, so that another one set later brings its own.
    window, published = _window_of(record), found.backbone.preprocess
    if window is not None and isinstance(published, ImagePreprocess):
        published = replace(published, window=window)
    own = given_as is None and published == used
    preprocess = None if own else config if given_as == "dict" else used
    further = {"preprocess": preprocess, "window": window}
    features = _make(ImageFeatures, record, found.reference, further, cache=cache, device=device)
    return features, Backbone.open(found.backbone, preprocess=used)


def _fitted_text(
    record: FeaturesRecord, found: Found, *, cache: Any, device: str | None
) -> tuple[BackboneFeatures, Backbone]:
    features = _make(TextFeatures, record, found.reference, {}, cache=cache, device=device)
    try:
        return features, features.opened(Backbone.open(found.reference, modality="text"))
    except FeatxError as error:
        raise ArtifactError(
            f"the backbone {record.backbone} cannot give the features it was fitted with: {error}"
        ) from error


def _make(
    kind: type[BackboneFeatures],
    record: FeaturesRecord,
    backbone: str | Backbone,
    further: dict[str, Any],
    *,
    cache: Any,
    device: str | None,
) -> BackboneFeatures:
    parameters = {name: value for name, value in record.parameters.items() if name not in _SET_APART}
    if device is not None:
        parameters["device"] = device
    try:
        return kind(backbone, cache=cache, **further, **parameters)
    except TypeError as error:
        raise ArtifactError(
            f"its {kind.__name__} has parameters that this version of featx does not know ({error}). Upgrade featx."
        ) from error


def _spaces(features: BackboneFeatures, backbone: Backbone) -> tuple[FeatureSpace, ...]:
    taps: Sequence[str] = [features.tap] if isinstance(features.tap, str) else features.tap
    return tuple(backbone.space(tap, features.pooling, precision=features.precision) for tap in taps)


def _check_unchanged(features: BackboneFeatures) -> None:
    name = type(features).__name__
    try:
        spaces = _spaces(features, features.opened(features.backbone_))
    except (BackboneError, ParameterError) as error:
        raise ArtifactError(
            f"{name} has other parameters than it was fitted with ({error}). Fit it again."
        ) from error
    if list(spaces) != list(features.spaces_):
        raise ArtifactError(
            f"{name} has other parameters than it was fitted with: {_differences(features.spaces_, spaces)}. Fit it again."
        )


def _other_spaces(saved: Sequence[FeatureSpace], found: Sequence[FeatureSpace]) -> str:
    message = f"its vectors would be others than those it was fitted on: {_differences(saved, found)}. "
    if any(space.rules != RULES for space in saved):
        return message + "Install the version of featx named in its README, or train it again with this one."
    return message + "Use the backbone it was fitted with, preprocessing included."


def _differences(old: Sequence[FeatureSpace], new: Sequence[FeatureSpace]) -> str:
    lines = [line for before, after in zip(old, new, strict=False) for line in before.differences(after)]
    return "; ".join(lines) or f"{len(old)} taps became {len(new)}"


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        value = [_plain(name, item) for item in value]
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{name}={value!r}: not a value that can be written down ({error}).") from error
    return value


def _preprocess_out(
    given: ImagePreprocess | dict[str, Any] | None, used: ImagePreprocess | None
) -> dict[str, Any] | None:
    """How the parameter was given, and what it meant; the second also where it was left to the backbone."""
    if isinstance(given, dict):
        return {"given_as": "dict", "config": _plain("preprocess", substitute(given, without_paths))}
    meant = given if given is not None else used
    if meant is None:
        return None
    return {"given_as": None if given is None else "ImagePreprocess", "config": meant.to_config()}


def _preprocess_entry(record: FeaturesRecord) -> tuple[str | None, dict[str, Any] | None]:
    entry = record.parameters.get("preprocess")
    if entry is None:
        return None, None
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ArtifactError(f"the preprocessing of its ImageFeatures is {entry!r}, expected a configuration.")
    return entry.get("given_as"), entry["config"]


def _window_of(record: FeaturesRecord) -> Window | None:
    given = record.parameters.get("window")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ArtifactError(f"the window of its ImageFeatures is {given!r:.200}, expected numbers by name.")
    try:
        return Window.from_dict(given)
    except ParameterError as error:
        raise ArtifactError(f"its ImageFeatures cannot be used: {error} Fetch the artefact again.") from error
