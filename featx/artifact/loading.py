"""``load``, ``describe`` and ``training_keys``: a saved pipeline checked, rebuilt, and given its places on this machine.

The order is the point: names, sizes and digests of all files first, then the types of the pipeline, then the backbones; only
after that is anything built. No step unpickles.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from featx.artifact.backbones import find_backbones
from featx.artifact.estimators import fitted_from, unfitted_from
from featx.artifact.folder import read_checked, verify
from featx.artifact.format import PIPELINE_NAME, TRAINING_NAME, booster_name
from featx.artifact.manifest import read_manifest
from featx.artifact.parts import fill
from featx.artifact.records import ArtifactInfo
from featx.artifact.skops_file import from_skops
from featx.artifact.trained_on import from_npy
from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.errors import ArtifactError, FeatxWarning, ParameterError
from featx.evaluation.remembered import remember_keys
from featx.inference.devices import parse_device
from featx.store.digest import Keys
from featx.store.store import EmbeddingStore

__all__ = ["describe", "load", "training_keys"]


def load(
    folder: str | os.PathLike[str],
    *,
    device: str | None = None,
    cache: str | os.PathLike[str] | EmbeddingStore | None = "default",
    backbone: str | os.PathLike[str] | Backbone | Mapping[str, Any] | None = None,
    trusted: Sequence[str] = (),
) -> Any:
    """Load a pipeline that :func:`featx.save` wrote. Never unpickles, and builds allow-listed types only.

    A hostile folder runs no code. What it can do is name another network or other numbers than it says, and compiled
    libraries (ONNX Runtime, libsvm, xgboost) are not built to survive every crafted file: load from people you know.

    Parameters
    ----------
    folder : path
        The artefact.
    device : str, optional
        Becomes the device of every features estimator; None keeps what each was saved with.
    cache : "default", path, EmbeddingStore or None, default="default"
        Becomes the cache of every features estimator.
    backbone : path, name, Backbone or dict, optional
        Where the backbone is, if the artefact holds only its digest or another copy is to be used; a dict from names in the
        artefact to these where it needs several.
    trusted : sequence of str
        Full names of further types and functions that may be built. Naming one trusts whatever the file does with it.

    Returns
    -------
    estimator
        Fitted. With the same backbone, device and library versions it predicts what the saved one did. Until it is fitted anew
        it remembers the content digests of its training samples, where the folder holds some: :func:`featx.evaluate` with
        ``cv="prefit"`` then tells which samples it knows.

    Raises
    ------
    ArtifactError
        No artefact, a newer format, a file that is missing, changed or added, or vectors that would be others than saved.
    UntrustedTypeError
        It names types that are neither on featx's list nor in ``trusted``.
    BackboneNotFoundError, DigestMismatchError
        The backbone it refers to is not installed, or ``backbone`` is another one.

    Warns
    -----
    FeatxWarning
        It was saved with another minor version of scikit-learn.
    """
    _check_trusted(trusted)
    if device is not None:
        parse_device(device)
    place = _place(folder)
    info = read_manifest(place)
    verify(place, info)
    content = read_checked(place, info, PIPELINE_NAME)
    try:
        with warnings.catch_warnings():
            # One warning in words of ours in place of one for each step.
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            rest = from_skops(content, trusted=trusted)
    except ArtifactError as error:
        raise type(error)(f"{place / PIPELINE_NAME}: {error}") from error
    backbones = find_backbones(place, info, backbone)

    def make_features(index: int) -> BackboneFeatures:
        if index >= len(info.features):
            raise ArtifactError(
                f"{place}: the pipeline has a slot for features {index}, and there are {len(info.features)}."
            )
        record = info.features[index]
        try:
            if record.spaces:
                return fitted_from(record, backbones[record.backbone], cache=cache, device=device)
            known = backbones.get(record.backbone)
            reference = record.backbone if known is None else known.reference
            return unfitted_from(record, reference, cache=cache, device=device)
        except ArtifactError as error:
            raise ArtifactError(f"{place}: {error}") from error

    def read_bytes(index: int) -> bytes:
        return read_checked(place, info, booster_name(index))

    pipeline = fill(rest, make_features, read_bytes)
    if not hasattr(pipeline, "fit"):
        raise ArtifactError(
            f"{place / PIPELINE_NAME}: holds a {type(pipeline).__name__}, expected an estimator."
        )
    remember_keys(pipeline, _training_keys(place, info))
    _warn_of_versions(place, info)
    return pipeline


def describe(folder: str | os.PathLike[str]) -> ArtifactInfo:
    """What an artefact says of itself; reads its ``artifact.json`` and nothing else, and checks no digest.

    Parameters
    ----------
    folder : path
        The artefact.

    Returns
    -------
    ArtifactInfo

    Raises
    ------
    ArtifactError
        No artefact there, or one in a newer format.
    """
    return read_manifest(_place(folder))


def training_keys(folder: str | os.PathLike[str]) -> Keys | None:
    """Content digests of the samples that a saved pipeline was trained on; reads and checks their file, and builds nothing.

    Parameters
    ----------
    folder : path
        The artefact.

    Returns
    -------
    ndarray of uint8, shape (n, 16), or None
        Distinct, in ascending order: what :meth:`featx.ImageFeatures.content_keys` gives for these samples. None where the
        artefact remembers none. How many there are, ``describe(folder).n_training_samples`` says without reading them.

    Raises
    ------
    ArtifactError
        No artefact, or their file is missing, changed, or something else.
    """
    place = _place(folder)
    return _training_keys(place, read_manifest(place))


def _training_keys(place: Path, info: ArtifactInfo) -> Keys | None:
    if info.n_training_samples is None:
        return None
    content = read_checked(place, info, TRAINING_NAME)
    try:
        return from_npy(content, info.n_training_samples)
    except ArtifactError as error:
        raise ArtifactError(f"{place / TRAINING_NAME}: {error}") from error


def _place(folder: str | os.PathLike[str]) -> Path:
    if not isinstance(folder, str | os.PathLike) or not str(folder):
        raise ParameterError(f"folder must be the path of an artefact, got {type(folder).__name__}.")
    return Path(folder).expanduser().absolute()


def _check_trusted(trusted: Sequence[str]) -> None:
    if isinstance(trusted, str) or not all(isinstance(name, str) and "." in name for name in trusted):
        raise ParameterError(
            f'trusted must be a sequence of full names such as ("package.module.Type",), got {trusted!r}.'
        )


def _warn_of_versions(place: Path, info: ArtifactInfo) -> None:
    saved, here = info.versions.get("scikit-learn", ""), version("scikit-learn")
    if saved.split(".")[:2] != here.split(".")[:2]:
        warnings.warn(
            f"{place}: saved with scikit-learn {saved or '(unknown)'}, and this is {here}. Estimators may work differently: "
            f"compare predictions on samples you know, or install scikit-learn=={saved}.",
            FeatxWarning,
            stacklevel=3,
        )
