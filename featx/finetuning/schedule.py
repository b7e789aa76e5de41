"""How fast each weight learns, and when: warm-up and cosine over the steps, layer-wise decay over the depth. Pure; no torch.

Layer-wise decay (Howard & Ruder 2018, "discriminative fine-tuning"; the decay by a factor a layer as in Clark et al. 2020,
ELECTRA): what lies deeper in a network is more general and is moved less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.backbones.shapes import node_inputs
from featx.finetuning.splitting import Split
from featx.finetuning.weights import weight_protos
from featx.finetuning.wires import needed_nodes

__all__ = ["WARM_UP", "WeightGroup", "batch_order", "rate_factor", "weight_depths", "weight_groups"]

WARM_UP = 0.1
"""Share of all steps over which the learning rate rises; AdamW's second moments know little before."""

_SORTED_TOGETHER = 16
"""Batches of texts that are put in order of length together: enough for little padding, few enough to mix well."""


def rate_factor(step: int, n_steps: int, *, warm_up: float = WARM_UP) -> float:
    """What the learning rate is multiplied by at a step: a linear rise, then half a cosine towards 0 (Loshchilov & Hutter 2017).

    Parameters
    ----------
    step : int
        From 0.
    n_steps : int
        Of the whole training.
    warm_up : float
        Share of the steps in which it rises.

    Examples
    --------
    >>> [round(rate_factor(step, 20), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.01]
    """
    rising = max(1, round(warm_up * n_steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, n_steps - rising)))


@dataclass(frozen=True, slots=True)
class WeightGroup:
    """Weights that learn alike.

    Parameters
    ----------
    names : tuple of str
        In the graph.
    factor : float
        Of the learning rate, above 0 and at most 1.
    decays : bool
        Whether they are subject to weight decay: kernels and matrices are, biases, norms and scales are not.
    """

    names: tuple[str, ...]
    factor: float
    decays: bool


def weight_depths(split: Split) -> dict[str, int]:
    """How many stages or layers end between each trained weight and the output, 0 for the last ones.

    Counted in the taps of the backbone that depend on the weight: order in the file means nothing.
    """
    nodes = split.suffix.graph.node
    made = {out for node in nodes for out in node.output}
    tensors = {
        name
        for tap in split.backbone.info.taps
        for name in (tap.tensor, f"original/{tap.tensor}")
        if name in made
    }
    depths = dict.fromkeys(split.trainable, 0)
    for tensor in tensors:
        read = {name for node in needed_nodes(nodes, [tensor]) for name in node_inputs(node)}
        for name in read & depths.keys():
            depths[name] += 1
    least = min(depths.values())
    return {name: depth - least for name, depth in depths.items()}


def weight_groups(split: Split, decay: float) -> list[WeightGroup]:
    """The trained weights in groups for an optimiser, deepest last.

    Parameters
    ----------
    split : Split
    decay : float
        Of the learning rate, for each stage or layer; 1 is none.
    """
    protos = weight_protos(split.suffix)
    groups: dict[tuple[int, bool], list[str]] = {}
    for name, depth in weight_depths(split).items():
        is_matrix = sum(size > 1 for size in protos[name].dims) > 1
        groups.setdefault((depth, is_matrix), []).append(name)
    return [
        WeightGroup(tuple(groups[depth, is_matrix]), decay**depth, is_matrix)
        for depth, is_matrix in sorted(groups)
    ]


def batch_order(
    indices: NDArray[np.intp], batch_size: int, *, seed: int, epoch: int, lengths: NDArray[np.intp] | None
) -> list[NDArray[np.intp]]:
    """The batches of an epoch: every sample once, in an order that seed and epoch alone decide.

    Parameters
    ----------
    indices : ndarray of int
        Of the samples.
    batch_size : int
    seed, epoch : int
    lengths : ndarray of int, optional
        Of all samples, where a batch is filled up to its longest: samples of about one length are then put together.

    Examples
    --------
    >>> [len(batch) for batch in batch_order(np.arange(7), 3, seed=0, epoch=1, lengths=None)]
    [3, 3, 1]
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(indices)
    if lengths is not None:
        span = _SORTED_TOGETHER * batch_size
        parts = [order[at : at + span] for at in range(0, len(order), span)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    return batches if lengths is None else [batches[i] for i in rng.permutation(len(batches)).tolist()]
