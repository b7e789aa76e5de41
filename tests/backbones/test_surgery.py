"""What a cut graph holds, what it leaves out, and what cannot be cut."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from featx.backbones.graph import find_tap, inspect_graph, load_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.surgery import cut_image_graph, resolve_pooling
from featx.errors import GraphError, ParameterError


def preprocess(size: tuple[int, int] | None = (64, 64), **changes: object) -> ImagePreprocess:
    values: dict[str, object] = {"size": size, "mean": (0.5,) * 3, "std": (0.25,) * 3} | changes
    return ImagePreprocess(**values)  # type: ignore[arg-type]  # each field has its own type


def cut(model: onnx.ModelProto, *names: str, **options: object) -> onnx.ModelProto:
    info = inspect_graph(model)
    taps = [find_tap(info, model, name) for name in names or ("pooled",)]
    given: dict[str, object] = {"poolings": ["auto"] * len(taps), "preprocess": preprocess()} | options
    return cut_image_graph(model, info, taps, **given)  # type: ignore[arg-type]  # as in the signature


def run(model: onnx.ModelProto, pixels: np.ndarray, folder: Path | None = None) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"pixels": pixels}))


def pixels(n: int = 2, side: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def declared(value: onnx.ValueInfoProto) -> tuple[str, int, list[int | str]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, [d.dim_param or d.dim_value for d in kind.shape.dim]


def test_input_and_outputs_are_the_promised_ones(graphs: ModuleType) -> None:
    made = cut(graphs.resnet(), "pooled", "stage2")
    onnx.checker.check_model(made, full_check=True)
    assert [declared(v) for v in made.graph.input] == [("pixels", TensorProto.UINT8, ["n", 64, 64, 3])]
    assert [declared(v) for v in made.graph.output] == [
        ("embedding_0", TensorProto.FLOAT, ["n", 20]),
        ("embedding_1", TensorProto.FLOAT, ["n", 12]),
    ]


def test_nodes_and_weights_that_no_tap_needs_are_left_out(graphs: ModuleType) -> None:
    model = graphs.resnet()
    early = cut(model, "stage1")
    assert len(early.graph.initializer) < len(model.graph.initializer) / 2
    read = {name for node in early.graph.node for name in node.input}
    assert {t.name for t in early.graph.initializer} <= read
    assert "Gemm" not in {node.op_type for node in cut(model).graph.node}


def test_traces_of_the_exporting_machine_are_left_out(graphs: ModuleType) -> None:
    model = graphs.resnet()
    model.doc_string = model.graph.doc_string = "/home/someone/train.py"
    for node in model.graph.node:
        node.doc_string = "/home/someone/model.py"
        node.metadata_props.append(onnx.StringStringEntryProto(key="stack", value="/home/someone/layer.py"))
    for tensor in model.graph.initializer:
        tensor.doc_string = "/home/someone"
    model.metadata_props.append(onnx.StringStringEntryProto(key="path", value="/home/someone"))
    assert b"someone" not in cut(model).SerializeToString()


def test_the_same_arguments_give_the_same_bytes(graphs: ModuleType) -> None:
    first, second = (
        cut(graphs.encoder(batch=1), "pooled", "layer1", preprocess=preprocess((32, 32))) for _ in range(2)
    )
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_the_model_given_is_not_changed(graphs: ModuleType) -> None:
    model = graphs.zoo()
    before = model.SerializeToString(deterministic=True)
    cut(model, "pooled", precision="float16")
    assert model.SerializeToString(deterministic=True) == before


def test_names_of_the_original_may_be_those_that_are_promised(graphs: ModuleType) -> None:
    plain = graphs.resnet(n_classes=None, output="vector")
    clashing = graphs.resnet(n_classes=None, output="embedding_0", x="pixels")
    np.testing.assert_array_equal(run(cut(clashing), pixels())[0], run(cut(plain), pixels())[0])


def test_weights_outside_the_file_are_still_outside_and_used(graphs: ModuleType, tmp_path: Path) -> None:
    whole = graphs.resnet()
    expected = run(cut(whole), pixels())[0]
    onnx.save(
        whole, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    made = cut(load_graph(tmp_path / "model.onnx"))
    assert any(t.data_location == TensorProto.EXTERNAL for t in made.graph.initializer)
    np.testing.assert_array_equal(run(made, pixels(), tmp_path)[0], expected)
    halved = cut(load_graph(tmp_path / "model.onnx"), precision="float16")
    half = run(halved, pixels(), tmp_path)[0]
    np.testing.assert_array_equal(half, run(cut(graphs.resnet(), precision="float16"), pixels())[0])


@pytest.mark.parametrize("make", ["resnet", "keras", "inverted_bottlenecks", "plain_stack"])
def test_float16_is_close_to_float32(make: str, graphs: ModuleType) -> None:
    model = getattr(graphs, make)()
    side = inspect_graph(model).input_size[0]
    options = {"preprocess": preprocess((side, side))}
    (full,), (half,) = (
        run(cut(model, precision=p, **options), pixels(2, side)) for p in ("float32", "float16")
    )
    assert half.dtype == np.float32
    # Float16 rounds at 2**-11; ten layers of it stay within 1 %. Equal values would mean it computed in float32.
    apart = np.abs(full - half).max() / np.abs(full).max()
    assert 0 < apart < 1e-2


def test_float16_of_an_encoder_is_close_to_float32(graphs: ModuleType) -> None:
    model, options = graphs.encoder(), {"preprocess": preprocess((32, 32))}
    (full,), (half,) = (
        run(cut(model, precision=p, **options), pixels(2, 32)) for p in ("float32", "float16")
    )
    assert 0 < np.abs(full - half).max() / np.abs(full).max() < 1e-2


def test_float16_keeps_the_scales_of_a_resize(graphs: ModuleType) -> None:
    net = graphs.Net(opset=13)
    y = net.conv_norm_relu(net.picture("input"), 8, 3, 2)
    y = net.op("Resize", y, "", net.weight([1, 1, 2, 2]), mode="nearest")
    net.gemm(net.flat(y), 8, 10, out="scores")
    model = net.model({"input": ("n", 3, 64, 64)}, {"scores": None})
    assert np.isfinite(run(cut(model, precision="float16"), pixels())[0]).all()


def bounded(graphs: ModuleType, constant: str, value: float) -> onnx.ModelProto:
    """A network whose vector is clipped to +- one constant, of the kind named."""
    net = graphs.Net(opset=13)
    y = net.flat(net.conv_norm_relu(net.picture("input"), 8, 3, 2))
    tensor = helper.make_tensor("v", TensorProto.FLOAT, [], [value])
    makers = {
        "initialiser": lambda: net.weight(value),
        "value": lambda: net.op("Constant", value=tensor),
        "value_float": lambda: net.op("Constant", value_float=value),
        "fill": lambda: net.op("ConstantOfShape", net.weight([1], np.int64), value=_vector(tensor)),
    }
    bound = makers[constant]()
    net.op("Max", net.op("Min", y, bound), net.op("Neg", bound), out="embedding")
    return net.model({"input": ("n", 3, 64, 64)}, {"embedding": None})


def _vector(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.dims.append(1)
    return copy


CONSTANTS = ["initialiser", "value", "value_float", "fill"]


@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("value", [65520.0, -90000.0, 1e9])
def test_a_constant_beyond_float16_is_refused(value: float, constant: str, graphs: ModuleType) -> None:
    model = bounded(graphs, constant, value)
    bound = next(n for n in model.graph.node if n.op_type == "Min").input[1]
    with pytest.raises(ParameterError, match=rf"'{bound}': its largest magnitude is {abs(value):,.0f}, "):
        cut(model, "embedding", precision="float16")
    assert cut(model, precision="float32").graph.output


@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize(
    "value",
    [65504.0, 65519.0, float(np.finfo(np.float32).max), float("inf")],
    ids=["largest", "rounds down", "as infinity", "infinity"],
)
def test_a_bound_that_bounds_nothing_stays_open_in_float16(
    value: float, constant: str, graphs: ModuleType
) -> None:
    model = bounded(graphs, constant, value)
    (full,), (half,) = (run(cut(model, "embedding", precision=p), pixels()) for p in ("float32", "float16"))
    # Float16 rounds at 2**-11; three layers of it stay within 1 %.
    np.testing.assert_allclose(half, full, atol=1e-2 * np.abs(full).max())


def test_a_constant_too_large_for_float16_matters_to_the_taps_behind_it_only(graphs: ModuleType) -> None:
    model = bounded(graphs, "initialiser", 90000.0)
    below = next(n for n in model.graph.node if n.op_type == "Flatten").output[0]
    assert cut(model, below, precision="float16").graph.output


def test_float16_of_a_quantised_graph_is_refused(weights: Path) -> None:
    folder = weights / "mobilenet_v2_int8_dynamic"
    with pytest.raises(ParameterError, match="is quantised"):
        cut(
            load_graph(folder / "model.onnx"),
            precision="float16",
            preprocess=ImagePreprocess.from_folder(folder),
        )


def test_an_unknown_precision_is_refused(graphs: ModuleType) -> None:
    with pytest.raises(ParameterError, match="float32 or float16"):
        cut(graphs.resnet(), precision="int4")


@pytest.mark.parametrize(
    ("tap", "resolved", "refused"),
    [
        ("pooled", "none", "avg"),
        ("stage1", "avg", "cls"),
        ("stage1", "avg", "mean"),
        ("stage1", "avg", "nonsense"),
    ],
)
def test_poolings_that_do_not_fit_are_refused(
    tap: str, resolved: str, refused: str, graphs: ModuleType
) -> None:
    model = graphs.resnet()
    info = inspect_graph(model)
    found = find_tap(info, model, tap)
    assert resolve_pooling(info, found, "auto") == resolved
    assert resolve_pooling(info, found, resolved) == resolved
    with pytest.raises(ParameterError, match=f"pooling='{refused}' does not fit tap '{tap}'"):
        resolve_pooling(info, found, refused)


def test_tokens_are_pooled_by_their_class_token_or_mean(graphs: ModuleType) -> None:
    model = graphs.encoder()
    info = inspect_graph(model)
    assert resolve_pooling(info, find_tap(info, model, "layer1"), "auto") == "cls"
    patches = next(n.output[0] for n in model.graph.node if n.op_type == "Transpose")
    assert resolve_pooling(info, find_tap(info, model, patches), "auto") == "mean"


def test_another_size_than_the_graphs_is_refused(graphs: ModuleType) -> None:
    with pytest.raises(GraphError, match="takes 64x64 pixels, the preprocessing makes 32x32"):
        cut(graphs.resnet(), preprocess=preprocess((32, 32)))
    with pytest.raises(GraphError, match="pictures of any size"):
        cut(graphs.resnet(), preprocess=preprocess(None))


def test_a_graph_of_any_size_keeps_what_the_preprocessing_leaves_open(graphs: ModuleType) -> None:
    model = graphs.resnet(size=("h", "w"))
    made = cut(model, preprocess=preprocess(None))
    assert declared(made.graph.input[0])[2] == ["n", "height", "width", 3]
    assert run(made, pixels(2, 96))[0].shape == (2, 20)


def test_a_grey_network_with_three_means_is_refused(graphs: ModuleType) -> None:
    with pytest.raises(GraphError, match="one grey channel"):
        cut(graphs.resnet(channels=1), preprocess=preprocess(mean=(0.4, 0.5, 0.6)))


def test_further_inputs_that_a_tap_needs_are_named(graphs: ModuleType) -> None:
    net = graphs.Net()
    y = net.flat(net.conv_norm_relu(net.picture("input"), 8, 3, 2))
    net.op("Mul", y, "temperature", out="embedding")
    model = net.model({"input": ("n", 3, 64, 64), "temperature": ("n", 8)}, {"embedding": None})
    with pytest.raises(GraphError, match="need further inputs: temperature"):
        cut(model)
    assert run(cut(model, y), pixels())[0].shape == (2, 8)


def test_a_text_encoder_is_not_cut_for_pictures() -> None:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])
    nodes = [helper.make_node("Cast", ["input_ids"], ["y"], to=TensorProto.FLOAT)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", [ids], outputs))
    with pytest.raises(GraphError, match=r"takes token ids.*TextFeatures"):
        cut(model, "y")
