"""``train``: embed once, compare heads by cross-validation, fit the best, judge it on what was held out, save it.

Owns the order of things. Every choice is made on the training part; a held-out part is only ever predicted. What can be refused
is refused before the first image meets the network. What leaks is found, and kept together in folds, as :func:`featx.evaluate`
does it.
"""

from __future__ import annotations

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
from featx.artifact.folder import check_out
from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.embedding import DataLike, Embedding, embed, make_features
from featx.errors import DatasetError, LeakWarning, SampleError
from featx.evaluation.columns import check_groups
from featx.evaluation.compare import HeadComparison, compare_heads, refit, score_head
from featx.evaluation.findings import Findings, find_leaks
from featx.evaluation.folds import most_folds
from featx.evaluation.leaks import GROUP_ACROSS_SPLIT, TRAIN, Leak, group_leaks, held_out_parts
from featx.evaluation.subjects import Subject
from featx.evaluation.tuned_on import tuning_leaks
from featx.heads import HEAD_NAMES
from featx.inputs.dataset import Dataset
from featx.inputs.datasets import read_dataset
from featx.inputs.samples import DigestSample
from featx.progress import progress_bar
from featx.training_plan import TrainingPlan, plan_training

__all__ = ["Training", "train"]


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
        Scores of the chosen head on each held-out part, by its name; empty where the data has no split. Where training holds some
        of a part too, as copies, near-copies or other samples of a group, those to quote come first, of the rest of it:
        ``"test, only what training has not seen"``.
    n_train : int
        Samples the pipeline was fitted on.
    n_computed : int
        Distinct samples that met the network in this call.
    leaks : tuple of Leak
        Why figures may flatter; each was a warning. Positions are those in the data set.
    kept : tuple of Leak
        Copies and near-copies in the training part that folds kept together: they flatter nothing.
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
    kept: tuple[Leak, ...] = ()
    skipped: tuple[SampleError, ...] = ()
    ignored: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``featx train --json`` prints them."""
        return {
            "comparison": self.comparison.to_dict(),
            "held_out": self.held_out,
            "n_train": self.n_train,
            "n_computed": self.n_computed,
            "leaks": [{**leak.to_dict(), "message": leak.message} for leak in self.leaks],
            "kept_together_copies": [{**each.to_dict(), "message": each.message} for each in self.kept],
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
    pipeline. No group is on both sides of a fold, nor are copies and near-copies of a sample: :func:`featx.evaluate` finds the
    same and makes the same folds.

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
    LeakWarning
        The split leaks, or copies have different labels; see :mod:`featx.evaluation.leaks`.
    """
    if out is not None:
        check_out(Path(out), overwrite=overwrite)
    dataset = data if isinstance(data, Dataset) else read_dataset(data, group_column=group_column)
    transformer = make_features(dataset.modality, backbone, **features)
    plan = plan_training(dataset, heads=heads, cv=cv, ignore_split=ignore_split, random_state=random_state)
    early = () if plan.groups is None else group_leaks(plan.groups, plan.split)
    _warn_of(early)
    embedding = embed(
        dataset, backbone=backbone, skip_unreadable=skip_unreadable, verbose=verbose, **features
    )
    kept = np.asarray([i for i in range(len(dataset)) if i not in embedding.errors], dtype=np.intp)
    found = _findings(dataset, plan, embedding, kept, transformer.fit(None), verbose)
    leaks = tuple(leak.at(kept) for leak in found.leaks)
    leaks += tuning_leaks(
        transformer.backbone_,
        embedding.keys,
        judged=np.isin(np.arange(len(dataset)), kept) & (plan.split != ""),
        names=plan.names,
    )
    _warn_of([leak for leak in leaks if leak.kind != GROUP_ACROSS_SPLIT])  # that was said before the work
    training = kept[plan.split[kept] == TRAIN]
    if not len(training):
        raise DatasetError(f"{dataset.name}: none of the {dataset.noun} of its part {TRAIN} could be read.")
    rows, labels = embedding.vectors[training], plan.labels[training]
    units = _units(plan, found.units[np.isin(kept, training)], training, cv)
    fold_choices: dict[str, Any] = {"groups": units, "cv": cv, "search": search, "random_state": random_state}
    with progress_bar(len(heads) * cv, "comparing", enabled=verbose) as progress:
        comparison = compare_heads(
            rows, labels, heads=tuple(heads), n_jobs=n_jobs, progress=progress, **fold_choices
        )
    head = refit(comparison.best, rows, labels, n_jobs=n_jobs, **fold_choices)
    # What the data calls groups, and not what copies make of them.
    n_groups = None if plan.groups is None else len(set(plan.groups[training].tolist()))
    result = Training(
        pipeline=Pipeline([("features", transformer), ("head", head)]),
        comparison=replace(comparison, n_groups=n_groups),
        held_out=_judge(head, plan, embedding, kept, found.units),
        n_train=len(training),
        n_computed=embedding.n_computed,
        leaks=leaks,
        kept=tuple(leak.at(kept) for leak in found.kept),
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


def _findings(
    dataset: Dataset,
    plan: TrainingPlan,
    embedding: Embedding,
    kept: NDArray[np.intp],
    features: BackboneFeatures,
    verbose: bool,
) -> Findings:
    """What is there twice or on both sides, and the units of the samples that could be read."""
    classes, codes = np.unique(plan.labels[kept], return_inverse=True)
    groups = None if plan.groups is None else plan.groups[kept]
    whole = (plan.split == TRAIN).all()
    subject = Subject(
        estimator=None,
        X=embedding.vectors[kept],
        y=codes.reshape(-1),
        classes=classes,
        groups=None if groups is None else check_groups(groups, len(kept)),
        group_names=groups,
        split=None if whole else plan.split[kept],
        samples=[dataset.samples[i] for i in kept.tolist()],
        names=tuple(plan.names[i] for i in kept.tolist()),
        keys=embedding.keys[kept],
        modality=dataset.modality,
        preprocess=features.backbone_.pixels() if dataset.modality == "image" else None,
        spaces=(),
        skipped=(),
        words="",
        features=features,
    )
    return find_leaks(subject, verbose=verbose).under("group")


def _units(
    plan: TrainingPlan, units: NDArray[np.intp], training: NDArray[np.intp], cv: int
) -> NDArray[np.intp] | None:
    """What a fold keeps on one side: groups, and what copies and near-copies tie to them; None where each sample is alone."""
    n = len(np.unique(units))
    if n == len(units):
        return None
    if most_folds(plan.labels[training], units) < cv:
        what = (
            "samples are distinct"
            if plan.groups is None
            else "samples are apart, neither of one group nor copies"
        )
        raise DatasetError(
            f"only {n} of {len(units)} {what}, and a class has fewer than cv={cv} of them: copies of a sample stay in one fold. "
            "Use fewer folds, or add samples that differ."
        )
    return units


def _judge(
    head: Any, plan: TrainingPlan, embedding: Embedding, kept: NDArray[np.intp], units: NDArray[np.intp]
) -> dict[str, dict[str, float]]:
    """Scores on each held-out part; where training holds some of it too, before them those on the rest."""
    scores: dict[str, dict[str, float]] = {}
    split = plan.split[kept]
    seen = np.isin(units, units[split == TRAIN])
    for part in held_out_parts(split):
        mine = split == part
        new = mine & ~seen
        if new.any() and (mine & seen).any():
            name = f"{part}, only what training has not seen"
            scores[name] = score_head(head, embedding.vectors[kept[new]], plan.labels[kept[new]])
        scores[part] = score_head(head, embedding.vectors[kept[mine]], plan.labels[kept[mine]])
    return scores


def _warn_of(leaks: Sequence[Leak]) -> None:
    for leak in leaks:
        warnings.warn(str(leak), LeakWarning, stacklevel=3)


def _notes(dataset: Dataset, result: Training) -> str:
    """What the artefact's README says about its training, in words that name no sample and no group."""
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
    for leak in result.leaks:  # without its examples: names of files often hold those of patients
        lines += ["", f"Beware: {leak.anonymous}"]
    for each in result.kept:
        lines += ["", f"{each.anonymous}"]
    return "\n".join(lines)
