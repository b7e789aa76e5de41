"""An ONNX graph as a ``torch.nn.Module``, trained, and written back into a copy of the same graph.

Read ``splitting`` for where a network is frozen, ``graph_module`` for what runs in torch, ``writing`` for the way back. torch is
loaded with the first of the names below that needs it; where it is missing, that says how to install it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from featx.errors import MissingExtraError

if TYPE_CHECKING:
    from featx.finetuning.frozen import open_frozen
    from featx.finetuning.graph_module import GraphModule
    from featx.finetuning.splitting import Boundary, Split, split_backbone
    from featx.finetuning.writing import write_back

__all__ = ["Boundary", "GraphModule", "Split", "open_frozen", "split_backbone", "write_back"]

_HOMES = {
    "Boundary": "splitting",
    "GraphModule": "graph_module",
    "Split": "splitting",
    "open_frozen": "frozen",
    "split_backbone": "splitting",
    "write_back": "writing",
}
_NEED_TORCH = ("graph_module", "writing")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home in _NEED_TORCH and importlib.util.find_spec("torch") is None:
        raise MissingExtraError(
            'fine-tuning needs torch, which is not installed: pip install "featx[finetune]"'
        )
    return getattr(importlib.import_module(f"featx.finetuning.{home}"), name)
