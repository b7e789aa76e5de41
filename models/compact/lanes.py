"""Gradients of one batch, computed by several threads side by side.

A lane is a thread that runs whole operators on its share of the rows, beside others that do the same. The
usual way, several threads inside every operator, makes them wait for each other hundreds of times a step;
where other programs hold a core, that made training several times slower on two cores.

Invariant: lanes share the parameters and add to the same gradients (torch locks the accumulation). Each has
running statistics of its own, so a batch is normalised lane by lane, and the network that is saved carries
those of the first lane.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from network import Compact
from pictures import Pictures, as_tensor, mix, normalise, vary
from recipe import Settings, picture_size_px
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """Open with :func:`open_lanes`. ``taught``: the teacher's logits (n, classes), a row a picture."""

    pool: ThreadPoolExecutor
    networks: tuple[Compact, ...]
    settings: Settings
    pictures: Pictures
    taught: np.ndarray

    def add_gradients(self, rows: np.ndarray, *, step: int, progress: float) -> tuple[float, float]:
        """Add the gradients of the loss over ``rows``; return its two parts, to labels and to the teacher."""
        shares = [rows[lane :: len(self.networks)] for lane in range(len(self.networks))]

        def work(lane: int) -> tuple[float, float]:
            seed = (self.settings.seed * 1_000_003 + step) * 64 + lane
            label_loss, teacher_loss = self._losses(lane, shares[lane], seed, progress)
            part, w = len(shares[lane]) / len(rows), self.settings.teacher_weight
            (part * ((1 - w) * label_loss + w * teacher_loss)).backward()
            return part * label_loss.item(), part * teacher_loss.item()

        label_losses, teacher_losses = zip(*self.pool.map(work, range(len(self.networks))), strict=True)
        return sum(label_losses), sum(teacher_losses)

    def _losses(self, lane: int, rows: np.ndarray, seed: int, progress: float) -> tuple[Tensor, Tensor]:
        network = self.networks[lane]
        device = next(network.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        pixels = as_tensor(self.pictures.pixels[rows]).to(device)
        labels = torch.from_numpy(self.pictures.labels[rows]).to(device)
        taught = torch.from_numpy(self.taught[rows]).to(device).float()
        views = vary(pixels, picture_size_px(progress), generator)
        order, share = torch.arange(len(rows), device=device), 1.0
        if progress < 0.9:  # the last tenth sees one picture at a time, as the finished network will
            views, order, share = mix(views, generator)
        views = normalise(views).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            own, as_teacher = network(views)
        smoothing = self.settings.label_smoothing
        label_loss = share * functional.cross_entropy(own, labels, label_smoothing=smoothing)
        if share < 1:
            partners = functional.cross_entropy(own, labels[order], label_smoothing=smoothing)
            label_loss = label_loss + (1 - share) * partners
        target = taught.softmax(dim=1)
        target = share * target + (1 - share) * target[order]
        teacher_loss = -(target * as_teacher.float().log_softmax(dim=1)).sum(dim=1).mean()
        return label_loss, teacher_loss


def open_lanes(
    network: Compact, n_lanes: int, settings: Settings, pictures: Pictures, taught: np.ndarray
) -> Lanes:
    """Start ``n_lanes`` threads on replicas of ``network``, the first of which is the network itself."""
    # A thread's own number of threads is part of its OpenMP state, so every lane has to set it.
    pool = ThreadPoolExecutor(n_lanes, initializer=torch.set_num_threads, initargs=(1,))
    networks = tuple(twin.train() for twin in _replicas(network, n_lanes))
    return Lanes(pool=pool, networks=networks, settings=settings, pictures=pictures, taught=taught)


def _replicas(network: Compact, n_lanes: int) -> list[Compact]:
    replicas = [network, *(copy.deepcopy(network) for _ in range(n_lanes - 1))]
    for replica in replicas[1:]:
        for mine, its in zip(network.modules(), replica.modules(), strict=True):
            for name, parameter in mine.named_parameters(recurse=False):
                setattr(its, name, parameter)
    return replicas
