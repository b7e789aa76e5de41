"""``evaluate``: what a model is worth on samples it has not seen, in one call that is hard to fool oneself with.

Owns the order of things: embed once, look for leaks, decide what stays together, fit and predict fold by fold, judge with
intervals.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from featx.errors import FeatxWarning, LeakError, LeakWarning
from featx.evaluation.asked import Asked, asked_of, check_asked, check_beside, settings_of, task_of
from featx.evaluation.compared import compared
from featx.evaluation.estimators import Grid, check_searched
from featx.evaluation.findings import Findings, find_leaks
from featx.evaluation.judgements import CurvePoint
from featx.evaluation.leaks import TRAIN
from featx.evaluation.origins import Origin
from featx.evaluation.outcomes import check_one_label
from featx.evaluation.plans import Plan
from featx.evaluation.remembered import remembered_keys
from featx.evaluation.searches import BLIND_SEARCH, search_leaks
from featx.evaluation.subjects import Subject, embed_once, embeds, read_data
from featx.evaluation.tuned_on import TUNED_ON, tuning_leaks
from featx.heads import make_head
from featx.reporting.comparisons import Comparison
from featx.reporting.evaluations import Evaluation

__all__ = ["compare", "evaluate"]


def evaluate(
    estimator: Any,
    X: Any,
    y: ArrayLike | Sequence[Any] | None = None,
    *,
    groups: ArrayLike | Sequence[Any] | None = None,
    split: ArrayLike | Sequence[Any] | None = None,
    training_keys: ArrayLike | None = None,
    cv: int | str = 5,
    param_grid: Grid | None = None,
    scoring: Any = None,
    calibrate: str | None = None,
    aggregate: str | None = None,
    positive: Any = None,
    at_specificity: float | None = 0.9,
    at_sensitivity: float | None = 0.9,
    on_leak: str = "group",
    learning_curve: Sequence[float] = (),
    n_bootstrap: int = 2_000,
    random_state: int = 0,
    n_jobs: int | None = None,
    name: str | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Evaluate an estimator on samples that it was not fitted on, with 95 % intervals.

    Every sample is predicted once, by a model whose training part held neither it, nor a copy of it, nor any other sample of its
    group. Where the data have a split, one model is fitted on the part ``train`` and the other parts are predicted.

    Parameters
    ----------
    estimator : estimator
        A classifier or regressor, usually a Pipeline whose first step is an :class:`featx.ImageFeatures` or
        :class:`featx.TextFeatures`: its vectors are then computed once for everything. Never fitted itself; clones are. A
        string names a head (:func:`featx.make_head`) for X that are numbers.
    X : sequence of samples, array of shape (n_samples, n_features), Dataset, or path of a data set
        A data set brings labels, groups and split with it.
    y : array-like of shape (n_samples,), optional
        Labels, or the target of a regressor.
    groups : array-like of shape (n_samples,), optional
        What belongs together, such as the slices of a patient. Kept together in folds; drawn as a whole by the bootstrap.
    split : array-like of shape (n_samples,), optional
        ``"train"`` and the names of held-out parts, each judged by itself; a sample without one (``""``, None, NaN) is not used.
    training_keys : ndarray of uint8, shape (m, 16), optional
        With ``cv="prefit"``: content digests of the samples that the estimator was trained on, as :func:`featx.training_keys`
        reads them. Those that are in X are reported, and the figures given without them too. None takes what the estimator
        remembers, as one from :func:`featx.load` does until it is fitted anew.
    cv : int or "prefit"
        Folds, where there is no split: stratified, and grouped where groups or copies are known. ``"prefit"`` fits nothing: X
        are samples for a fitted estimator, new ones as far as ``training_keys`` can tell.
    param_grid : dict or list of dict, optional
        Searched inside each training part (nested), on 3 folds of it. As for ``GridSearchCV``.
    scoring : str or callable, optional
        What the search goes by; None takes the log loss with classes weighing the same, balanced accuracy without
        probabilities, R2 for a regressor.
    calibrate : "sigmoid" or "isotonic", optional
        Calibrate probabilities on folds of each training part (``CalibratedClassifierCV``).
    aggregate : "mean", "median", "max" or "vote", optional
        Judge groups: predictions of a group's samples become one, a group of each part of a split by itself. See
        :func:`featx.evaluation.outcomes.aggregate`: "max" is about the positive class, and a tie of votes goes to the class with
        the higher mean probability.
    positive : label, optional
        Of two classes the one that sensitivity, and the aggregate "max", is about; None takes the second in sorted order.
    at_specificity, at_sensitivity : float or None
        For two classes: thresholds are chosen inside each training part to reach this specificity (sensitivity) there, and
        what they reach on the test part is reported. Training parts that are too small go without, with a warning.
    on_leak : "group", "warn" or "raise"
        What to do about copies of samples: keep them, and the groups they connect, together in folds; only warn; or refuse.
    learning_curve : sequence of float
        Shares of the training part, such as ``(0.1, 0.25, 0.5)``, to fit on as well; searched and calibrated inside each share
        as in the whole part, so that all points of the curve are of one kind.
    n_bootstrap : int
        Draws for the intervals.
    random_state : int
        Seed of folds and draws.
    n_jobs : int, optional
        Threads that each take a fold; None takes this process's share of the cores.
    name : str, optional
        For tables; None describes the estimator.
    verbose : bool
        Show progress.

    Returns
    -------
    Evaluation

    Raises
    ------
    DatasetError
        Labels, groups or a split that allow no honest evaluation.
    LeakError
        Leaks, with ``on_leak="raise"``.
    ParameterError, SampleError, BackboneError

    Warns
    -----
    LeakWarning
        For each leak.

    Notes
    -----
    Intervals are by bootstrap over units, :mod:`featx.evaluation.bootstrap` says which and why. They hold for the models as they
    were trained: other training data would add to them.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> found = evaluate("logistic", X, y, n_bootstrap=200)
    >>> bool(found["roc_auc"].low > 0.97)
    True
    """
    asked = Asked(
        groups=groups,
        split=split,
        training_keys=training_keys,
        cv=cv,
        param_grid=param_grid,
        scoring=scoring,
        calibrate=calibrate,
        aggregate=aggregate,
        positive=positive,
        at_specificity=at_specificity,
        at_sensitivity=at_sensitivity,
        on_leak=on_leak,
        learning_curve=learning_curve,
        n_bootstrap=n_bootstrap,
        random_state=random_state,
        n_jobs=n_jobs,
        name=name,
        verbose=verbose,
    )
    check_searched(scoring, [param_grid])
    return _evaluated(estimator, X, y, asked, {})


