"""What ``artifact.json`` says, as checked values.

Owns the shape of the entries. The invariant: a record that exists is well formed, and no name in it leads out of the artefact's
folder on any platform. Refuses the rest with an ArtifactError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from featx.artifact.format import FORMAT, MANIFEST_NAME
from featx.backbones.feature_space import FeatureSpace
from featx.errors import ArtifactError

__all__ = ["ArtifactInfo", "BackboneRecord", "FeaturesRecord", "FileRecord"]

_HEX = re.compile(r"[0-9a-f]{32}")
_WINDOWS_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file of an artefact.

    Parameters
    ----------
    path : str
        Relative to the artefact's folder, with ``/`` between the parts.
    n_bytes : int
        Size.
    digest : str
        32 hex digits of BLAKE3 over the content.
    """

    path: str
    n_bytes: int
    digest: str

    def __post_init__(self) -> None:
        _check(_is_inside(self.path), f"{self.path!r} is not the name of a file inside an artefact")
        _check(_is_count(self.n_bytes), f"{self.path}: n_bytes is {self.n_bytes!r}, expected a whole number")
        _check(_is_digest(self.digest), f"{self.path}: digest is {self.digest!r}, expected 32 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRecord:
    """A backbone that the pipeline needs.

    Parameters
    ----------
    name : str
        Name in this artefact; the folder below ``backbones/`` where it is a copy.
    digest : str
        32 hex digits over graph and weights, as :attr:`featx.Backbone.digest`.
    stored : {"copy", "reference"}
        Whether its files are in the artefact, or it has to be there already when the artefact is loaded.
    licence, source : str or None
        What its card says.
    """

    name: str
    digest: str
    stored: str
    licence: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        _check(_is_name(self.name), f"{self.name!r} is not a backbone's name")
        _check(
            _is_digest(self.digest),
            f"backbone {self.name}: digest is {self.digest!r}, expected 32 hex digits",
        )
        _check(self.stored in ("copy", "reference"), f"backbone {self.name}: stored is {self.stored!r}")
        _check(_is_text(self.licence) and _is_text(self.source), f"backbone {self.name}: expected text")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesRecord:
    """One features estimator of the pipeline.

    Parameters
    ----------
    kind : {"image", "text"}
        Which estimator: ``ImageFeatures`` or ``TextFeatures``.
    backbone : str
        Name of one of the artefact's backbones; for an estimator that was not fitted it may also be a name that only has a
        meaning where the artefact is loaded.
    spaces : tuple of FeatureSpace
        What its columns mean, a tap each; empty where it was not fitted, as inside a search beside the fitted best.
    words : tuple of str
        The same spaces in words.
    n_features : int or None
        Number of its columns; None where it was not fitted.
    parameters : dict
        The estimator's parameters as JSON has them; ``backbone`` and ``cache`` are set when the artefact is loaded.
    """

    kind: str
    backbone: str
    spaces: tuple[FeatureSpace, ...]
    words: tuple[str, ...]
    n_features: int | None
    parameters: dict[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        _check(self.kind in ("image", "text"), f"features of kind {self.kind!r}, expected 'image' or 'text'")
        _check(_is_name(self.backbone), f"{self.backbone!r} is not a backbone's name")
        _check(all(map(_is_space, self.spaces)), "a feature space has a field of another type than expected")
        _check(_all_text(self.words), "the words of a features estimator are no text")
        _check(isinstance(self.parameters, dict), "the parameters of a features estimator are no object")
        counted = _is_count(self.n_features) if self.spaces else self.n_features is None
        _check(counted, f"n_features is {self.n_features!r} for {len(self.spaces)} feature spaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """What an artefact says of itself.

    Parameters
    ----------
    estimator : str
        The pipeline in one line of words.
    created : str
        When it was saved: UTC, ISO 8601.
    versions : dict of str to str
        Versions it was saved with: python, featx, scikit-learn, numpy, skops, xgboost, onnxruntime.
    files : tuple of FileRecord
        Every file but ``artifact.json`` itself.
    backbones : tuple of BackboneRecord
    features : tuple of FeaturesRecord
        In the order of the slots in ``pipeline.skops``.
    n_features : int or None
        Length of the vectors that the last step takes.
    classes : tuple or None
        ``classes_`` of a classifier.
    labels : tuple of str or None
        Names of the classes for people, in the order of ``classes``.
    columns : tuple of str or None
        Columns of the frame that the pipeline was fitted on, where it was one.
    sample_column : str or None
        The column of a CSV that held the samples it was fitted on.
    n_training_samples : int or None
        How many distinct samples it was trained on, whose digests are in ``training.npy``
        (:func:`featx.artifact.training_keys`); None where it keeps none.
    parameters : dict
        Parameters of the steps, as far as JSON can say them.
    untrusted_types : tuple of str
        Types that have to be named in ``trusted=`` to load the artefact.
    notes : str or None
        What the saver wrote about it.
    format : int
        Number of the format.
    """

    estimator: str
    created: str
    versions: dict[str, str] = field(hash=False)
    files: tuple[FileRecord, ...] = ()
    backbones: tuple[BackboneRecord, ...] = ()
    features: tuple[FeaturesRecord, ...] = ()
    n_features: int | None = None
    classes: tuple[Any, ...] | None = None
    labels: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    sample_column: str | None = None
    n_training_samples: int | None = None
    parameters: dict[str, Any] = field(hash=False, default_factory=dict)
    untrusted_types: tuple[str, ...] = ()
    notes: str | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        names = [record.path.casefold() for record in self.files]
        _check(len(set(names)) == len(names), "a file is listed twice")
        _check(MANIFEST_NAME not in names, f"{MANIFEST_NAME} lists itself")
        backbones = [record.name.casefold() for record in self.backbones]
        _check(len(set(backbones)) == len(backbones), "a backbone is listed twice")
        known = {record.name for record in self.backbones}
        _check(
            all(record.backbone in known for record in self.features if record.spaces),
            "fitted features name a backbone that is not listed",
        )
        _check(isinstance(self.estimator, str) and isinstance(self.created, str), "expected text")
        _check(
            isinstance(self.versions, dict) and _all_text([*self.versions, *self.versions.values()]),
            f"versions is {self.versions!r}, expected an object of texts",
        )
        _check(_all_text(self.untrusted_types), "expected types as text")
        _check(self.labels is None or _all_text(self.labels), "expected labels as text")
        _check(self.columns is None or _all_text(self.columns), "expected columns as text")
        _check(_is_text(self.sample_column), f"sample_column is {self.sample_column!r}, expected text")
        _check(isinstance(self.parameters, dict) and _is_text(self.notes), "expected parameters and notes")
        for name in ("n_features", "n_training_samples"):
            value = getattr(self, name)
            _check(value is None or _is_count(value), f"{name} is {value!r}, expected a whole number")

    def backbone(self, name: str) -> BackboneRecord | None:
        """The backbone of that name, or None."""
        return next((record for record in self.backbones if record.name == name), None)


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ArtifactError(message)


def _is_inside(path: Any) -> bool:
    """Whether a name stays inside the folder, on every platform's reading of it."""
    if not isinstance(path, str) or not path or path != PurePosixPath(path).as_posix():
        return False
    parts = path.split("/")
    return all(
        part not in ("", ".", "..")
        and not set(part) & set('\\:*?"<>|\0')
        and part.isprintable()
        and part[-1] not in " ."
        and not _WINDOWS_RESERVED.fullmatch(part)
        for part in parts
    )


def _is_name(name: Any) -> bool:
    return _is_inside(name) and "/" not in name


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _all_text(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def _is_space(space: FeatureSpace) -> bool:
    texts = (space.tap, space.pooling, space.preprocess, space.precision)
    return (
        _all_text(texts)
        and space.preprocess.startswith("{")
        and _is_digest(space.backbone_digest)
        and _is_count(space.rules)
    )
