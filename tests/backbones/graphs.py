"""Small seeded graphs in the dialects that real files come in, for the tests of the graph rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Writes a graph layer by layer; each method returns the name of the tensor it made."""

    def __init__(self, *, opset: int = 18, seed: int = 0, name: str = "t{}") -> None:
        self.opset, self.name = opset, name
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels: dict[str, int] = {}

    def op(
        self, kind: str, *inputs: str, out: str | None = None, n_outputs: int = 1, **attributes: Any
    ) -> str:
        out = out or self.name.format(len(self.nodes))
        outputs = [out] + [f"{out}_extra{i}" for i in range(1, n_outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        if inputs and inputs[0] in self.channels:
            self.channels[out] = self.channels[inputs[0]]
        return out

    def weight(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def drawn(self, *shape: int) -> str:
        """He-normal weights (He et al. 2015, eq. 10), so that activations keep their scale."""
        fan_in = int(np.prod(shape[1:]))
        return self.weight(self.rng.standard_normal(shape) * np.sqrt(2 / fan_in))

    def conv(self, x: str, out: int, k: int = 1, stride: int = 1, *, group: int = 1, pad: bool = True) -> str:
        weight = self.drawn(out, self.channels[x] // group, k, k)
        y = self.op(
            "Conv",
            x,
            weight,
            strides=[stride] * 2,
            pads=[k // 2 if pad else 0] * 4,
            group=group,
            kernel_shape=[k, k],
        )
        self.channels[y] = out
        return y

    def norm(self, x: str, **attributes: Any) -> str:
        n = self.channels[x]
        drawn = [self.weight(self.rng.uniform(0.5, 1.5, n)) for _ in range(4)]
        return self.op("BatchNormalization", x, *drawn, **attributes)

    def conv_norm_relu(self, x: str, out: int, k: int = 1, stride: int = 1, group: int = 1) -> str:
        return self.op("Relu", self.norm(self.conv(x, out, k, stride, group=group)))

    def basic_block(self, x: str, out: int, stride: int = 1) -> str:
        """Two 3 x 3 convolutions and a shortcut (He et al. 2016)."""
        y = self.norm(self.conv(self.conv_norm_relu(x, out, 3, stride), out, 3))
        short = x if stride == 1 and self.channels[x] == out else self.norm(self.conv(x, out, 1, stride))
        return self.op("Relu", self.op("Add", y, short))

    def dense(self, x: str, n_in: int, n_out: int, out: str | None = None) -> str:
        product = self.op("MatMul", x, self.drawn(n_in, n_out))
        return self.op("Add", product, self.weight(self.rng.standard_normal(n_out)), out=out)

    def gemm(self, x: str, n_in: int, n_out: int, out: str | None = None) -> str:
        return self.op("Gemm", x, self.drawn(n_out, n_in), self.weight(np.zeros(n_out)), transB=1, out=out)

    def flat(self, x: str) -> str:
        return self.op("Flatten", self.op("GlobalAveragePool", x), axis=1)

    def picture(self, name: str, channels: int = 3) -> str:
        self.channels[name] = channels
        return name

    def model(
        self,
        inputs: dict[str, Sequence[int | str | None]],
        outputs: dict[str, Sequence[int | str | None] | None],
        *,
        dtype: int = TensorProto.FLOAT,
        ir_version: int = 8,
        weights_are_inputs: bool = False,
    ) -> onnx.ModelProto:
        declared = [helper.make_tensor_value_info(n, dtype, list(s)) for n, s in inputs.items()]
        if weights_are_inputs:
            declared += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in self.weights]
        made = [
            helper.make_tensor_value_info(n, dtype, None if s is None else list(s))
            for n, s in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "g", declared, made, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="by-hand")


def resnet(
    *,
    opset: int = 18,
    batch: int | str = "batch",
    size: tuple[int | str, int | str] = (64, 64),
    n_classes: int | None = 10,
    output: str = "scores",
    channels: int = 3,
    x: str = "input",
) -> onnx.ModelProto:
    """A ResNet of one basic block a stage; without classes it ends in its pooled vector."""
    net = Net(opset=opset)
    y = net.conv_norm_relu(net.picture(x, channels), 8, 7, 2)
    y = net.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for width, stride in ((8, 1), (12, 2), (16, 2), (20, 2)):
        y = net.basic_block(y, width, stride)
    if n_classes is None:
        net.op("Flatten", net.op("GlobalAveragePool", y), axis=1, out=output)
    else:
        net.gemm(net.flat(y), 20, n_classes, out=output)
    return net.model({x: (batch, channels, *size)}, {output: None})


def zoo(opset: int = 7, *, batch: int | str = 1) -> onnx.ModelProto:
    """As in the ONNX model zoo: weights among the inputs, unfolded norms, a dropout with a mask, a reshape with the batch."""
    net = Net(opset=opset, name="gpu_0/blob_{}")
    y = net.conv_norm_relu(net.picture("gpu_0/data_0"), 8, 3, 2)
    y = net.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for width, stride in ((8, 1), (12, 2), (16, 2)):
        y = net.basic_block(y, width, stride)
    y = net.op("AveragePool", y, kernel_shape=[4, 4])
    y = net.op("Reshape", y, net.weight([1 if batch == 1 else 0, -1], np.int64))
    y = net.op("Dropout", y, n_outputs=2, **({"ratio": 0.5} if opset < 12 else {}))
    net.op("Softmax", net.gemm(y, 16, 10), out="gpu_0/softmax_1", axis=1)
    shape = (batch, 3, 64, 64)
    return net.model(
        {"gpu_0/data_0": shape}, {"gpu_0/softmax_1": None}, ir_version=3, weights_are_inputs=True
    )


def keras(*, opset: int = 13) -> onnx.ModelProto:
    """As tf2onnx writes Keras: NHWC outside, transposes between, tensor names with slashes and colons."""
    net = Net(opset=opset, name="model/layer_{}/out:0")
    x = net.picture("input_1:0")
    y = net.op("Transpose", x, perm=[0, 3, 1, 2])
    y = net.op("Pad", y, net.weight([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    y = net.op("Relu", net.norm(net.conv(y, 8, 3, 2, pad=False)))
    y = _nhwc_block(net, net.op("Transpose", y, perm=[0, 2, 3, 1]), 8, 2)
    y = _nhwc_block(net, y, 12, 2)
    y = _nhwc_block(net, y, 16, 2)
    y = _nhwc_block(net, y, 20, 2)
    if opset < 18:
        y = net.op("ReduceMean", y, axes=[1, 2], keepdims=0)
    else:
        y = net.op("ReduceMean", y, net.weight([1, 2], np.int64), keepdims=0)
    net.op("Softmax", net.dense(y, 20, 10), out="Identity:0", axis=-1)
    return net.model({x: ("unk__1", 64, 64, 3)}, {"Identity:0": ("unk__1", 10)})


def _nhwc_block(net: Net, x: str, out: int, stride: int) -> str:
    y = net.conv_norm_relu(net.op("Transpose", x, perm=[0, 3, 1, 2]), out, 3, stride)
    y = net.norm(net.conv(y, out, 3))
    return net.op("Relu", net.op("Transpose", y, perm=[0, 2, 3, 1]))


def inverted_bottlenecks(*, expand: bool = True) -> onnx.ModelProto:
    """MobileNetV2's blocks with a gate of squeeze-and-excitation; without expansion, MobileNetV1's."""
    net = Net()
    y = net.conv_norm_relu(net.picture("input"), 8, 3, 2)
    for width, stride in ((8, 1), (12, 2), (16, 2), (20, 2), (24, 2)):
        wide = net.channels[y] * 6
        y = net.conv_norm_relu(y, wide) if expand else y
        y = net.conv_norm_relu(y, net.channels[y], 3, stride, group=net.channels[y])
        if expand:
            gate = net.conv(net.op("GlobalAveragePool", y), 4)
            gate = net.op("Sigmoid", net.conv(net.op("Relu", gate), wide))
            y = net.norm(net.conv(net.op("Mul", y, gate), width))
        else:
            y = net.conv_norm_relu(y, width * 2)
    net.gemm(net.flat(y), net.channels[y], 10, out="scores")
    return net.model({"input": ("n", 3, 64, 64)}, {"scores": None})


def plain_stack() -> onnx.ModelProto:
    """VGG's shape: convolutions that keep the size, pools that halve it, a head of two dense layers."""
    net = Net()
    y = net.picture("input")
    for width in (8, 12, 16):
        y = net.op("Relu", net.conv(net.op("Relu", net.conv(y, width, 3)), width, 3))
        y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("Relu", net.gemm(net.op("Flatten", y, axis=1), 16 * 4 * 4, 32))
    net.gemm(y, 32, 10, out="scores")
    return net.model({"input": ("n", 3, 32, 32)}, {"scores": None})


def projection(output: str, width: int, *, scores: str | None = None) -> onnx.ModelProto:
    """A pooled vector of 20 and one dense layer: a classifier or a projection, as its output's name and width say."""
    net = Net()
    y = net.conv_norm_relu(net.picture("input"), 20, 3, 2)
    last = net.gemm(net.flat(y), 20, width, out=None if scores else output)
    if scores:
        net.op(scores, last, out=output, **({"axis": 1} if scores.endswith("max") else {}))
    return net.model({"input": ("n", 3, 16, 16)}, {output: None})


def detector() -> onnx.ModelProto:
    """Two outputs that only their user can choose between."""
    net = Net()
    y = net.conv_norm_relu(net.picture("input"), 8, 3, 2)
    y = net.conv_norm_relu(y, 12, 3, 2)
    net.op("Identity", net.conv(y, 4, 1), out="boxes")
    net.op("Sigmoid", net.conv(y, 3, 1), out="confidence")
    return net.model({"input": ("n", 3, 32, 32)}, {"boxes": None, "confidence": None})


def batch_mean() -> onnx.ModelProto:
    """Subtracts the mean over the batch: every row changes the others."""
    net = Net(opset=13)
    vector = net.flat(net.conv_norm_relu(net.picture("input"), 8, 3, 2))
    mean = net.op("ReduceMean", vector, axes=[0], keepdims=1)
    net.op("Sub", vector, mean, out="embedding")
    return net.model({"input": ("n", 3, 16, 16)}, {"embedding": None})


def training_norm() -> onnx.ModelProto:
    """Batch normalisation left in training mode."""
    net = Net(opset=15)
    y = net.conv(net.picture("input"), 8, 3, 2)
    y = net.norm(y, training_mode=1)
    net.nodes[-1].output.extend(["running_mean", "running_var"])
    net.op("Identity", net.flat(y), out="embedding")
    return net.model({"input": ("n", 3, 16, 16)}, {"embedding": None})


def encoder(
    *,
    post_norm: bool = False,
    n_layers: int = 3,
    n_registers: int = 0,
    batch: int | str = "n",
    opset: int = 18,
) -> onnx.ModelProto:
    """A vision transformer of width 16 on patches of 8: class token, registers, single-head attention, an MLP."""
    net, d = Net(opset=opset), 16
    y = net.op("Conv", "input", net.drawn(d, 3, 8, 8), strides=[8, 8], kernel_shape=[8, 8])
    y = net.op("Transpose", net.op("Reshape", y, net.weight([0, d, -1], np.int64)), perm=[0, 2, 1])
    rows = net.op("Gather", net.op("Shape", "input"), net.weight([0], np.int64), axis=0)
    target = net.op("Concat", rows, net.weight([1, d], np.int64), axis=0)
    y = net.op("Concat", net.op("Expand", net.drawn(1, 1, d), target), y, axis=1)
    if n_registers:
        target = net.op("Concat", rows, net.weight([n_registers, d], np.int64), axis=0)
        cls = net.op("Slice", y, *(net.weight(v, np.int64) for v in ([0], [1], [1])))
        rest = net.op("Slice", y, *(net.weight(v, np.int64) for v in ([1], [99], [1])))
        y = net.op("Concat", cls, net.op("Expand", net.drawn(1, n_registers, d), target), rest, axis=1)

    def layer_norm(x: str) -> str:
        return net.op("LayerNormalization", x, net.weight(np.ones(d)), net.weight(np.zeros(d)), axis=-1)

    def attention(x: str) -> str:
        q, k, v = (net.op("MatMul", x, net.drawn(d, d)) for _ in range(3))
        weights = net.op("Softmax", net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 1])), axis=-1)
        return net.op("MatMul", weights, v)

    def mlp(x: str) -> str:
        return net.dense(net.op("Relu", net.dense(x, d, 2 * d)), 2 * d, d)

    for _ in range(n_layers):
        for block in (attention, mlp):
            total = net.op("Add", y, block(y if post_norm else layer_norm(y)))
            y = layer_norm(total) if post_norm else total
    y = y if post_norm else layer_norm(y)
    net.gemm(net.op("Gather", y, net.weight(0, np.int64), axis=1), d, 10, out="scores")
    return net.model({"input": (batch, 3, 32, 32)}, {"scores": None})
