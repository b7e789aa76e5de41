"""A checkpoint of transformers, on the hub or in a folder: its files, its licence, and what transformers makes of it.

transformers is the one who reads it: code in a repository is never run, and weights in pickles are opened as weights only.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import BackboneNotFoundError, ConversionError, PreprocessError

__all__ = ["HUB_PREFIX", "Checkpoint", "open_checkpoint"]

HUB_PREFIX = "hf:"

_CONFIG_NAME = "config.json"
_REPOSITORY = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a checkpoint is.

    Parameters
    ----------
    place : str
        A repository's name, or a folder.
    name : str
        Short name.
    source : str
        What a card says: the reference, or for a folder its name without the way to it.
    revision : str or None
        Commit of the repository.
    """

    place: str
    name: str
    source: str
    revision: str | None = None

    def read(self, name: str) -> bytes | None:
        """The content of a file, named with ``/``; None where there is none."""
        path = _file(self.place, name, self.revision)
        return None if path is None else Path(path).read_bytes()

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
        """What the front matter of its README says, as model cards on the hub have it."""
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
                    self.place, revision=self.revision or "main", trust_remote_code=False, **options
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
    """
    if not reference.startswith(HUB_PREFIX):
        return _in_folder(Path(reference).expanduser())
    repository, _, revision = reference.removeprefix(HUB_PREFIX).partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise BackboneNotFoundError(
            f"{reference}: expected hf:owner/name, with @revision behind it or not, such as hf:microsoft/resnet-50."
        )
    from transformers.utils.hub import extract_commit_hash

    try:
        path = _file(repository, _CONFIG_NAME, revision or None, required=True)
    except Exception as error:  # huggingface_hub's own types, OSError, and those of the network below it
        reason = " ".join(str(error).split())
        raise BackboneNotFoundError(
            f"{reference}: cannot be had ({reason[:300]}). Check name, revision and network; a private or gated repository "
            "needs HF_TOKEN. A folder fetched elsewhere can be given instead."
        ) from error
    commit = extract_commit_hash(path, None)
    return Checkpoint(repository, repository.rsplit("/", 1)[-1], f"{HUB_PREFIX}{repository}", commit)


def _in_folder(folder: Path) -> Checkpoint:
    if not folder.is_dir():
        near = f" A repository of the hub is written {HUB_PREFIX}{folder}." if _is_repository(folder) else ""
        raise BackboneNotFoundError(
            f"{folder}: no such folder.{near} A source is hf:owner/name, timm:name, torchvision:name, or a folder with "
            f"{_CONFIG_NAME} and weights."
        )
    if not (folder / _CONFIG_NAME).is_file():
        raise BackboneNotFoundError(
            f"{folder}: no {_CONFIG_NAME} in it, so it is no checkpoint of transformers (save_pretrained writes one)."
        )
    name = folder.resolve().name
    return Checkpoint(str(folder), name, f"checkpoint folder {name}")


def _is_repository(path: Path) -> bool:
    return len(path.parts) == 2 and _REPOSITORY.fullmatch(path.as_posix()) is not None


def _file(place: str, name: str, revision: str | None, *, required: bool = False) -> str | None:
    """A file of a folder, or of a repository and then downloaded; None where there is none.

    A file that is not had because the network failed is no file that is missing: without ``modules.json``, say, the vectors
    would be others. So only what transformers calls missing is None, and offline, where it cannot know, what is not here.
    """
    if Path(place).is_dir():
        path = Path(place, name)
        return str(path) if path.is_file() else None
    from transformers.utils.hub import cached_file, is_offline_mode

    try:
        return cached_file(place, name, revision=revision)
    except OSError as error:
        if not required and ("does not appear to have" in str(error) or is_offline_mode()):
            return None
        raise
