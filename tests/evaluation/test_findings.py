"""Near-copies that folds cannot keep together are told; those that they keep together are no leak."""

from __future__ import annotations

import numpy as np

from featx.evaluation.near_copies import NearCopies, fold_units
from featx.evaluation.near_leaks import left_apart


def test_near_copies_whose_groups_would_be_too_large_together_are_told() -> None:
    """Clusters of near-copies alone are small here: what is too large is the groups that they tie."""
    groups = np.repeat([0, 1, 2], [40, 40, 20])
    pairs = np.asarray([[0, 40], [50, 90]])
    shown = np.ones(2, dtype=np.float32)
    near = NearCopies(pairs=pairs, similarity=shown, agreement=shown, clusters=np.arange(100))
    units = fold_units(groups, None, near, 100)
    apart = int((units[pairs[:, 0]] != units[pairs[:, 1]]).sum())
    assert apart > 0
    names = [f"{i}.png" for i in range(100)]
    (leak,) = left_apart(near.pairs, units, names=names)
    assert leak.n == apart == len(leak.samples)
    assert left_apart(near.pairs, np.zeros(100, dtype=np.intp), names=names) == ()
