"""Where stages end, for each way that networks shrink their maps."""

from __future__ import annotations

from types import ModuleType

import onnx
import pytest

from featx.backbones.graph import inspect_graph


def stages(model: onnx.ModelProto) -> list[tuple[int, int | None]]:
    """Channels and height of each stage."""
    found = [tap for tap in inspect_graph(model).taps if tap.name.startswith("stage")]
    assert [tap.name for tap in found] == [f"stage{i}" for i in range(1, len(found) + 1)]
    return [(tap.channels, tap.resolution[0] if tap.resolution else None) for tap in found]


def test_a_strided_stem_is_no_stage(graphs: ModuleType) -> None:
    assert stages(graphs.resnet()) == [(8, 16), (12, 8), (16, 4), (20, 2)]


def test_stages_do_not_need_the_size(graphs: ModuleType) -> None:
    assert stages(graphs.resnet(size=("h", "w"))) == [(8, None), (12, None), (16, None), (20, None)]


def test_an_inverted_bottleneck_ends_before_the_next_expansion(graphs: ModuleType) -> None:
    assert stages(graphs.inverted_bottlenecks()) == [(12, 16), (16, 8), (20, 4), (24, 2)]


def test_a_separable_block_ends_after_its_pointwise_convolution(graphs: ModuleType) -> None:
    assert stages(graphs.inverted_bottlenecks(expand=False)) == [(24, 16), (32, 8), (40, 4), (48, 2)]


def test_convolutions_that_keep_the_size_have_stages_from_there(graphs: ModuleType) -> None:
    # The map after the last pool is convolved by nothing, so it is no stage.
    assert stages(graphs.plain_stack()) == [(8, 32), (12, 16), (16, 8)]


def test_a_short_network_counts_its_first_blocks(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.conv_norm_relu(net.picture("input"), 8, 3, 2)
    for width, stride in ((8, 1), (12, 2), (16, 2), (20, 2)):
        y = net.basic_block(y, width, stride)
    net.gemm(net.flat(y), 20, 10, out="scores")
    assert stages(net.model({"input": ("n", 3, 64, 64)}, {"scores": None})) == [
        (8, 32),
        (12, 16),
        (16, 8),
        (20, 4),
    ]


@pytest.mark.parametrize("dilated", [False, True])
def test_a_strided_slice_shrinks_a_map_too(dilated: bool, graphs: ModuleType) -> None:
    # The shortcut of the CIFAR ResNets (He et al. 2016, option A): every second pixel, channels padded with zeros.
    net = graphs.Net()
    y = net.conv_norm_relu(net.picture("input"), 8, 3)
    y = net.basic_block(y, 8)
    stage = y
    args = [net.weight(v, int) for v in ([0, 0], [2**31, 2**31], [2, 3], [2, 2])]
    if dilated:  # one axis at a time, as torch writes x[:, :, ::2, ::2]
        for axis in (2, 3):
            y = net.op("Slice", y, *(net.weight([v], int) for v in (0, 2**31, axis, 2)))
    else:
        y = net.op("Slice", y, *args)
    short = net.op("Pad", y, net.weight([0, 2, 0, 0, 0, 2, 0, 0], int))
    y = net.op("Relu", net.op("Add", net.norm(net.conv(net.conv_norm_relu(stage, 12, 3, 2), 12, 3)), short))
    net.gemm(net.flat(y), 12, 10, out="scores")
    assert stages(net.model({"input": ("n", 3, 32, 32)}, {"scores": None})) == [(8, 32), (12, 16)]


def test_padding_before_a_strided_convolution_belongs_to_it(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.conv_norm_relu(net.picture("input"), 8, 3)
    for width in (12, 16):
        y = net.op("Pad", y, net.weight([0, 0, 0, 0, 0, 0, 1, 1], int))
        y = net.op("Relu", net.conv(y, width, 3, 2, pad=False))
    net.gemm(net.flat(y), 16, 10, out="scores")
    assert stages(net.model({"input": ("n", 3, 32, 32)}, {"scores": None})) == [(8, 32), (12, 16), (16, 8)]


def test_branches_of_one_stage_end_where_they_parted(graphs: ModuleType) -> None:
    # Inception's reduction: a pool beside convolutions, joined behind.
    net = graphs.Net()
    y = net.conv_norm_relu(net.picture("input"), 8, 3)
    pool = net.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    branch = net.conv_norm_relu(net.conv_norm_relu(y, 6), 12, 3, 2)
    y = net.op("Concat", pool, branch, axis=1)
    net.channels[y] = 20
    y = net.conv_norm_relu(y, 24, 3)
    net.gemm(net.flat(y), 24, 10, out="scores")
    assert stages(net.model({"input": ("n", 3, 32, 32)}, {"scores": None})) == [(8, 32), (24, 16)]
