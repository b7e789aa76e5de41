"""The network: four stages of one residual block, and its ONNX file written node by node.

Invariant: the ONNX graph computes what the torch module computes in inference mode, with every BatchNorm
folded into the convolution before it. It is written with ``onnx.helper`` instead of torch's exporter, so that
the ends of the stages are tensors called ``stage1`` to ``stage4``, and nothing of the exporting machine gets
into the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 17
IR_VERSION = 8  # what onnxruntime has read since 2022
WIDTHS = (48, 96, 192, 384)


class Block(nn.Module):
    """The basic block of He et al. 2016, section 3.3, with a projection where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        # The block starts as its shortcut alone, which steadies the first epochs (Goyal et al. 2017, 5.1).
        nn.init.zeros_(self.norm2.weight)
        same_shape = stride == 1 and inputs == outputs
        self.project = None if same_shape else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.project_norm = None if same_shape else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.project is not None and self.project_norm is not None:
            x = self.project_norm(self.project(x))
        return torch.relu(y + x)


class Compact(nn.Module):
    """A ResNet-10 with a 3x3 stem of stride 2: a 64 px picture leaves the stages at 32, 16, 8 and 4 px.

    Parameters
    ----------
    n_classes : int
        Labels of the training pictures.
    n_teacher : int
        Classes of the teacher; its head is used in training only and never exported.
    """

    def __init__(self, n_classes: int, n_teacher: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(WIDTHS[0])
        inputs = (WIDTHS[0], *WIDTHS[:-1])
        strides = (1, 2, 2, 2)
        self.stages = nn.ModuleList(Block(*shape) for shape in zip(inputs, WIDTHS, strides, strict=True))
        self.head = nn.Linear(WIDTHS[-1], n_classes)
        self.teacher_head = nn.Linear(WIDTHS[-1], n_teacher)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Return the mean over the last map: (n, 3, h, w) normalised pixels to (n, 384)."""
        x = torch.relu(self.stem_norm(self.stem(pixels)))
        for stage in self.stages:
            x = stage(x)
        return x.float().mean(dim=(2, 3))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the labels (n, n_classes) and of the teacher's classes (n, n_teacher)."""
        pooled = self.pooled(pixels)
        return self.head(pooled), self.teacher_head(pooled)


@dataclass(slots=True)
class _Graph:
    """Nodes and weights in the order in which they are written."""

    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]

    def conv(self, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d, name: str) -> str:
        weight, bias = folded(conv, norm)
        self.weights += [
            numpy_helper.from_array(weight, f"{name}.weight"),
            numpy_helper.from_array(bias, f"{name}.bias"),
        ]
        pad, stride = conv.padding[0], conv.stride[0]
        kernel = list(conv.kernel_size)
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        return self.node("Conv", inputs, name, kernel_shape=kernel, pads=[pad] * 4, strides=[stride] * 2)

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (o, i, k, k) and bias (o,), float32, of one convolution that does both.

    The arithmetic is done in float64: the rounding to float32 then happens once, as for any other weight.
    """
    assert norm.running_var is not None
    assert norm.running_mean is not None
    with torch.no_grad():
        factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = conv.weight.double() * factor[:, None, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * factor
    return weight.float().cpu().numpy(), bias.float().cpu().numpy()


def to_onnx(network: Compact) -> onnx.ModelProto:
    """Write the network without the teacher's head.

    Input ``pixel_values`` float32 (batch, 3, height, width), RGB, normalised; output ``logits`` float32
    (batch, classes). Batch, height and width are free.
    """
    graph = _Graph([], [])
    x = graph.conv("pixel_values", network.stem, network.stem_norm, "stem.conv")
    x = graph.node("Relu", [x], "stem")
    for number, block in enumerate(network.stages, start=1):
        assert isinstance(block, Block)
        name = f"stage{number}"
        y = graph.conv(x, block.conv1, block.norm1, f"{name}.conv1")
        y = graph.node("Relu", [y], f"{name}.relu1")
        y = graph.conv(y, block.conv2, block.norm2, f"{name}.conv2")
        if block.project is not None and block.project_norm is not None:
            x = graph.conv(x, block.project, block.project_norm, f"{name}.project")
        y = graph.node("Add", [y, x], f"{name}.add")
        x = graph.node("Relu", [y], name)
    x = graph.node("GlobalAveragePool", [x], "pool")
    x = graph.node("Flatten", [x], "pooled", axis=1)
    head = network.head
    graph.weights += [
        numpy_helper.from_array(head.weight.detach().float().cpu().numpy(), "head.weight"),
        numpy_helper.from_array(head.bias.detach().float().cpu().numpy(), "head.bias"),
    ]
    graph.node("Gemm", [x, "head.weight", "head.bias"], "logits", transB=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "compact",
            [
                helper.make_tensor_value_info(
                    "pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"]
                )
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", head.out_features])],
            initializer=graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="featx models/compact",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def export(network: Compact, path: Path, *, sizes: tuple[int, ...] = (64, 96, 128)) -> float:
    """Compare onnxruntime with torch on noise, write ``path``, return the largest difference.

    Raises
    ------
    ValueError
        Where a logit differs by more than 1e-5 of the largest logit: float32 sums of up to 3,456 products in
        another order differ by a few units in the sixth digit.
    """
    import onnxruntime as ort

    network = network.eval().float().cpu()
    data = to_onnx(network).SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in sizes:
        pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            expected = network(pixels)[0].numpy()
        (found,) = session.run(["logits"], {"pixel_values": pixels.numpy()})
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    if worst > 1e-5:
        raise ValueError(
            f"{path}: the exported logits differ from torch's by {worst:.1e} of the largest logit, "
            "expected at most 1e-05; nothing was written"
        )
    path.write_bytes(data)
    return worst
