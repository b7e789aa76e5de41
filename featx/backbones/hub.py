"""A repository of a model hub as a local folder: one variant of a model, the files that describe it, its revision.

huggingface_hub does the work: its cache is the storage, its token and its environment variables (``HF_HOME``, ``HF_ENDPOINT``,
``HF_TOKEN``, ``HF_HUB_OFFLINE``) count. A reference answers from the local copy first: once its files are here the network is
not asked again. The invariant: every file of a snapshot handed out is whole.

Beside a repository's files in the cache lies ``.featx/``: which commit a revision was resolved to, and what the repository holds
at a commit. It says offline whether a local copy is complete, which the files alone cannot.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from featx.backbones.hub_calls import cache_folder, call_hub, endpoint, refuse_full_disk
from featx.backbones.hub_layout import (
    WEIGHTS_NAME,
    HubReference,
    checkpoint_files,
    choose_model,
    described_folder,
    describing_files,
    stays_inside,
)
from featx.backbones.onnx_file import external_names
from featx.errors import BackboneNotFoundError, DigestMismatchError, HubUnreachableError
from featx.store.disk import write_once

__all__ = ["HubSnapshot", "fetch", "fetch_checkpoint"]

_log = logging.getLogger("featx")

_TIMEOUT_S = 10.0  # huggingface_hub's own for a file's metadata
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSnapshot:
    """One variant of one revision of a repository, on this machine.

    Parameters
    ----------
    reference : HubReference
        As it was asked for.
    revision : str
        The commit.
    folder : Path
        The folder whose files describe the model.
    files : tuple of str
        All that belongs to it, relative to ``folder``: the model first, then its external data, then what describes it.
    licence : str or None
        As the repository's card says.
    """

    reference: HubReference
    revision: str
    folder: Path
    files: tuple[str, ...]
    licence: str | None = None

    @property
    def model_path(self) -> Path:
        """The ONNX file, or the weights where these were asked for."""
        return self.folder / self.files[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What a repository holds at one commit.

    ``files`` is sizes in bytes (None: unknown) by path, ``external`` the external data of models that were fetched;
    ``is_all`` is False where only what happens to lie here is known.
    """

    commit: str
    files: Mapping[str, int | None]
    licence: str | None = None
    external: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_all: bool = True


def fetch(
    reference: HubReference,
    *,
    refresh: bool = False,
    or_weights: bool = False,
    check: Callable[[Path], None] = lambda folder: None,
) -> HubSnapshot:
    """The files that a reference means, downloaded where they are not here.

    Safe in several processes at once: each file appears whole, and only one of them downloads it.

    Parameters
    ----------
    reference : HubReference
    refresh : bool
        Ask the hub what a branch or tag is now, also where a local copy would answer.
    or_weights : bool
        Whether ``model.safetensors`` will do where nothing is named and there is no ONNX file.
    check : callable
        Gets the folder once the small files are in it, before weights to build from are downloaded; may raise.

    Raises
    ------
    HubUnreachableError
        The hub cannot be reached and the files are not here.
    BackboneNotFoundError
        No such repository, revision or file; or the repository is private or gated, and the token has no access.
    BackboneError
        The download was cut off or damaged, or the disk is full.
    """
    place = _place(reference)
    known = None if refresh else _recall(place, reference)
    contents = known or _ask(reference, place, local_is_enough=not refresh)
    model = choose_model(reference, contents.files, or_weights=or_weights)
    root = place / "snapshots" / contents.commit
    describing = describing_files(model, contents.files)
    prefix = described_folder(model, contents.files)
    if model == WEIGHTS_NAME:
        _download(describing, reference, contents, root)
        check(root / prefix)
    _download([*describing, model], reference, contents, root)
    if model not in contents.external and model != WEIGHTS_NAME:
        parent = PurePosixPath(model).parent
        named = [str(parent / name) for name in external_names(root / model)]
        contents = replace(contents, external={**contents.external, model: named})
    external = contents.external.get(model, ())
    _download(external, reference, contents, root)
    if contents is not known and contents.is_all:
        _remember(place, reference, contents)
    return HubSnapshot(
        reference=reference,
        revision=contents.commit,
        folder=root / prefix,
        files=tuple(file.removeprefix(prefix) for file in [model, *external, *describing]),
        licence=contents.licence,
    )


def fetch_checkpoint(reference: HubReference) -> HubSnapshot:
    """The files that transformers needs of a repository, downloaded where they are not here; never code.

    The hub is asked what a branch is now; where it cannot be reached, what is here has to do.

    Parameters
    ----------
    reference : HubReference

    Raises
    ------
    HubUnreachableError, BackboneNotFoundError, BackboneError
        As :func:`fetch`; or the repository is no checkpoint.
    """
    place = _place(reference)
    try:
        contents = call_hub(reference, partial(_list_repository, reference))
    except HubUnreachableError:
        left = _recall(place, reference) or _left_by_others(place, reference)
        if left is None or not _holds(left.files, (".safetensors", ".bin")):
            raise
        contents = left
    files = checkpoint_files(reference, contents.files)
    root = place / "snapshots" / contents.commit
    _download(files, reference, contents, root)
    if contents.is_all:
        _remember(place, reference, contents)
    return HubSnapshot(
        reference=reference,
        revision=contents.commit,
        folder=root,
        files=tuple(files),
        licence=contents.licence,
    )


