"""``finetune``: a backbone tuned on a data set, judged beside the frozen one on samples that neither has seen, and written.

Owns what is trained on and what is judged on. The training is :class:`featx.FineTuneClassifier`'s, the figures are
:func:`featx.compare`'s.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.embedding import DataLike, make_features, placed
from featx.errors import DatasetError, LeakWarning, ParameterError, SampleError
from featx.evaluation.bootstrap import Estimate
from featx.evaluation.evaluate import compare
from featx.evaluation.folds import inner_folds
from featx.evaluation.leaks import TRAIN, content_groups, group_leaks
from featx.exporting.folder import replaceable
from featx.finetuning.classifier import FineTuneClassifier
from featx.heads import make_head
from featx.inputs.dataset import Dataset, warn_of_empty_texts
from featx.inputs.datasets import read_dataset
from featx.reporting.comparisons import Comparison

__all__ = ["HELD_OUT", "Tuning", "finetune"]

HELD_OUT = "held out"
"""Name of the part that is judged where the data have no split."""

_FOLDS = 5
_FIGURES = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuning:
    """What :func:`finetune` gives.

    Parameters
    ----------
    classifier : FineTuneClassifier
        Fitted.
    comparison : Comparison
        ``"frozen"`` and ``"tuned"`` on the held-out parts or folds, with intervals and paired differences.
    n_train : int
        Samples tuned on, those that chose the epoch included.
    folder : Path or None
        The tuned backbone's, where it was written.
    """

    classifier: FineTuneClassifier
    comparison: Comparison
    n_train: int
    folder: Path | None

    @property
    def gain(self) -> Estimate:
        """How far tuned is ahead of frozen in the headline figure, with its interval."""
        return self.comparison.difference("tuned", "frozen")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``featx finetune --json`` prints them."""
        return {
            "n_train": self.n_train,
            "best_epoch": self.classifier.best_epoch_,
            "choice": asdict(self.classifier.choice_),
            "gain": self.gain.to_dict(),
            "n_trained_weights": self.classifier.n_trained_,
            "n_frozen_weights": self.classifier.n_frozen_,
            "history": [asdict(record) for record in self.classifier.history_],
            "comparison": self.comparison.to_dict(),
            "out": None if self.folder is None else str(self.folder),
        }


def finetune(
    data: DataLike,
    *,
    out: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | Backbone | None = None,
    features: Mapping[str, Any] | None = None,
    folds: int | None = None,
    ignore_split: bool = False,
    overwrite: bool = False,
    verbose: bool = False,
    **settings: Any,
) -> Tuning:
    """Tune a backbone on a data set, and judge it beside the frozen one.

    With a split, the part ``train`` is tuned on and the other parts are judged. Without one a fifth is held out, groups and
    copies kept together. With `folds` every sample is judged by a backbone that was tuned without it, and the one that is given
    and written is tuned on all of them. The frozen backbone's head is fitted on the same training part, all of it.

    Parameters
    ----------
    data : Dataset or path
        A folder a class, or a CSV; see :func:`featx.read_dataset`.
    out : path, optional
        Where to write the tuned backbone: a folder that others can use, its card with the figures of the held-out parts.
    backbone : str, path or Backbone, optional
        None is the default of the modality.
    features : dict, optional
        Further parameters of the features transformer: ``tap``, ``pooling``, ``cache``, ``max_length`` ...
    folds : int, optional
        Judge in so many folds over all samples, groups and copies kept together, whatever their split. Takes as many trainings
        more.
    ignore_split : bool
        Hold out a fifth of all samples, whatever their split.
    overwrite : bool
        Replace a backbone that featx wrote at ``out``.
    verbose : bool
        A line an epoch on standard error, and progress on a terminal.
    **settings
        Of :class:`featx.FineTuneClassifier`.

    Returns
    -------
    Tuning

    Raises
    ------
    DatasetError, ParameterError, BackboneError, SampleError, DeviceError, OutputError, MissingExtraError

    Warns
    -----
    LeakWarning
        What is tuned on and what is judged on are not apart.
    """
    target = None if out is None else Path(os.path.abspath(Path(out).expanduser()))
    if target is not None:
        replaceable(target, overwrite=overwrite)
    dataset = data if isinstance(data, Dataset) else read_dataset(data)
    labels = dataset.labels
    if labels is None:
        raise DatasetError(
            f"{dataset.name}: no labels to tune on. Give a folder a class, or a CSV with a label column."
        )
    # The classifier sets its own device on a clone; the probe and the digests run on the same one.
    device = settings.get("device", "auto")
    transformer = make_features(dataset.modality, backbone, **{**(features or {}), "device": device})
    classifier = _classifier(transformer, settings, verbose)
    warn_of_empty_texts(dataset)
    probe = Pipeline([("features", transformer), ("head", make_head("logistic"))])
    with _placing(dataset):
        keys = clone(transformer).fit(None).content_keys(dataset.samples)
    if folds is None:
        split = _split(dataset, labels, keys, ignore_split=ignore_split, seed=classifier.random_state or 0)
        found, n_train = _judged_apart(classifier, probe, dataset, split, keys), int((split == TRAIN).sum())
    else:
        found, n_train = _judged_in_folds(classifier, probe, dataset, folds, verbose=verbose), len(dataset)
    folder = None
    if target is not None:
        card = {"held_out" if folds is None else "folds": _figures(found)}
        folder = classifier.save_backbone(target, overwrite=overwrite, card=card)
    return Tuning(classifier=classifier, comparison=found, n_train=n_train, folder=folder)


