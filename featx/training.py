"""``train``: embed once, compare heads by cross-validation, fit the best, judge it on what was held out, save it.

Owns the order of things. Every choice is made on the training part; a held-out part is only ever predicted. What can be refused
is refused before the first image meets the network, and what leaks between the two is reported.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifact import save
from featx.artifact.folder import replaceable
from featx.backbones.backbone import Backbone
from featx.embedding import DataLike, Embedding, embed, make_features
from featx.errors import ArtifactError, DatasetError, FeatxWarning, ParameterError, SampleError
from featx.evaluation.compare import HeadComparison, compare_heads, refit, score_head
from featx.evaluation.folds import make_folds, most_folds
from featx.evaluation.leaks import TRAIN, Leak, content_groups, copy_leaks, group_leaks
from featx.heads import HEAD_NAMES, make_head
from featx.inputs.dataset import Dataset
from featx.inputs.datasets import read_dataset
from featx.inputs.samples import DigestSample
from featx.progress import progress_bar

__all__ = ["Training", "train"]

_MOST_CLASSES = 0.5  # of the samples; more different numbers are no classes
_SEEDS = 2**31  # what every head and fold takes, xgboost's 32-bit integers included


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A trained pipeline and the evidence for it.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted; ``features`` and ``head``. Takes images or texts, gives labels.
    comparison : HeadComparison
        Cross-validated scores of every head on the training part.
    held_out : dict
        Scores of the chosen head on each held-out part, by its name; empty where the data has no split.
    n_train : int
        Samples the pipeline was fitted on.
    n_computed : int
        Distinct samples that met the network in this call.
    leaks : tuple of Leak
        Why figures may flatter; each was a warning.
    skipped : tuple of SampleError
        Samples left out because they could not be read.
    ignored : tuple of str
        Files of the folder that are no images by their suffix, lie in no class, or are not in its ``labels.csv``.
    """

    pipeline: Pipeline
    comparison: HeadComparison
    held_out: dict[str, dict[str, float]]
    n_train: int
    n_computed: int
    leaks: tuple[Leak, ...] = ()
    skipped: tuple[SampleError, ...] = ()
    ignored: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``featx train --json`` prints them."""
        return {
            "comparison": self.comparison.to_dict(),
            "held_out": self.held_out,
            "n_train": self.n_train,
            "n_computed": self.n_computed,
            "leaks": [{"kind": leak.kind, "n": leak.n, "message": leak.message} for leak in self.leaks],
            "skipped": [
                {"file": error.name, "index": error.index, "place": error.place, "reason": error.message}
                for error in self.skipped
            ],
            "ignored": list(self.ignored),
        }


def train(
    data: DataLike,
    *,
    out: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | Backbone | None = None,
    heads: Sequence[str] = HEAD_NAMES,
    cv: int = 5,
    search: bool = False,
    group_column: str | None = None,
    ignore_split: bool = False,
    skip_unreadable: bool = False,
    remember_samples: bool = True,
    overwrite: bool = False,
    random_state: int = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
    **features: Any,
) -> Training:
    """Embed a data set, compare heads on it, fit the best and save it.

    With a split, heads are compared and fitted on the part ``train``; every other part is predicted once, by the fitted
    pipeline. Where groups are known, no group is on both sides of a fold; where they are not, copies of one image are kept on
    one side.

    Parameters
    ----------
    data : Dataset or path
        A folder a class, or a CSV; see :func:`featx.read_dataset`.
    out : path, optional
        Where to save the pipeline; see :func:`featx.save`.
    backbone : str, path or Backbone, optional
        See :class:`featx.ImageFeatures` and :class:`featx.TextFeatures`, whose defaults None takes.
    heads : sequence of str
        Names from :data:`featx.heads.HEAD_NAMES`.
    cv : int
        Folds.
    search : bool
        Search each head's :func:`featx.param_grid` inside every fold (nested), and once more for the final fit.
    group_column : str, optional
        The column that says which samples belong together, such as a patient.
    ignore_split : bool
        Compare and fit on all rows, whatever their split.
    skip_unreadable : bool
        Leave out samples that cannot be read, instead of raising.
    remember_samples : bool
        Let the saved model keep content digests of the samples it was fitted on, so that judging it on them cannot be mistaken
        for judging it on new ones; :func:`featx.save` says what they give away. Nothing of groups is kept.
    overwrite : bool
        Replace an artefact that is already at ``out``.
    random_state : int
        Seed of folds and heads.
    n_jobs : int, optional
        Threads for the comparison; None takes this process's share of the cores.
    verbose : bool
        Show progress.
    **features
        Further parameters of these.

    Raises
    ------
    DatasetError
        Labels, groups or splits that allow no honest comparison.
    BackboneError, SampleError, ParameterError, ArtifactError

    Warns
    -----
    FeatxWarning
        The split leaks, or copies of an image have different labels; see :mod:`featx.evaluation.leaks`.
    """
    if out is not None:
        _check_out(Path(out), overwrite=overwrite)
    dataset = data if isinstance(data, Dataset) else read_dataset(data, group_column=group_column)
    transformer = make_features(dataset.modality, backbone, **features)
    plan = _plan(dataset, heads=heads, cv=cv, ignore_split=ignore_split, random_state=random_state)
    leaks = () if plan.groups is None else group_leaks(plan.groups, plan.split)
    _warn_of(leaks)
    embedding = embed(
        dataset, backbone=backbone, skip_unreadable=skip_unreadable, verbose=verbose, **features
    )
    kept = np.asarray([i for i in range(len(dataset)) if i not in embedding.errors], dtype=np.intp)
    found = _find_copies(plan, embedding, kept)
    _warn_of(found)
    training = kept[plan.split[kept] == TRAIN]
    if not len(training):
        raise DatasetError(f"{dataset.name}: none of the {dataset.noun} of its part {TRAIN} could be read.")
    rows, labels = embedding.vectors[training], plan.labels[training]
    units = _units(plan, embedding, training, cv)
    fold_choices: dict[str, Any] = {"groups": units, "cv": cv, "search": search, "random_state": random_state}
    with progress_bar(len(heads) * cv, "comparing", enabled=verbose) as progress:
        comparison = compare_heads(
            rows, labels, heads=tuple(heads), n_jobs=n_jobs, progress=progress, **fold_choices
        )
    head = refit(comparison.best, rows, labels, n_jobs=n_jobs, **fold_choices)
    if plan.groups is None:
        comparison = replace(
            comparison, n_groups=None
        )  # copies kept together are nothing that the data calls groups
    result = Training(
        pipeline=Pipeline([("features", transformer.fit(None)), ("head", head)]),
        comparison=comparison,
        held_out=_judge(head, plan, embedding, kept),
        n_train=len(training),
        n_computed=embedding.n_computed,
        leaks=leaks + found,
        skipped=embedding.skipped,
        ignored=dataset.skipped,
    )
    if out is not None:
        # Digests are read where the samples are not; the column that new samples stand in is another one.
        column = None if dataset.column == "digest" else dataset.column
        digests = [DigestSample(key.tobytes()) for key in embedding.keys[training]]
        save(
            result.pipeline,
            out,
            overwrite=overwrite,
            notes=_notes(dataset, result),
            sample_column=column,
            trained_on=digests if remember_samples else None,
        )
    return result


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known before inference, checked; an entry a sample."""

    names: list[str]
    labels: NDArray[Any]
    groups: NDArray[Any] | None
    split: NDArray[Any]


