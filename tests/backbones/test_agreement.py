"""A cut graph on uint8 pixels against the original graph on numpy's preprocessing, at every tap of every file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from featx.backbones.graph import GraphInfo, Tap, find_tap, inspect_graph, load_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.surgery import POOLINGS, cut_image_graph, resolve_pooling

# Both sides compute the same float32 operations, except that pixel * a + b replaces (pixel * scale - mean) / std and that the
# runtime may fuse differently around another output: a few roundings of 2**-24 that grow with depth. Measured: below 2e-6.
FLOAT32_TOLERANCE = 1e-5
# Float16 rounds at 2**-11 (5e-4); the same fusions move a result by about one such rounding. Measured: 4e-5.
FLOAT16_TOLERANCE = 1e-3
# A rounding of the input may flip one activation by one of 255 quantisation steps.
INT8_TOLERANCE = 1e-2


def session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def preprocess_for(info: GraphInfo, *, channel_order: str = "rgb") -> ImagePreprocess:
    mean, std = (
        ((0.5,) * 3, (0.25,) * 3) if info.channels == 1 else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return ImagePreprocess(
        size=info.input_size or (64, 64), crop=None, mean=mean, std=std, channel_order=channel_order
    )


def in_numpy(pixels: NDArray[np.uint8], info: GraphInfo, preprocess: ImagePreprocess) -> NDArray[np.floating]:
    x = pixels[..., ::-1] if preprocess.channel_order == "bgr" else pixels
    if info.channels == 1:
        x = x.astype(np.float32) @ np.float32([[0.299], [0.587], [0.114]])
    mean, std = np.float32(preprocess.mean)[: info.channels], np.float32(preprocess.std)[: info.channels]
    x = (x.astype(np.float32) * np.float32(preprocess.scale) - mean) / std
    return (x if info.layout == "nhwc" else x.transpose(0, 3, 1, 2)).astype(info.input_dtype)


def pooled(values: NDArray[np.floating], tap: Tap, pooling: str) -> NDArray[np.float32]:
    values = values.astype(np.float32)
    if tap.kind == "vector":
        return values.reshape(len(values), -1)
    if tap.kind == "tokens":
        patches = values[:, tap.n_prefix_tokens :]
        return {"cls": values[:, 0], "mean": patches.mean(1), "max": patches.max(1)}[pooling]
    space = (2, 3) if tap.layout == "nchw" else (1, 2)
    if pooling == "gem":
        return np.maximum(values, 1e-6).__pow__(3).mean(space) ** np.float32(1 / 3)
    return values.max(space) if pooling == "max" else values.mean(space)


def original_at(
    model: onnx.ModelProto, info: GraphInfo, taps: Sequence[Tap], inputs: NDArray[np.floating]
) -> list[NDArray[np.floating]]:
    """The original graph's own tensors, one row at a time, which holds for a fixed batch too."""
    names = [tap.tensor for tap in taps]
    own = len(model.graph.output)
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in sorted(set(names) - set(info.outputs))
    )
    runner = session(model)
    del model.graph.output[own:]
    rows = [runner.run(names, {info.input_name: inputs[i : i + 1]}) for i in range(len(inputs))]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def disagreement(
    model: onnx.ModelProto,
    preprocess: ImagePreprocess | None = None,
    *,
    taps: Sequence[Tap] | None = None,
    poolings: Sequence[str] | None = None,
    n: int = 3,
) -> dict[str, float]:
    """max |difference| / max |reference| a tap and pooling, of a batch of the cut graph against rows of the original."""
    info = inspect_graph(model)
    preprocess = preprocess or preprocess_for(info)
    taps = list(info.taps if taps is None else taps)
    poolings = list(poolings or ["auto"] * len(taps))
    height, width = preprocess.output_size or (64, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    cut = session(cut_image_graph(model, info, taps, poolings=poolings, preprocess=preprocess))
    if info.fixed_batch or info.coupled_by:
        parts = [cut.run(None, {"pixels": pixels[i : i + 1]}) for i in range(n)]
        found = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
    else:
        found = cut.run(None, {"pixels": pixels})
    reference = original_at(model, info, taps, in_numpy(pixels, info, preprocess))
    apart = {}
    for tap, pooling, vectors, values in zip(taps, poolings, found, reference, strict=True):
        expected = pooled(values, tap, resolve_pooling(info, tap, pooling))
        assert vectors.shape == expected.shape == (n, tap.channels)
        assert vectors.dtype == np.float32
        largest = np.abs(expected).max()
        assert largest > 0
        apart[f"{tap.name} {pooling}"] = float(np.abs(vectors - expected).max() / largest)
    return apart


def assert_agrees(model: onnx.ModelProto, tolerance: float = FLOAT32_TOLERANCE, **options: object) -> None:
    apart = disagreement(model, **options)  # type: ignore[arg-type]  # passed on as given
    assert apart
    assert {k: v for k, v in apart.items() if v > tolerance} == {}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("mobilenet_v2", FLOAT32_TOLERANCE),
        ("resnet56_cifar10", FLOAT32_TOLERANCE),
        ("mobilenet_v2_int8_dynamic", INT8_TOLERANCE),
        ("squeezenet1_1_fp16", FLOAT16_TOLERANCE),
    ],
)
def test_cut_weights_agree_with_the_original_at_every_tap(name: str, tolerance: float, weights: Path) -> None:
    preprocess = ImagePreprocess.from_folder(weights / name)
    assert_agrees(load_graph(weights / name / "model.onnx"), tolerance, preprocess=preprocess)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "efficientnet_b0", "vgg16", "vit_small_patch16_224"]
)
def test_cut_skeletons_agree_with_the_original_at_every_tap(name: str, filled: Callable[[str], Path]) -> None:
    assert_agrees(load_graph(filled(name)), n=1 if name == "vgg16" else 2)  # half a gigabyte of weights


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "vit_batch_1", "dinov2"])
def test_cut_exports_of_torch_agree_with_the_original_at_every_tap(
    name: str, exporter: str, exported: Callable[[str, str], Path]
) -> None:
    assert_agrees(load_graph(exported(name, exporter)))


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 13])
def test_cut_zoo_files_agree_with_the_original_in_any_opset(opset: int, graphs: ModuleType) -> None:
    assert_agrees(graphs.zoo(opset))


