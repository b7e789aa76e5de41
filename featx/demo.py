"""``featx demo``: the main job from start to end on what every installation has, with nothing downloaded.

Owns the walk and its words: embed, embed again from the cache, compare heads with a plain baseline on the same folds, save
the best, use it on what was held out of all that. Both walks, of images and of texts, are one. Nothing is left behind.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from featx.backbones.backbone import Backbone
from featx.demo_data import read_digits, sentences_path, write_digits
from featx.embedding import embed, make_features
from featx.errors import LeakWarning
from featx.evaluation.folds import Fold, make_folds
from featx.evaluation.results import FoldResult, HeadResult
from featx.evaluation.scores import score_predictions
from featx.heads import make_head
from featx.inputs.datasets import Dataset, read_dataset
from featx.predicting import Predictions, predict
from featx.store.store import EmbeddingStore
from featx.training import Training, train

__all__ = ["DemoResult", "run_demo"]

_EVERY = 3  # of so many digits one is taken
_PARTS = 6  # one of them is held out; the others are cross-validated
_SHOWN = 3  # predictions, one by one
_TRAIN, _TEST = "train", "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration measured.

    Parameters
    ----------
    training : Training
        On the vectors of the backbone.
    baseline : HeadResult
        The same folds without a backbone: raw pixels, or counted words.
    n_computed, n_computed_again : int
        Samples that met the network at first, and when the same was asked again.
    first_s, second_s : float
        Seconds that each took.
    predictions : Predictions
        By the saved model, of the samples held out.
    """

    training: Training
    baseline: HeadResult
    n_computed: int
    n_computed_again: int
    first_s: float
    second_s: float
    predictions: Predictions


