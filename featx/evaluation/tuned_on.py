"""Samples that the backbone itself was tuned on: found by its memory, and said, as no fold behind it can be honest about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featx.backbones.backbone import Backbone
from featx.evaluation.leaks import Leak, worded
from featx.evaluation.overlap import trained_on
from featx.store.digest import Keys

__all__ = ["TUNED_ON", "tuning_leaks"]

TUNED_ON = "sample the backbone was tuned on"
"""Kind of the leak."""


def tuning_leaks(
    backbone: Backbone | None, keys: Keys | None, *, judged: NDArray[np.bool_], names: Sequence[str]
) -> tuple[Leak, ...]:
    """The judged samples that a backbone was tuned on, in words.

    Parameters
    ----------
    backbone : Backbone or None
    keys : ndarray of uint8, shape (n, 16), or None
        Content digests of the samples.
    judged : ndarray of bool, shape (n,)
        What figures are given of.
    names : sequence of str
        For messages.
    """
    if backbone is None or keys is None or (memory := backbone.tuned_on) is None:
        return ()
    found = np.flatnonzero(judged & trained_on(keys, memory)).tolist()
    if not found:
        return ()
    n, all_of = len(found), int(judged.sum())
    what = f"every one of these {all_of} samples" if n == all_of else f"{n} of these {all_of} samples"
    return (
        worded(
            TUNED_ON,
            f"the backbone {backbone.name} was tuned on {what}",
            ": its vectors know their labels, so figures that count them flatter, in folds too. Judge it on other samples, or "
            "judge the tuning in folds: featx finetune --folds, or evaluate a FineTuneClassifier on the backbone it came from.",
            [names[i] for i in found],
            samples=[(i,) for i in found],
        ),
    )
