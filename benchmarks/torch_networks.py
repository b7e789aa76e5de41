"""MobileNetV2 and ResNet-50 without their classifiers, in torch, for ``versus.py``.

Written after the papers' tables, as torchvision does not import everywhere. Random weights: for speed only. The number of
parameters is held to that of the published networks.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["mobilenet_v2", "resnet50"]

# Sandler et al. 2018, table 2: expansion, channels, repeats, stride of the first.
_INVERTED_RESIDUALS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# He et al. 2016, table 1, column 50-layer: width, repeats, stride of the first.
_BOTTLENECKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class _Sum(nn.Module):
    """A branch added to its input, or to a projection of it."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.last = branch, shortcut, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.branch(x) + self.shortcut(x))


def mobilenet_v2() -> nn.Module:
    """(n, 3, 224, 224) to (n, 1280)."""
    layers: list[nn.Module] = [_convolution(3, 32, 3, stride=2, activation=nn.ReLU6)]
    n_in = 32
    for expansion, n_out, repeats, stride in _INVERTED_RESIDUALS:
        for at in range(repeats):
            wide, step = n_in * expansion, stride if at == 0 else 1
            block = [_convolution(n_in, wide, 1, activation=nn.ReLU6)] if expansion > 1 else []
            block += [
                _convolution(wide, wide, 3, stride=step, groups=wide, activation=nn.ReLU6),
                _convolution(wide, n_out, 1, activation=nn.Identity),
            ]
            branch = nn.Sequential(*block)
            same = step == 1 and n_in == n_out
            layers.append(_Sum(branch, nn.Identity(), nn.Identity()) if same else branch)
            n_in = n_out
    layers += [_convolution(n_in, 1280, 1, activation=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _checked(nn.Sequential(*layers), 2_223_872)


def resnet50() -> nn.Module:
    """(n, 3, 224, 224) to (n, 2048). The stride is on the 3 x 3 convolution, as in torchvision."""
    layers: list[nn.Module] = [
        _convolution(3, 64, 7, stride=2, activation=nn.ReLU),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    n_in = 64
    for width, repeats, stride in _BOTTLENECKS:
        for at in range(repeats):
            step = stride if at == 0 else 1
            branch = nn.Sequential(
                _convolution(n_in, width, 1, activation=nn.ReLU),
                _convolution(width, width, 3, stride=step, activation=nn.ReLU),
                _convolution(width, 4 * width, 1, activation=nn.Identity),
            )
            projection = _convolution(n_in, 4 * width, 1, stride=step, activation=nn.Identity)
            layers.append(_Sum(branch, projection if at == 0 else nn.Identity(), nn.ReLU(inplace=True)))
            n_in = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return _checked(nn.Sequential(*layers), 23_508_032)


def _convolution(
    n_in: int, n_out: int, size: int, *, stride: int = 1, groups: int = 1, activation: type[nn.Module]
) -> nn.Module:
    active = activation() if activation is nn.Identity else activation(inplace=True)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
        active,
    )


def _checked(network: nn.Module, n_expected: int) -> nn.Module:
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    if n_parameters != n_expected:
        raise RuntimeError(f"expected {n_expected:,} parameters, found {n_parameters:,}")
    return network.eval()
