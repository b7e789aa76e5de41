"""A checkpoint of transformers, on the hub or in a folder: its files, its licence, and what transformers makes of it.

transformers is the one who reads it: code in a repository is never run, and weights in pickles are opened as weights only.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.backbones.catalogue import ENTRIES
from featx.backbones.hub_layout import HubReference
from featx.errors import BackboneNotFoundError, ConversionError, ParameterError, PreprocessError

__all__ = ["SCHEME", "Checkpoint", "open_checkpoint"]

_CONFIG_NAME = "config.json"
SCHEME = "hf"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a checkpoint is.

    Parameters
    ----------
    folder : Path
        Its files; of a repository, their copies in the hub's cache.
    name : str
        Short name.
    source : str
        What a card says: the reference, or for a folder its name without the way to it.
    revision : str or None
        Commit of the repository.
    known_licence : str or None
        As the hub says.
    """

    folder: Path
    name: str
    source: str
    revision: str | None = None
    known_licence: str | None = None

    def read(self, name: str) -> bytes | None:
        """The content of a file, named with ``/``; None where there is none."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is no file.

        Raises
        ------
        PreprocessError
            The file is not JSON, or no object.
        """
        content = self.read(name)
        try:
            values = {} if content is None else json.loads(content)
        except ValueError as error:
            raise PreprocessError(f"{self.source}: {name} is not JSON ({error}). Fetch it again.") from error
        if not isinstance(values, Mapping):
            raise PreprocessError(f"{self.source}: {name} is no JSON object. Fetch it again.")
        return dict(values)

    def licence(self) -> str | None:
        """What the hub says, else the front matter of its README, as model cards there have it."""
        if self.known_licence is not None:
            return self.known_licence
        text = (self.read("README.md") or b"").decode("utf-8", "replace")
        front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        found = re.search(r"^license:[ \t]*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
        return found[1] if found else None

    def load(self, kind: Any, **options: Any) -> Any:
        """``kind.from_pretrained`` of this checkpoint.

        Raises
        ------
        ConversionError
            transformers cannot read it.
        """
        try:
            with _bars_for_people():
                return kind.from_pretrained(
                    str(self.folder), local_files_only=True, trust_remote_code=False, **options
                )
        except Exception as error:  # OSError, ValueError, ImportError, and what parsers of weights raise
            reason = " ".join(str(error).split())
            raise ConversionError(
                f"{self.source}: transformers cannot read it with {kind.__name__} ({reason[:300]})."
            ) from error


@contextmanager
def _bars_for_people() -> Iterator[None]:
    """transformers' progress bars on a terminal only."""
    from transformers.utils import logging

    hidden = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hidden:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hidden:
            logging.enable_progress_bar()


def open_checkpoint(reference: str) -> Checkpoint:
    """Find the checkpoint that a reference means.

    Parameters
    ----------
    reference : str
        ``hf:owner/name[@revision]``, or a folder with ``config.json`` and weights.

    Raises
    ------
    BackboneNotFoundError
        No such repository, revision or folder, or the hub cannot be reached.
    BackboneError
        The download was cut off or damaged, or the disk is full.
    ParameterError
        The reference is of neither form.
    """
    if not reference.startswith(f"{SCHEME}:"):
        return _in_folder(Path(reference).expanduser())
    from featx.backbones.hub import fetch_checkpoint

    parsed = HubReference.parse(reference, SCHEME)
    try:
        snapshot = fetch_checkpoint(parsed)
    except BackboneNotFoundError as error:
        raise type(error)(f"{error} {_about_folder(Path(parsed.repository))}") from error
    return Checkpoint(
        snapshot.folder,
        name=parsed.name,
        source=f"{SCHEME}:{parsed.repository}",
        revision=snapshot.revision,
        known_licence=snapshot.licence,
    )


def _about_folder(folder: Path) -> str:
    if not folder.is_dir():
        return f"A checkpoint in a folder is given by its path, and there is no folder {folder} here."
    return f"The folder {folder} that is here is given without {SCHEME}: before it."


def _in_folder(folder: Path) -> Checkpoint:
    if not folder.is_dir():
        name = str(folder)
        if name in ENTRIES or name.startswith("hub:"):
            raise BackboneNotFoundError(f"{name}: {_catalogued(name)}")
        near = (
            f" A repository of the hub is written {SCHEME}:{folder.as_posix()}."
            if _is_repository(folder)
            else ""
        )
        raise BackboneNotFoundError(
            f"{folder}: no such folder.{near} A source is hf:owner/name, timm:name, torchvision:name, or a folder with "
            f"{_CONFIG_NAME} and weights."
        )
    if not (folder / _CONFIG_NAME).is_file():
        raise BackboneNotFoundError(
            f"{folder}: no {_CONFIG_NAME} in it, so it is no checkpoint of transformers (save_pretrained writes one)."
        )
    name = folder.resolve().name
    return Checkpoint(folder, name=name, source=f"checkpoint folder {name}")


def _catalogued(name: str) -> str:
    entry = ENTRIES.get(name)
    if entry is None or entry.kind in ("onnx", "built"):
        return f"is fetched, and nothing is exported. Run: featx backbones pull {name}"
    if entry.kind == "bundled":
        return "comes with featx, and nothing is exported."
    return (
        f"no such folder. The backbone of that name is made by: featx backbones export {entry.source} {name}"
    )


def _is_repository(path: Path) -> bool:
    with suppress(ParameterError):
        return len(path.parts) == 2 and bool(HubReference.parse(f"{SCHEME}:{path.as_posix()}", SCHEME))
    return False
