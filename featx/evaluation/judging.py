"""Outcomes judged: every figure that they allow, with its interval, and those of each class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.bootstrap import Estimate, bootstrap
from featx.evaluation.figures import FIGURES, measure, measure_classes
from featx.evaluation.judgements import Judgement
from featx.evaluation.out_of_fold import Task
from featx.evaluation.outcomes import Outcomes

__all__ = ["judge"]


def judge(part: str, level: str, outcomes: Outcomes, task: Task, n_draws: int, seed: int) -> Judgement:
    """Every figure of the outcomes with its 95 % interval.

    Parameters
    ----------
    part, level : str
        See :class:`featx.evaluation.judgements.Judgement`.
    outcomes : Outcomes
    task : Task
    n_draws, seed : int
        Of the bootstrap; outcomes of the same units and the same seed share their draws.
    """
    shares = frozenset(name for name, figure in FIGURES.items() if figure.is_share)

    def figures(weights: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
        return measure(outcomes, weights, positive=task.positive)

    names = {str(c): i for i, c in enumerate(task.classes.tolist())} if task.classes is not None else {}

    def by_class(weights: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
        found = measure_classes(outcomes, weights)
        return {f"{kind}\0{label}": rows[i] for kind, rows in found.items() for label, i in names.items()}

    shared = shares | {
        f"{kind}@{rule.name}" for kind in ("sensitivity", "specificity") for rule in task.thresholds
    }
    estimates = bootstrap(figures, outcomes.units, n_draws=n_draws, random_state=seed, shares=shared)
    chance = None
    if outcomes.proba is not None:
        # Its plain value is above the truth, more so in draws: an interval by bootstrap held it in 0 to 25 % of trials.
        estimates["calibration_error"] = replace(estimates["calibration_error"], low=None, high=None)
        chance = _calibration_by_chance(outcomes, seed)
    of_classes = (
        bootstrap(
            by_class,
            outcomes.units,
            n_draws=n_draws,
            random_state=seed,
            shares=frozenset(f"{kind}\0{label}" for kind in ("precision", "recall", "f1") for label in names),
        )
        if names
        else {}
    )
    return Judgement(
        part=part,
        level=level,
        outcomes=outcomes,
        figures=_in_order(estimates),
        by_class={
            label: {kind: of_classes[f"{kind}\0{label}"] for kind in ("precision", "recall", "f1")}
            for label in names
        },
        n_units=len(np.unique(outcomes.units)),
        calibration_by_chance=chance,
    )


def _in_order(estimates: dict[str, Estimate]) -> dict[str, Estimate]:
    order = list(FIGURES)
    plain = [name for name in order if name in estimates]
    return {name: estimates[name] for name in [*plain, *(name for name in estimates if "@" in name)]}


def _calibration_by_chance(outcomes: Outcomes, seed: int) -> float:
    """Mean calibration error over 200 draws in which every prediction is right as often as it says."""
    assert outcomes.proba is not None
    rng = np.random.default_rng(seed)
    n, k = outcomes.proba.shape
    sure = outcomes.proba[np.arange(n), outcomes.predicted]
    errors = []
    for _ in range(200):
        right = rng.random(n) < sure
        truth = np.where(right, outcomes.predicted, (outcomes.predicted + 1) % k)
        errors.append(measure(replace(outcomes, truth=truth))["calibration_error"][0])
    return float(np.mean(errors))
