"""Cut graphs of texts hold to numpy and torch: what is fed, what is pooled, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from featx.backbones.graph import find_tap, inspect_graph, load_graph
from featx.backbones.surgery import cut_text_graph
from featx.backbones.text_in_graph import TextEnd
from featx.errors import GraphError, ParameterError
from featx.testing import tiny_text_backbone

OPSETS = (9, 10, 11, 12, 13, 14, 17, 18, 20, 21)
POOLINGS = ("mean", "cls", "max", "last")
N_WORDS, WIDTH, LONGEST, PAD_ID = 50, 6, 12, 7

# float32 sums of at most a dozen numbers of about 1.
TOLERANCE = 1e-6

TEXTS = [np.array(ids) for ids in ([1, 2, 3, 4, 5], [9], [3, 3, 8, 49, 0, 1, 2], [11, 12])]


@dataclass
class Tables:
    """Embeddings of words, positions and token types."""

    words: np.ndarray
    places: np.ndarray
    types: np.ndarray


@pytest.fixture(scope="module")
def tables() -> Tables:
    rng = np.random.default_rng(3)
    draw = [rng.standard_normal((n, WIDTH)).astype(np.float32) for n in (N_WORDS, LONGEST, 2)]
    return Tables(*draw)


def encoder(
    tables: Tables,
    *inputs: str,
    opset: int = 17,
    dtype: int = TensorProto.INT64,
    ids: str = "input_ids",
    shape: tuple[int | str, int | str] = ("n", "t"),
    spoiled: bool = False,
) -> onnx.ModelProto:
    """A sum of embeddings and of a tenth of the number of tokens, of the inputs given.

    Without ``attention_mask`` the number of tokens is that of ids other than the padding id, as RoBERTa has it for positions.
    ``spoiled`` divides by the mask, which leaves infinities and NaN behind the end of a row.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(values: Any, kind: Any = np.float32) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values, kind), f"w{len(weights)}"))
        return weights[-1].name

    def op(kind: str, *of: str, out: str = "", **attributes: Any) -> str:
        out = out or f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, list(of), [out], **attributes))
        return out

    def number_of(flags: str) -> str:
        counted = op("Cast", flags, to=TensorProto.FLOAT)
        if opset >= 13:
            counted = op("ReduceSum", counted, weight([1], np.int64), keepdims=1)
        else:
            counted = op("ReduceSum", counted, axes=[1], keepdims=1)
        return op("Mul", op("Reshape", counted, weight([0, 1, 1], np.int64)), weight(0.1))

    wide = op("Cast", ids, to=TensorProto.INT64)
    y = op("Gather", weight(tables.words), wide)
    if "attention_mask" in inputs:
        y = op("Add", y, number_of("attention_mask"))
    else:
        y = op("Add", y, number_of(op("Not", op("Equal", wide, weight(PAD_ID, np.int64)))))
    if "token_type_ids" in inputs:
        y = op("Add", y, op("Gather", weight(tables.types), "token_type_ids"))
    if "position_ids" in inputs:
        y = op("Add", y, op("Gather", weight(tables.places), "position_ids"))
    if spoiled:
        mask = op("Cast", "attention_mask", to=TensorProto.FLOAT)
        y = op("Div", y, op("Reshape", mask, weight([0, 0, 1], np.int64)))
    op("Identity", y, out="last_hidden_state")
    declared = [helper.make_tensor_value_info(name, dtype, shape) for name in (ids, *inputs)]
    made = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, WIDTH])]
    graph = helper.make_graph(nodes, "encoder", declared, made, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def tokens(texts: Sequence[np.ndarray], length: int = 0) -> np.ndarray:
    """The texts as a run has them."""
    rows = np.full((len(texts), length or max(map(len, texts))), -1, np.int32)
    for row, ids in zip(rows, texts, strict=True):
        row[: len(ids)] = ids
    return rows


def cut(model: onnx.ModelProto, *ends: TextEnd, **options: Any) -> onnx.ModelProto:
    """The graph cut at its output."""
    info = inspect_graph(model)
    taps = [find_tap(info, model, info.outputs[0])] * len(ends)
    return cut_text_graph(model, info, taps, ends=ends, pad_id=PAD_ID, **options)


def run(model: onnx.ModelProto, rows: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"tokens": rows}))


