"""What a column of a feature matrix means.

Owns the identity of vectors: two may be compared, and one stands for the other in a store, if and only if their spaces are equal.
What does not decide a vector's value is no part of a space; what does is never left out of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from featx.store.digest import canonical_json, digest_json

__all__ = ["RULES", "FeatureSpace"]

RULES = 1
"""featx's own pixel and pooling rules. Raised when they change, so that vectors of old and new rules never meet; the golden
vectors in ``tests/test_golden.py`` fail when the rules change and this number does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpace:
    """What a column of a feature matrix means: everything that decides a vector's value, and nothing else.

    Two vectors may be compared if and only if their spaces are equal. Batch size, device, threads and library versions are not
    part of a space: they move a vector by less than the tolerance that ``featx.testing`` holds backbones to.

    Parameters
    ----------
    backbone_digest : str
        32 hex digits over graph and weights, external data included.
    tap : str
        Where the graph is read: ``"pooled"``, a stage, a layer, or a tensor's own name.
    pooling : str
        How positions become one vector; resolved, never ``"auto"``.
    preprocess : str
        Canonical JSON of the preprocessing.
    precision : {"float32", "float16"}
        Arithmetic of the session.
    rules : int
        Version of featx's own pixel and pooling rules.
    """

    backbone_digest: str
    tap: str
    pooling: str
    preprocess: str
    precision: str = "float32"
    rules: int = RULES

    @property
    def id(self) -> str:
        """32 hex digits, the digest of :meth:`to_dict` as canonical JSON; the name of the space's folder in a store."""
        return digest_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The space as plain values, readable by people and by :meth:`from_dict`."""
        return {
            "backbone_digest": self.backbone_digest,
            "tap": self.tap,
            "pooling": self.pooling,
            "preprocess": json.loads(self.preprocess),
            "precision": self.precision,
            "rules": self.rules,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSpace:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**values, "preprocess": canonical_json(values["preprocess"])})

    def without_view(self) -> FeatureSpace:
        """The space of pictures as they are: the same run of the same network."""
        values = self.to_dict()
        values["preprocess"].pop("view", None)
        return self.from_dict(values)

    def differences(self, other: FeatureSpace) -> list[str]:
        """What differs from ``other``, a line a field, for error messages."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name}: {mine[name]!r} became {theirs[name]!r}" for name in mine if mine[name] != theirs[name]
        ]