def run_demo(
    show: Callable[[str], None],
    *,
    modality: str = "image",
    backbone: str | None = None,
    device: str = "auto",
) -> DemoResult:
    """Embed, embed again, compare heads, save and use a model; say at each step what happens.

    Parameters
    ----------
    show : callable
        Takes a line.
    modality : {"image", "text"}
        Digits, or sentences.
    backbone : str, optional
        None takes ``"compact"`` or ``"minilm"``.
    device : str
        Where to compute.

    Raises
    ------
    BackboneNotFoundError
        The backbone is not on this machine; ``minilm`` has to be fetched first. Nothing has been shown yet.
    """
    # Without a cache: not even the digest of the backbone's file is to stay behind.
    features = make_features(modality, backbone, device=device, cache=None).fit(None)
    with tempfile.TemporaryDirectory(prefix="featx-demo-") as scratch:
        folder = Path(scratch)
        subject = _digits(folder / "digits") if modality == "image" else _sentences()
        for line in (*subject.introduction, *_about(features.backbone_)):
            show(line)
        return _walk(show, subject, folder, backbone=features.backbone_, device=device)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What a walk is about, and its words."""

    dataset: Dataset  # with a split
    plain: NDArray[Any]  # what the baseline is fitted on, a row a sample
    baseline: Pipeline
    baseline_name: str
    introduction: Sequence[str]
    remark: str  # on the baseline
    commands: Sequence[str]


def _walk(
    show: Callable[[str], None], subject: _Subject, folder: Path, *, backbone: Backbone, device: str
) -> DemoResult:
    dataset = subject.dataset
    labels, groups, split = map(np.asarray, (dataset.labels, dataset.groups, dataset.split))
    chosen: dict[str, Any] = {
        "backbone": backbone,
        "cache": EmbeddingStore(folder / "cache"),
        "device": device,
    }
    first, first_s = _timed(lambda: embed(dataset, **chosen))
    again, second_s = _timed(lambda: embed(dataset, **chosen))
    show("")
    show(f"Embedded: {first.n_computed} {dataset.noun} met the network, {first_s:.1f} s.")
    show(f"The same again: {again.n_computed} met it, {second_s:.2f} s. Their vectors are in the cache.")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)  # told below, as what it is here
        training, train_s = _timed(lambda: train(dataset, out=folder / "model", **chosen))
    known, kept_back = np.flatnonzero(split == _TRAIN), np.flatnonzero(split == _TEST)
    folds = make_folds(labels[known], groups[known])  # those that train compares heads on
    baseline = _cross_validate(subject, known, labels[known], folds)
    comparison = training.comparison
    show("")
    show(f"Heads compared on them, {training.n_computed} embedded, and the best one saved: {train_s:.1f} s.")
    show(comparison.format_table())
    mean, std = baseline.mean, baseline.std
    show(
        f"Without a network, {subject.baseline_name}, same folds: accuracy {mean.accuracy:.3f}±{std.accuracy:.3f}, "
        f"balanced {mean.balanced_accuracy:.3f}±{std.balanced_accuracy:.3f}."
    )
    show(subject.remark)
    if training.leaks:
        show(
            f"featx also looked for copies and found {dataset.noun} that are all but equal; on data of your own each finding is "
            "a warning with examples."
        )

    samples = [dataset.samples[at] for at in kept_back]
    # With the backbone inside the model, and no cache to read from.
    predictions = predict(folder / "model", samples, device=device, cache=None)
    n_right = int((predictions.labels == labels[kept_back]).sum())
    show("")
    show(
        f"The saved model ({comparison.best}) on {len(samples)} {dataset.noun} held out of all this: {n_right} right, "
        f"{n_right / len(samples):.3f}."
    )
    for at in range(_SHOWN):
        name = samples[at] if dataset.modality == "text" else "/".join(Path(samples[at]).parts[-2:])
        label, truth = predictions.labels[at], labels[kept_back[at]]
        show(f"  {name} -> {label}{f' (wrong: {truth})' * (label != truth)}")
    show("")
    for line in subject.commands:
        show(line)
    return DemoResult(
        training=training,
        baseline=baseline,
        n_computed=first.n_computed,
        n_computed_again=again.n_computed,
        first_s=first_s,
        second_s=second_s,
        predictions=predictions,
    )


def _digits(folder: Path) -> _Subject:
    digits = read_digits(every=_EVERY)
    dataset = _with_split(read_dataset(write_digits(folder, every=_EVERY)))
    return _Subject(
        dataset=dataset,
        plain=digits.pixels.reshape(len(digits.pixels), -1).astype(np.float32),
        baseline=make_head("logistic"),
        baseline_name="raw pixels into the logistic head",
        introduction=(
            f"{len(dataset)} handwritten digits, scans of 8 x 8 pixels (scikit-learn's copy of the UCI set), as PNG files.",
            "13 people wrote them, and the set does not say who: scans that follow each other, often by one hand, stay together.",
        ),
        remark="Such small scans are easy for pixels, and photographs are not: here only the steps are to be seen.",
        commands=(
            "On your own pictures, a folder a class or a CSV with file, label and, where there is one, group:",
            "  featx train FOLDER --out MODEL",
            "  featx predict MODEL IMAGES...",
            "  featx embed FOLDER -o vectors.npy",
        ),
    )


def _sentences() -> _Subject:
    dataset = _with_split(read_dataset(sentences_path()))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return _Subject(
        dataset=dataset,
        plain=np.asarray(dataset.samples, dtype=object),
        baseline=Pipeline(
            [("words", words), ("logistic", LogisticRegression(class_weight="balanced", max_iter=5_000))]
        ),
        baseline_name="words and pairs of words (TF-IDF) into a logistic regression",
        introduction=(
            f"{len(dataset)} sentences on clinics, shops, travel and so on, negative, neutral or positive, written for featx.",
            "Some are hard: denials, irony, mixed feelings. Those of one author stay together.",
        ),
        remark="Vectors of sentences say what they are about better than how they are meant, and these are few.",
        commands=(
            "On your own texts, a CSV with text, label and, where there is one, group:",
            "  featx train FILE.csv --out MODEL",
            '  featx predict MODEL "a text" MORE.csv',
            "  featx embed FILE.csv -o vectors.npy",
        ),
    )


def _with_split(dataset: Dataset) -> Dataset:
    """A sixth held out, its groups with it."""
    split = np.full(len(dataset), _TRAIN)
    split[make_folds(np.asarray(dataset.labels), dataset.groups, n_splits=_PARTS)[0][1]] = _TEST
    return replace(dataset, split=split)


def _about(backbone: Backbone) -> list[str]:
    described = f"{backbone.name}: {backbone.card.get('description', '')}".removesuffix(": ")
    return [f"Backbone {described}.", *([f"Its terms: {backbone.terms}"] if backbone.terms else [])]


def _cross_validate(
    subject: _Subject, known: NDArray[np.intp], labels: NDArray[Any], folds: Sequence[Fold]
) -> HeadResult:
    """The baseline on the samples `known`, as :func:`featx.evaluation.compare.compare_heads` has it of heads."""
    X, results = subject.plain[known], []
    proba = np.empty((len(labels), len(np.unique(labels))))
    with threadpool_limits(limits=1, user_api="blas"):
        for trained, tested in folds:
            started_s = time.perf_counter()
            fitted = subject.baseline.fit(X[trained], labels[trained])
            fit_time_s = time.perf_counter() - started_s
            proba[tested] = fitted.predict_proba(X[tested])
            scores = score_predictions(labels[tested], proba[tested], fitted.classes_)
            results.append(FoldResult(scores=scores, fit_time_s=fit_time_s, params={}))
    return HeadResult(name=subject.baseline_name, folds=tuple(results), proba=proba)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started_s = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started_s
