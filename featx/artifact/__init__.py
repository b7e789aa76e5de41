"""Save and load a fitted pipeline; see :mod:`featx.artifact.format` for the format."""

from __future__ import annotations

from featx.artifact.loading import describe, load, training_keys
from featx.artifact.records import ArtifactInfo
from featx.artifact.saving import save

__all__ = ["ArtifactInfo", "describe", "load", "save", "training_keys"]
