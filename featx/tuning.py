"""``finetune``: a backbone tuned on a data set, judged beside the frozen one on samples that neither has seen, and written.

Owns what is trained on and what is judged on. The training is :class:`featx.FineTuneClassifier`'s, the figures are
:func:`featx.compare`'s.
"""

from __future__ import annotations

import os
import re
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

from featx import finetuning
from featx.artifact import save
from featx.artifact.folder import check_out
from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.embedding import DataLike, make_features, placed
from featx.errors import DatasetError, LeakWarning, ParameterError, SampleError
from featx.evaluation.bootstrap import Estimate
from featx.evaluation.evaluate import compare
from featx.evaluation.leaks import TRAIN
from featx.evaluation.overlap import NOTHING_NEW
from featx.exporting.folder import replaceable
from featx.finetuning.classifier import FineTuneClassifier
from featx.finetuning.places import check_place
from featx.heads import make_head
from featx.inputs.dataset import Dataset, warn_of_empty_texts
from featx.inputs.datasets import read_dataset
from featx.inputs.samples import DigestSample
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation
from featx.tuning_parts import check_known, rows_of, split_of, units_of

__all__ = ["Tuning", "finetune"]

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
    folder, model : Path or None
        The tuned backbone's, and the whole model's, where they were written.
    """

    classifier: FineTuneClassifier
    comparison: Comparison
    n_train: int
    folder: Path | None
    model: Path | None

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
            "model": None if self.model is None else str(self.model),
        }


def finetune(
    data: DataLike,
    *,
    out: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    backbone: str | os.PathLike[str] | Backbone | None = None,
    features: Mapping[str, Any] | None = None,
    folds: int | None = None,
    ignore_split: bool = False,
    remember_samples: bool = True,
    overwrite: bool = False,
    verbose: bool = False,
    **settings: Any,
) -> Tuning:
    """Tune a backbone on a data set, and judge it beside the frozen one.

    With a split, the part ``train`` is tuned on and the other parts are judged. Without one a fifth is held out. With `folds`
    every sample is judged by a backbone that was tuned without it, and the one that is given and written is tuned on all of them.
    Groups, copies and near-copies are kept together wherever something is set aside, as :func:`featx.evaluate` finds them. The
    frozen backbone's head is fitted on the same training part, all of it.

    Parameters
    ----------
    data : Dataset or path
        A folder a class, or a CSV; see :func:`featx.read_dataset`.
    out : path, optional
        Where to write the tuned backbone: a folder that others can use, its card with the figures of the held-out parts.
    model : path, optional
        Where to save the whole model, tuned backbone and head, as :func:`featx.save` does: ready to predict.
    backbone : str, path or Backbone, optional
        None is the default of the modality.
    features : dict, optional
        Further parameters of the features transformer: ``tap``, ``pooling``, ``cache``, ``max_length`` ...
    folds : int, optional
        Judge in so many folds over all samples, groups and copies kept together, whatever their split. Takes as many trainings
        more.
    ignore_split : bool
        Hold out a fifth of all samples, whatever their split.
    remember_samples : bool
        Let what is written keep content digests of the samples that it was tuned on; see
        :meth:`featx.FineTuneClassifier.save_backbone` and :func:`featx.save`.
    overwrite : bool
        Replace a backbone that featx wrote at ``out``, and a model at ``model``.
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
    finetuning.GraphModule  # noqa: B018  # says how to install torch, before any work
    target = None if out is None else Path(os.path.abspath(Path(out).expanduser()))
    if target is not None:
        replaceable(target, overwrite=overwrite)
    if model is not None:
        if target is not None and target == Path(os.path.abspath(Path(model).expanduser())):
            raise ParameterError(f"out and model are one folder, {target}. Name two.")
        check_out(Path(model), overwrite=overwrite)
        check_place(Path(os.path.abspath(Path(model).expanduser())).parent, "the model")
    if target is not None:
        check_place(target.parent, "the tuned backbone")
    if folds is not None and (not isinstance(folds, int) or isinstance(folds, bool) or folds < 2):
        raise ParameterError(f"folds={folds!r}: expected a whole number, at least 2, or None.")
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
    frozen = clone(transformer).fit(None)
    with _placing(dataset):
        extraction = frozen.extract(dataset.samples)
    units = units_of(dataset, labels, frozen, extraction, verbose=verbose)
    if folds is None:
        split = split_of(dataset, labels, units, ignore_split=ignore_split, seed=classifier.random_state or 0)
        n_train = int((split == TRAIN).sum())
        check_known(labels, split)
        found = _judged_apart(classifier, probe, replace(dataset, split=split), units, extraction.keys)
    else:
        n_train = len(dataset)
        found = _judged_in_folds(classifier, probe, dataset, units, folds, verbose=verbose)
    folder = None
    if target is not None:
        card = {"held_out" if folds is None else "folds": _figures(found)}
        folder = classifier.save_backbone(
            target, overwrite=overwrite, card=card, remember_samples=remember_samples
        )
    result = Tuning(
        classifier=classifier,
        comparison=found,
        n_train=n_train,
        folder=folder,
        model=None if model is None else Path(model),
    )
    if model is not None:
        rows = slice(None) if folds is not None else split == TRAIN
        digests = [DigestSample(key.tobytes()) for key in extraction.keys[rows]]
        save(
            classifier.to_pipeline(),
            model,
            overwrite=overwrite,
            notes=_notes(dataset, result),
            sample_column=None if dataset.column == "digest" else dataset.column,
            trained_on=digests if remember_samples else None,
        )
    return result


