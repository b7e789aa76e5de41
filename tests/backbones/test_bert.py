"""Encoders of the BERT family built from safetensors, held to transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from featx.backbones.bert import _bucket, build_encoder, check_family
from featx.backbones.bert_checkpoint import FAMILIES
from featx.backbones.graph import find_tap, inspect_graph, load_graph
from featx.errors import BackboneError, BackboneNotFoundError

# max |difference| / max |reference|, as the README promises it. Sums in another order differ by about 1e-6 in float32; the two
# forms of GELU, a position too far or a forgotten bias by 1e-3 and more.
AGREEMENT = 1e-4

N_WORDS, N_POSITIONS = 50, 40
SIZES: dict[str, Any] = {
    "vocab_size": N_WORDS,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": N_POSITIONS,
}
DISTILBERT_SIZES: dict[str, Any] = {
    "vocab_size": N_WORDS,
    "dim": 24,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 56,
    "max_position_embeddings": N_POSITIONS,
}
CLASSES = {
    "bert": "Bert",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "mpnet": "MPNet",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
}
PAD = {"bert": 0, "distilbert": 0}  # 1 in the others


def tiny(family: str, suffix: str = "Model", **config: Any) -> Any:
    """A seeded transformers model in which every parameter is drawn, biases and norms too."""
    import torch
    import transformers

    sizes = DISTILBERT_SIZES if family == "distilbert" else SIZES
    name = CLASSES[family]
    settings = getattr(transformers, f"{name}Config")(**(sizes | config))
    model = getattr(transformers, f"{name}{suffix}")(settings).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * 0.4
            parameter.copy_(drawn + 1 if key.lower().endswith("norm.weight") else drawn)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(model: Any) -> Path:
        model.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return save


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT, not to be changed."""
    folder = tmp_path_factory.mktemp("bert")
    tiny("bert").save_pretrained(folder)
    return folder


