"""What a pipeline holds that ``pipeline.skops`` must not: features estimators and xgboost models, taken out and put back.

Owns the translation between live objects and :class:`~featx.artifact.slots.Slot`. The invariants: the user's object is not
touched; what is left carries no path of this machine; a loaded features estimator has exactly the feature spaces it was
saved with.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from featx.artifact.slots import BOOSTER, BOOSTER_BYTES, FEATURES, Slot
from featx.artifact.substitution import members, substitute
from featx.backbone_features import BackboneFeatures
from featx.backbones.augment import Augment
from featx.backbones.backbone import Backbone
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.boosted import BoostedTreesClassifier
from featx.errors import ArtifactError
from featx.evaluation.remembered import ATTRIBUTE
from featx.features import ImageFeatures, TextFeatures
from featx.store.store import EmbeddingStore

__all__ = ["Parts", "Taken", "fill", "take_apart", "without_paths"]

# What a features estimator gets anew when it is loaded; all else it has goes into its slot.
_LEARNED = frozenset({"backbone_", "spaces_", "n_features_out_"})


@dataclass(frozen=True, slots=True)
class Parts:
    """What was taken out of a pipeline, in the order of the slots' indices.

    Parameters
    ----------
    features : list of BackboneFeatures
        The user's own objects, fitted or not.
    boosters : list of bytes
        xgboost models in UBJSON.
    """

    features: list[BackboneFeatures] = field(default_factory=list)
    boosters: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """A pipeline with slots where its parts were, and the parts."""

    rest: Any
    parts: Parts


def take_apart(pipeline: Any) -> Taken:
    """Copy a pipeline with its features estimators and xgboost models, wherever they nest, replaced by slots.

    Raises
    ------
    ArtifactError
        A subclass of ImageFeatures or TextFeatures, which could not be rebuilt.
    """
    parts = Parts()

    def replace(member: Any) -> Any:
        if isinstance(member, BackboneFeatures):
            parts.features.append(_plain_features(member))
            return Slot(FEATURES, len(parts.features) - 1, _other_attributes(member))
        if isinstance(member, BoostedTreesClassifier) and "booster_ubj_" in vars(member):
            parts.boosters.append(member.booster_ubj_)
            copy: Any = object.__new__(type(member))
            copy.__dict__.update(member.__getstate__())
            copy.booster_ubj_ = Slot(BOOSTER_BYTES, len(parts.boosters) - 1, {})
            return copy
        if type(member).__name__ == "Booster" and type(member).__module__ == "xgboost.core":
            parts.boosters.append(bytes(member.save_raw(raw_format="ubj")))
            return Slot(BOOSTER, len(parts.boosters) - 1, {})
        return without_paths(member)

    rest = substitute(pipeline, replace)
    _forget_memory(rest)
    return Taken(rest, parts)


def fill(
    rest: Any, make_features: Callable[[int], BackboneFeatures], read_bytes: Callable[[int], bytes]
) -> Any:
    """Put parts into the slots of what :func:`take_apart` left.

    Parameters
    ----------
    rest : object
        As rebuilt from ``pipeline.skops``.
    make_features : callable
        Gives the features estimator of an index.
    read_bytes : callable
        Gives the xgboost model of an index, in UBJSON.

    Raises
    ------
    ArtifactError
        A slot that nothing belongs in.
    """

    def replace(member: Any) -> Any:
        if not isinstance(member, Slot):
            return member
        kind, index, attributes = (vars(member).get(name) for name in ("kind", "index", "attributes"))
        if (
            isinstance(index, bool)
            or not isinstance(index, int)
            or index < 0
            or not isinstance(attributes, dict)
        ):
            raise ArtifactError("the pipeline has a slot without a number. The artefact was tampered with.")
        if kind == FEATURES:
            features = make_features(index)
            known = _LEARNED | features.get_params(deep=False).keys()
            features.__dict__.update({name: value for name, value in attributes.items() if name not in known})
            return features
        if kind in (BOOSTER, BOOSTER_BYTES):
            content = read_bytes(index)
            # Read in either case: what is no model is refused now, not at the first prediction.
            booster = _read_booster(content)
            return booster if kind == BOOSTER else content
        raise ArtifactError(
            f"the pipeline has a slot for {kind!r}. A newer featx wrote it, or it was tampered with."
        )

    _forget_memory(rest)
    return substitute(rest, replace)


def _read_booster(content: bytes) -> Any:
    """An ``xgboost.Booster`` from UBJSON; ArtifactError where it is none."""
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise ArtifactError(f"an xgboost model cannot be read ({str(error).splitlines()[0]}).") from error
    return booster


def without_paths(member: Any) -> Any:
    """A member of a pipeline, or what it says without naming a place on this machine.

    Paths become their last part, which is what a backbone is called by; a store becomes ``"default"``, a preprocessing,
    window or augmentation its plain values. Strings count as
    paths if they are absolute and exist, or lie in the home, working or temporary folder; other strings are left alone,
    for a label may well look like ``/m/0k4j``.
    """
    if isinstance(member, EmbeddingStore):
        return "default"
    if isinstance(member, Backbone):
        return member.name
    if isinstance(member, ImagePreprocess):
        return member.to_config()
    if isinstance(member, Window | Augment):
        return member.to_dict()
    if isinstance(member, os.PathLike):
        return Path(member).name
    if isinstance(member, str) and _is_local_path(member):
        return Path(member).name
    return member


def _plain_features(features: BackboneFeatures) -> BackboneFeatures:
    if type(features) not in (ImageFeatures, TextFeatures):
        base = ImageFeatures if features.modality == "image" else TextFeatures
        raise ArtifactError(
            f"{type(features).__name__} is a subclass of {base.__name__}, and an artefact holds {base.__name__} itself only. "
            f"Use {base.__name__}, with your additions in a step of their own."
        )
    return features


def _other_attributes(features: BackboneFeatures) -> dict[str, Any]:
    known = _LEARNED | features.get_params(deep=False).keys()
    others = {name: value for name, value in vars(features).items() if name not in known}
    return substitute(others, without_paths)


def _is_local_path(text: str) -> bool:
    if not os.path.isabs(text) or len(Path(text).parts) < 3 or "\0" in text:
        return False
    homes = (Path(os.path.expanduser("~")), Path.cwd(), Path(tempfile.gettempdir()))
    return os.path.exists(text) or any(
        home != Path(home.anchor) and Path(text).is_relative_to(home) for home in homes
    )


def _forget_memory(rest: Any) -> None:
    """Switch off joblib's memory in an object of ours: it is a folder of some machine, and joblib unpickles what is in it.

    What a loaded model remembers of its training goes too: a folder holds that only where ``trained_on`` says so.
    """
    for member in members(rest):
        if isinstance(member, BaseEstimator):
            member.__dict__.pop(ATTRIBUTE, None)
        if isinstance(member, BaseEstimator) and vars(member).get("memory") is not None:
            member.__dict__["memory"] = None
