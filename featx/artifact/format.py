"""The number of the artefact's format, and the names in its folder.

The format is one integer, :data:`FORMAT`. It covers the layout of the folder, the keys of ``artifact.json``, what a
``Slot`` in ``pipeline.skops`` means, and the full names there of featx's own classes (``featx.artifact.allow_list``): a class
that moves leaves its name behind. What is inside ``pipeline.skops`` beyond that is skops' format, which has a number of its
own, and what is in a ``.ubj`` file is xgboost's.

A key that older versions of featx may ignore is added without a new number. Any other change raises it:

1. Raise ``FORMAT`` here, and let :func:`featx.artifact.manifest.from_json` go on reading the older numbers: what the old one
   meant is written as the new one before anything else looks at it, so that no other room knows that there was an old one.
2. Leave every ``tests/data/artifact_v<n>`` as it is. Each must load and predict what is written beside it.
3. Save a sample of the new format beside them with ``python tests/data/make_artifact.py``, and add its number to
   ``tests/artifact/test_format.py``.
4. Say in CHANGELOG.md which version of featx reads which formats.

An artefact says which format it has, so it also decides which reader looks at it: an old reader must refuse whatever the
present one refuses.

A feature space is part of the format too: its id decides whether a loaded pipeline may answer. A field added to
``ImagePreprocess`` or ``FeatureSpace`` is left out of their ``to_dict`` while it has the value that older versions acted on.
"""

from __future__ import annotations

__all__ = [
    "BACKBONES",
    "FORMAT",
    "MANIFEST_NAME",
    "PIPELINE_NAME",
    "README_NAME",
    "TRAINING_NAME",
    "booster_name",
]

FORMAT = 1
"""Number of the format that :func:`featx.save` writes."""

MANIFEST_NAME = "artifact.json"
PIPELINE_NAME = "pipeline.skops"
README_NAME = "README.md"

TRAINING_NAME = "training.npy"
"""Name of the file of digests of the training samples, where they are kept."""

BACKBONES = "backbones"
"""Name of the folder that holds copied backbones, each in a folder of its own name."""


def booster_name(index: int) -> str:
    """Name of the file of an xgboost model."""
    return f"booster-{index}.ubj"
