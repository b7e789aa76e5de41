"""The frozen part of a split backbone on ONNX Runtime: samples to what crosses the boundary, as raw maps or tokens."""

from __future__ import annotations

from featx.backbones.golden import probe_alone, probe_among_others
from featx.errors import ParameterError
from featx.finetuning.splitting import Split
from featx.inference.devices import Device
from featx.inference.runtime import Session

__all__ = ["open_frozen"]


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
