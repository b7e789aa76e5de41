"""A copy of an object graph with some of its members replaced; the original is left as it was.

Owns the walk through fitted estimators, wherever they nest: attributes of Python objects, lists, tuples, dicts, sets and
object arrays. Everything else (numeric arrays, functions, classes, objects of compiled modules) is a leaf, and leaves are
shared between original and copy. Text in an array is a leaf too: it is data, such as the classes of a classifier. A masked
array is not, for a search tabulates its parameters in one.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

__all__ = ["members", "substitute"]

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement
_OWN_COPYING = (
    "__copy__",
    "__deepcopy__",
    "__del__",
    "__getstate__",
    "__reduce__",
    "__reduce_ex__",
    "__setstate__",
)


def substitute(root: Any, replace: Callable[[Any], Any]) -> Any:
    """Copy ``root`` with every member for which ``replace`` returns another object replaced by that object.

    Parameters
    ----------
    root : object
        Usually a fitted estimator. Shared and circular references stay shared and circular.
    replace : callable
        Called once on every distinct member, the root included. A member that it returns unchanged is walked into; what it
        puts in place of one is taken as it is.

    Returns
    -------
    object
        Containers and Python objects are new, leaves are those of ``root``.

    Examples
    --------
    >>> substitute({"steps": [("a", 1), ("b", 2)]}, lambda member: "two" if member == 2 else member)
    {'steps': [('a', 1), ('b', 'two')]}
    """
    return _Walk(replace).visit(root)


def members(root: Any) -> list[Any]:
    """Every distinct member of an object graph that :func:`substitute` meets, the root first."""
    found: list[Any] = []

    def keep(member: Any) -> Any:
        found.append(member)
        return member

    substitute(root, keep)
    return found


class _Walk:
    def __init__(self, replace: Callable[[Any], Any]) -> None:
        self._replace = replace
        # By id, with the original beside its copy: an id means something only while its object lives.
        self._seen: dict[int, tuple[Any, Any]] = {}

    def visit(self, member: Any) -> Any:
        if id(member) in self._seen:
            return self._seen[id(member)][1]
        new = self._replace(member)
        return self._keep(member, new) if new is not member else self._copy(member)

    def _keep(self, member: Any, new: Any) -> Any:
        self._seen[id(member)] = member, new
        return new

    def _copy(self, member: Any) -> Any:
        # A mutable copy is remembered before it is filled, so that a circle ends at it.
        if isinstance(member, dict):
            mapping = self._keep(member, copy(member))
            mapping.clear()
            for key, value in member.items():
                mapping[self.visit(key)] = self.visit(value)
            return mapping
        if type(member) is list:
            items = self._keep(member, [])
            items += [self.visit(item) for item in member]
            return items
        if isinstance(member, tuple):
            content = [self.visit(item) for item in member]
            named = hasattr(member, "_fields")
            return self._keep(member, type(member)(*content) if named else tuple(content))
        if type(member) is set:
            return self._keep(member, {self.visit(item) for item in member})
        if isinstance(member, np.ndarray) and member.dtype == object:
            return self._array(member)
        if _is_plain(member):
            instance = self._keep(member, object.__new__(type(member)))
            for name, value in vars(member).items():
                vars(instance)[name] = self.visit(value)
            return instance
        return self._keep(member, member)

    def _array(self, member: np.ndarray) -> np.ndarray:
        array = self._keep(member, member.copy())
        data = array.data if isinstance(array, np.ma.MaskedArray) else array
        for index in np.ndindex(data.shape):
            if data is not array or not isinstance(data[index], str):
                data[index] = self.visit(data[index])
        return array


def _is_plain(member: Any) -> bool:
    """Whether an object is its class and its ``__dict__``, so that the two make a copy of it."""
    kind = type(member)
    if not hasattr(member, "__dict__") or kind.__new__ is not object.__new__:
        return False
    if any(vars(base).get("__slots__") or not base.__flags__ & _HEAP_TYPE for base in kind.__mro__[:-1]):
        return False  # part of it lies in slots or in a compiled structure
    # An estimator's own __getstate__ serves pickle; its attributes are still all there is. Anything else that has such a
    # method, or a finaliser, holds what its attributes do not show.
    return isinstance(member, BaseEstimator) or not any(
        name in vars(base) for base in kind.__mro__[:-1] for name in _OWN_COPYING
    )
