"""``artifact.json`` written and read.

The invariant: an :class:`~featx.artifact.records.ArtifactInfo` is written and read back equal. Refuses a file that another
program wrote, or a newer featx.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featx.artifact.format import FORMAT, MANIFEST_NAME
from featx.artifact.records import ArtifactInfo, BackboneRecord, FeaturesRecord, FileRecord
from featx.backbones.feature_space import FeatureSpace
from featx.backbones.sources import has_model
from featx.errors import ArtifactError, did_you_mean

__all__ = ["from_json", "read_manifest", "to_json"]

# A manifest of a hundred bagged pipelines has some 200 kB; the limit keeps a hostile one out of memory.
_LARGEST_MANIFEST_BYTES = 64 << 20


def to_json(info: ArtifactInfo) -> str:
    """The text of ``artifact.json``: indented, keys in the order of :class:`ArtifactInfo`, format first."""
    values = asdict(info)
    values["features"] = [
        {**asdict(record), "spaces": [{"id": space.id, **space.to_dict()} for space in record.spaces]}
        for record in info.features
    ]
    ordered = {"format": values.pop("format"), **values}
    return json.dumps(ordered, indent=2, allow_nan=False) + "\n"


def from_json(text: str | bytes) -> ArtifactInfo:
    """The inverse of :func:`to_json`.

    Raises
    ------
    ArtifactError
        Not such a text, or one in a newer format.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"it is not JSON ({error})") from error
    if not isinstance(values, dict) or not _is_format(values.get("format")):
        raise ArtifactError("it does not name the number of an artefact's format")
    number = values["format"]
    if number > FORMAT:
        raise ArtifactError(
            f"it has format {number}, and this version of featx reads formats up to {FORMAT}. "
            "Upgrade featx: pip install -U featx"
        )
    try:
        return _from_values(values)
    except ArtifactError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"an entry is missing or has another type than expected ({error!r})") from error


def read_manifest(folder: Path) -> ArtifactInfo:
    """Read ``artifact.json`` of an artefact's folder.

    Raises
    ------
    ArtifactError
        No artefact there, or its ``artifact.json`` cannot be used.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > _LARGEST_MANIFEST_BYTES:
            raise ArtifactError(f"{path}: larger than {_LARGEST_MANIFEST_BYTES} bytes; no artefact has that.")
        text = path.read_bytes()
    except OSError as error:
        if folder.is_file():
            raise ArtifactError(
                f"{folder}: is a file, and a model is a folder that featx.save or featx train wrote. It comes first, the images "
                "after it."
            ) from error
        if not folder.exists():
            beside = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
            raise ArtifactError(f"{folder}: no such folder.{did_you_mean(folder.name, beside)}") from error
        if has_model(folder):
            raise ArtifactError(
                f"{folder}: a backbone, which makes vectors and predicts nothing. Make a model with it: featx train DATA --out "
                f"MODEL --backbone {folder}; or save one while tuning: featx finetune ... --model MODEL."
            ) from error
        raise ArtifactError(
            f"{folder}: not an artefact, there is no readable {MANIFEST_NAME} in it ({error.strerror}). "
            "Pass the folder that featx.save or featx train wrote."
        ) from error
    try:
        return from_json(text)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _from_values(values: dict[str, Any]) -> ArtifactInfo:
    return ArtifactInfo(
        format=values["format"],
        estimator=values["estimator"],
        created=values["created"],
        versions=values["versions"],
        files=tuple(FileRecord(**_fields(FileRecord, entry)) for entry in _list(values, "files")),
        backbones=tuple(
            BackboneRecord(**_fields(BackboneRecord, entry)) for entry in _list(values, "backbones")
        ),
        features=tuple(_features_record(entry) for entry in _list(values, "features")),
        n_features=values["n_features"],
        classes=None if values["classes"] is None else _list(values, "classes"),
        labels=None if values["labels"] is None else _list(values, "labels"),
        columns=None if values.get("columns") is None else _list(values, "columns"),
        sample_column=values.get("sample_column"),
        n_training_samples=values.get("n_training_samples"),
        parameters=values["parameters"],
        untrusted_types=_list(values, "untrusted_types"),
        notes=values["notes"],
    )


def _features_record(entry: dict[str, Any]) -> FeaturesRecord:
    spaces = tuple(FeatureSpace.from_dict(_fields(FeatureSpace, space)) for space in _list(entry, "spaces"))
    return FeaturesRecord(
        **{**_fields(FeaturesRecord, entry), "spaces": spaces, "words": _list(entry, "words")}
    )


def _list(entry: dict[str, Any], name: str) -> tuple[Any, ...]:
    """A list as a tuple: of a text or an object, ``tuple`` would quietly make its letters or keys."""
    if not isinstance(entry[name], list):
        raise ArtifactError(f"{name} is {entry[name]!r:.100}, expected a list")
    return tuple(entry[name])


def _fields(record: type, entry: dict[str, Any]) -> dict[str, Any]:
    """The entries that the record has fields for: keys of a later featx are passed over."""
    names = record.__dataclass_fields__  # type: ignore[attr-defined]  # every record is a dataclass
    return {name: entry[name] for name in names if name in entry}


def _is_format(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1