def compare(
    estimators: Mapping[str, Any] | Sequence[Any],
    X: Any,
    y: ArrayLike | Sequence[Any] | None = None,
    *,
    param_grids: Mapping[str, Grid] | None = None,
    **settings: Any,
) -> Comparison:
    """Evaluate several estimators on the same folds and the same bootstrap draws.

    Parameters
    ----------
    estimators : dict of str to estimator, or sequence of estimators
        By name; unnamed ones are described by what they are.
    X, y
        As for :func:`evaluate`.
    param_grids : dict of str to dict, optional
        The grid of each that is searched, by name.
    **settings
        Of :func:`evaluate`, for all of them.

    Returns
    -------
    Comparison
        With paired differences: two figures whose intervals overlap can differ beyond doubt.

    Raises
    ------
    ParameterError
        None to compare, two of one name, classifiers beside regressors, or a grid for none of them.
    DatasetError, SampleError, BackboneError
    """
    asked, known = asked_of(settings), dict[tuple[str, ...], Findings]()
    named = compared(estimators, param_grids, asked)
    # Near-copies are found by vectors: whoever has some comes first, and the others get the same folds and draws.
    order = sorted(range(len(named)), key=lambda at: not embeds(named[at].model, named[at].grid))
    found: dict[int, Evaluation] = {}
    for at in order:
        one = named[at]
        with warnings.catch_warnings():
            if found:  # every leak was said once
                warnings.simplefilter("ignore", FeatxWarning)
            its = replace(asked, param_grid=one.grid, name=one.title)
            found[at] = _evaluated(one.model, X, y, its, known)
        for leak in found[at].leaks if at != order[0] else ():
            if leak.kind in (BLIND_SEARCH, TUNED_ON):  # the kinds that are an estimator's own
                warnings.warn(str(leak), LeakWarning, stacklevel=2)
    return Comparison(evaluations=tuple(found[at] for at in range(len(named))))


