"""The fitted models of an evaluation, kept for evidence while they are small.

Invariant: they live in memory alone, and a pickled evaluation has none. Models that hold many training samples (nearest
neighbours, kernel machines) are let go with their fold, so that no vector is kept a second time. Of those that tuned a network of
their own the features are kept, whose temporary files go with the evaluation, and no weights in memory.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

from featx.backbone_features import BackboneFeatures

__all__ = ["Predictors", "if_small"]

# A fold. A linear head of 1,000 classes on 1,280 columns takes 10 MB.
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Predictors:
    """What predicted: the models of the folds, and what made their vectors. Pickles and deep copies of it are None.

    Parameters
    ----------
    features : BackboneFeatures or None
        Fitted. None where the models take the samples as they are.
    models : tuple
        The fitted model of each fold, by its number; None for one that was not kept. Of a finished model: itself.
    own : tuple of BackboneFeatures or None
        Of models that chose or tuned their features, those of each fold; empty where `features` are everybody's.
    """

    features: BackboneFeatures | None
    models: tuple[Any, ...]
    own: tuple[BackboneFeatures | None, ...] = ()

    @classmethod
    def of(
        cls,
        features: BackboneFeatures | None,
        models: tuple[Any, ...],
        own: tuple[BackboneFeatures | None, ...] = (),
    ) -> Predictors:
        """Those of an evaluation; the features say nothing of their progress."""
        return cls(features=_quiet(features), models=models, own=tuple(map(_quiet, own)))

    def features_of(self, fold: int) -> BackboneFeatures | None:
        """What made the vectors of a fold's model."""
        return self.own[fold] if self.own else self.features

    def __reduce__(self) -> tuple[Any, ...]:
        """Figures and predictions travel, models do not: those of others need not pickle, and :func:`featx.save` is for them."""
        return _none, ()


def if_small(model: Any) -> Any:
    """The model, or None where it takes over 16 MiB or cannot be weighed."""
    scales = _Scales()
    try:
        # Protocol 5 hands arrays over without copying them.
        pickle.Pickler(scales, protocol=5, buffer_callback=scales.add).dump(model)
    except Exception:  # whatever a model's own __getstate__ raises, an evaluation does not fail on it
        return None
    return model


class _TooHeavy(Exception):
    """Raised to stop pickling."""


class _Scales:
    """A file that weighs what is written to it."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def write(self, data: Any) -> int:
        """Count bytes."""
        n = memoryview(data).nbytes
        self._count(n)
        return n

    def add(self, buffer: pickle.PickleBuffer) -> None:
        """Count an array."""
        self._count(buffer.raw().nbytes)

    def _count(self, n: int) -> None:
        self.n_bytes += n
        if self.n_bytes > _MOST_BYTES:
            raise _TooHeavy


def _quiet(features: BackboneFeatures | None) -> BackboneFeatures | None:
    quiet = copy.copy(features)
    if quiet is not None:
        quiet.verbose = False
    return quiet


def _none() -> None:
    return None
