"""Who is fitted on what and judged on what: folds or a given split, and the smaller training parts of a learning curve."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from featx.attribution.parting import parts_of
from featx.backbone_features import BackboneFeatures
from featx.errors import DatasetError, FeatxWarning
from featx.evaluation.folds import Fold, inner_folds, make_folds, regression_folds
from featx.evaluation.judgements import CurvePoint, Judgement
from featx.evaluation.judging import judge
from featx.evaluation.leaks import TRAIN
from featx.evaluation.out_of_fold import FoldFit, Task, fit_and_predict, predict_with
from featx.evaluation.outcomes import Outcomes, aggregate, concatenate
from featx.evaluation.overlap import part_names
from featx.evaluation.predictors import Predictors, if_small
from featx.evaluation.subjects import Subject
from featx.progress import progress_bar

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Who is fitted on what and judged on what. Make with :meth:`of`.

    Parameters
    ----------
    subject : Subject
    task : Task
        What is asked of every fold; without thresholds where a training part is too small to choose them in.
    units : ndarray of int, shape (n,)
        What folds keep together and the bootstrap draws.
    folds : tuple of (train, test)
        One where the data have a split; its training part is empty where nothing is fitted.
    inner : tuple of tuple of (train, test)
        Folds of each training part, as positions in it; empty where nothing is to be chosen, or no part allows any and only
        thresholds were to be.
    parts : ndarray of str, shape (n,), or None
        The part of each sample, where the data have a split.
    trained : ndarray of bool, shape (n,), or None
        Which samples a finished model was trained on, where one is judged and that is known.
    """

    subject: Subject
    task: Task
    units: NDArray[np.intp]
    folds: tuple[Fold, ...]
    inner: tuple[tuple[Fold, ...], ...]
    parts: NDArray[Any] | None
    trained: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls,
        subject: Subject,
        task: Task,
        units: NDArray[np.intp],
        cv: int | str,
        seed: int,
        *,
        trained: NDArray[np.bool_] | None = None,
    ) -> Plan:
        """The folds of a subject.

        Raises
        ------
        DatasetError
            Labels, groups or a split that allow none.
        ParameterError
            A `cv` that is none.

        Warns
        -----
        FeatxWarning
            A training part is too small to choose thresholds in: there will be none.
        """
        labels = subject.y if task.classes is None else task.classes[subject.y]
        everything = np.arange(len(units))
        if cv == "prefit":
            used = everything if subject.split is None else np.flatnonzero(subject.split != "")
            if not len(used):
                raise DatasetError(
                    'split: names no part for any sample, so there is nothing to judge. Leave the split out, or write "test".'
                )
            return cls(
                subject=subject,
                task=task,
                units=units,
                folds=((used[:0], used),),
                inner=((),),
                parts=subject.split,
                trained=trained,
            )
        regression = task.classes is None
        make = regression_folds if regression else make_folds
        if subject.split is not None:
            train = np.flatnonzero(subject.split == TRAIN)
            held = np.flatnonzero((subject.split != TRAIN) & (subject.split != ""))
            if not len(train) or not len(held):
                raise DatasetError(
                    f"split: {len(train)} samples in {TRAIN!r} and {len(held)} in other parts; both are needed. Leave the split "
                    "out to cross-validate."
                )
            if not regression and len(np.unique(labels[train])) < 2:
                raise DatasetError(
                    f"split: all {len(train)} samples in {TRAIN!r} are {str(labels[train[0]])!r}, and a classifier needs 2 "
                    "classes. Put samples of another into it."
                )
            folds: tuple[Fold, ...] = ((train, held),)
        else:
            folds = tuple(make(labels, units, n_splits=cv, random_state=seed))  # type: ignore[arg-type]  # checked there
        inner = tuple(_inside(labels[train], units[train], task, seed) for train, _ in folds)
        if task.thresholds and not all(
            _allow_thresholds(labels[train], units[train], each, task)
            for (train, _), each in zip(folds, inner, strict=True)
        ):
            what = "samples" if subject.groups is None else "groups"
            warnings.warn(
                f"a class has too few {what} in a training part to choose thresholds on folds of it, so there are no figures at "
                f"thresholds. Add {what}, or pass at_specificity=None and at_sensitivity=None.",
                FeatxWarning,
                stacklevel=4,  # whoever called evaluate
            )
            task = replace(task, thresholds=())
        return cls(subject=subject, task=task, units=units, folds=folds, inner=inner, parts=subject.split)

    def run(
        self, task: Task, n_jobs: int | None, verbose: bool
    ) -> tuple[Outcomes, Outcomes | None, tuple[FoldFit, ...], Predictors]:
        """Predictions of samples and of groups, a fit a fold, and the model of each fold where it is small."""
        subject, groups = self.subject, self._judged
        if self._finished:
            return self._prefit(task)

        def one(number: int) -> tuple[Outcomes, Outcomes | None, FoldFit, BackboneFeatures | None, Any]:
            *found, fitted = fit_and_predict(
                subject.estimator,
                subject.X,
                subject.y,
                self.folds[number],
                self.inner[number],
                task,
                number=number,
                units=self.units,
                groups=groups,
            )
            # Of an estimator of samples what it chose or tuned is its own, and told apart from what is weighed.
            apart = None if subject.seen is None else parts_of(fitted)
            features, head = (None, fitted) if apart is None else apart
            return *found, features, if_small(head)

        done = []
        workers = joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs)
        with progress_bar(len(self.folds), "evaluating", enabled=verbose) as progress:
            parallel = Parallel(n_jobs=workers, require="sharedmem", return_as="generator")
            for result in parallel(delayed(one)(number) for number in range(len(self.folds))):
                done.append(result)
                progress.update(1)
        rows, of_groups, fits, own, models = zip(*done, strict=True)
        judged = [each for each in of_groups if each is not None]
        predictors = Predictors.of(subject.features, models, own if subject.seen is not None else ())
        return concatenate(rows), concatenate(judged) if judged else None, fits, predictors

    @property
    def _judged(self) -> NDArray[np.intp] | None:
        """What becomes one prediction of each: groups, those of a given split apart by its parts."""
        groups = self.subject.groups
        if groups is None or self.parts is None:
            return groups
        pairs = np.column_stack([groups, np.unique(self.parts, return_inverse=True)[1].reshape(-1)])
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.intp)

    @property
    def _finished(self) -> bool:
        """Whether a finished model is judged: nothing is fitted."""
        return not len(self.folds[0][0])

    def _prefit(self, task: Task) -> tuple[Outcomes, Outcomes | None, tuple[FoldFit, ...], Predictors]:
        subject, (_, used) = self.subject, self.folds[0]
        found = predict_with(subject.estimator, subject.taken(used), subject.y[used], task)
        rows = replace(found, units=self.units[used], samples=used)
        of_groups, groups = None, self._judged
        if task.how is not None and groups is not None:
            of_groups = aggregate(rows, groups[used], task.how, positive=task.positive)
        return rows, of_groups, (), Predictors.of(subject.features, (subject.estimator,))

    def judge(
        self, rows: Outcomes, of_groups: Outcomes | None, task: Task, n_draws: int, seed: int
    ) -> tuple[Judgement, ...]:
        """Judgements, the one to quote first: of groups before samples, of the last part, without what training saw."""
        levels = [("sample", rows)] if of_groups is None else [("group", of_groups), ("sample", rows)]
        judged = []
        for level, outcomes in levels:
            for part, chosen in self._parts(outcomes):
                judged.append(judge(part, level, outcomes.take(chosen), task, n_draws, seed))
        return tuple(judged)

    def _parts(self, outcomes: Outcomes) -> list[tuple[str, NDArray[np.intp]]]:
        everything = np.arange(len(outcomes))
        if self.parts is None and not self._finished:
            return [(f"{len(self.folds)} folds", everything)]
        trained = self.folds[0][0] if self.trained is None else np.flatnonzero(self.trained)
        unseen = ~np.isin(outcomes.units, self.units[trained])
        of_samples = np.full(len(self.units), "") if self.parts is None else self.parts
        of = of_samples[outcomes.samples]

        def rank(part: str) -> tuple[bool, bool, bool, str]:
            return not unseen[of == part].any(), part == TRAIN, part != "test", part

        parts = []
        for part in sorted(set(of.tolist()), key=rank):
            mine = of == part
            whole, new = self._names(part, of_samples == part, unseen[mine])
            if new is not None:
                parts.append((new, np.flatnonzero(mine & unseen)))
            parts.append((whole, np.flatnonzero(mine)))
        return parts

    def _names(self, part: str, mine: NDArray[np.bool_], unseen: NDArray[np.bool_]) -> tuple[str, str | None]:
        """What a part is called, and what of it training has not seen, where that is some of it and not all."""
        if self._finished:
            known = self.trained
            tied = None if known is None else np.isin(self.units, self.units[known]) & ~known
            return part_names(
                None if self.parts is None else part,
                n_samples=int(mine.sum()),
                n_trained=None if known is None else int((known & mine).sum()),
                some_new=bool(unseen.any()),
                n_tied=0 if tied is None else int((tied & mine).sum()),
            )
        if unseen.any() and not unseen.all():
            return f"{part}, as given", f"{part}, only what training has not seen"
        return part, None

    def thinned(self, share: float, seed: int) -> Plan:
        """The same test parts, training parts cut to a share of their units, those of smaller shares within those of larger.

        What is searched or calibrated is so on folds of each part that is left; thresholds are left out.

        Raises
        ------
        DatasetError
            A part that is left holds too few samples of a class, or of anything, for that.
        """
        subject, task = self.subject, replace(self.task, thresholds=())
        labels = subject.y if subject.classes is None else subject.classes[subject.y]
        folds, inner = [], []
        for number, (train, test) in enumerate(self.folds):
            units = np.unique(self.units[train])
            order = np.random.default_rng([seed, number]).permutation(units)
            kept = train[np.isin(self.units[train], order[: max(2, round(share * len(units)))])]
            if self.subject.classes is not None:
                missing = np.setdiff1d(self.subject.y[train], self.subject.y[kept])
                if len(missing):
                    raise DatasetError(
                        f"learning_curve: a share of {share:g} of a training part holds no "
                        f"{str(self.subject.classes[missing[0]])!r}. Begin with a larger share."
                    )
            try:
                inner.append(_inside(labels[kept], self.units[kept], task, seed))
            except DatasetError as error:
                raise DatasetError(
                    f"learning_curve: a share of {share:g} of a training part, {len(kept)} samples, is too small to search or "
                    f"calibrate in: {error} Or begin with a larger share."
                ) from error
            folds.append((kept, test))
        return replace(self, task=task, folds=tuple(folds), inner=tuple(inner))

    def point(
        self, whole: Judgement, n_jobs: int | None, n_draws: int, seed: int, verbose: bool
    ) -> CurvePoint:
        """The headline figure of models fitted on these training parts as the whole ones were: searched and calibrated too."""
        rows, of_groups, fits, _ = self.run(self.task, n_jobs, verbose)
        judged = self.judge(rows, of_groups, self.task, n_draws, seed)[0]
        return CurvePoint(
            n_train=float(np.mean([fit.n_train for fit in fits])), estimate=judged.figures[whole.headline]
        )


def _inside(labels: NDArray[Any], units: NDArray[np.intp], task: Task, seed: int) -> tuple[Fold, ...]:
    """Folds of a training part; none where nothing is to be chosen on them, or thresholds alone and there are too few samples."""
    needed = task.grid is not None or task.calibrate is not None
    if not needed and not task.thresholds:
        return ()
    try:
        return tuple(inner_folds(labels, units, regression=task.classes is None, random_state=seed))
    except DatasetError:
        if needed:
            raise
        return ()


def _allow_thresholds(
    labels: NDArray[Any], units: NDArray[np.intp], inner: tuple[Fold, ...], task: Task
) -> bool:
    """Whether thresholds can be chosen on these folds of a training part; where models are calibrated, so are those of each."""
    try:
        for train, _ in inner if task.calibrate is not None else ():
            inner_folds(labels[train], units[train])
    except DatasetError:
        return False
    return bool(inner)
