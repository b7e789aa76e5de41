"""What a backbone makes of one fixed, synthetic sample: numbers that its card keeps, to be compared on another machine.

The sample is made by arithmetic alone, so it is the same everywhere and always. Its vectors change when the weights, the
preprocessing inside the graph, the tokenizer or featx's rules do, and by rounding only when the device does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.backbone import Backbone
from featx.backbones.feature_space import RULES, FeatureSpace
from featx.errors import FeatxError, GraphError, ParameterError
from featx.inference.devices import Device
from featx.inference.runtime import Session
from featx.inputs.texts import TextTokenizer

__all__ = [
    "GOLDEN_TOLERANCE",
    "golden_problems",
    "golden_vectors",
    "open_session",
    "probe_alone",
    "probe_among_others",
    "spaces_of",
]

GOLDEN_TOLERANCE = 1e-3
"""Largest difference from a golden vector, in units of its largest number. float32 kernels of other processors and GPUs differ
by 1e-6 to 1e-5; another weight, pixel rule or token moves a vector by 1e-2 and more."""

_PROBE_PX = 224
_TEXT = "The quick brown fox jumps over 13 lazy dogs, twice; then it rests."
_OTHER_TEXTS = ("x", f"{_TEXT} Others in the same batch are longer, and say quite different things: 3, 5, 8!")
_N_KEPT = 8  # numbers of each vector that a card keeps
_DIGITS = 6


def spaces_of(backbone: Backbone) -> list[FeatureSpace]:
    """One feature space for every named tap; where a pooling has to be named, the mean.

    Raises
    ------
    BackboneError
        The graph, or what describes it, cannot be read.
    """
    found = []
    for tap in backbone.info.taps:
        try:
            found.append(backbone.space(tap.name))
        except ParameterError:  # only a user can say how tokens become one vector: any way will do here
            found.append(backbone.space(tap.name, "mean"))
    return found


def probe_alone(backbone: Backbone) -> NDArray[Any]:
    """The fixed sample: uint8 (1, h, w, 3), or int32 (1, t)."""
    if backbone.info.modality == "text":
        return _tokens(backbone, [_TEXT])
    height, width = backbone.pixels().output_size or backbone.info.input_size or (_PROBE_PX, _PROBE_PX)
    y, x, channel = np.ogrid[:height, :width, :3]
    return ((3 * x + 5 * y + 60 * channel + x * y // 16) % 256).astype(np.uint8)[None]


def probe_among_others(backbone: Backbone) -> NDArray[Any]:
    """A batch that begins with the fixed sample, in texts padded, and holds others as different as can be."""
    if backbone.info.modality == "text":
        return _tokens(backbone, [_TEXT, *_OTHER_TEXTS])
    row = probe_alone(backbone)
    return np.concatenate([row, np.zeros_like(row), np.full_like(row, 255), 255 - row])


def open_session(backbone: Backbone, spaces: Sequence[FeatureSpace], device: Device) -> Session:
    """A session of its own for all ``spaces``, held to the files that were opened."""
    model = backbone.cut(spaces)
    session = Session(
        model.SerializeToString(),
        device=device,
        external=backbone.external_data(model),
        fixed_batch=backbone.info.fixed_batch,
        coupled=backbone.info.coupled_by is not None,
        probe=probe_alone(backbone),
        crowd=probe_among_others(backbone),
    )
    backbone.verify()
    return session


def golden_vectors(backbone: Backbone) -> dict[str, Any]:
    """The beginning of the fixed sample's vector at every tap, computed on the CPU; plain values for a card.

    Empty where the backbone has no preprocessing, or no tap of its own. A tap without finite numbers is left out.

    Raises
    ------
    BackboneError
        The graph cannot be read or run, or makes nothing finite of an ordinary sample.
    """
    if backbone.preprocess is None or not backbone.info.taps:
        return {}
    spaces = spaces_of(backbone)
    vectors = open_session(backbone, spaces, Device("cpu")).run(probe_alone(backbone))
    taps = {
        space.tap: {
            "pooling": space.pooling,
            "n_features": rows.shape[1],
            "largest": _rounded(np.abs(rows[0]).max()),
            "values": [_rounded(value) for value in rows[0, :_N_KEPT]],
        }
        for space, rows in zip(spaces, vectors, strict=True)
        if np.isfinite(rows).all()
    }
    last = spaces[-1].tap  # "pooled", where there is one
    if last not in taps:
        raise GraphError(
            f"{backbone.model_path}: {last!r} is NaN or infinite for an ordinary sample. Its weights are damaged, or were never "
            "meant for float32: fetch it again, or take another file."
        )
    return {"rules": RULES, "taps": taps}


def golden_problems(backbone: Backbone, golden: dict[str, Any]) -> list[str]:
    """What differs from a card's golden vectors, a line a tap; empty where nothing does.

    Raises
    ------
    FeatxError
        The graph cannot be run, or has no such tap.
    """
    try:
        taps = {str(name): dict(kept) for name, kept in golden["taps"].items()}
        spaces = [backbone.space(name, str(kept["pooling"])) for name, kept in taps.items()]
        if not spaces:
            return []
        vectors = open_session(backbone, spaces, Device("cpu")).run(probe_alone(backbone))
        compared = zip(taps.items(), vectors, strict=True)
        return [line for (name, kept), rows in compared if (line := _difference(name, kept, rows[0]))]
    except FeatxError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"the card's golden vectors are not readable ({error!r})"]


def _difference(name: str, kept: dict[str, Any], vector: NDArray[np.float32]) -> str:
    if len(vector) != kept["n_features"]:
        return f"{name}: {len(vector)} features, expected {kept['n_features']}"
    expected = np.asarray(kept["values"], dtype=np.float64)
    found = vector[: len(expected)].astype(np.float64)
    difference = float(np.abs(found - expected).max(initial=0)) / max(float(kept["largest"]), 1e-12)
    if difference <= GOLDEN_TOLERANCE:  # False for NaN
        return ""
    return f"{name}: differs by {difference:.2g} of its largest number, expected at most {GOLDEN_TOLERANCE:g}"


def _tokens(backbone: Backbone, texts: list[str]) -> NDArray[np.int32]:
    """Token ids (n, t), and -1 where a row has ended."""
    ids, _ = TextTokenizer(backbone.tokenizer_path, backbone.text()).encode(texts)
    fixed = backbone.info.n_tokens
    batch = np.full((len(ids), fixed or max(map(len, ids))), -1, dtype=np.int32)
    for row, one in zip(batch, ids, strict=True):
        n = min(len(one), len(row))
        row[:n] = one[:n]
    return batch


def _rounded(value: Any) -> float:
    return float(f"{float(value):.{_DIGITS}g}")
