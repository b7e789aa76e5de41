"""From what a user calls a backbone to files on this machine.

Owns the forms a reference may take: a folder in Hugging Face layout, one ``.onnx`` file, or the name of a backbone that is
bundled with featx or lies in the user's backbone folder. Reads no graph and downloads nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from featx.errors import BackboneNotFoundError, ParameterError, did_you_mean

__all__ = ["Located", "backbones_folder", "installed_names", "locate"]

_MODEL_NAMES = ("model.onnx", "onnx/model.onnx")
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
    """

    name: str
    model_path: Path
    folder: Path


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
        if home.is_dir():
            found |= {entry.name: entry for entry in sorted(home.iterdir()) if _model_in(entry) is not None}
    return found


def locate(reference: str | os.PathLike[str]) -> Located:
    """Find the files that a reference means.

    Parameters
    ----------
    reference : str or PathLike
        A name from :func:`installed_names`, else a folder or an ``.onnx`` file. Names come first, so that a name means the
        same in every working directory; ``./name`` is always the folder.

    Raises
    ------
    BackboneNotFoundError
        Nothing of that name; the folder has no model, or several.
    """
    if not isinstance(reference, str | os.PathLike) or not str(reference):
        raise ParameterError(f"backbone must be a name, a folder or an .onnx file, got {reference!r}.")
    path = Path(reference).expanduser()
    named = installed_names() if isinstance(reference, str) and path.name == reference else {}
    if isinstance(reference, str) and reference in named:
        return _in_folder(named[reference])
    if path.is_dir():
        return _in_folder(path.absolute())
    if path.is_file():
        return _of_file(path.absolute())
    raise BackboneNotFoundError(_not_found(str(reference), named))


def _in_folder(folder: Path) -> Located:
    model = _model_in(folder)
    if model is not None:
        return Located(folder.name, model, folder)
    files = sorted(
        f.relative_to(folder).as_posix() for f in [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    )
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
    files = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")] if folder.is_dir() else []
    return files[0] if len(files) == 1 else None


def _of_file(path: Path) -> Located:
    folder = path.parent.parent if path.parent.name == "onnx" else path.parent
    name = folder.name if path.name == "model.onnx" else path.stem
    return Located(name, path, folder)


def _not_found(reference: str, named: dict[str, Path]) -> str:
    if reference.startswith("hub:"):
        return (
            f"{reference}: this version of featx does not download from a hub. Fetch the repository yourself and "
            "pass its folder."
        )
    known = sorted(named)
    if reference == "compact":
        return (
            f"{reference}: comes with featx, and its file is missing here. Install featx again: "
            "pip install --force-reinstall --no-deps featx"
        )
    listed = f" Names known here: {', '.join(known)}." if known else ""
    return (
        f"{reference}: no such backbone, folder or file.{did_you_mean(reference, known)}{listed} A backbone is a folder with "
        f"model.onnx and preprocessor_config.json, or an .onnx file; folders under {backbones_folder()} can be called by name."
    )
