"""``Slot``: what stands in ``pipeline.skops`` where something is kept outside of it.

The full name of this class and its three attributes are part of the artefact's format: renaming one means a new format
number (see :mod:`featx.artifact.format`).
"""

from __future__ import annotations

from typing import Any

__all__ = ["BOOSTER", "BOOSTER_BYTES", "FEATURES", "Slot"]

FEATURES = "features"
"""A features estimator; ``index`` counts the ``features`` of ``artifact.json``."""

BOOSTER = "booster"
"""An ``xgboost.Booster``; ``index`` is the number in the name of its ``.ubj`` file."""

BOOSTER_BYTES = "booster_bytes"
"""The same as bytes, which is how ``BoostedTreesClassifier`` keeps its trees."""


class Slot:
    """A place in a saved pipeline, to be filled while it is loaded.

    Parameters
    ----------
    kind : {"features", "booster", "booster_bytes"}
        What belongs here.
    index : int
        Which of its kind, from 0.
    attributes : dict of str to object
        Attributes that the object has beyond those featx keeps in words, such as the choice of ``set_output``.
    """

    def __init__(self, kind: str, index: int, attributes: dict[str, Any]) -> None:
        self.kind = kind
        self.index = index
        self.attributes = attributes
