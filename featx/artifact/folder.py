"""An artefact's folder: put in its place whole, checked file by file before it is read.

Owns what may be replaced, and the way out. The invariants: only a folder that holds an artefact and nothing else is ever
replaced; a file that is listed is used only if its content is the one that was saved.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from featx.artifact.format import BACKBONES, MANIFEST_NAME, README_NAME
from featx.artifact.manifest import read_manifest
from featx.artifact.records import ArtifactInfo, FileRecord
from featx.errors import ArtifactError, FeatxError
from featx.staging import publish, why_lost, why_no_place
from featx.staging import staged as staged_folder
from featx.store.digest import digest_bytes, digest_file

__all__ = ["check_out", "file_records", "read_checked", "replaceable", "staged", "verify"]


@contextlib.contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder beside ``target`` to write into; at the end it becomes ``target``, or it is gone.

    Parameters
    ----------
    target : Path
        Where the artefact is to be. Its parents are made.
    overwrite : bool
        Whether an artefact that is there may be replaced.

    Raises
    ------
    ArtifactError
        Something is there that may not be replaced, or the disk refuses.
    """
    replaceable(target, overwrite=overwrite)
    try:
        with staged_folder(target) as stage:
            yield stage
            replaceable(target, overwrite=overwrite)
            publish(stage, target)
    except FeatxError:
        raise  # some of them are OSErrors too, and say it better
    except OSError as error:
        raise ArtifactError(
            f"{target}: the artefact could not be written ({error.strerror or error}). Nothing was changed there; "
            "check the free space and the permissions of the folder, or choose another one."
        ) from error


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place for a model that :func:`save` would refuse, before the work and not after it.

    Raises
    ------
    ArtifactError
    """
    target = out.expanduser().resolve()
    replaceable(target, overwrite=overwrite)
    nearest = next(path for path in target.parents if path.exists())
    if not nearest.is_dir():
        raise ArtifactError(
            f"{out}: {nearest} is a file, and a folder is to be made in it. Choose another place."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ArtifactError(
            f"{out}: {nearest} cannot be written. Make it writable, or choose another place for the model."
        )


def replaceable(target: Path, *, overwrite: bool) -> None:
    """Raise ArtifactError unless an artefact may be written to ``target``.

    ``target`` is absolute. A missing or empty folder may be taken, unless the process works in it; an artefact only with
    ``overwrite``, and only if no other files lie in it.
    """
    if not os.path.lexists(target):
        return
    if (reason := why_no_place(target, "model")) is not None:
        raise ArtifactError(reason)
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise ArtifactError(
            f"{target}: the folder exists. Choose another, or pass overwrite=True to replace it."
        )
    info = read_manifest(target)
    listed = {MANIFEST_NAME, README_NAME, *(record.path for record in info.files)}
    others = sorted(set(_names(target)) - listed)
    if (reason := why_lost(target, others, "the artefact")) is not None:
        raise ArtifactError(reason)


def file_records(folder: Path) -> tuple[FileRecord, ...]:
    """Name, size and digest of every file in ``folder`` that loading depends on, sorted by name."""
    return tuple(
        FileRecord(path=name, n_bytes=(folder / name).stat().st_size, digest=digest_file(folder / name).hex())
        for name in sorted(_names(folder))
        if name != README_NAME
    )


def verify(folder: Path, info: ArtifactInfo) -> None:
    """Check that every listed file is there and is what was saved, and that ``backbones/`` holds no others.

    Files elsewhere that are not listed are never read, and pass; so does the README, which is for people to write in.

    Raises
    ------
    ArtifactError
        Names the first file that is missing, changed, added, or leads out of the folder.
    """
    root = folder.resolve()
    for record in info.files:
        if record.path == README_NAME:  # listed by the first artefacts of format 1
            continue
        path = _inside(root, record)
        if path.stat().st_size != record.n_bytes:
            raise ArtifactError(
                _changed(record, f"{record.n_bytes} bytes", f"{path.stat().st_size} bytes", folder)
            )
        _check_digest(record, digest_file(path), folder)
    listed = {record.path for record in info.files}
    added = sorted(
        name
        for name in _names(root)
        # Desktops leave hidden files in every folder they show; a backbone never reads one.
        if name.startswith(f"{BACKBONES}/") and name not in listed and not name.split("/")[-1].startswith(".")
    )
    if added:
        raise ArtifactError(
            f"{folder / added[0]}: not part of the artefact, and files beside a backbone change what it does. Remove it."
        )


def read_checked(folder: Path, info: ArtifactInfo, name: str) -> bytes:
    """The content of a listed file, checked as it was read: what is returned is what was saved.

    Raises
    ------
    ArtifactError
        It is not listed, missing, or changed.
    """
    record = next((record for record in info.files if record.path == name), None)
    if record is None:
        raise ArtifactError(
            f"{folder}: {name} is needed and not listed in {MANIFEST_NAME}. The artefact is broken."
        )
    content = _inside(folder.resolve(), record).read_bytes()
    _check_digest(record, digest_bytes(content), folder)
    return content


def _inside(root: Path, record: FileRecord) -> Path:
    path = root / record.path
    try:
        resolved = path.resolve(strict=True)
        kind = resolved.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise ArtifactError(
            f"{path}: a file of the artefact is missing or cannot be read ({error}). Copy the whole folder again."
        ) from error
    if not resolved.is_relative_to(root):
        raise ArtifactError(f"{path}: leads out of the artefact, to {resolved}. Put the file itself there.")
    if not stat.S_ISREG(kind):
        raise ArtifactError(f"{path}: is not a file. Copy the whole folder again.")
    return resolved


def _check_digest(record: FileRecord, found: bytes, folder: Path) -> None:
    if found.hex() != record.digest:
        raise ArtifactError(_changed(record, f"digest {record.digest}", found.hex(), folder))


def _changed(record: FileRecord, expected: str, found: str, folder: Path) -> str:
    return (
        f"{folder / record.path}: not the file that was saved: expected {expected}, found {found}. It was edited, or its "
        "copy is incomplete: fetch the folder again, or save the pipeline again."
    )


def _names(folder: Path) -> Iterator[str]:
    """Every file below ``folder``, as relative names with ``/``; links to folders are not followed."""
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in [*files, *links]:
            yield Path(place, name).relative_to(folder).as_posix()