def vectors(model: onnx.ModelProto, end: TextEnd, rows: np.ndarray) -> np.ndarray:
    (found,) = run(cut(model, end), rows)
    return found


def expected(tables: Tables, pooling: str, *inputs: str, texts: Sequence[np.ndarray] = TEXTS) -> np.ndarray:
    """The same in numpy, a text at a time and without padding."""
    rows = []
    for ids in texts:
        n = len(ids) if "attention_mask" in inputs else np.count_nonzero(ids != PAD_ID)
        hidden = tables.words[ids] + np.float32(0.1) * n  # (t, d)
        hidden = hidden + tables.types[0] if "token_type_ids" in inputs else hidden
        hidden = hidden + tables.places[: len(ids)] if "position_ids" in inputs else hidden
        pooled = {
            "mean": hidden.mean(axis=0),
            "cls": hidden[0],
            "max": hidden.max(axis=0),
            "last": hidden[-1],
        }
        rows.append(pooled[pooling])
    return np.stack(rows)


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))


@pytest.mark.parametrize("opset", OPSETS)
def test_every_pooling_in_every_opset(tables: Tables, opset: int) -> None:
    inputs = ("attention_mask", "token_type_ids", *(["position_ids"] if opset >= 11 else []))
    poolings = POOLINGS if opset >= 12 else POOLINGS[:3]
    ends = [
        TextEnd(pooling=pooling, normalize=normalize) for pooling in poolings for normalize in (False, True)
    ]
    made = cut(encoder(tables, *inputs, opset=opset), *ends)
    onnx.checker.check_model(made, full_check=True)
    for end, found in zip(ends, run(made, tokens(TEXTS)), strict=True):
        wanted = expected(tables, end.pooling, *inputs)
        if end.normalize:
            wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        assert found.dtype == np.float32
        close(found, wanted)


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize(
    "inputs",
    [
        (),
        ("attention_mask",),
        ("attention_mask", "token_type_ids"),
        ("attention_mask", "position_ids"),
        ("token_type_ids", "attention_mask", "position_ids"),
    ],
    ids="+".join,
)
def test_inputs_are_made_of_the_tokens_in_their_own_type(
    tables: Tables, inputs: tuple[str, ...], dtype: int
) -> None:
    model = encoder(tables, *inputs, dtype=dtype)
    made = cut(model, TextEnd(pooling="mean"))
    assert [value.name for value in made.graph.input] == ["tokens"]
    (found,) = run(made, tokens(TEXTS))
    close(found, expected(tables, "mean", *inputs))


@pytest.mark.parametrize("ids", ["input_ids", "tokens", "embedding_0"])
def test_a_single_input_takes_the_ids_whatever_it_is_called(tables: Tables, ids: str) -> None:
    close(vectors(encoder(tables, ids=ids), TextEnd(pooling="max"), tokens(TEXTS)), expected(tables, "max"))


def rename(model: onnx.ModelProto, **new: str) -> None:
    for named in (*model.graph.input, *model.graph.node):
        if isinstance(named, onnx.NodeProto):
            named.input[:] = [new.get(name, name) for name in named.input]
        else:
            named.name = new.get(named.name, named.name)


def redeclare(model: onnx.ModelProto, name: str, dtype: int, axes: Sequence[int | str] = ("n", "t")) -> None:
    (at,) = (i for i, value in enumerate(model.graph.input) if value.name == name)
    model.graph.input[at].CopyFrom(helper.make_tensor_value_info(name, dtype, axes))


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BOOL])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_masks_may_be_numbers_or_truth_values(tables: Tables, dtype: int, precision: str) -> None:
    model = encoder(tables, "attention_mask")
    redeclare(model, "attention_mask", dtype)
    assert inspect_graph(model).modality == "text"
    (found,) = run(cut(model, TextEnd(pooling="mean"), precision=precision), tokens(TEXTS))
    # float16 has 11 bits
    tolerance = TOLERANCE if precision == "float32" else 2e-3
    close(found, expected(tables, "mean", "attention_mask"), tolerance)


