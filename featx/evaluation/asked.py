"""What an evaluation is asked: its parameters, checked, as a task for every fold and as plain values to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, is_regressor

from featx.errors import ParameterError, did_you_mean
from featx.evaluation.bootstrap import check_draws
from featx.evaluation.estimators import Grid, check_estimator, check_grid, check_scoring, grids_of
from featx.evaluation.folds import check_n_splits, check_seed
from featx.evaluation.out_of_fold import CALIBRATIONS, Task
from featx.evaluation.outcomes import check_how
from featx.evaluation.subjects import Subject
from featx.evaluation.thresholds import Threshold
from featx.heads import search_scoring
from featx.store.digest import DIGEST_BYTES

__all__ = ["Asked", "asked_of", "check_asked", "check_beside", "settings_of", "task_of"]

_ON_LEAK = ("group", "warn", "raise")
_LONGEST_REPR = 100_000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What :func:`featx.evaluate` is asked, beside estimator and data; its parameters by their names."""

    groups: Any = None
    split: Any = None
    training_keys: Any = None
    cv: int | str = 5
    param_grid: Grid | None = None
    scoring: Any = None
    calibrate: str | None = None
    aggregate: str | None = None
    positive: Any = None
    at_specificity: float | None = 0.9
    at_sensitivity: float | None = 0.9
    on_leak: str = "group"
    learning_curve: Sequence[float] = ()
    n_bootstrap: int = 2_000
    random_state: int = 0
    n_jobs: int | None = None
    name: str | None = None
    verbose: bool = False


def task_of(subject: Subject, asked: Asked) -> Task:
    """What is asked of every fold.

    Raises
    ------
    ParameterError
        It does not fit the subject.
    """
    grid, scoring, calibrate = asked.param_grid, asked.scoring, asked.calibrate
    how, positive = asked.aggregate, asked.positive
    thresholds = _thresholds(asked.at_specificity, asked.at_sensitivity)
    if subject.classes is None:
        return Task(classes=None, grid=grid, scoring=scoring or "r2", how=how)
    two = len(subject.classes) == 2
    at = int(np.argsort(subject.classes)[1]) if two else 1  # a finished model may have them in another order
    if positive is not None:
        known = subject.classes.tolist()
        if not two or positive not in known:
            raise ParameterError(
                f"positive={positive!r}: expected one of two classes, and these are {', '.join(map(repr, known[:10]))}."
            )
        at = known.index(positive)
    by = scoring
    if by is None:
        by = (
            search_scoring("logistic") if hasattr(subject.estimator, "predict_proba") else "balanced_accuracy"
        )
    scored = hasattr(subject.estimator, "predict_proba") or hasattr(subject.estimator, "decision_function")
    return Task(
        classes=subject.classes,
        positive=at,
        grid=grid,
        scoring=by,
        calibrate=calibrate,
        thresholds=thresholds if two and scored else (),
        how=how,
    )


def _thresholds(at_specificity: float | None, at_sensitivity: float | None) -> tuple[Threshold, ...]:
    found = []
    for of, share in (("specificity", at_specificity), ("sensitivity", at_sensitivity)):
        if share is None:
            continue
        if not _is_number(share) or not 0 < share <= 1:
            raise ParameterError(
                f"at_{of}={share!r}: expected a share above 0 and at most 1, such as 0.9, or None."
            )
        found.append(Threshold(of=of, at_least=float(share)))
    return tuple(found)


def check_beside(asked: Asked, estimator: Any, *, grouped: bool) -> None:
    """Refuse what does not go with the estimator, or with data that have groups or none, before anything is embedded.

    Raises
    ------
    ParameterError
    """
    check_estimator(estimator, prefit=asked.cv == "prefit")
    check_grid(estimator, asked.param_grid)
    how, regression = asked.aggregate, is_regressor(estimator)
    if how is not None:
        check_how(how, regression=regression)
        if not grouped:
            raise ParameterError(
                f"aggregate={how!r}: there are no groups to make one prediction of. Give groups."
            )
    if regression and (asked.calibrate is not None or asked.positive is not None):
        raise ParameterError("calibrate and positive are for classifiers, and this is a regressor.")


def check_asked(asked: Asked) -> None:
    """Refuse what can be refused before the data are read.

    Raises
    ------
    ParameterError
    """
    on_leak, calibrate, curve = asked.on_leak, asked.calibrate, asked.learning_curve
    if not isinstance(curve, Sequence | np.ndarray) or not all(
        _is_number(share) and 0 < share < 1 for share in curve
    ):
        raise ParameterError(
            f"learning_curve={curve!r}: expected shares between 0 and 1, such as (0.1, 0.25, 0.5)."
        )
    if on_leak not in _ON_LEAK:
        raise ParameterError(
            f"on_leak={on_leak!r}: expected one of {', '.join(map(repr, _ON_LEAK))}.{did_you_mean(str(on_leak), _ON_LEAK)}"
        )
    if calibrate is not None and calibrate not in CALIBRATIONS:
        raise ParameterError(
            f"calibrate={calibrate!r}: expected None or one of {', '.join(map(repr, CALIBRATIONS))}."
        )
    if asked.cv == "prefit" and (asked.param_grid or calibrate or len(curve)):
        raise ParameterError(
            'cv="prefit" fits nothing: param_grid, calibrate and learning_curve have no place beside it. Leave them out.'
        )
    keys = asked.training_keys
    if keys is not None and asked.cv != "prefit":
        raise ParameterError(
            'training_keys: are those of a finished model, judged with cv="prefit". Leave them out.'
        )
    if keys is not None and not _are_keys(keys):
        raise ParameterError(
            "training_keys: expected digests, uint8 of shape (n, 16), as featx.artifact.training_keys(folder) gives them; "
            f"found {getattr(keys, 'dtype', type(keys).__name__)} of shape {getattr(keys, 'shape', None)}."
        )
    if asked.cv != "prefit":
        check_n_splits(asked.cv)
    check_draws(asked.n_bootstrap)
    check_seed(asked.random_state)
    check_scoring(asked.scoring)
    _thresholds(asked.at_specificity, asked.at_sensitivity)
    jobs = asked.n_jobs
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int | np.integer) or jobs == 0):
        raise ParameterError(
            f"n_jobs={jobs!r}: expected a number of threads, -1 for one a core, or None for this process's share of them."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _are_keys(keys: Any) -> bool:
    return isinstance(keys, np.ndarray) and keys.dtype == np.uint8 and keys.shape[1:] == (DIGEST_BYTES,)


_SETTINGS = (
    "cv",
    "calibrate",
    "aggregate",
    "at_specificity",
    "at_sensitivity",
    "on_leak",
    "n_bootstrap",
    "random_state",
)


def asked_of(settings: Mapping[str, Any]) -> Asked:
    """Parameters by name, for :func:`featx.compare`.

    Raises
    ------
    ParameterError
        An unknown name.
    """
    known = [field.name for field in fields(Asked)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ParameterError(
            f"compare: unknown parameter(s) {', '.join(unknown)}; expected some of {', '.join(known)}."
            f"{did_you_mean(unknown[0], known)}"
        )
    return Asked(**settings)


def settings_of(model: Any, asked: Asked, subject: Subject) -> dict[str, Any]:
    """Everything that decides the result beside the data, as plain values: parameters that nobody set included."""
    grid, features = asked.param_grid, subject.features
    plain = [{key: [repr(v) for v in values] for key, values in each.items()} for each in grids_of(grid)]
    spaces = () if features is None else features.spaces_
    return {
        **{name: getattr(asked, name) for name in _SETTINGS},
        "learning_curve": [float(share) for share in asked.learning_curve],
        "param_grid": None if grid is None else plain[0] if isinstance(grid, Mapping) else plain,
        "estimator": _in_full(model),
        "features": [
            {"backbone": features.backbone_.name, **space.to_dict()} for space in spaces if features
        ],
    }


def _in_full(model: Any) -> str:
    """A model with every parameter; scikit-learn's own way leaves out those at their defaults, and cuts what is long."""
    if not isinstance(model, BaseEstimator):
        return repr(model)
    with config_context(print_changed_only=False):
        return str(model.__repr__(N_CHAR_MAX=_LONGEST_REPR))
