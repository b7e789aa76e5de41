"""``featx doctor``: what works on this machine, what does not, and what to do about it.

Owns no decision: it asks the rooms that decide. A device "works" when a small network has run on it.
"""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from featx._version import __version__
from featx.backbones.sources import backbones_folder, installed_names
from featx.errors import FeatxError
from featx.features import ImageFeatures
from featx.inference.devices import (
    count_cards,
    cpu_threads,
    gpu_libraries,
    onnxruntime_providers,
    why_not_cuda,
)
from featx.store.locate import default_cache_folder, open_cache
from featx.store.locks import locks_work
from featx.testing import tiny_backbone

__all__ = ["Finding", "examine"]

_WHEELS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Parameters
    ----------
    name : str
        What was looked at.
    status : {"ok", "note", "problem"}
        ``"note"`` is something missing that not everybody needs.
    detail : str
        What was found.
    advice : str
        What to do; empty where nothing is to be done.
    """

    name: str
    status: str
    detail: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at versions, devices, the cache folder and the backbones of this machine."""
    return [_versions(), _wheels(), _cpu(), _cuda(), _cache(), _backbones()]


def _versions() -> Finding:
    return Finding(
        "featx",
        "ok",
        f"{__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()}",
    )


def _wheels() -> Finding:
    here = {name: _version(name) for name in _WHEELS}
    installed = {name: version for name, version in here.items() if version}
    detail = ", ".join(f"{name} {version}" for name, version in installed.items()) or "not installed"
    providers = ", ".join(onnxruntime_providers())
    if len(installed) > 1:
        return Finding(
            "onnxruntime",
            "problem",
            f"{detail}: they unpack into one folder, and whichever came last won; providers now: {providers}",
            f'Run "pip uninstall {" ".join(installed)}", then install the one you want, for NVIDIA cards onnxruntime-gpu.',
        )
    return Finding("onnxruntime", "ok", f"{detail}; providers {providers}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> Finding:
    error = _run_on("cpu")
    if error:
        return Finding("cpu", "problem", error, "Reinstall onnxruntime-gpu (or onnxruntime).")
    return Finding("cpu", "ok", f"a small network ran; {cpu_threads()} lanes")


def _cuda() -> Finding:
    reason = why_not_cuda()
    if reason is not None and not count_cards():
        return Finding("cuda", "note", reason, "Nothing to do on a machine without an NVIDIA card.")
    if reason is not None:
        return Finding(
            "cuda", "problem", f"an NVIDIA card is here and not used: {reason}", 'Then install "featx[cuda]".'
        )
    error = _run_on("cuda")
    if error is None:
        return Finding("cuda", "ok", "a small network ran, its operators on CUDA")
    missing = [name for name, loads in gpu_libraries().items() if not loads]
    libraries = f" Libraries that do not load: {', '.join(missing)}." if missing else ""
    return Finding(
        "cuda",
        "problem",
        error + libraries,
        'Install CUDA and cuDNN beside featx: pip install "featx[cuda]". Until then, device="cpu" works.',
    )


def _run_on(device: str) -> str | None:
    """Why a small network does not run on ``device``, or None where it does."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            features = ImageFeatures(tiny_backbone(folder), device=device, cache=None)
            vectors = features.fit_transform([np.full((32, 32, 3), 128, dtype=np.uint8)])
    except (FeatxError, OSError) as error:
        return str(error)
    return None if np.isfinite(vectors).all() else "a small network ran and gave values that are not finite."


def _cache() -> Finding:
    folder = default_cache_folder()
    elsewhere = "Set FEATX_CACHE to a folder that can be written, or pass cache= (--cache)."
    try:
        open_cache("default")
    except FeatxError as error:
        return Finding("cache", "problem", str(error), elsewhere)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest) as probe:
            locks = locks_work(Path(probe))
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            "cache",
            "problem",
            f"{folder} cannot be written ({reason}): vectors are not kept, and computed again in every run",
            elsewhere,
        )
    if not locks:
        return Finding(
            "cache",
            "note",
            f"{folder}: this file system has no working locks; processes that start together may compute the same sample twice",
            "Vectors are right all the same. Set FEATX_CACHE to a local folder to share work between processes.",
        )
    return Finding("cache", "ok", f"{folder}, locks work")


def _backbones() -> Finding:
    names = sorted(installed_names())
    return Finding(
        "backbones",
        "ok" if names else "note",
        f"{', '.join(names) or 'none'}; your own go to {backbones_folder()}",
    )
