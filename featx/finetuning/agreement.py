"""A written graph on ONNX Runtime against the module that it was written from, on the fixed sample of the backbone's card."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto
from torch.func import functional_call

from featx.backbones.backbone import Backbone
from featx.backbones.golden import open_session, probe_alone
from featx.finetuning.frozen import open_frozen
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import Split
from featx.finetuning.weights import as_stored, n_elements, weight_protos
from featx.inference.devices import Device

__all__ = ["TOLERANCE", "TOLERANCE_HALF", "difference", "tolerance"]

TOLERANCE = 1e-4
"""Largest difference over the largest number, of a float32 graph. Kernels that sum in another order stay near 1e-6."""

TOLERANCE_HALF = 5e-3
"""Of a graph that computes in float16 or bfloat16, whose every result is rounded to 11 or 8 bits, where the module's are not."""

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def tolerance(backbone: Backbone) -> float:
    """What may be between a graph and its module."""
    weights = [p for p in weight_protos(backbone.graph()).values() if n_elements(p) > 1]
    return TOLERANCE_HALF if any(p.data_type in _HALF for p in weights) else TOLERANCE


def difference(module: GraphModule, split: Split, written: Backbone) -> float:
    """Largest difference of a number of the fixed sample's vector over the largest number of the module's.

    The module's weights are taken as the file's type rounds them, so that what is compared is the arithmetic and the writing.

    Parameters
    ----------
    module : GraphModule
        Of ``split``.
    split : Split
    written : Backbone
        Opened from the folder written.
    """
    sample = probe_alone(split.backbone)
    fixed = split.backbone.info.fixed_batch
    batch = sample if fixed is None else np.repeat(sample, fixed, axis=0)
    space = written.space(split.space.tap, split.space.pooling)
    vectors = open_session(written, [space], Device("cpu")).run(sample)[0][:1]
    given = {split.source: batch}
    if split.boundary:
        crossing = open_frozen(split, Device("cpu")).run(batch)
        given |= {one.name: value for one, value in zip(split.boundary, crossing, strict=True)}
    protos = weight_protos(split.suffix)
    device = next(module.parameters()).device
    stored = {
        key: torch.from_numpy(as_stored(parameter.detach().cpu().numpy(), protos[name])).to(parameter)
        for (key, parameter), (name, _) in zip(
            module.named_parameters(), module.named_initialisers(), strict=True
        )
    }
    tensors = tuple(torch.from_numpy(given[name]).to(device) for name in module.input_names)
    with torch.no_grad():
        expected = functional_call(module, stored, tensors)[0][:1].cpu().numpy()
    largest = float(np.abs(expected).max(initial=0))
    return float(np.abs(vectors - expected).max(initial=0)) / max(largest, 1e-12)