def _plan(dataset: Dataset, *, heads: Sequence[str], cv: int, ignore_split: bool, random_state: int) -> _Plan:
    """Labels, groups, split and heads, refused before an hour of inference and not after it."""
    if dataset.labels is None:
        raise DatasetError(
            f"{dataset.name}: no labels to train on. Give a folder a class, or a CSV with a label column."
        )
    if isinstance(heads, str) or not len(heads) or len(set(heads)) < len(heads):
        raise ParameterError(
            f"heads={heads!r}: expected names, each once, some of {', '.join(map(repr, HEAD_NAMES))}."
        )
    for name in heads:
        make_head(name)
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise ParameterError(f"random_state={random_state!r}: expected a whole number.")
    if not 0 <= random_state < _SEEDS:
        raise ParameterError(f"random_state={random_state}: expected 0 to {_SEEDS - 1}.")
    labels = np.asarray(dataset.labels)
    _refuse_numbers(dataset.name, labels)
    groups = None if dataset.groups is None else np.asarray(dataset.groups)
    whole = dataset.split is None or ignore_split
    split = np.full(len(labels), TRAIN) if whole else np.asarray(dataset.split)
    known = np.flatnonzero(split == TRAIN)
    if not len(known):
        raise DatasetError(
            f"{dataset.name}: its split has no part {TRAIN} (it has {', '.join(sorted(set(split.tolist())))}). Name one, or pass "
            "ignore_split=True."
        )
    make_folds(
        labels[known], None if groups is None else groups[known], n_splits=cv, random_state=random_state
    )
    unknown = sorted(set(labels[split != ""].tolist()) - set(labels[known].tolist()), key=str)
    if unknown:
        raise DatasetError(
            f"{dataset.name}: a held-out part has samples of {', '.join(map(repr, unknown[:5]))}, and {TRAIN} has none. Add some "
            "there, leave the class out, or pass ignore_split=True."
        )
    unused = int((split == "").sum())
    if unused:
        warnings.warn(
            f"{dataset.name}: {unused} of {len(labels)} samples are in no part of the split and are not used. Fill in their "
            "split, or pass ignore_split=True.",
            FeatxWarning,
            stacklevel=3,
        )
    names = [dataset.name_of(i) for i in range(len(dataset))]
    return _Plan(names, labels, groups, split)


