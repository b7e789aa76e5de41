"""How good a network is: on pictures of its own classes, and on classes that it has never seen."""

from __future__ import annotations

import numpy as np
import torch
from network import Compact
from pictures import Pictures, as_tensor, normalise
from torch.nn import functional


@torch.inference_mode()
def outputs_of(network: Compact, pixels: np.ndarray, size: int, *, pooled: bool) -> np.ndarray:
    """Return logits, or pooled features, float32 (n, d), of whole pictures enlarged to ``size`` px."""
    device = next(network.parameters()).device
    network.eval()  # only ever the averaged network: the lanes' replicas stay in training mode
    rows = []
    for start in range(0, len(pixels), 256):
        x = as_tensor(pixels[start : start + 256]).to(device)
        if size != x.shape[-1]:
            x = functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
        x = normalise(x).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            y = network.pooled(x) if pooled else network(x)[0]
        rows.append(y.float().cpu().numpy())
    return np.concatenate(rows)


def top1(network: Compact, pictures: Pictures, size: int) -> float:
    logits = outputs_of(network, pictures.pixels, size, pooled=False)
    return float((logits.argmax(axis=1) == pictures.labels).mean())


def transfer_top1(network: Compact, known: Pictures, asked: Pictures, size: int) -> float:
    """Return the accuracy on ``asked`` of a logistic regression fitted on frozen features of ``known``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=1000))
    head.fit(outputs_of(network, known.pixels, size, pooled=True), known.labels)
    return float(head.score(outputs_of(network, asked.pixels, size, pooled=True), asked.labels))
