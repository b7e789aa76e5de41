"""From what a user calls a backbone to files on this machine.

Owns the forms a reference may take: the name of a backbone that is bundled with featx or lies in the user's backbone folder, a
folder in Hugging Face layout, one ``.onnx`` file, or ``hub:owner/name[@revision][#file]``, which is fetched where it is not here
yet. A catalogued name is never fetched behind the user's back: the error names the one command. Reads no graph.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from featx.backbones.catalogue import ENTRIES, EXPORTED, Entry
from featx.backbones.hub_layout import WEIGHTS_NAME, HubReference
from featx.errors import BackboneNotFoundError, ParameterError, did_you_mean

__all__ = [
    "CARD_NAME",
    "TUNED_ON_NAME",
    "Located",
    "backbones_folder",
    "foreign_files",
    "has_model",
    "how_to_get",
    "installed_names",
    "locate",
]

CARD_NAME = "featx.json"
TUNED_ON_NAME = "tuned_on.npy"

_MODEL_NAMES = ("model.onnx", "onnx/model.onnx")
# What publishers and exporters put into a backbone's folder; anything else in it is somebody's.
_OWN_ENDINGS = (
    ".onnx",
    ".onnx_data",
    ".data",
    ".json",
    ".safetensors",
    ".model",
    ".jinja",
    "merges.txt",
    "vocab.txt",
)
_OWN_NAMES = (TUNED_ON_NAME, ".gitattributes", ".DS_Store", "Thumbs.db", "desktop.ini")
_OWN_DOCUMENT = re.compile(r"(readme|licen[cs]e|notice)(\.(md|txt))?", re.IGNORECASE)
_HUB_PAGE = re.compile(r"https?://[^/]+/([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(/.*)?")
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Located:
    """Where a backbone's files are.

    Parameters
    ----------
    name : str
        Short name for messages and column prefixes.
    model_path : Path
        The ``.onnx`` file, absolute.
    folder : Path
        The folder whose ``preprocessor_config.json`` and ``featx.json`` describe it.
    source : str or None
        The reference it was fetched by, where it came from a hub.
    revision : str or None
        The commit there.
    licence : str or None
        As the repository's card there says.
    is_main : bool
        Whether the folder's card is about this file, and not about another one beside it.
    """

    name: str
    model_path: Path
    folder: Path
    source: str | None = None
    revision: str | None = None
    licence: str | None = None
    is_main: bool = True

    def described(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """A card, completed by what the hub says."""
        licence = {} if self.licence is None else {"licence": self.licence}
        fetched = {} if self.source is None else {"source": self.source, "revision": self.revision}
        return {**licence, **card, **fetched}


def backbones_folder() -> Path:
    """Where the user's own backbones lie: ``FEATX_BACKBONES``, else the platform's data folder."""
    chosen = os.environ.get("FEATX_BACKBONES")
    return (
        Path(chosen) if chosen else Path(platformdirs.user_data_dir("featx", appauthor=False)) / "backbones"
    )


def installed_names() -> dict[str, Path]:
    """Every backbone that a bare name reaches, with its folder; the user's own hide bundled ones of the same name."""
    found: dict[str, Path] = {}
    # In a wheel the bundled backbones are package data; in a checkout they are `models/` beside the package.
    for home in (_PACKAGE / "_models", _PACKAGE.parent / "models", backbones_folder()):
        found |= {entry.name: entry for entry in _visible(home) if _model_in(entry) is not None}
    return found


def has_model(folder: Path) -> bool:
    """Whether a folder is a backbone: holds one ONNX file, or one under the name that counts."""
    return _model_in(folder) is not None


def foreign_files(folder: Path) -> list[str]:
    """Files below a backbone's folder that are no part of one and would be lost with it: relative names with ``/``, sorted."""
    names = (
        Path(place, name).relative_to(folder).as_posix()
        for place, _, files in os.walk(folder)
        for name in files
        if not name.endswith(_OWN_ENDINGS) and name not in _OWN_NAMES and not _OWN_DOCUMENT.fullmatch(name)
    )
    return sorted(names)


def how_to_get(entry: Entry) -> str:
    """The one command that puts a catalogued backbone where its name reaches it."""
    if entry.kind == "export":
        out = str(backbones_folder() / entry.name)
        return f"featx backbones export {entry.source} {_quoted(out)}"
    return f"featx backbones pull {entry.name}"