@pytest.mark.parametrize("first", [0, 2, 5])
def test_positions_begin_where_the_network_counts_from(tables: Tables, first: int) -> None:
    inputs = ("attention_mask", "position_ids")
    moved = Tables(tables.words, np.roll(tables.places, -first, axis=0), tables.types)
    texts = [ids[: LONGEST - first] for ids in TEXTS]
    (found,) = run(
        cut(encoder(tables, *inputs), TextEnd(pooling="mean"), first_position=first), tokens(texts)
    )
    close(found, expected(moved, "mean", *inputs, texts=texts))


def test_ids_are_what_is_nothing_else_by_its_name(tables: Tables) -> None:
    model = encoder(tables, "attention_mask", "token_type_ids")
    rename(model, input_ids="input_word_ids", attention_mask="input_mask", token_type_ids="input_type_ids")
    found = vectors(model, TextEnd(pooling="mean"), tokens(TEXTS))
    close(found, expected(tables, "mean", "attention_mask", "token_type_ids"))


def test_older_names_of_masks_and_types_are_known(tables: Tables) -> None:
    model = encoder(tables, "attention_mask", "token_type_ids")
    rename(model, attention_mask="input_mask", token_type_ids="segment_ids")
    found = vectors(model, TextEnd(pooling="mean"), tokens(TEXTS))
    close(found, expected(tables, "mean", "attention_mask", "token_type_ids"))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_padding_makes_no_difference(tables: Tables, pooling: str, masked: bool) -> None:
    inputs = ("attention_mask", "position_ids") if masked else ()
    made = cut(encoder(tables, *inputs), TextEnd(pooling=pooling))
    (alone,) = zip(*(run(made, tokens([text])) for text in TEXTS), strict=True)
    for length in (7, 8, LONGEST):
        (padded,) = run(made, tokens(TEXTS, length))
        close(padded, np.concatenate(alone))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_a_network_leaves_behind_the_end_of_a_row_is_not_pooled(tables: Tables, pooling: str) -> None:
    model = encoder(tables, "attention_mask", spoiled=True)
    close(
        vectors(model, TextEnd(pooling=pooling), tokens(TEXTS)), expected(tables, pooling, "attention_mask")
    )


def test_a_row_without_tokens_is_finite(tables: Tables) -> None:
    made = cut(encoder(tables, "attention_mask"), *(TextEnd(pooling=p, normalize=True) for p in POOLINGS))
    for found in run(made, np.array([[1, 2], [-1, -1]], np.int32)):
        assert np.isfinite(found).all()


def test_vectors_that_are_negative_have_their_own_largest(tables: Tables) -> None:
    below = Tables(-np.abs(tables.words) - 100, tables.places, tables.types)
    found = vectors(encoder(below, "attention_mask"), TextEnd(pooling="max"), tokens(TEXTS))
    close(found, expected(below, "max", "attention_mask"))
    assert (found < 0).all()