def _evaluated(
    estimator: Any, X: Any, y: Any, asked: Asked, known: dict[tuple[str, ...], Findings]
) -> Evaluation:
    """See :func:`evaluate`. ``known``: what was found in these data, by the names of the samples that could be read; what is
    found now is put into it."""
    finished = asked.cv == "prefit"
    if finished and asked.training_keys is None:
        asked = replace(asked, training_keys=remembered_keys(estimator))
    check_asked(asked)
    model = make_head(estimator) if isinstance(estimator, str) else estimator
    if finished:  # of a search what it found is judged
        model = getattr(model, "best_estimator_", model)
    data = read_data(X, y, groups=asked.groups, split=asked.split)
    check_beside(asked, model, grouped=data.groups is not None)
    subject = embed_once(model, data, grid=asked.param_grid, prefit=finished, verbose=asked.verbose)
    task = task_of(subject, asked)
    if asked.aggregate is not None:
        _check_groups(subject, asked.aggregate)
    key = subject.names
    if key not in known:
        known[key] = find_leaks(
            subject, finished=finished, training_keys=asked.training_keys, verbose=asked.verbose
        )
    found = known[key].under(asked.on_leak)
    grouped = not finished and subject.groups is not None
    leaks = found.leaks + search_leaks(subject.estimator, grouped=grouped)
    judges_train = finished and found.trained is None  # else what is known of that part is said already
    judged_on = _judged(subject, train_too=judges_train)
    leaks += tuning_leaks(subject.backbone, subject.keys, judged=judged_on, names=subject.names)
    if leaks and asked.on_leak == "raise":
        raise LeakError(f'{len(leaks)} leak(s), and on_leak="raise": ' + " ".join(map(str, leaks)))
    for leak in leaks:
        warnings.warn(str(leak), LeakWarning, stacklevel=3)  # whoever called evaluate or compare
    units = found.units
    plan = Plan.of(subject, task, units, asked.cv, asked.random_state, trained=found.trained)
    task = plan.task
    # Made before anything is fitted: what is too small for a share is refused here.
    thinned = [plan.thinned(share, asked.random_state) for share in sorted(asked.learning_curve)]
    with threadpool_limits(limits=1, user_api="blas"):
        rows, of_groups, fits, predictors = plan.run(task, asked.n_jobs, asked.verbose)
        judged = plan.judge(rows, of_groups, task, asked.n_bootstrap, asked.random_state)
        curve = tuple(
            part.point(judged[0], asked.n_jobs, asked.n_bootstrap, asked.random_state, asked.verbose)
            for part in thinned
        )
    if curve:
        whole = float(np.mean([len(train) for train, _ in plan.folds]))
        curve += (CurvePoint(n_train=whole, estimate=judged[0].figures[judged[0].headline]),)
    chosen = (space.id for features in predictors.own if features is not None for space in features.spaces_)
    return Evaluation(
        name=asked.name or subject.words,
        judgements=judged,
        leaks=leaks,
        looked_for=found.looked_for,
        fits=fits,
        classes=task.classes,
        positive=None if task.classes is None or len(task.classes) != 2 else str(task.classes[task.positive]),
        parts=subject.counts(),
        n_samples=len(subject.y),
        n_units=int(units.max()) + 1,
        n_groups=None if subject.groups is None else int(subject.groups.max()) + 1,
        n_trained_on=None if found.trained is None else int(found.trained[plan.folds[0][1]].sum()),
        trained=found.trained,
        kept_together=found.words,
        kept=() if finished else found.kept,
        noted=found.noted,
        settings=settings_of(model, asked, subject),
        spaces=subject.spaces or tuple(dict.fromkeys(chosen)),
        data_digest=subject.digest(),
        origin=Origin.of(data.dataset, n_samples=len(subject.y), skipped=subject.skipped),
        names=subject.names,
        samples=subject.samples,
        modality=subject.modality,
        skipped=subject.skipped,
        curve=curve,
        predictors=predictors,
    )


def _judged(subject: Subject, *, train_too: bool) -> NDArray[np.bool_]:
    """The samples that figures are given of; a finished model is judged on the part ``train`` as well."""
    if subject.split is None:
        return np.ones(len(subject.y), dtype=np.bool_)
    return ~np.isin(subject.split, ("",) if train_too else ("", TRAIN))


def _check_groups(subject: Subject, how: str) -> None:
    """Refuse groups without a label of their own, where they are to be judged as one."""
    if subject.classes is None or subject.group_names is None:
        return
    used = np.arange(len(subject.y)) if subject.split is None else np.flatnonzero(subject.split != "")
    check_one_label(
        how,
        truth=subject.y[used],
        groups=subject.group_names[used],
        classes=subject.classes,
        names=[subject.names[i] for i in used.tolist()],
    )