def ragged(
    lengths: Sequence[int], pad: int, *, n_words: int = N_WORDS, left: bool = False
) -> dict[str, NDArray[np.int64]]:
    """Drawn ids of rows of these lengths, padded on the right, or on the left."""
    rng = np.random.default_rng(0)
    ids = np.full((len(lengths), max(lengths)), pad, np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        place = slice(-length, None) if left else slice(length)
        ids[row, place] = rng.integers(5, n_words, length)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


def by_onnx(model: onnx.ModelProto, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, batch)
    return np.asarray(out)


def by_torch(model: Any, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        found = model(**{name: torch.from_numpy(values) for name, values in batch.items()})
    return np.asarray(found.last_hidden_state.float())


def difference(
    found: NDArray[np.float32], expected: NDArray[np.float32], batch: dict[str, NDArray[np.int64]]
) -> float:
    """Over the tokens that are no padding."""
    valid = batch["attention_mask"].astype(bool)
    return float(np.abs(found - expected)[valid].max() / np.abs(expected[valid]).max())


# --- agreement ---


@pytest.mark.parametrize("left", [False, True], ids=["padded_right", "padded_left"])
@pytest.mark.parametrize("family", sorted(CLASSES))
def test_every_family_agrees_with_transformers(family: str, left: bool, saved: Callable[[Any], Path]) -> None:
    model = tiny(family)
    batch = ragged([12, 1, 7, 33], PAD.get(family, 1), left=left)
    assert difference(by_onnx(build_encoder(saved(model)), batch), by_torch(model, batch), batch) <= AGREEMENT


def test_every_family_is_tested() -> None:
    assert set(CLASSES) == set(FAMILIES)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu"])
def test_activations_agree_with_transformers(activation: str, saved: Callable[[Any], Path]) -> None:
    model = tiny("bert", hidden_act=activation)
    batch = ragged([12, 5], 0)
    assert difference(by_onnx(build_encoder(saved(model)), batch), by_torch(model, batch), batch) <= AGREEMENT


def test_the_two_forms_of_gelu_are_told_apart(saved: Callable[[Any], Path]) -> None:
    exact, batch = tiny("bert"), ragged([12, 5], 0)
    by_tanh = tiny("bert", hidden_act="gelu_new")
    assert difference(by_torch(by_tanh, batch), by_torch(exact, batch), batch) > AGREEMENT


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_roberta_counts_positions_from_its_padding_id(padding: int, saved: Callable[[Any], Path]) -> None:
    model = tiny("xlm-roberta", pad_token_id=padding)
    batch = ragged([9, 20], padding)
    assert difference(by_onnx(build_encoder(saved(model)), batch), by_torch(model, batch), batch) <= AGREEMENT


def test_mpnet_agrees_on_texts_longer_than_its_last_bucket(saved: Callable[[Any], Path]) -> None:
    model = tiny("mpnet", max_position_embeddings=202)
    batch = ragged([200, 150], 1)
    assert difference(by_onnx(build_encoder(saved(model)), batch), by_torch(model, batch), batch) <= AGREEMENT


def test_buckets_of_distances_are_those_of_transformers() -> None:
    import torch
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = range(-1100, 1101)
    expected = MPNetEncoder.relative_position_bucket(torch.tensor(distances))
    assert [_bucket(distance) for distance in distances] == expected.tolist()


def test_minilm_agrees_with_transformers(minilm: Path) -> None:
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    texts = [
        "",
        "delayed again",
        "A rash developed two days after the first dose of amoxicillin.",
        "so " * 90,
    ]
    encoded = tokenizer.encode_batch(texts)
    batch = {
        "input_ids": np.array([e.ids for e in encoded]),
        "attention_mask": np.array([e.attention_mask for e in encoded]),
    }
    assert len(set(batch["attention_mask"].sum(axis=1).tolist())) == len(texts)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    graph = build_encoder(minilm)
    assert difference(by_onnx(graph, batch), by_torch(model, batch), batch) <= AGREEMENT
    long = ragged([512, 3, 256], 0, n_words=30522)
    assert difference(by_onnx(graph, long), by_torch(model, long), long) <= AGREEMENT


# --- files as they come ---


@pytest.mark.parametrize("family", sorted(CLASSES))
def test_prefixes_and_heads_are_left_out(family: str, saved: Callable[[Any], Path]) -> None:
    model = tiny(family, "ForSequenceClassification")
    folder = saved(model)
    assert any("classifier" in name for name in safetensors.numpy.load_file(folder / "model.safetensors"))
    batch = ragged([12, 5], PAD.get(family, 1))
    expected = by_torch(model.base_model, batch)
    assert difference(by_onnx(build_encoder(folder), batch), expected, batch) <= AGREEMENT


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_are_read_as_float32(dtype: str, saved: Callable[[Any], Path]) -> None:
    import torch

    model = tiny("bert").to(getattr(torch, dtype))
    graph = build_encoder(saved(model))
    assert {t.data_type for t in graph.graph.initializer} == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    batch = ragged([12, 5], 0)
    assert difference(by_onnx(graph, batch), by_torch(model.float(), batch), batch) <= AGREEMENT


def test_norms_may_be_called_gamma_and_beta(bert_folder: Path, tmp_path: Path) -> None:
    tensors = safetensors.numpy.load_file(bert_folder / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, values in tensors.items():
        for new, before in old.items():
            name = name.replace(new, before)
        renamed["bert." + name] = values
    safetensors.numpy.save_file(renamed, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((bert_folder / "config.json").read_bytes())
    batch = ragged([12, 5], 0)
    expected = by_onnx(build_encoder(bert_folder), batch)
    np.testing.assert_array_equal(by_onnx(build_encoder(tmp_path), batch), expected)


# --- the graph ---


def test_the_same_files_give_the_same_bytes_and_no_path(bert_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((bert_folder / name).read_bytes())
    first, second = (build_encoder(folder).SerializeToString() for folder in (bert_folder, tmp_path))
    assert first == second
    assert bert_folder.name.encode() not in first


def test_the_graph_is_valid_and_declares_what_it_takes(bert_folder: Path) -> None:
    model = build_encoder(bert_folder)
    onnx.checker.check_model(model, full_check=True)
    declared = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input
    }
    assert declared == {"input_ids": ["n", "t"], "attention_mask": ["n", "t"]}


@pytest.mark.parametrize("family", sorted(CLASSES))
def test_taps_are_layers_and_the_output(family: str, saved: Callable[[Any], Path]) -> None:
    model = build_encoder(saved(tiny(family)))
    info = inspect_graph(model)
    found = [(tap.name, tap.tensor, tap.kind, tap.channels) for tap in info.taps]
    assert found == [
        ("layer1", "layer1", "tokens", 24),
        ("layer2", "layer2", "tokens", 24),
        ("layer3", "last_hidden_state", "tokens", 24),
        ("pooled", "last_hidden_state", "tokens", 24),
    ]
    assert info.modality == "text"
    assert info.coupled_by is None
    assert find_tap(info, model, "embeddings").kind == "tokens"


def test_layers_are_the_hidden_states_of_transformers(bert_folder: Path) -> None:
    model = build_encoder(bert_folder)
    for name in ("embeddings", "layer1", "layer2"):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    batch = ragged([12, 5], 0)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["embeddings", "layer1", "layer2"], batch)
    import torch

    with torch.inference_mode():
        tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
        expected = tiny("bert")(**tensors, output_hidden_states=True).hidden_states
    for ours, theirs in zip(found, expected, strict=False):
        assert difference(ours, np.asarray(theirs), batch) <= AGREEMENT


def test_no_node_computes_with_weights_alone(bert_folder: Path) -> None:
    """Weights lie in the file the way products take them."""
    graph = build_encoder(bert_folder).graph
    constants = {t.name for t in graph.initializer}
    assert not [node.name for node in graph.node if constants.issuperset(node.input)]


def test_a_row_does_not_depend_on_its_batch(bert_folder: Path) -> None:
    model, batch = build_encoder(bert_folder), ragged([12, 5], 0)
    together = by_onnx(model, batch)
    alone = by_onnx(model, {name: values[1:, :5] for name, values in batch.items()})
    # The same sums, in the order that another size of the product asks for.
    np.testing.assert_allclose(together[1, :5], alone[0], rtol=0, atol=1e-5 * np.abs(alone).max())


def test_a_row_of_padding_alone_is_finite(bert_folder: Path) -> None:
    zeros = np.zeros((2, 6), np.int64)
    batch = {"input_ids": zeros, "attention_mask": np.array([[1] * 6, [0] * 6])}
    assert np.isfinite(by_onnx(build_encoder(bert_folder), batch)).all()


def test_a_written_graph_opens_again(bert_folder: Path, tmp_path: Path) -> None:
    model = build_encoder(bert_folder)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert load_graph(tmp_path / "model.onnx") == model


# --- what is refused ---


def changed(source: Path, target: Path, **config: Any) -> Path:
    """A copy with other values in its configuration; of None, without them."""
    target.mkdir(exist_ok=True)
    (target / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    said = json.loads((source / "config.json").read_text(encoding="utf-8")) | config
    kept = {key: value for key, value in said.items() if key not in config or value is not None}
    (target / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "deberta-v2"}, "model_type is 'deberta-v2', and featx builds bert, camembert"),
        ({"model_type": None}, "model_type is None"),
        ({"model_type": ["bert"]}, r"model_type is \['bert'\]"),
        ({"position_embedding_type": "alibi"}, "position_embedding_type is 'alibi'.*'absolute'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "modeling_x.XModel"}}, r"auto_map.*modeling_x\.XModel"),
        ({"hidden_act": "silu"}, "hidden_act is 'silu', and featx computes gelu"),
        ({"hidden_act": 3}, "hidden_act is 3"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "24"}, "hidden_size is '24'"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 5}, "hidden_size 24 is no multiple of num_attention_heads 5"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps is 'tiny'"),
        ({"vocab_size": 10**9}, "one ONNX file holds 2 GB"),
    ],
)
def test_configurations_that_are_not_computed_are_refused_by_their_key(
    config: dict[str, Any], message: str, bert_folder: Path, tmp_path: Path
) -> None:
    folder = changed(bert_folder, tmp_path / "changed", **config)
    for call in (build_encoder, check_family):
        with pytest.raises(BackboneError, match=message):
            call(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 49}, r"embeddings\.word_embeddings\.weight has shape \(50, 24\).*says \(49, 24\)"),
        ({"intermediate_size": 55}, r"encoder\.layer\.0\.intermediate\.dense\.\w+ has shape"),
        ({"num_hidden_layers": 4}, r"has no tensor encoder\.layer\.3\."),
        ({"model_type": "distilbert", **DISTILBERT_SIZES}, r"has no tensor transformer\.layer\.0\."),
    ],
)
def test_weights_of_another_model_are_refused_by_name(
    config: dict[str, Any], message: str, bert_folder: Path, tmp_path: Path
) -> None:
    folder = changed(bert_folder, tmp_path / "changed", **config)
    check_family(folder)
    with pytest.raises(BackboneError, match=message):
        build_encoder(folder)