def _judged_apart(
    classifier: FineTuneClassifier,
    probe: Pipeline,
    dataset: Dataset,
    split: NDArray[Any],
    keys: NDArray[np.uint8],
) -> Comparison:
    """Both fitted on the part ``train``, and judged on the others."""
    training = np.flatnonzero(split == TRAIN)
    known = _rows(dataset, training)
    with _placing(known):
        classifier.fit(known.samples, np.asarray(known.labels), groups=known.groups)
        probe.fit(known.samples, known.labels)
    held_out = _rows(replace(dataset, split=split), np.flatnonzero((split != TRAIN) & (split != "")))
    with _placing(held_out):
        return compare(
            {"frozen": probe, "tuned": classifier.to_pipeline()},
            held_out,
            cv="prefit",
            training_keys=np.unique(keys[training], axis=0),
        )


def _judged_in_folds(
    classifier: FineTuneClassifier, probe: Pipeline, dataset: Dataset, folds: int, *, verbose: bool
) -> Comparison:
    """Clones of both judged in folds; the classifier is then fitted on everything."""
    with _placing(dataset):
        found = compare(
            {"frozen": probe, "tuned": classifier},
            replace(dataset, split=None),
            cv=folds,
            # Thresholds are chosen in folds inside of the folds, each of which would be a training.
            at_specificity=None,
            at_sensitivity=None,
            random_state=classifier.random_state or 0,
            verbose=verbose,
        )
        classifier.fit(dataset.samples, np.asarray(dataset.labels), groups=dataset.groups)
    return found


@contextmanager
def _placing(dataset: Dataset) -> Iterator[None]:
    """Let the error of a sample name its line."""
    try:
        yield
    except SampleError as error:
        raise placed(error, dataset) from error


def _classifier(
    transformer: BackboneFeatures, settings: Mapping[str, Any], verbose: bool
) -> FineTuneClassifier:
    known = sorted(set(FineTuneClassifier().get_params(deep=False)) - {"backbone", "verbose"})
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ParameterError(
            f"unknown parameter(s) {', '.join(unknown)}; expected some of {', '.join(known)}."
        )
    return FineTuneClassifier(transformer, verbose=verbose, **settings)


def _split(
    dataset: Dataset, labels: NDArray[Any], keys: NDArray[np.uint8], *, ignore_split: bool, seed: int
) -> NDArray[Any]:
    """The part of every sample."""
    if dataset.split is None or ignore_split:
        units = content_groups(keys) if dataset.groups is None else dataset.groups
        split = np.full(len(dataset), TRAIN, dtype=object)
        split[inner_folds(labels, units, at_most=_FOLDS, random_state=seed)[0][1]] = HELD_OUT
        return split.astype(str)
    split = np.asarray(dataset.split)
    parts = sorted(set(split.tolist()) - {""})
    if TRAIN not in parts or len(parts) < 2:
        raise DatasetError(
            f"{dataset.name}: its split has the part(s) {', '.join(parts)}, expected {TRAIN} and another one. Name them, or pass "
            "ignore_split=True."
        )
    for leak in () if dataset.groups is None else group_leaks(dataset.groups, split):
        warnings.warn(str(leak), LeakWarning, stacklevel=3)
    return split


def _rows(dataset: Dataset, rows: NDArray[np.intp]) -> Dataset:
    def some(values: Any) -> Any:
        return None if values is None else np.asarray(values)[rows]

    return replace(
        dataset,
        samples=[dataset.samples[i] for i in rows.tolist()],
        labels=some(dataset.labels),
        groups=some(dataset.groups),
        split=some(dataset.split),
        places=None if dataset.places is None else [dataset.places[i] for i in rows.tolist()],
    )


def _figures(comparison: Comparison) -> dict[str, Any]:
    """For the card: of every held-out part what the frozen probe reached and what the tuned network does, with intervals."""
    parts: dict[str, Any] = {}
    for evaluation in comparison.evaluations:
        for judged in evaluation.judgements:
            if judged.level == evaluation.main.level:
                parts.setdefault(judged.part, {})[evaluation.name] = {
                    name: judged.figures[name].to_dict() for name in _FIGURES if name in judged.figures
                }
    return parts
