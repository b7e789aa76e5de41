"""What a loaded model remembers of its training, tied to what it learned there.

The invariant: a model that was fitted anew, or cloned, remembers nothing, so nobody is told of samples that it does not know. The
memory is an attribute of the estimator, which ``clone`` drops and pickle keeps: no parameter, and nothing that ``featx.save``
writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featx.backbone_features import BackboneFeatures
from featx.store.digest import Keys

__all__ = ["ATTRIBUTE", "remember_keys", "remembered_keys"]

ATTRIBUTE = "_featx_trained_on"
"""Name of the attribute."""


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """Digests of training samples, and the very objects that were learned from them."""

    keys: Keys
    learned: tuple[Any, ...]


def remember_keys(estimator: Any, keys: Keys | None) -> None:
    """Let a fitted estimator remember its training samples until it is fitted anew; nothing where `keys` is None.

    Parameters
    ----------
    estimator : estimator
    keys : ndarray of uint8, shape (n, 16), or None
    """
    if keys is not None:
        setattr(estimator, ATTRIBUTE, _Memory(keys, tuple(_learned(estimator))))


def remembered_keys(estimator: Any) -> Keys | None:
    """Content digests of the samples that an estimator was trained on, as far as it remembers.

    Returns
    -------
    ndarray of uint8, shape (n, 16), or None
    """
    memory = vars(estimator).get(ATTRIBUTE) if hasattr(estimator, "__dict__") else None
    if not isinstance(memory, _Memory):
        return None
    learned = _learned(estimator)
    same = len(learned) == len(memory.learned) and all(
        now is then for now, then in zip(learned, memory.learned, strict=True)
    )
    return memory.keys if same else None


def _learned(estimator: Any) -> list[Any]:
    """What ``fit`` left in an estimator and in those within it; a features transformer learns nothing from samples.

    Plain numbers are passed over: equal ones are one object or two as the interpreter likes, and pickle makes new ones.
    """
    found: list[Any] = []
    for name, value in sorted(vars(estimator).items()):
        if name == "steps":
            for _, step in value:
                found += _learned(step) if hasattr(step, "fit") and hasattr(step, "__dict__") else []
        elif isinstance(value, BackboneFeatures):
            continue
        elif hasattr(value, "fit") and hasattr(value, "__dict__"):
            found += _learned(value)
        elif name.endswith("_") and not isinstance(value, int | float | complex | None):
            found.append(value)
    return found