class TestDense:
    """A dense layer behind the pooling is torch's."""

    @pytest.mark.parametrize("activation", ["Identity", "Tanh", "ReLU", "GELU", "Sigmoid"])
    @pytest.mark.parametrize("bias", [True, False])
    def test_activations(self, tables: Tables, activation: str, bias: bool) -> None:
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        layer = torch.nn.Linear(WIDTH, 9, bias=bias)
        weights = [None if w is None else w.detach().numpy() for w in (layer.weight, layer.bias)]
        end = TextEnd(pooling="mean", dense=[(weights[0], weights[1], activation)], normalize=True)
        found = vectors(encoder(tables, "attention_mask"), end, tokens(TEXTS))
        with torch.inference_mode():
            pooled = torch.from_numpy(expected(tables, "mean", "attention_mask"))
            wanted = torch.nn.functional.normalize(getattr(torch.nn, activation)()(layer(pooled)))
        close(found, wanted.numpy())

    @pytest.mark.parametrize("opset", OPSETS)
    def test_layers_follow_each_other_in_every_opset(self, tables: Tables, opset: int) -> None:
        rng = np.random.default_rng(0)
        first, second = rng.standard_normal((9, WIDTH)), rng.standard_normal((4, 9))
        dense = [(w.astype(np.float32), None, name) for w, name in ((first, "Identity"), (second, "GELU"))]
        made = cut(encoder(tables, "attention_mask", opset=opset), TextEnd(pooling="cls", dense=dense[:1]))
        (halfway,) = run(made, tokens(TEXTS))
        close(halfway, (expected(tables, "cls", "attention_mask") @ first.T).astype(np.float32))
        made = cut(encoder(tables, "attention_mask", opset=opset), TextEnd(pooling="cls", dense=dense))
        onnx.checker.check_model(made, full_check=True)
        assert [d.dim_value for d in made.graph.output[0].type.tensor_type.shape.dim][1] == 4
        assert run(made, tokens(TEXTS))[0].shape == (len(TEXTS), 4)

    def test_a_layer_for_another_network_is_refused(self, tables: Tables) -> None:
        weight = np.zeros((4, WIDTH + 1), np.float32)
        with pytest.raises(GraphError, match=r"takes vectors of 7, found 6\. The folder's files"):
            cut(encoder(tables), TextEnd(pooling="mean", dense=[(weight, None, "Tanh")]))


def test_a_vector_of_zeros_has_no_direction_and_stays(tables: Tables) -> None:
    weight = np.zeros((3, WIDTH), np.float32)
    end = TextEnd(pooling="mean", dense=[(weight, None, "Identity")], normalize=True)
    np.testing.assert_array_equal(vectors(encoder(tables), end, tokens(TEXTS)), np.zeros((len(TEXTS), 3)))


def test_a_graph_that_pools_by_itself_is_read_at_its_vector(tables: Tables) -> None:
    model = encoder(tables, "attention_mask")
    model.graph.node.append(helper.make_node("Gather", ["last_hidden_state", "first"], ["sentence"], axis=1))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(0, np.int64), "first"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["n", WIDTH]))
    found = vectors(model, TextEnd(pooling="none", normalize=True), tokens(TEXTS))
    wanted = expected(tables, "cls", "attention_mask")
    close(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True))


def test_a_fixed_length_and_a_fixed_batch_are_declared(tables: Tables) -> None:
    def declared(model: onnx.ModelProto) -> list[list[int | str]]:
        values = (*model.graph.input, *model.graph.output)
        return [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values]

    end = TextEnd(pooling="mean")
    free = cut(encoder(tables, "attention_mask"), end)
    assert declared(free) == [["n", "t"], ["n", WIDTH]]
    long = cut(encoder(tables, "attention_mask", "position_ids", shape=("n", LONGEST)), end)
    assert declared(long) == [["n", LONGEST], ["n", WIDTH]]
    (found,) = run(long, tokens(TEXTS, LONGEST))
    close(found, expected(tables, "mean", "attention_mask", "position_ids"))
    # Nothing in this graph insists on the batch that its file declares.
    one = cut(encoder(tables, "attention_mask", shape=(1, "t")), end)
    assert declared(one) == [["n", "t"], ["n", WIDTH]]
    (found,) = run(one, tokens(TEXTS))
    close(found, expected(tables, "mean", "attention_mask"))


def test_several_taps_come_out_of_one_run(tmp_path: Path) -> None:
    model = load_graph(tiny_text_backbone(tmp_path / "tiny") / "model.onnx")
    info = inspect_graph(model)
    taps = [find_tap(info, model, name) for name in ("embedded", "pooled")]
    ends = [TextEnd(pooling="cls"), TextEnd(pooling="mean")]
    both = run(cut_text_graph(model, info, taps, ends=ends, pad_id=0), tokens(TEXTS[:2]) % 30)
    for tap, end, found in zip(taps, ends, both, strict=True):
        alone = run(cut_text_graph(model, info, [tap], ends=[end], pad_id=0), tokens(TEXTS[:2]) % 30)
        np.testing.assert_array_equal(found, alone[0])


