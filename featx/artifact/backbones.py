"""The backbones of an artefact: which ones a pipeline needs, copied into the folder, and found again when it is loaded.

The invariant: a backbone that is found has the digest that was saved.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.artifact.estimators import Found
from featx.artifact.format import BACKBONES
from featx.artifact.parts import without_paths
from featx.artifact.records import ArtifactInfo, BackboneRecord
from featx.artifact.substitution import substitute
from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.backbones.graph import external_files, load_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.sources import CARD_NAME, TUNED_ON_NAME, installed_names, locate
from featx.backbones.text_preprocess import TOKENIZER_NAME, TextPreprocess, published_files
from featx.errors import (
    ArtifactError,
    BackboneError,
    BackboneNotFoundError,
    DigestMismatchError,
    ParameterError,
)

__all__ = ["Needed", "find_backbones", "names_of", "needed_backbones", "write_backbone"]

_MODEL_NAME = "model.onnx"
_CONFIG_NAME = "preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class Needed:
    """A backbone that a pipeline was fitted with, and its entry in the artefact."""

    record: BackboneRecord
    backbone: Backbone


def needed_backbones(features: list[BackboneFeatures], *, stored: str) -> tuple[Needed, ...]:
    """The distinct backbones that the fitted ones of ``features`` use, each under a name of its own."""
    needed: dict[str, Needed] = {}
    for backbone in (one.backbone_ for one in features if hasattr(one, "backbone_")):
        if backbone.digest not in needed:
            taken = {other.record.name.casefold() for other in needed.values()}
            record = BackboneRecord(
                name=_free_name(backbone.name, taken),
                digest=backbone.digest,
                stored=stored,
                licence=_card_text(backbone, "license", "licence", "terms"),
                source=_card_text(backbone, "source"),
            )
            needed[backbone.digest] = Needed(record, backbone)
    return tuple(needed.values())


def names_of(features: list[BackboneFeatures], needed: tuple[Needed, ...]) -> list[str]:
    """The name that each estimator's backbone has in the artefact.

    An estimator that is not fitted keeps the name it was given where no fitted one uses the same files.
    """
    by_digest = {one.backbone.digest: one.record.name for one in needed}
    by_path: dict[Path | None, str] = {one.backbone.model_path: one.record.name for one in needed}
    names = []
    for one in features:
        if hasattr(one, "backbone_"):
            names.append(by_digest[one.backbone_.digest])
        elif isinstance(one.backbone, Backbone):
            names.append(by_digest.get(one.backbone.digest, _safe(one.backbone.name)))
        else:
            names.append(by_path.get(_model_path(one.backbone), _safe(Path(one.backbone).name)))
    return names


def write_backbone(needed: Needed, place: Path) -> None:
    """Copy a backbone into ``place/backbones/<name>``: graph, external data, preprocessing, card.

    Raises
    ------
    DigestMismatchError
        The files are not those that the pipeline was fitted with.
    """
    backbone = needed.backbone
    folder = place / BACKBONES / needed.record.name
    folder.mkdir(parents=True)
    try:
        external = external_files(backbone.model_path)
        shutil.copyfile(backbone.model_path, folder / _MODEL_NAME)
        for name in external:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(backbone.model_path.parent / name, folder / name)
    except FileNotFoundError as error:
        raise BackboneNotFoundError(
            f"{backbone.model_path}: the backbone that the pipeline was fitted with is gone ({error}). Put it back, or save "
            'with backbone="reference".'
        ) from error
    _write_config(backbone, folder)
    if backbone.card.get("digest") in (None, backbone.digest) and (backbone.folder / CARD_NAME).is_file():
        for name in (CARD_NAME, TUNED_ON_NAME):
            if (backbone.folder / name).is_file():
                shutil.copyfile(backbone.folder / name, folder / name)
    load_graph(folder / _MODEL_NAME)  # all that it refers to is there
    found = Backbone.open(folder).digest
    if found != backbone.digest:
        raise DigestMismatchError(
            f"{backbone.model_path}: changed since the pipeline was fitted: expected digest {backbone.digest}, found {found}. "
            "Fit the pipeline again, or restore the file."
        )


def find_backbones(
    folder: Path, info: ArtifactInfo, given: str | os.PathLike[str] | Backbone | Mapping[str, Any] | None
) -> dict[str, Found]:
    """Open every backbone of an artefact, by its name there.

    Parameters
    ----------
    folder : Path
        The artefact, its files verified.
    info : ArtifactInfo
    given : path, name, Backbone, or a mapping of names in the artefact to these
        What the caller wants used in place of a copy or a search.

    Raises
    ------
    BackboneNotFoundError
        One that is stored by reference is not given and not installed.
    DigestMismatchError
        One that is given is another.
    """
    chosen = _chosen(info, given)
    found = {}
    for record in info.backbones:
        if record.name in chosen:
            found[record.name] = _given(record, chosen[record.name])
        elif record.stored == "copy":
            found[record.name] = _copied(folder, record)
        else:
            found[record.name] = _installed(record)
    return found


def _given(record: BackboneRecord, reference: Any) -> Found:
    kept = reference if isinstance(reference, Backbone) else os.fspath(reference)
    found = Found(kept, Backbone.open(kept))
    if found.backbone.digest != record.digest:
        raise DigestMismatchError(
            f"backbone={found.backbone.name!r}: not the backbone {record.name} the pipeline was fitted with: expected digest "
            f"{record.digest}, found {found.backbone.digest}. Pass the folder or file with those weights."
        )
    return found


def _copied(folder: Path, record: BackboneRecord) -> Found:
    place = folder / BACKBONES / record.name
    found = Found(str(place), Backbone.open(str(place)))
    if found.backbone.digest != record.digest:
        raise DigestMismatchError(
            f"{place}: expected digest {record.digest}, found {found.backbone.digest}. The artefact was put together from "
            "several: fetch it again, or save the pipeline again."
        )
    return found


def _installed(record: BackboneRecord) -> Found:
    installed = installed_names()
    # The same name first: reading every backbone that is installed may take a while.
    names = sorted(installed, key=lambda name: (name != record.name, name))
    broken = []
    for name in names:
        try:
            found = Found(name, Backbone.open(name))
        except BackboneError as error:
            broken.append(f"{name} ({error})")
            continue
        if found.backbone.digest == record.digest:
            return found
    seen = f" Installed: {', '.join(names)}." if names else " None is installed."
    unusable = f" Not usable: {'; '.join(broken)}." if broken else ""
    raise BackboneNotFoundError(
        f"the pipeline needs the backbone {record.name} with digest {record.digest}, and its artefact holds no copy.{seen}"
        f'{unusable} Pass its folder or file as backbone="...".'
    )


def _chosen(info: ArtifactInfo, given: Any) -> dict[str, Any]:
    """``backbone=`` as a mapping from names in the artefact."""
    if given is None:
        return {}
    names = [record.name for record in info.backbones]
    if not isinstance(given, Mapping):
        if len(names) != 1:
            raise ParameterError(
                f"backbone: the artefact needs {len(names)} backbones ({', '.join(names) or 'none'}); pass a dict from "
                "these names to folders or files."
            )
        given = {names[0]: given}
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ParameterError(
            f"backbone: {', '.join(map(repr, unknown))} not in the artefact; it needs {', '.join(names) or 'none'}."
        )
    for reference in given.values():
        if not isinstance(reference, str | os.PathLike | Backbone):
            raise ParameterError(
                f"backbone must be a name, a folder, a file or a Backbone, got {reference!r}."
            )
    return dict(given)


def _write_config(backbone: Backbone, folder: Path) -> None:
    """The backbone's own configuration where it means what the pipeline was fitted with, else one that does."""
    if isinstance(backbone.preprocess, TextPreprocess):
        _write_text_files(backbone, folder)
        return
    own = backbone.folder / _CONFIG_NAME
    if own.is_file() and ImagePreprocess.from_folder(backbone.folder) == backbone.preprocess:
        shutil.copyfile(own, folder / _CONFIG_NAME)
        return
    text = json.dumps(backbone.pixels().to_config(), indent=2) + "\n"
    (folder / _CONFIG_NAME).write_text(text, encoding="utf-8", newline="\n")


