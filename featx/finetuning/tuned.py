"""A tuned network as an estimator holds it: the trained weights in memory, its folder written when somebody needs files.

Owns where that folder is. It lies among the temporary files of the process and goes with the estimator; once the backbone was
handed out it stays until the process ends, as nobody can tell how long it is used. A pickle holds the weights, and needs the
files of the backbone that they came from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.backbone import Backbone
from featx.backbones.feature_space import FeatureSpace
from featx.finetuning.scratch import ScratchFolder
from featx.finetuning.splitting import Split, split_backbone
from featx.store.digest import Keys

__all__ = ["TunedNetwork"]

_handed_out: list[ScratchFolder] = []


class TunedNetwork:
    """Trained weights of a backbone.

    Parameters
    ----------
    split : Split
        What was trained.
    boundary : str, float or None
        Where it was divided, as :func:`split_backbone` takes it.
    arrays : mapping of str to ndarray, or None
        The weights by name; None where the backbone is as it was.
    name : str
        Of the folder.
    card : mapping
        What it was tuned on, how, and how well; see :func:`featx.finetuning.write_back`.
    tuned_on : ndarray of uint8, shape (n, 16)
        Content digests of the samples.
    """

    def __init__(
        self,
        split: Split,
        boundary: str | float | None,
        arrays: Mapping[str, NDArray[Any]] | None,
        *,
        name: str,
        card: Mapping[str, Any],
        tuned_on: Keys,
    ) -> None:
        self.origin: Backbone = split.backbone
        self.space: FeatureSpace = split.space
        self.boundary = boundary
        self.arrays = None if arrays is None else dict(arrays)
        self.name = name
        self.card = dict(card)
        self.tuned_on = tuned_on
        self._folder: ScratchFolder | None = None

    def backbone(self, *, handed_out: bool = False) -> Backbone:
        """The tuned backbone, opened from its folder.

        Parameters
        ----------
        handed_out : bool
            Keep its folder until the process ends.
        """
        if self.arrays is None:
            return self.origin
        if self._folder is None:
            folder = ScratchFolder("featx-tuned-")
            self.write(folder.path / self.name)
            self._folder = folder
        if handed_out and self._folder not in _handed_out:
            _handed_out.append(self._folder)
        opened = Backbone.open(self._folder.path / self.name, modality=self.origin.info.modality)
        return Backbone.open(opened, preprocess=self.origin.preprocess)

    @property
    def files(self) -> object:
        """What the files of :meth:`backbone` last as long as; None while they are not written, or are those of the origin."""
        return self._folder

    def write(
        self,
        out: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        card: Mapping[str, Any] | None = None,
        remember_samples: bool = True,
    ) -> Path:
        """Write the folder, with further entries of its card; see :func:`featx.finetuning.write_back`."""
        import torch

        from featx.finetuning.graph_module import GraphModule
        from featx.finetuning.writing import write_back

        split = split_backbone(self.origin, self.space, self.boundary)
        module = GraphModule.of(split)
        with torch.no_grad():
            for name, parameter in module.named_initialisers():
                if self.arrays is not None:
                    parameter.copy_(torch.from_numpy(np.asarray(self.arrays[name])))
        return write_back(
            module,
            split,
            out,
            card={**self.card, **(card or {})},
            tuned_on=self._memory() if remember_samples else None,
            overwrite=overwrite,
        )

    def _memory(self) -> Keys:
        """What this training adds to what the origin remembers: nothing where it changed no weight."""
        return self.tuned_on if self.arrays is not None else self.tuned_on[:0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folder": None}