def _notes(dataset: Dataset, result: Tuning) -> str:
    """What the README of the model says of its training, in words that name no sample and no group."""
    evaluations = result.comparison.evaluations
    table = Comparison(evaluations=tuple(replace(each, leaks=()) for each in evaluations)).format_table()
    lines = [
        f"Tuned on {result.n_train} {dataset.noun} of {dataset.name}, and judged beside the frozen backbone:",
        "",
        "```",
        table,
        "```",
    ]
    for words in dict.fromkeys(leak.anonymous for each in evaluations for leak in each.leaks):
        lines += ["", f"Beware: {words}"]
    return "\n".join(lines)


def _judged_apart(
    classifier: FineTuneClassifier,
    probe: Pipeline,
    dataset: Dataset,
    units: NDArray[np.intp],
    keys: NDArray[np.uint8],
) -> Comparison:
    """Both fitted on the part ``train`` of the split, and judged on the others."""
    training = np.flatnonzero(np.asarray(dataset.split) == TRAIN)
    known = rows_of(dataset, training)
    with _placing(known):
        classifier.fit(known.samples, np.asarray(known.labels), groups=units[training])
        probe.fit(known.samples, known.labels)
    with _placing(dataset), warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".* every one of these .* of {TRAIN}, for example ", LeakWarning)
        found = compare(
            {"frozen": probe, "tuned": classifier.to_pipeline()},
            dataset,
            cv="prefit",
            training_keys=np.unique(keys[training], axis=0),
        )
    return replace(found, evaluations=tuple(_without_training(each, training) for each in found.evaluations))


def _without_training(evaluation: Evaluation, training: NDArray[np.intp]) -> Evaluation:
    """Without what is said of the part that was tuned on: that it is known is no finding here."""
    known = set(training.tolist())
    return replace(
        evaluation,
        # A part is called "train", or "train, as given" where some of it is new.
        judgements=tuple(each for each in evaluation.judgements if each.part.split(", ")[0] != TRAIN),
        leaks=tuple(
            leak
            for leak in evaluation.leaks
            if leak.kind != NOTHING_NEW or not known.issuperset(i for sample in leak.samples for i in sample)
        ),
    )


def _judged_in_folds(
    classifier: FineTuneClassifier,
    probe: Pipeline,
    dataset: Dataset,
    units: NDArray[np.intp],
    folds: int,
    *,
    verbose: bool,
) -> Comparison:
    """Clones of both judged in folds; the classifier is then fitted on everything."""
    with _placing(dataset), _naming_folds():
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
        classifier.fit(dataset.samples, np.asarray(dataset.labels), groups=units)
    return found


@contextmanager
def _placing(dataset: Dataset) -> Iterator[None]:
    """Let the error of a sample name its line."""
    try:
        yield
    except SampleError as error:
        raise placed(error, dataset) from error


@contextmanager
def _naming_folds() -> Iterator[None]:
    """Let errors advise on `folds`, which is what ``cv`` is called here."""
    try:
        yield
    except (DatasetError, ParameterError) as error:
        raise type(error)(re.sub(r"\bcv=(?=\d)", "folds=", str(error))) from error


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
