"""The outcome of a comparison of heads: figures a fold and a head, the winner, a table.

The winner is the head with the highest mean balanced accuracy, compared to three decimals; of equals the one named first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.scores import Scores

__all__ = ["FoldResult", "HeadComparison", "HeadResult"]

_COLUMNS = {
    "accuracy": "accuracy",
    "balanced": "balanced_accuracy",
    "macro F1": "macro_f1",
    "AUC": "roc_auc",
    "log loss": "log_loss",
}  # title -> field of Scores
_CELL = 12  # characters; with five columns a line keeps to 80


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """One head on one fold.

    Parameters
    ----------
    scores : Scores
        On the fold's test part.
    fit_time_s : float
        Wall time of search and fit, on one thread beside the other folds.
    params : dict
        What the search chose; empty without one.
    """

    scores: Scores
    fit_time_s: float
    params: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadResult:
    """One head on every fold.

    Parameters
    ----------
    name : str
        As in :data:`featx.heads.HEAD_NAMES`.
    folds : tuple of FoldResult
        In the order of the folds.
    proba : ndarray of float64, shape (n_samples, n_classes)
        Each sample's probabilities from the fold that tested it.
    """

    name: str
    folds: tuple[FoldResult, ...]
    proba: NDArray[np.float64]

    @property
    def mean(self) -> Scores:
        """Mean over folds of each figure."""
        return self._over_folds(np.mean)

    @property
    def std(self) -> Scores:
        """Standard deviation over folds (n - 1 in the denominator) of each figure."""
        return self._over_folds(lambda values: np.std(values, ddof=1))

    @property
    def fit_time_s(self) -> float:
        """Mean over folds."""
        return float(np.mean([fold.fit_time_s for fold in self.folds]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; without the probabilities."""
        return {
            "name": self.name,
            "mean": self.mean.to_dict(),
            "std": self.std.to_dict(),
            "fit_time_s": self.fit_time_s,
            "folds": [
                {**fold.scores.to_dict(), "fit_time_s": fold.fit_time_s, "params": fold.params}
                for fold in self.folds
            ],
        }

    def _over_folds(self, reduce: Callable[[list[float]], Any]) -> Scores:
        rows = [asdict(fold.scores) for fold in self.folds]
        return Scores(**{name: float(reduce([row[name] for row in rows])) for name in rows[0]})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadComparison:
    """Heads on the same folds.

    Parameters
    ----------
    results : tuple of HeadResult
        In the order asked for.
    classes : ndarray, shape (n_classes,)
        Sorted labels, the order of the columns of ``proba``.
    n_samples, n_features : int
        Shape of the embeddings.
    n_groups : int or None
        Groups that were kept together; None where there were none.
    n_folds : int
        Folds that all heads share.
    searched : bool
        Whether each fold searched its head's parameters inside its own training part.
    """

    results: tuple[HeadResult, ...]
    classes: NDArray[Any]
    n_samples: int
    n_features: int
    n_groups: int | None
    n_folds: int
    searched: bool

    @property
    def best(self) -> str:
        """The head with the highest mean balanced accuracy to three decimals, as the table shows it; of equals the first.

        With heads in their default order that is the simplest. The best of several figures flatters itself a little: samples held
        out from the whole comparison tell how much.
        """
        return max(self.results, key=lambda result: round(result.mean.balanced_accuracy, 3)).name

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can say."""
        return {
            "best": self.best,
            "classes": self.classes.tolist(),
            "n_samples": self.n_samples,
            "n_features": self.n_features,
            "n_groups": self.n_groups,
            "n_folds": self.n_folds,
            "searched": self.searched,
            "heads": [result.to_dict() for result in self.results],
        }

    def format_table(self) -> str:
        """A table for people: mean and standard deviation over folds of each head, the best one marked."""
        lines = ["  " + f"{'head':<10}" + "".join(title.ljust(_CELL) for title in _COLUMNS) + "fit"]
        for result in self.results:
            mean, std = asdict(result.mean), asdict(result.std)
            cells = "".join(f"{mean[key]:.3f}±{std[key]:.3f}".ljust(_CELL) for key in _COLUMNS.values())
            mark = "*" if result.name == self.best else " "
            lines.append(f"{mark} {result.name:<10}{cells}{_duration(result.fit_time_s)}")
        grouped = "" if self.n_groups is None else f", {self.n_groups} groups kept together"
        lines.append(f"{self.n_samples} samples, {self.n_folds} stratified folds{grouped}.")
        if self.searched:
            lines.append("Parameters searched inside each fold.")
        lines.append("Mean±std over folds. * highest balanced accuracy (of equals the first).")
        return "\n".join(lines)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
