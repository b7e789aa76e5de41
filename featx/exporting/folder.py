"""An exported backbone's folder: what it may replace, and its files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from featx.backbones.sources import CARD_NAME, foreign_files
from featx.errors import FeatxError, OutputError
from featx.staging import publish, why_lost, why_no_place
from featx.staging import staged as staged_folder

__all__ = ["replaceable", "staged", "write_files"]


def replaceable(target: Path, *, overwrite: bool) -> None:
    """Refuse a place that may not be taken.

    A missing or empty folder may be; with ``overwrite`` a folder with a card of featx's and nothing that is no backbone's; and
    nothing else.

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
    if (reason := why_no_place(target, "backbone")) is not None:
        raise OutputError(reason)
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
    others = [] if target.is_symlink() else foreign_files(target)
    if (reason := why_lost(target, others, "a backbone")) is not None:
        raise OutputError(reason)


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
    try:
        with staged_folder(target) as stage:
            yield stage
            replaceable(target, overwrite=overwrite)
            publish(stage, target)
    except FeatxError:
        raise  # some of them are OSErrors too, and say it better
    except OSError as error:
        raise OutputError(
            f"{target}: the backbone could not be written ({error.strerror or error}). Nothing was changed there; check the "
            "free space and the permissions of the folder, or choose another one."
        ) from error


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files by their names, with ``/``, into a folder."""
    for name, content in files.items():
        path = folder.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
