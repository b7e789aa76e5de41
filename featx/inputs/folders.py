"""Which files are images, and where: folders listed, classes and splits told from the names of folders.

Owns the order of files (by name, the same on every system) and what is left aside: hidden files, and files that are no images by
their suffix. Of files without a suffix, as scanners write them, the mark of DICOM is looked for; no other is opened.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from featx.errors import DatasetError
from featx.inputs.frames import file_of

__all__ = [
    "IMAGE_SUFFIXES",
    "SPLITS",
    "FolderImages",
    "image_files",
    "images_below",
    "images_by_class",
    "is_image",
]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".dcm", ".dicom", ".ima", ".nii", ".mgz", ".mgh"}
)
_DICOMDIR = "DICOMDIR"  # a list of files, itself in DICOM

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
"""Spellings that people use, to the three names that featx knows."""
SPLITS |= {"dev": "val", "test": "test", "testing": "test"}


@dataclass(slots=True)
class FolderImages:
    """Images found below a folder; the three lists of equal length are in one order.

    Attributes
    ----------
    files : list of str
        Paths.
    labels : list of str
        Name of the class's folder.
    splits : list of str
        "train", "val", "test", or "" where the folders name none.
    skipped : list of str
        Other files, relative to the folder.
    """

    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def is_image(name: str) -> bool:
    """Whether a file is an image by its suffix; behind it may stand which picture of the file is meant."""
    lower = file_of(name).lower()
    return os.path.splitext(lower)[1] in IMAGE_SUFFIXES or lower.endswith(".nii.gz")


def images_by_class(folder: Path) -> FolderImages:
    """Images in one subfolder a class, or in ``train``, ``val`` and ``test`` above those.

    Raises
    ------
    DatasetError
        A folder cannot be listed.
    """
    found = FolderImages()
    for split, top in _class_folders(folder, found.skipped):
        _collect(found, folder, top, split)
    return found


def images_below(folder: Path) -> FolderImages:
    """Every image below a folder, without labels that mean anything.

    Raises
    ------
    DatasetError
        A folder cannot be listed.
    """
    found = FolderImages()
    _collect(found, folder, folder, "")
    return found


def image_files(words: Sequence[str]) -> list[str]:
    """The files that words of a command line mean.

    Parameters
    ----------
    words : sequence of str
        Files, which are taken as they are; folders, for every image below; patterns such as ``new/*.jpg``, which not every
        shell expands.

    Returns
    -------
    list of str
        In the order of the words; files of a folder or a pattern by name.

    Raises
    ------
    DatasetError
        A folder without images, or a pattern that nothing matches.
    """
    files: list[str] = []
    for word in words:
        if os.path.isdir(word):
            below = images_below(Path(word)).files
            if not below:
                raise DatasetError(f"{word}: a folder without images, such as .jpg or .png. Name another.")
            files += below
        elif glob.has_magic(word) and not os.path.lexists(word):
            matched = sorted(glob.glob(word, recursive=True))
            if not matched:
                raise DatasetError(f"{word}: no file matches. Check the pattern.")
            files += image_files(matched)
        else:
            files.append(word)
    return files


def _collect(found: FolderImages, folder: Path, top: Path, split: str) -> None:
    for file in _files(top):
        if is_image(file) or _is_unnamed_dicom(file):
            found.files.append(file)
            found.labels.append(top.name)
            found.splits.append(split)
        else:
            found.skipped.append(os.path.relpath(file, folder))


def _is_unnamed_dicom(path: str) -> bool:
    """Whether a file without a suffix is DICOM. Names that are UIDs end in a dot and digits."""
    name = os.path.basename(path)
    suffix = os.path.splitext(name)[1][1:]
    if (suffix and not suffix.isdecimal()) or name.upper() == _DICOMDIR:
        return False
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:  # whoever reads the others says more of what cannot be read
        return False


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait for somebody to write to a named pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _class_folders(folder: Path, skipped: list[str]) -> list[tuple[str, Path]]:
    """(split, folder of one class), in order; notes the files beside them as skipped."""
    found = [("", entry) for entry in _subfolders(folder, folder, skipped)]
    if not all(entry.name.lower() in SPLITS for _, entry in found):
        return found
    return [
        (SPLITS[part.name.lower()], entry)
        for _, part in found
        for entry in _subfolders(part, folder, skipped)
    ]


def _subfolders(folder: Path, root: Path, skipped: list[str]) -> list[Path]:
    try:
        entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        _refuse_unlisted(error)
    skipped += [str(entry.relative_to(root)) for entry in entries if not entry.is_dir()]
    return [entry for entry in entries if entry.is_dir()]


def _files(top: Path) -> Iterator[str]:
    """Every file below, sorted; nothing hidden."""
    for parent, subfolders, names in os.walk(top, onerror=_refuse_unlisted):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(names) if not name.startswith("."))


def _refuse_unlisted(error: OSError) -> NoReturn:
    raise DatasetError(
        f"{error.filename}: cannot be listed ({error.strerror}). Make the folder readable, or leave it out."
    ) from error