def locate(reference: str | os.PathLike[str]) -> Located:
    """Find the files that a reference means.

    Parameters
    ----------
    reference : str or PathLike
        A name from :func:`installed_names`, else a folder or an ``.onnx`` file; or ``hub:owner/name[@revision][#file]``. Names
        come first, so that a name means the same in every working directory; ``./name`` is always the folder.

    Raises
    ------
    BackboneNotFoundError
        Nothing of that name; the folder has no model, or several; a hub that has it cannot be reached or refuses.
    BackboneError
        A download failed.
    """
    if not isinstance(reference, str | os.PathLike) or not str(reference):
        raise ParameterError(f"backbone must be a name, a folder or an .onnx file, got {reference!r}.")
    if isinstance(reference, str) and reference.startswith("hub:"):
        return _on_hub(HubReference.parse(reference))
    path = Path(reference).expanduser()
    named = installed_names() if isinstance(reference, str) and path.name == reference else {}
    if isinstance(reference, str) and reference in named:
        return _in_folder(named[reference])
    if path.is_dir():
        return _in_folder(path.absolute())
    if path.is_file():
        return _of_file(path.absolute())
    raise BackboneNotFoundError(_not_found(str(reference), named))


def _quoted(path: str) -> str:
    """As every shell takes it."""
    return f'"{path}"' if " " in path else path


def _visible(home: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones are backbones in the making."""
    return sorted(p for p in home.iterdir() if not p.name.startswith(".")) if home.is_dir() else []


def _in_folder(folder: Path) -> Located:
    model = _model_in(folder)
    if model is not None:
        return Located(folder.name, model, folder)
    files = sorted(file.relative_to(folder).as_posix() for file in _onnx_files(folder))
    if files:
        raise BackboneNotFoundError(
            f"{folder}: expected model.onnx, found {', '.join(files)}. Pass the file you mean, for example {folder / files[0]}."
        )
    raise BackboneNotFoundError(
        f"{folder}: no model here. A backbone folder holds model.onnx (or onnx/model.onnx) and preprocessor_config.json."
    )


def _model_in(folder: Path) -> Path | None:
    for name in _MODEL_NAMES:
        if (folder / name).is_file():
            return folder / name
    files = _onnx_files(folder)
    return files[0] if len(files) == 1 else None


def _onnx_files(folder: Path) -> list[Path]:
    """Never folders or pipes of such a name: to open a pipe is to wait for ever."""
    found = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")] if folder.is_dir() else []
    return [file for file in found if file.is_file()]


def _of_file(path: Path) -> Located:
    folder = path.parent.parent if path.parent.name == "onnx" else path.parent
    is_main = path.name == "model.onnx"
    return Located(folder.name if is_main else path.stem, path, folder, is_main=is_main)


def _on_hub(reference: HubReference) -> Located:
    pulled = _pulled(reference)
    if pulled is not None:
        return pulled
    if reference.file == WEIGHTS_NAME:
        raise BackboneNotFoundError(
            f"{reference}: weights that an encoder is to be built from. Run: featx backbones pull {reference}"
        )
    from featx.backbones.hub import fetch  # with it comes onnx, which a list of names does without

    snapshot = fetch(reference)
    return Located(
        reference.name,
        snapshot.model_path,
        snapshot.folder,
        source=str(reference),
        revision=snapshot.revision,
        licence=snapshot.licence,
        is_main=reference.file is None,
    )


def _pulled(reference: HubReference) -> Located | None:
    """The backbone among the user's own that ``featx backbones pull`` made of this very reference."""
    for folder in _visible(backbones_folder()):
        try:
            card = json.loads((folder / CARD_NAME).read_bytes())
            source, revision = card.get("source"), card.get("revision")
        except (OSError, ValueError, AttributeError):
            continue
        same = source == str(reference) or (
            revision is not None
            and revision == reference.revision
            and source == str(HubReference(reference.repository, None, reference.file))
        )
        if same and _model_in(folder) is not None:
            return _in_folder(folder)
    return None


def _not_found(reference: str, named: dict[str, Path]) -> str:
    if reference in ENTRIES and ENTRIES[reference].kind != "bundled":
        return f"{reference}: not on this machine yet. Run: {how_to_get(ENTRIES[reference])}"
    if reference.partition(":")[0] in EXPORTED and not reference.endswith(":"):
        return f"{reference}: a network of torch's, which is exported first. Run: featx backbones export {reference} FOLDER"
    if page := _HUB_PAGE.fullmatch(reference):
        return f"{reference}: an address, not a backbone. A repository of a hub is given as hub:{page[1]}"
    known = sorted(named)
    if reference == "compact":
        return (
            f"{reference}: comes with featx, and its file is missing here. Install featx again: "
            "pip install --force-reinstall --no-deps featx"
        )
    listed = f" Names known here: {', '.join(known)}." if known else ""
    hint = did_you_mean(reference, {*known, *ENTRIES})
    return (
        f"{reference}: no such backbone, folder or file.{hint}{listed} A backbone is a folder with model.onnx and "
        f"preprocessor_config.json, or an .onnx file; folders under {backbones_folder()} can be called by name, and "
        '"featx backbones list" shows what can be fetched.'
    )