@pytest.mark.parametrize("opset", [13, 18])
def test_cut_keras_files_agree_with_the_original(opset: int, graphs: ModuleType) -> None:
    assert_agrees(graphs.keras(opset=opset))


def test_every_pooling_of_every_kind_agrees_with_numpy(graphs: ModuleType) -> None:
    for model in (graphs.resnet(), graphs.keras(), graphs.encoder(n_registers=4), graphs.zoo(7)):
        for tap in inspect_graph(model).taps:
            poolings = POOLINGS[tap.kind]
            assert_agrees(model, taps=[tap] * len(poolings), poolings=poolings)


@pytest.mark.parametrize("make", ["resnet", "keras"])
def test_bgr_networks_get_the_channels_in_their_order(make: str, graphs: ModuleType) -> None:
    model = getattr(graphs, make)()
    assert_agrees(model, preprocess=preprocess_for(inspect_graph(model), channel_order="bgr"))


def test_a_network_of_grey_pictures_gets_luma(graphs: ModuleType) -> None:
    assert_agrees(graphs.resnet(channels=1))


def test_a_network_of_any_size_takes_the_size_of_the_preprocessing(graphs: ModuleType) -> None:
    assert_agrees(graphs.resnet(size=("h", "w")))


def test_any_tensor_can_be_tapped_by_its_own_name(graphs: ModuleType) -> None:
    model = graphs.resnet()
    info = inspect_graph(model)
    names = [node.output[0] for node in model.graph.node]
    assert_agrees(model, taps=[find_tap(info, model, name) for name in names])
