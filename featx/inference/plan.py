"""What an extraction is asked.

Owns everything that the loop of :mod:`featx.inference.extract` must know of backbone, store and machine. A plan holds no samples:
one is good for any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from featx.backbones.feature_space import FeatureSpace
from featx.inference.batching import Batching, ImageBatching
from featx.inference.devices import Device
from featx.inference.reading import Source
from featx.inference.runtime import Session
from featx.store.store import EmbeddingStore

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to compute and with what.

    Parameters
    ----------
    spaces : tuple of FeatureSpace
        Side by side in the result; computed in one run.
    widths : tuple of int
        Length of each space's vectors.
    source : Source
        How samples are known by their content, and read.
    session : callable
        Opens the session, or hands out the open one; called only when something must be computed.
    device : Device
        Where the session computes.
    store : EmbeddingStore or None
        Where vectors are kept.
    store_required : bool
        Whether a store that cannot be written is an error (its path was given) or a warning (the default folder).
    n_workers : int
        Threads that decode; on a CPU each is a lane that also runs its own samples.
    batching : Batching
        What runs together.
    batch_size : int
        Samples a run, about.
    on_error : {"raise", "nan"}
        What an unreadable sample does.
    description : dict
        What the store writes beside the vectors, for people.
    """

    spaces: tuple[FeatureSpace, ...]
    widths: tuple[int, ...]
    source: Source
    session: Callable[[], Session]
    device: Device
    store: EmbeddingStore | None
    store_required: bool = True
    batching: Batching = field(default_factory=lambda: ImageBatching(1))
    n_workers: int = 1
    batch_size: int = 1
    on_error: str = "raise"
    description: dict[str, Any] = field(default_factory=dict)