def _place(reference: HubReference) -> Path:
    """As huggingface_hub names it."""
    return cache_folder() / f"models--{reference.repository.replace('/', '--')}"


# --- what is known here ---


def _notes(place: Path, name: str) -> Path:
    return place / ".featx" / f"{quote(name, safe='')}.json"


def _recall(place: Path, reference: HubReference) -> _Contents | None:
    """What was noted when the revision was last fetched; None where nothing was, or it cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        commit = reference.revision
        if not reference.is_commit:
            commit = json.loads(_notes(place, reference.revision or "main").read_bytes())["commit"]
        noted = json.loads(_notes(place, str(commit)).read_bytes())
        return _contents(noted["commit"], noted["files"], noted.get("licence"), noted.get("external", {}))
    return None


def _remember(place: Path, reference: HubReference, contents: _Contents) -> None:
    noted = {
        "commit": contents.commit,
        "files": dict(contents.files),
        "licence": contents.licence,
        "external": {model: list(files) for model, files in contents.external.items()},
    }
    # Only a saving of questions: a cache that others keep, and that cannot be written, works without.
    with suppress(OSError):
        (place / ".featx").mkdir(exist_ok=True)
        write_once(_notes(place, contents.commit), json.dumps(noted).encode())
        if not reference.is_commit:
            revision = json.dumps({"commit": contents.commit}).encode()
            write_once(_notes(place, reference.revision or "main"), revision)


def _contents(commit: Any, files: Mapping[str, Any], licence: Any, external: Mapping[str, Any]) -> _Contents:
    """Checked: names from a server or a file become paths here."""
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ValueError(f"expected a commit, found {commit!r}")
    return _Contents(
        commit=commit,
        files={name: _n_bytes(size) for name, size in files.items() if stays_inside(name)},
        licence=licence if isinstance(licence, str) else None,
        external={name: tuple(filter(stays_inside, found)) for name, found in external.items()},
    )


def _n_bytes(size: Any) -> int | None:
    return size if isinstance(size, int) and size >= 0 else None


def _left_by_others(place: Path, reference: HubReference) -> _Contents | None:
    """The files of a snapshot that another program downloaded: all there is to know without a network."""
    commit = reference.revision
    with suppress(OSError):
        if not reference.is_commit:
            commit = (place / "refs" / (reference.revision or "main")).read_text(encoding="utf-8").strip()
        root = place / "snapshots" / str(commit)
        files = {path.relative_to(root).as_posix(): None for path in root.rglob("*") if path.is_file()}
        if files and _COMMIT.fullmatch(str(commit)):
            return _Contents(commit=str(commit), files=files, is_all=False)
    return None


# --- what the hub says ---


def _ask(reference: HubReference, place: Path, *, local_is_enough: bool) -> _Contents:
    """What the repository holds at a revision, from the hub; where it cannot be reached, what another program left here."""
    try:
        return call_hub(reference, lambda: _list_repository(reference))
    except HubUnreachableError:
        left = _left_by_others(place, reference) if local_is_enough else None
        if left is None or not _holds(left.files, (".onnx", WEIGHTS_NAME)):
            raise
        return left


def _holds(files: Collection[str], endings: tuple[str, ...]) -> bool:
    return any(file.endswith(endings) for file in files)


def _list_repository(reference: HubReference) -> _Contents:
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint()).model_info(
        reference.repository, revision=reference.revision, timeout=_TIMEOUT_S, files_metadata=True
    )
    card: Any = info.card_data or {}
    licence = card.get("license")
    licence = card.get("license_name") or licence if licence == "other" else licence
    files = {file.rfilename: file.size for file in info.siblings or ()}
    return _contents(info.sha, files, licence, {})


def _download(files: Sequence[str], reference: HubReference, contents: _Contents, root: Path) -> None:
    """Fetch what is not here. A file of huggingface_hub's cache appears in one step, so what is there is whole."""
    missing = [file for file in files if not (root / file).is_file()]
    if not missing:
        return
    gone = [file for file in missing if file not in contents.files]
    if gone and not contents.is_all:
        call_hub(
            reference, partial(_list_repository, reference)
        )  # which did not answer a moment ago, and says so again
    if gone:
        raise BackboneNotFoundError(
            f"{reference}: the model keeps weights in {', '.join(gone)}, which the repository does not have. Its publisher "
            "forgot a file: ask there, or name another variant."
        )
    n_bytes = sum(contents.files[file] or 0 for file in missing)
    refuse_full_disk(reference, n_bytes)
    largest = max(missing, key=lambda file: contents.files[file] or 0)
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    _log.info("%s: fetching %s%s, %.1f MB", reference, largest, more, n_bytes / 1e6)
    for file in missing:
        call_hub(reference, partial(_download_file, file, reference, contents.commit))


def _download_file(file: str, reference: HubReference, commit: str) -> None:
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        reference.repository, file, revision=commit, endpoint=endpoint(), cache_dir=cache_folder()
    )
    _refuse_damaged(reference, file, Path(path).resolve())


def _refuse_damaged(reference: HubReference, file: str, content: Path) -> None:
    """Large files are kept under their SHA-256, which huggingface_hub does not check: it compares sizes."""
    if not _SHA256.fullmatch(content.name):
        return
    with open(content, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != content.name:
        content.unlink()
        raise DigestMismatchError(
            f"{reference}: {file} was damaged on the way: expected SHA-256 {content.name}, found {found}. It was removed. "
            "Try again."
        )
