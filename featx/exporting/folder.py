"""A backbone's folder in the making: beside its place under another name, then there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from featx.backbones.sources import CARD_NAME
from featx.errors import FeatxError, OutputError

__all__ = ["replaceable", "staged", "write_files"]


def replaceable(target: Path, *, overwrite: bool) -> None:
    """Refuse a place that may not be taken.

    A missing or empty folder may be, a folder with a card of featx's with ``overwrite``, and nothing else.

    Parameters
    ----------
    target : Path
        Absolute.
    overwrite : bool
        Whether a backbone that is there may be replaced.

    Raises
    ------
    OutputError
    """
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise OutputError(f"{target}: there is a file of that name. Choose another folder.")
    if Path.cwd().is_relative_to(target):
        raise OutputError(
            f"{target}: is the current working folder, or lies above it. Name a new folder, such as {target / 'backbone'}."
        )
    if not any(target.iterdir()):
        return
    if not (target / CARD_NAME).is_file():
        raise OutputError(
            f"{target}: the folder holds files and no {CARD_NAME}, so it is no backbone that featx wrote. Choose another."
        )
    if not overwrite:
        raise OutputError(
            f"{target}: a backbone is there. Choose another folder, or pass overwrite=True to replace it."
        )


@contextlib.contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder beside ``target``; at the end it becomes ``target``, or it is gone.

    Parameters
    ----------
    target : Path
        Absolute. Its parents are made.
    overwrite : bool
        See :func:`replaceable`.

    Raises
    ------
    OutputError
        Something is there that may not be replaced, or the disk refuses.
    """
    replaceable(target, overwrite=overwrite)
    mark = secrets.token_hex(4)
    stage = target.parent / f".{target.name}.{mark}.partial"
    aside = target.parent / f".{target.name}.{mark}.old"
    try:
        stage.mkdir(parents=True)
        yield stage
        replaceable(target, overwrite=overwrite)
        if target.exists():  # a folder cannot be renamed over a full one
            target.rename(aside)
        try:
            stage.rename(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
    except FeatxError:
        raise  # some of them are OSErrors too, and say it better
    except OSError as error:
        raise OutputError(
            f"{target}: the backbone could not be written ({error.strerror or error}). Nothing was changed there; check the "
            "free space and the permissions of the folder, or choose another one."
        ) from error
    finally:
        for left in (stage, aside) if target.exists() else (stage,):
            shutil.rmtree(left, ignore_errors=True)


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files by their names, with ``/``, into a folder."""
    for name, content in files.items():
        path = folder.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