def test_mpnet_with_other_buckets_is_refused(tmp_path: Path) -> None:
    config = SIZES | {"model_type": "mpnet", "relative_attention_num_buckets": 16}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BackboneError, match="relative_attention_num_buckets is 16"):
        check_family(tmp_path)


def test_roberta_without_a_padding_id_is_refused(tmp_path: Path) -> None:
    config = SIZES | {"model_type": "roberta", "type_vocab_size": 1, "pad_token_id": -1}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BackboneError, match="pad_token_id is -1"):
        check_family(tmp_path)


def test_a_configuration_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneNotFoundError, match=r"config\.json: missing"):
        build_encoder(tmp_path)
    for content, message in (
        (b"{", "not readable as JSON"),
        (b"\xff", "not readable as JSON"),
        (b"[]", "model_type is None"),
    ):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(BackboneError, match=message):
            check_family(tmp_path)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (None, "put both into one folder"),
        ("pytorch_model.bin", "runs code when it is read.*save_pretrained"),
        ("model.safetensors.index.json", "several files.*max_shard_size"),
    ],
)
def test_missing_weights_say_what_to_do(
    there: str | None, message: str, bert_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes((bert_folder / "config.json").read_bytes())
    if there is not None:
        (tmp_path / there).write_bytes(b"{}")
    with pytest.raises(BackboneNotFoundError, match=message):
        build_encoder(tmp_path)


def test_quantised_weights_are_refused(bert_folder: Path, tmp_path: Path) -> None:
    folder = changed(bert_folder, tmp_path / "changed")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name].astype(np.int8)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    with pytest.raises(BackboneError, match=rf"{name} holds I8, expected F32"):
        build_encoder(folder)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 90])
def test_files_that_are_no_safetensors_are_refused(content: bytes, bert_folder: Path, tmp_path: Path) -> None:
    folder = changed(bert_folder, tmp_path / "changed")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BackboneError, match="not a readable safetensors file"):
        build_encoder(folder)


def test_a_file_of_two_encoders_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    folder = changed(bert_folder, tmp_path / "changed")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    both = {f"{side}.{name}": values for side in ("query", "passage") for name, values in tensors.items()}
    safetensors.numpy.save_file(both, folder / "model.safetensors")
    with pytest.raises(BackboneError, match=r"of one encoder, found passage\.embeddings.*query\.embeddings"):
        build_encoder(folder)
