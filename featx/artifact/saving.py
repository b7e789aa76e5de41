"""``save``: a fitted pipeline as a folder that stands on its own.

Owns the order of things: what is wrong with the pipeline is said before the first byte is written, and the folder appears
whole or not at all.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from featx._version import __version__
from featx.artifact.backbones import names_of, needed_backbones, write_backbone
from featx.artifact.estimators import record_of
from featx.artifact.folder import file_records, replaceable, staged
from featx.artifact.format import MANIFEST_NAME, PIPELINE_NAME, README_NAME, TRAINING_NAME, booster_name
from featx.artifact.manifest import to_json
from featx.artifact.parts import take_apart
from featx.artifact.records import ArtifactInfo
from featx.artifact.skops_file import to_skops, untrusted_types
from featx.artifact.trained_on import keys_of, to_npy
from featx.artifact.words import pipeline_in_words, readme
from featx.errors import ArtifactError, ParameterError

__all__ = ["save"]

# The runtime comes as one distribution or the other.
_PACKAGES = ("scikit-learn", "numpy", "skops", "xgboost", "onnxruntime", "onnxruntime-gpu")


def save(
    pipeline: Any,
    folder: str | os.PathLike[str],
    *,
    backbone: str = "copy",
    labels: Sequence[str] | None = None,
    overwrite: bool = False,
    notes: str | None = None,
    sample_column: str | None = None,
    trained_on: Any = None,
) -> Path:
    """Save a fitted pipeline as a folder that :func:`featx.load` reads on any machine, without pickle.

    Parameters
    ----------
    pipeline : estimator
        Any fitted scikit-learn estimator, usually a Pipeline that begins with ImageFeatures. It is not modified.
    folder : path
        The folder to make.
    backbone : {"copy", "reference"}, default="copy"
        Put the backbones' files into the folder, or only their names and digests.
    labels : sequence of str, optional
        Names of the classes for people, in the order of ``classes_``.
    overwrite : bool, default=False
        Replace an artefact that is there. A folder with anything else in it is never replaced.
    notes : str, optional
        What to say about the model in its README: data, scores, intended use.
    sample_column : str, optional
        The column of a CSV that held the samples (:attr:`featx.Dataset.column`): ``featx predict`` then reads it in other ones.
    trained_on : sequence of samples, optional
        The samples it was fitted on: what its first step, ImageFeatures or TextFeatures, takes. Their content digests are kept,
        so that judging the model on them cannot be mistaken for judging it on new ones.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArtifactError
        The pipeline is not fitted, part of it cannot be written, or the folder cannot be.
    ParameterError
        An argument is wrong.
    SampleError
        One of ``trained_on`` cannot be read.
    DigestMismatchError
        A backbone's file is no longer the one that the pipeline was fitted with.

    Notes
    -----
    A fitted pipeline does not remember paths, caches or stores: those of this machine are left out, also where a search
    keeps what it tried.

    Of ``trained_on`` the folder gets a sorted list of distinct digests: no names, labels, groups, order or counts. It lets
    whoever holds the very same file or text find out that the model was trained on it, and nothing else; short texts can be
    guessed.
    """
    if backbone not in ("copy", "reference"):
        raise ParameterError(f'backbone must be "copy" or "reference", got {backbone!r}.')
    if not isinstance(folder, str | os.PathLike):
        raise ParameterError(
            f"folder must be a path, got {type(folder).__name__}: featx.save(pipeline, folder)."
        )
    for argument, value in (("notes", notes), ("sample_column", sample_column)):
        if value is not None and not isinstance(value, str):
            raise ParameterError(f"{argument} must be a string or None, got {value!r}.")
    target = Path(folder).expanduser().resolve()
    replaceable(target, overwrite=overwrite)
    _check_fitted(pipeline)
    classes = _classes(pipeline)
    trained = None if trained_on is None else keys_of(pipeline, trained_on)
    taken = take_apart(pipeline)
    needed = needed_backbones(taken.parts.features, stored=backbone)
    names = names_of(taken.parts.features, needed)
    try:
        content = to_skops(taken.rest)
    except ArtifactError as error:
        raise ArtifactError(f"{type(pipeline).__name__}: {error}") from error
    untrusted = untrusted_types(content)
    _check_nothing_hidden(untrusted)
    info = ArtifactInfo(
        estimator=pipeline_in_words(pipeline),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        backbones=tuple(one.record for one in needed),
        features=tuple(map(record_of, taken.parts.features, names)),
        n_features=_n_features(pipeline),
        classes=classes,
        labels=_labels(labels, classes),
        columns=_columns(pipeline),
        sample_column=sample_column,
        n_training_samples=None if trained is None else len(trained),
        parameters=_parameters(taken.rest),
        untrusted_types=untrusted,
        notes=notes,
    )
    method = "predict" if hasattr(pipeline, "predict") else "transform"
    with staged(target, overwrite=overwrite) as place:
        (place / PIPELINE_NAME).write_bytes(content)
        for index, booster in enumerate(taken.parts.boosters):
            (place / booster_name(index)).write_bytes(booster)
        for one in needed:
            if one.record.stored == "copy":
                write_backbone(one, place)
        if trained is not None:
            (place / TRAINING_NAME).write_bytes(to_npy(trained))
        (place / README_NAME).write_text(
            readme(info, name=target.name, method=method), encoding="utf-8", newline="\n"
        )
        info = replace(info, files=file_records(place))
        (place / MANIFEST_NAME).write_text(to_json(info), encoding="utf-8", newline="\n")
    return target


def _check_fitted(pipeline: Any) -> None:
    if isinstance(pipeline, type) or not hasattr(pipeline, "fit"):
        raise ArtifactError(f"{pipeline!r:.200}: not an estimator. Pass a fitted scikit-learn pipeline.")
    try:
        check_is_fitted(pipeline)
    except (NotFittedError, TypeError) as error:
        raise ArtifactError(f"{type(pipeline).__name__} is not fitted: call fit before saving it.") from error


def _check_nothing_hidden(untrusted: tuple[str, ...]) -> None:
    hidden = [name for name in untrusted if name.startswith("featx.") or name == "xgboost.core.Booster"]
    if any(name.endswith(".FineTuneClassifier") for name in hidden):
        raise ArtifactError(
            "FineTuneClassifier: holds trained weights in memory, beside the backbone that they came from. Save what its "
            "to_pipeline() gives: featx.save(model.to_pipeline(), folder), of a search model.best_estimator_.to_pipeline()."
        )
    if hidden:
        raise ArtifactError(
            f"{', '.join(hidden)}: inside an object that has its own way to be copied, where featx cannot take it out. Make "
            "it an attribute of an estimator, or a member of a list or dict of one."
        )


def _classes(pipeline: Any) -> tuple[Any, ...] | None:
    classes = getattr(pipeline, "classes_", None)
    if classes is None:
        return None
    return tuple(value if _is_json(value) else str(value) for value in map(_item, classes))


def _labels(labels: Sequence[str] | None, classes: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ParameterError(f"labels must be a sequence of strings, one a class, got {labels!r}.")
    if classes is None or len(labels) != len(classes):
        found = (
            "no classes" if classes is None else f"{len(classes)} classes ({', '.join(map(str, classes))})"
        )
        raise ParameterError(
            f"labels: got {len(labels)}, and the pipeline has {found}. Give one a class, in the order of classes_."
        )
    return tuple(labels)


def _columns(pipeline: Any) -> tuple[str, ...] | None:
    names = getattr(pipeline, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def _n_features(pipeline: Any) -> int | None:
    last = getattr(pipeline, "best_estimator_", pipeline)
    steps = getattr(last, "steps", None)
    n_features = getattr(steps[-1][1] if isinstance(steps, list) else last, "n_features_in_", None)
    return None if n_features is None else int(n_features)


def _parameters(rest: Any) -> dict[str, Any]:
    """Parameters that JSON can say. An estimator inside shows through its own; features have an entry of theirs."""
    if not hasattr(rest, "get_params"):
        return {}
    values = {name: _item(value) for name, value in rest.get_params(deep=True).items()}
    return {name: value for name, value in sorted(values.items()) if _is_json(value)}


def _item(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_json, value.values()))
    return (
        value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "featx": __version__}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
