"""A cut graph that gives, beside each vector, the rows that the vector is the average of.

Owns the walk from a vector back to what was averaged. Finding nothing is an answer: the vector is then no average, or of a graph
that says so in a way that is not known here. What is found is held against the vector itself by whoever uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from featx.backbones.graph import Tap

__all__ = ["as_rows", "with_positions"]

# What changes the shape or the type of a tensor and none of its values.
_SAME_VALUES = frozenset(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout"])
_AVERAGES = frozenset(["GlobalAveragePool", "ReduceMean", "AveragePool"])


def with_positions(
    model: onnx.ModelProto, taps: Sequence[Tap], poolings: Sequence[str], *, modality: str
) -> onnx.ModelProto | None:
    """A copy of a cut graph with outputs ``positions_<i>``, float32, beside ``embedding_<i>``; None where one is no average.

    Parameters
    ----------
    model : ModelProto
        From :meth:`featx.backbones.backbone.Backbone.cut`.
    taps : sequence of Tap
        One an output.
    poolings : sequence of str
        Resolved.
    modality : {"image", "text"}
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    made = {out: node for node in copy.graph.node for out in node.output}
    for i, (tap, pooling) in enumerate(zip(taps, poolings, strict=True)):
        if modality == "text":
            names = [name for name in (tap.tensor, f"original/{tap.tensor}") if name in made]
            tensor = names[0] if tap.kind == "tokens" and pooling == "mean" and names else None
        else:
            tensor = _averaged(made, f"embedding_{i}")
        if tensor is None:
            return None
        out = f"positions_{i}"
        copy.graph.node.append(helper.make_node("Cast", [tensor], [out], to=TensorProto.FLOAT))
        copy.graph.output.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, None))
    return copy


def _averaged(made: dict[str, onnx.NodeProto], tensor: str) -> str | None:
    """The tensor whose average a tensor is."""
    while tensor in made:
        node = made[tensor]
        if node.op_type in _AVERAGES:
            return str(node.input[0])
        if node.op_type not in _SAME_VALUES:
            return None
        tensor = node.input[0]
    return None


def as_rows(
    positions: NDArray[np.float32], n_features: int, picture: tuple[int, int] | None
) -> tuple[NDArray[np.float64], tuple[int, ...]] | None:
    """Positions of one sample as rows (p, d), and the grid (h, w) or (t,) that they stand on.

    Parameters
    ----------
    positions : ndarray, shape (1, d, h, w), (1, h, w, d) or (1, t, d)
    n_features : int
        d.
    picture : (int, int) or None
        Height and width in pixels, which tell how tokens of patches lie; None for a text.

    Returns
    -------
    (rows, grid) or None
        None where the shape is none of these.
    """
    found = np.asarray(positions[0], dtype=np.float64)
    if found.ndim == 3 and found.shape[0] == n_features:
        return found.reshape(n_features, -1).T, found.shape[1:]
    if found.ndim == 3 and found.shape[2] == n_features:
        return found.reshape(-1, n_features), found.shape[:2]
    if found.ndim != 2 or found.shape[1] != n_features:
        return None
    if picture is None:
        return found, (len(found),)
    height = round((len(found) * picture[0] / picture[1]) ** 0.5)
    width = len(found) // max(height, 1)
    return (found, (height, width)) if height * width == len(found) else None