def test_float16_is_close_to_float32(tmp_path: Path) -> None:
    model = load_graph(tiny_text_backbone(tmp_path / "tiny") / "model.onnx")
    rows = tokens([ids % 30 for ids in TEXTS])
    for pooling in POOLINGS:
        end = TextEnd(pooling=pooling, normalize=True)
        full, half = (run(cut(model, end, precision=p), rows)[0] for p in ("float32", "float16"))
        assert half.dtype == np.float32
        assert not np.array_equal(full, half)
        # float16 has 11 bits; four layers of sums over 16 channels lose two or three of them.
        close(half, full, 4e-3)


def test_the_same_arguments_give_the_same_bytes(tables: Tables) -> None:
    model = encoder(tables, "attention_mask", "position_ids")
    first, second = (cut(model, TextEnd(pooling="last")).SerializeToString() for _ in range(2))
    assert first == second


class TestRefusals:
    """What cannot be fed or cut is said by name."""

    @pytest.mark.parametrize("name", ["task_ids", "decoder_input_ids", "global_attention_mask", "head_mask"])
    def test_inputs_that_featx_cannot_make(self, tables: Tables, name: str) -> None:
        model = encoder(tables, "attention_mask")
        axes = ("n", "t")
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, axes))
        made = cut(model, TextEnd(pooling="mean"))  # nothing needs it
        close(run(made, tokens(TEXTS))[0], expected(tables, "mean", "attention_mask"))
        model.graph.node[-1].output[0] = "alone"
        model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 1]), "a_column"))
        model.graph.node.extend(
            [
                helper.make_node("Cast", [name], ["as_float"], to=TensorProto.FLOAT),
                helper.make_node("Reshape", ["as_float", "a_column"], ["column"]),
                helper.make_node("Add", ["alone", "column"], ["last_hidden_state"]),
            ]
        )
        with pytest.raises(GraphError, match=rf"further inputs: {name}\. featx feeds token ids"):
            cut(model, TextEnd(pooling="mean"))

    @pytest.mark.parametrize(
        ("name", "axes"), [("key_padding_mask", ("n", "t")), ("attention_mask", ("n", 1, "t", "t"))]
    )
    def test_masks_of_which_nothing_says_what_they_mean(
        self, tables: Tables, name: str, axes: tuple[int | str, ...]
    ) -> None:
        model = encoder(tables, "attention_mask")
        rename(model, attention_mask=name)
        redeclare(model, name, TensorProto.FLOAT, axes)
        with pytest.raises(GraphError, match=rf"further inputs: {name}\. featx feeds token ids"):
            cut(model, TextEnd(pooling="cls"))

    def test_opsets_that_lack_an_operator(self, tables: Tables) -> None:
        with pytest.raises(GraphError, match="opset 8, and texts need 9"):
            cut(encoder(tables, opset=8), TextEnd(pooling="mean"))
        with pytest.raises(GraphError, match="opset 10, and its input 'position_ids' needs 11"):
            cut(encoder(tables, "attention_mask", "position_ids", opset=10), TextEnd(pooling="mean"))
        with pytest.raises(GraphError, match="opset 11, and pooling='last' needs 12"):
            cut(encoder(tables, opset=11), TextEnd(pooling="last"))

    @pytest.mark.parametrize("pooling", ["avg", "gem", "none", "Mean", "auto"])
    def test_poolings_that_do_not_fit(self, tables: Tables, pooling: str) -> None:
        with pytest.raises(ParameterError, match="pooling"):
            cut(encoder(tables), TextEnd(pooling=pooling))

    def test_other_precisions_and_numbers_of_ends(self, tables: Tables) -> None:
        model = encoder(tables)
        with pytest.raises(ParameterError, match="precision='int8' is unknown"):
            cut(model, TextEnd(pooling="mean"), precision="int8")
        with pytest.raises(ParameterError, match="at least one tap"):
            cut(model)

    def test_graphs_of_pictures(self, graphs: ModuleType) -> None:
        with pytest.raises(GraphError, match=r"takes pictures .*not token ids: ImageFeatures"):
            cut(graphs.resnet(), TextEnd(pooling="mean"))
