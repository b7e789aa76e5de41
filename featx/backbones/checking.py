"""``check``: whether a backbone is what its card says, and behaves as featx relies on.

Looks at digests, the graph and its taps, the independence of a row from what is beside it, the agreement of devices, and golden
vectors. What is wrong is a finding, not an exception: one wrong thing does not hide the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.backbone import Backbone
from featx.backbones.feature_space import RULES, FeatureSpace
from featx.backbones.golden import (
    golden_problems,
    open_session,
    probe_alone,
    probe_among_others,
    spaces_of,
)
from featx.backbones.sources import locate
from featx.errors import DeviceError, FeatxError
from featx.inference.devices import Device, why_not_cuda
from featx.inference.runtime import ROW_TOLERANCE, Session

__all__ = ["DEVICE_TOLERANCE", "BackboneCheck", "check"]

DEVICE_TOLERANCE = 1e-3
"""Largest difference between two devices, in units of a vector's largest number. Kernels that sum in another order differ by
1e-6 to 1e-4 after tens of layers; TF32, which featx leaves off, by 1e-3 and more."""


@dataclass(frozen=True, slots=True)
class BackboneCheck:
    """One thing looked at.

    Parameters
    ----------
    name : {"digest", "graph", "preprocess", "taps", "rows", "cuda", "golden"}
    status : {"ok", "note", "problem"}
        ``"note"`` is something that could not be looked at, or that featx works around.
    detail : str
        What was found, and what to do where something is wrong.
    """

    name: str
    status: str
    detail: str


def check(reference: str | os.PathLike[str]) -> tuple[BackboneCheck, ...]:
    """Examine a backbone on this machine.

    Parameters
    ----------
    reference : str or PathLike
        See :func:`featx.backbones.sources.locate`.

    Raises
    ------
    BackboneNotFoundError, ParameterError
        There is nothing to examine.
    """
    locate(reference)  # a reference that means nothing is a mistake, not a finding
    return tuple(_examine(reference))


def _examine(reference: str | os.PathLike[str]) -> Iterator[BackboneCheck]:
    """Findings in order; those that need what failed are left out."""
    opened: list[Backbone] = []
    yield _found("digest", lambda: _digest(reference, opened))
    if not opened:
        return
    (backbone,) = opened
    yield (graph := _found("graph", lambda: _graph(backbone)))
    if graph.status == "problem":
        return
    yield (described := _found("preprocess", lambda: _preprocess(backbone)))
    if described.status != "ok" or not backbone.info.taps:
        return
    computed: list[_Computed] = []
    yield _found("taps", lambda: _taps(backbone, computed))
    if computed:
        yield _found("rows", lambda: _rows(backbone, computed[0]))
        yield _found("cuda", lambda: _cuda(backbone, computed[0]))
        yield _found("golden", lambda: _golden(backbone))


def _found(name: str, look: Callable[[], tuple[str, str]]) -> BackboneCheck:
    try:
        return BackboneCheck(name, *look())
    except FeatxError as error:
        return BackboneCheck(name, "problem", str(error))


@dataclass(frozen=True, slots=True)
class _Computed:
    """A session of all taps on the CPU, and what it makes of the fixed sample: (1, d) a tap."""

    spaces: list[FeatureSpace]
    session: Session
    alone: list[NDArray[np.float32]]


def _digest(reference: str | os.PathLike[str], opened: list[Backbone]) -> tuple[str, str]:
    backbone = Backbone.open(reference)
    opened.append(backbone)
    if backbone.card.get("digest") == backbone.digest:
        return "ok", f"{backbone.digest}, as its card says"
    return "note", f"{backbone.digest}; there is no card to hold it to"


def _graph(backbone: Backbone) -> tuple[str, str]:
    info = backbone.info
    return "ok", f"{info.modality}, {info.n_parameters:,} parameters, opset {info.opset}, {info.producer}"


def _preprocess(backbone: Backbone) -> tuple[str, str]:
    if backbone.preprocess is None:
        return (
            "note",
            "none beside the model: whoever uses it has to give one, and nothing further can be computed here",
        )
    if backbone.info.modality == "text":
        text = backbone.text()
        return "ok", f"at most {text.max_length} tokens, pooling {text.pooling or 'to be named by the user'}"
    size = backbone.pixels().output_size
    return "ok", "any size" if size is None else f"{size[0]} x {size[1]} px"


def _taps(backbone: Backbone, computed: list[_Computed]) -> tuple[str, str]:
    spaces = spaces_of(backbone)
    session = open_session(backbone, spaces, Device("cpu"))
    vectors = session.run(probe_alone(backbone))
    computed.append(_Computed(spaces, session, vectors))
    wrong = [
        f"{space.tap}: {problem}"
        for space, rows in zip(spaces, vectors, strict=True)
        if (problem := _wrong_vector(backbone, space, rows))
    ]
    if wrong:
        return "problem", "; ".join(wrong)
    return "ok", ", ".join(
        f"{space.tap} {rows.shape[1]}" for space, rows in zip(spaces, vectors, strict=True)
    )


def _wrong_vector(backbone: Backbone, space: FeatureSpace, rows: NDArray[np.float32]) -> str:
    if not np.isfinite(rows).all():
        return "NaN or infinity for an ordinary sample"
    expected = {"the graph": backbone.n_features(space)}
    declared: Any = backbone.card.get("taps")
    if isinstance(declared, dict) and space.tap in declared:
        expected["the card"] = declared[space.tap]
    for who, n in expected.items():
        if rows.shape[1] != n:
            return f"{rows.shape[1]} features, {who} says {n}"
    return ""


def _rows(backbone: Backbone, computed: _Computed) -> tuple[str, str]:
    info = backbone.info
    if info.coupled_by is not None:
        return (
            "note",
            f"depend on their batch ({info.coupled_by}): featx computes one at a time, which is slow and right",
        )
    if info.fixed_batch is not None:
        return "note", f"the graph insists on a batch of {info.fixed_batch}: featx computes one at a time"
    together = computed.session.run(probe_among_others(backbone))
    worst = _largest_difference([rows[:1] for rows in together], computed.alone)
    said = f"alone and among others{', padded,' * (info.modality == 'text')} they differ by {worst:.1g}"
    if worst <= ROW_TOLERANCE:
        return "ok", said
    return (
        "note",
        f"{said}, expected at most {ROW_TOLERANCE:g}: featx computes one at a time, which is slow and right",
    )


def _cuda(backbone: Backbone, computed: _Computed) -> tuple[str, str]:
    reason = why_not_cuda()
    if reason is not None:
        return "note", f"not compared: {reason}"
    try:
        session = open_session(backbone, computed.spaces, Device("cuda"))
    except DeviceError as error:
        return "note", f"not compared: {error}"
    worst = _largest_difference(session.run(probe_alone(backbone)), computed.alone)
    if worst <= DEVICE_TOLERANCE:
        return "ok", f"differs from the CPU by {worst:.1g}"
    return "problem", (
        f"differs from the CPU by {worst:.2g} of a vector's largest number, expected at most {DEVICE_TOLERANCE:g}: vectors of "
        "the two must not meet. Compute everything on one of them, and report it."
    )


def _golden(backbone: Backbone) -> tuple[str, str]:
    golden: Any = backbone.card.get("golden")
    if not isinstance(golden, dict) or not golden:
        return "note", "none in its card"
    if golden.get("rules") != RULES:
        return "note", f"made with rules {golden.get('rules')}; this version of featx has rules {RULES}"
    problems = golden_problems(backbone, golden)
    if problems:
        return (
            "problem",
            f"{'; '.join(problems)}. Pull or export the backbone again, and compare versions of onnxruntime.",
        )
    return "ok", f"{len(golden['taps'])} taps as computed when the card was written"


def _largest_difference(some: list[NDArray[np.float32]], others: list[NDArray[np.float32]]) -> float:
    """max |a - b| / max |b| of the worst tap; infinity where a number is none."""
    worst = 0.0
    for a, b in zip(some, others, strict=True):
        difference = float(np.abs(a - b).max(initial=0)) / max(float(np.abs(b).max(initial=0)), 1e-12)
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst
