"""What a fit keeps: the tuned network or the frozen one, and behind it the head that was trained along or one fitted anew.

Owns the rule. A head that was trained along has seen every training sample in every epoch and is far too sure of them; one that
scikit-learn fits on the tuned vectors afterwards, as strictly as any head of featx, is mostly better. The validation part says
which, by log loss, and whether the network is to be left as it was: a tuned one is kept where its refined loss is lower by more
than one standard error. Once that is settled the head is fitted on all samples, those of the validation part with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featx.finetuning.judging import Gain, losses, paired_gain, refined_losses
from featx.finetuning.linear_head import LinearHead, StandardHead, without_dead_columns
from featx.heads import make_head

__all__ = ["Choice", "Figures", "Labelled", "choose", "fit_probe"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """What is known of the samples beside their vectors.

    Parameters
    ----------
    labels : ndarray, shape (n,)
    codes : ndarray of int, shape (n,)
        Positions of the classes.
    training, validation : ndarray of int
        Indices of the samples; the second may be empty.
    units : ndarray of int, shape (n,)
        What belongs together.
    class_weight : "balanced", dict or None
    class_weights : ndarray of float64, shape (n_classes,)
        The same in numbers.
    """

    labels: NDArray[Any]
    codes: NDArray[np.intp]
    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    units: NDArray[np.intp]
    class_weight: str | dict[Any, float] | None
    class_weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """A model on the validation part.

    Parameters
    ----------
    loss, refined_loss : float
        Mean log loss, weighted by class, as it is and after the best temperature.
    balanced_accuracy : float
    """

    loss: float
    refined_loss: float
    balanced_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was kept, and why.

    Parameters
    ----------
    network : {"tuned", "frozen"}
    head : {"trained", "refitted", "probe"}
        Trained along with the network, fitted on its vectors afterwards, or fitted on frozen vectors.
    n_validation : int
    frozen, tuned : Figures or None
        Of the frozen probe and of the tuned network with the better of its heads; None without a validation part.
    gain : Gain or None
        By how much the refined loss of the second is lower.
    """

    network: str
    head: str
    n_validation: int = 0
    frozen: Figures | None = None
    tuned: Figures | None = None
    gain: Gain | None = None


def fit_probe(
    vectors: NDArray[np.float32], labels: NDArray[Any], class_weight: str | dict[Any, float] | None
) -> StandardHead:
    """The default logistic head of featx on vectors (n, d)."""
    probe = make_head("logistic", class_weight=class_weight)
    with threadpool_limits(1, user_api="blas"):
        return StandardHead.of_probe(probe.fit(without_dead_columns(vectors), labels))


def choose(
    frozen: NDArray[np.float32],
    tuned: NDArray[np.float32] | None,
    start: LinearHead,
    trained: LinearHead,
    known: Labelled,
    *,
    refit: bool,
) -> tuple[LinearHead, Choice]:
    """Choose, and fit the head that is left.

    Parameters
    ----------
    frozen, tuned : ndarray of float32, shape (n, d)
        Vectors of all samples by the network as it was, and by the tuned one; None where no training came about.
    start : LinearHead
        The probe of the training part's frozen vectors.
    trained : LinearHead
        As it was trained along.
    known : Labelled
    refit : bool
        Whether a head fitted anew is a candidate; without a validation part it is what is taken.
    """
    training, validation = known.training, known.validation

    def probe(vectors: NDArray[np.float32], rows: NDArray[np.intp] | slice) -> LinearHead:
        return fit_probe(vectors[rows], known.labels[rows], known.class_weight).folded()

    everything = slice(None)
    if tuned is None:
        return probe(frozen, everything), Choice(network="frozen", head="probe")
    if not len(validation):
        if refit:
            return probe(tuned, everything), Choice(network="tuned", head="refitted")
        return trained, Choice(network="tuned", head="trained")
    codes = known.codes[validation]
    weights = known.class_weights[codes]

    def judged(head: LinearHead, vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], Figures]:
        """Refined losses, and the figures."""
        logits = head.logits(vectors[validation])
        refined, right = refined_losses(logits, codes, weights), logits.argmax(axis=1) == codes
        recalls = [right[codes == code].mean() for code in np.unique(codes)]
        loss, best = (float(np.average(each, weights=weights)) for each in (losses(logits, codes), refined))
        return refined, Figures(loss, best, float(np.mean(recalls)))

    before, frozen_figures = judged(start, frozen)
    name, (after, tuned_figures) = "trained", judged(trained, tuned)
    if refit:
        other = judged(probe(tuned, training), tuned)
        if other[1].loss < tuned_figures.loss:
            name, (after, tuned_figures) = "refitted", other
    gain = paired_gain(before, after, weights=weights, units=known.units[validation])
    choice = Choice(
        network="tuned" if gain.is_clear else "frozen",
        head=name if gain.is_clear else "probe",
        n_validation=len(validation),
        frozen=frozen_figures,
        tuned=tuned_figures,
        gain=gain,
    )
    if not gain.is_clear:
        return probe(frozen, everything), choice
    return (probe(tuned, everything) if name == "refitted" else trained), choice
