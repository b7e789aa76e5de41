"""The frozen part of a split backbone on ONNX Runtime: samples to what crosses the boundary, as raw maps or tokens."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from featx.backbones.feature_space import FeatureSpace
from featx.backbones.golden import probe_alone, probe_among_others
from featx.backbones.shapes import infer_shapes
from featx.errors import ParameterError
from featx.finetuning.splitting import Split
from featx.inference.devices import Device
from featx.inference.runtime import Session

__all__ = ["boundary_shapes", "boundary_spaces", "flattened", "open_frozen"]


def open_frozen(split: Split, device: Device) -> Session:
    """A session of the frozen part.

    Its :meth:`~featx.inference.runtime.Session.run` takes pixels or tokens as that of a backbone does and gives one float32 array
    for each of ``split.boundary``: maps (n, c, h, w) or (n, h, w, c) as the network has them, tokens (n, t, d). Of texts that are
    shorter than the longest of their batch, what lies behind their end means nothing. Its rows are those of the backbone, so
    whether they are independent is the backbone's to say.

    Raises
    ------
    ParameterError
        Nothing is frozen.
    DigestMismatchError
        The backbone's files changed since it was opened.
    """
    if split.prefix is None:
        raise ParameterError("nothing is frozen (boundary=None), so there is no frozen part to run.")
    session = Session(
        split.prefix.SerializeToString(),
        device=device,
        external=split.backbone.external_data(split.prefix),
        fixed_batch=split.backbone.info.fixed_batch,
        coupled=split.backbone.info.coupled_by is not None,
        probe=probe_alone(split.backbone),
        crowd=probe_among_others(split.backbone),
    )
    split.backbone.verify()
    return session


def flattened(split: Split) -> Split:
    """The same with every tensor that crosses as one row a sample, (n, d), as a store keeps rows."""
    assert split.prefix is not None
    prefix = onnx.ModelProto()
    prefix.CopyFrom(split.prefix)
    names = {one.name: f"{one.name}_maps" for one in split.boundary}
    for node in prefix.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
    prefix.graph.node.extend(
        helper.make_node("Flatten", [maps], [name], axis=1) for name, maps in names.items()
    )
    del prefix.graph.output[:]
    prefix.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", f"{name}_row"]) for name in names
    )
    return replace(split, prefix=prefix)


def boundary_shapes(split: Split) -> list[tuple[int, ...]] | None:
    """Shape of a sample's part of each tensor that crosses, where pictures all have one size; else None."""
    size = split.backbone.pixels().output_size if split.source == "pixels" else None
    if split.prefix is None or size is None:
        return None
    nodes = split.prefix.graph.node
    found = infer_shapes(split.prefix, list(nodes), {split.source: (1, *size, 3)}).shapes
    shapes = []
    for one in split.boundary:
        sizes = [size for size in found.get(one.name, ()) if size is not None]
        if not sizes or sizes[0] != 1 or len(sizes) < len(found[one.name]):
            return None
        shapes.append(tuple(sizes[1:]))
    return shapes


def boundary_spaces(split: Split) -> list[FeatureSpace]:
    """What rows at the boundary are stored under: the same network, samples and precision, read at another tensor, as it is."""
    return [replace(split.space, tap=one.tensor, pooling="none") for one in split.boundary]
