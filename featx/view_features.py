"""Vectors of pictures and of augmented views of them, each (picture, view) computed once and each picture decoded once for all.

Pictures are walked in blocks that fit a small memory of decoded pixels, view after view within a block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbone_features import BackboneFeatures
from featx.backbones.augment import View
from featx.errors import ParameterError, SampleError
from featx.inference.extract import Extraction, extract
from featx.inference.fitted_pixels import FITTED_BYTES, FittedPixels
from featx.inference.plan import Plan
from featx.inference.reading import ImageSource
from featx.progress import progress_bar

__all__ = ["extract_views"]

_COMMON_PX = (256, 256)
_SMALLEST_BLOCK = 64


def extract_views(
    features: BackboneFeatures, X: Any, views: Sequence[View], *, wanted: NDArray[np.bool_] | None = None
) -> tuple[Extraction, NDArray[np.float32]]:
    """Vectors of pictures as they are, and of views of them.

    Parameters
    ----------
    features : ImageFeatures
        Fitted. Its store is asked first, and keeps what is computed.
    X : sequence of samples
    views : sequence of View
    wanted : ndarray of bool, shape (n,), optional
        Of which pictures views are made; None makes them of all.

    Returns
    -------
    clean : Extraction
        Of the pictures as they are, with keys and failures.
    vectors : ndarray of float32, shape (n, 1 + len(views), d)
        Those of `clean` first; NaN where a sample failed, with ``on_error="nan"``, and in views that are not wanted.

    Raises
    ------
    ParameterError
        Features of texts, or of pictures that are views already.
    SampleError, SpaceMismatchError, DeviceError
        As ``features.transform``.
    """
    if features.modality != "image":
        raise ParameterError(
            f"{type(features).__name__}: views are made of pictures; of texts there are none. Use ImageFeatures."
        )
    pixels = features.backbone_.pixels()
    if pixels.view is not None and views:
        raise ParameterError("features: their preprocessing names a view already. Give one without.")
    samples = features.samples_of(X)
    clean = features.extract(samples)
    vectors = np.full((len(samples), 1 + len(views), clean.vectors.shape[1]), np.nan, dtype=np.float32)
    vectors[:, 0] = clean.vectors
    if not views:
        return clean, vectors
    fitted = FittedPixels()
    plans = [
        dataclasses.replace(plan, source=_remembering(plan, fitted))
        for plan in features.plans_of([dataclasses.replace(pixels, view=view) for view in views])
    ]
    made = np.ones(len(samples), dtype=np.bool_) if wanted is None else wanted.copy()
    made[list(clean.errors)] = False
    good = np.flatnonzero(made)
    height, width = pixels.output_size or _COMMON_PX
    block = max(_SMALLEST_BLOCK, FITTED_BYTES // (3 * height * width))
    enabled = bool(features.verbose)
    with progress_bar(len(good) * len(views), "embedding views", enabled=enabled) as progress:
        for at in range(0, len(good), block):
            rows = good[at : at + block]
            part = [samples[i] for i in rows.tolist()]
            for column, plan in enumerate(plans, 1):
                vectors[rows, column] = _of_part(part, rows, plan, progress.update)
            fitted.clear()
    return clean, vectors


def _remembering(plan: Plan, fitted: FittedPixels) -> ImageSource:
    assert isinstance(plan.source, ImageSource)  # features of images
    return dataclasses.replace(plan.source, fitted=fitted)


def _of_part(
    part: list[Any], rows: NDArray[np.intp], plan: Plan, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    """Vectors of some samples; an error names the sample's position in X."""
    try:
        return extract(part, plan, advance=advance).vectors
    except SampleError as error:
        if error.index is None:
            raise
        index = int(rows[error.index])
        name = plan.source.name_of(part[error.index], index)
        raise type(error)(error.message, index=index, name=name) from error
