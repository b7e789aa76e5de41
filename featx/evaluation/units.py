"""What folds keep together: groups, exact copies and near-copies joined into units, while the units stay small.

"Is a near-copy of" is no equivalence: a chain of pictures, each like the next, can tie half of the data together, and then
there are no folds any more. So pairs are joined in their order, the surest first, and a pair whose unit would become too
large stays apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["join_units", "largest_unit"]

_FEW = 10
_SHARE = 0.02  # of the samples; ten folds still divide evenly into units of a fifth of a fold


def largest_unit(n_samples: int, largest_given: int) -> int:
    """How large a unit may become by near-copies: the largest that is there anyway, and 10 samples or 2 % of all more.

    Examples
    --------
    >>> largest_unit(100, 1), largest_unit(10_000, 40)
    (11, 240)
    """
    return largest_given + max(_FEW, int(_SHARE * n_samples))


def join_units(
    n_samples: int, given: Sequence[NDArray[np.intp]], pairs: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Number the units that samples form.

    Parameters
    ----------
    n_samples : int
    given : sequence of ndarray of int, shape (n_samples,)
        Samples with one number, such as those of a group or the exact copies of one sample, are in one unit however large.
    pairs : ndarray of int, shape (p, 2)
        Joined in this order while the joint unit holds at most :func:`largest_unit` samples.

    Returns
    -------
    ndarray of int, shape (n_samples,)
        Counted from 0 in order of appearance.

    Examples
    --------
    >>> groups = np.array([0, 0, 1, 2])
    >>> join_units(4, [groups], np.array([[1, 2]])).tolist()
    [0, 0, 0, 1]
    """
    parents = np.arange(n_samples)
    sizes = np.ones(n_samples, dtype=np.intp)

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = int(parents[i])
        return i

    def join(i: int, j: int, largest: int) -> None:
        a, b = sorted((root(i), root(j)))
        if a != b and sizes[a] + sizes[b] <= largest:
            parents[b] = a
            sizes[a] += sizes[b]

    for numbers in given:
        firsts = np.unique(numbers, return_index=True, return_inverse=True)
        for i, j in enumerate(firsts[1][firsts[2]].tolist()):
            join(i, j, n_samples)
    bound = largest_unit(n_samples, int(sizes.max(initial=1)))
    for i, j in pairs.tolist():
        join(i, j, bound)
    roots = np.asarray([root(i) for i in range(n_samples)], dtype=np.intp)
    return np.unique(roots, return_inverse=True)[1]