def _write_text_files(backbone: Backbone, folder: Path) -> None:
    """The tokenizer and what the publisher says beside it; exporters leave paths of their machine in configurations."""
    for name in published_files(backbone.folder):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.suffix == ".json" and name.name != TOKENIZER_NAME:
            values = json.loads((backbone.folder / name).read_text(encoding="utf-8-sig"))
            text = json.dumps(substitute(values, without_paths), indent=2) + "\n"
            target.write_text(text, encoding="utf-8", newline="\n")
        else:
            shutil.copyfile(backbone.folder / name, target)
    found, expected = TextPreprocess.from_folder(folder), TextPreprocess.from_folder(backbone.folder)
    if found != expected:
        raise ArtifactError(
            f"{backbone.folder}: its configuration means something else without the paths in it: {found} against {expected}. "
            "Take the paths out of its JSON files."
        )


def _model_path(reference: Any) -> Path | None:
    try:
        return locate(reference).model_path
    except (BackboneNotFoundError, ParameterError):
        return None


def _card_text(backbone: Backbone, *keys: str) -> str | None:
    found = [backbone.card[key] for key in keys if isinstance(backbone.card.get(key), str)]
    return found[0] if found else None


def _free_name(name: str, taken: set[str]) -> str:
    base = _safe(name)
    numbered = (f"{base}-{n}" for n in itertools.count(2))
    return next(free for free in itertools.chain([base], numbered) if free.casefold() not in taken)


def _safe(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-. ") or "backbone"