def _refuse_numbers(name: str, labels: NDArray[Any]) -> None:
    """Measurements in the cells of a table are strings like any label; told by how few of them are equal."""
    distinct = set(labels.tolist())
    if len(distinct) < _MOST_CLASSES * len(labels) or not all(map(_is_number_in_text, distinct)):
        return
    raise DatasetError(
        f"{name}: its labels are {len(distinct)} different numbers for {len(labels)} samples, and heads predict classes. Put "
        "them into a few classes; or, to predict numbers, a regressor behind ImageFeatures or TextFeatures in a Pipeline."
    )


def _is_number_in_text(label: Any) -> bool:
    try:
        return isinstance(label, str) and math.isfinite(float(label))
    except ValueError:
        return False


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place for the model that saving would refuse, before the work and not after it."""
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


def _find_copies(plan: _Plan, embedding: Embedding, kept: NDArray[np.intp]) -> tuple[Leak, ...]:
    return copy_leaks(
        embedding.keys[kept],
        names=[plan.names[i] for i in kept.tolist()],
        labels=plan.labels[kept],
        groups=None if plan.groups is None else plan.groups[kept],
        split=plan.split[kept],
    )


def _units(plan: _Plan, embedding: Embedding, training: NDArray[np.intp], cv: int) -> NDArray[Any] | None:
    """What a fold keeps on one side: the groups; without groups the copies of an image, where there are any."""
    if plan.groups is not None:
        return plan.groups[training]
    copies = content_groups(embedding.keys[training])
    if copies is not None and most_folds(plan.labels[training], copies) < cv:
        n = len(np.unique(copies))
        raise DatasetError(
            f"only {n} of {len(copies)} samples are distinct, and a class has fewer than cv={cv} of them: copies of a sample "
            "stay in one fold. Use fewer folds, or add samples that differ."
        )
    return copies


def _judge(
    head: Any, plan: _Plan, embedding: Embedding, kept: NDArray[np.intp]
) -> dict[str, dict[str, float]]:
    scores = {}
    for part in sorted(set(plan.split[kept].tolist()) - {TRAIN, ""}):
        rows = kept[plan.split[kept] == part]
        scores[part] = score_head(head, embedding.vectors[rows], plan.labels[rows])
    return scores


def _warn_of(leaks: Sequence[Leak]) -> None:
    for leak in leaks:
        warnings.warn(str(leak), FeatxWarning, stacklevel=3)


def _notes(dataset: Dataset, result: Training) -> str:
    """What the artefact's README says about its training, in words."""
    counts = np.unique(np.asarray(dataset.labels), return_counts=True)
    classes = ", ".join(f"{label} ({n})" for label, n in zip(*counts, strict=True))
    grouped = f" in {len(set(dataset.groups))} groups" if dataset.groups is not None else ""
    lines = [
        f"Trained on {result.n_train} {dataset.noun} of {dataset.name}: {len(dataset)} {dataset.noun}{grouped}; {classes}.",
        "",
    ]
    lines += ["Cross-validated on the training part:", "", "```", result.comparison.format_table(), "```"]
    for part, scores in result.held_out.items():
        figures = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        lines += ["", f"On the held-out part {part!r}: {figures}."]
    for leak in result.leaks:
        lines += ["", f"Beware: {leak}"]
    return "\n".join(lines)
