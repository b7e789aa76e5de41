"""Encoders of texts on a hub, in the layouts that publishers use."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from featx.backbones.bert import build_encoder
from featx.errors import ParameterError
from featx.features import TextFeatures

TEXTS = ["the fox jumps over a b c", "dogs", "a a a"]
REFERENCE = "hub:owner/sentences"


@pytest.fixture(scope="session")
def files(fake_hub: ModuleType) -> dict[str, bytes]:
    made: dict[str, bytes] = fake_hub.bert_files()
    return made


@pytest.fixture(scope="session")
def encoder(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The encoder of ``files``, with the output ``last_hidden_state``."""
    folder = tmp_path_factory.mktemp("bert")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(files[name])
    return build_encoder(folder)


def with_sentence_embedding(encoder: onnx.ModelProto) -> onnx.ModelProto:
    """As Optimum exports sentence-transformers: outputs ``token_embeddings`` and ``sentence_embedding``, the masked mean."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([2]), "last_axis"))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([1]), "over_tokens"))
    model.graph.node.extend(
        [
            helper.make_node("Identity", ["last_hidden_state"], ["token_embeddings"]),
            helper.make_node("Cast", ["attention_mask"], ["pool_mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["pool_mask", "last_axis"], ["pool_mask3"]),
            helper.make_node("Mul", ["last_hidden_state", "pool_mask3"], ["pool_masked"]),
            helper.make_node("ReduceSum", ["pool_masked", "over_tokens"], ["pool_sum"], keepdims=0),
            helper.make_node("ReduceSum", ["pool_mask3", "over_tokens"], ["pool_count"], keepdims=0),
            helper.make_node("Div", ["pool_sum", "pool_count"], ["sentence_embedding"]),
        ]
    )
    del model.graph.output[:]
    model.graph.output.extend(
        [
            helper.make_tensor_value_info("token_embeddings", TensorProto.FLOAT, ["n", "t", 32]),
            helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["n", 32]),
        ]
    )
    onnx.checker.check_model(model)
    return model


def vectors(**options: Any) -> Any:
    return TextFeatures(REFERENCE, cache=None, **options).fit_transform(TEXTS)


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name not in names}


def test_pooling_beside_the_graph_is_fetched_and_used(
    hub: Any, fake_hub: ModuleType, files: dict[str, bytes], encoder: onnx.ModelProto
) -> None:
    published = {**files, "onnx/model.onnx": encoder.SerializeToString(), "onnx/model_O4.onnx": b"4" * 5000}
    hub.repositories["owner/sentences"] = fake_hub.Repository(published)
    found = vectors()
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert {"1_Pooling/config.json", "modules.json", "tokenizer.json"} <= set(hub.downloaded())
    left = {"model.safetensors", "pytorch_model.bin", "vocab.txt", "onnx/model_O4.onnx"}
    assert not left & set(hub.downloaded())


def test_pooling_inside_the_graph_is_used_where_nothing_lies_beside_it(
    hub: Any, fake_hub: ModuleType, files: dict[str, bytes], encoder: onnx.ModelProto
) -> None:
    plain = without(files, "modules.json", "1_Pooling/config.json")
    hub.repositories["owner/sentences"] = fake_hub.Repository(
        {**plain, "model.onnx": encoder.SerializeToString()}
    )
    mean = vectors(pooling="mean")
    inside = {**plain, "model.onnx": with_sentence_embedding(encoder).SerializeToString()}
    hub.repositories["owner/inside"] = fake_hub.Repository(inside)
    found = TextFeatures("hub:owner/inside", cache=None).fit_transform(TEXTS)
    # One mean, computed by the graph or behind it: float32 sums in another order.
    assert np.allclose(found, mean, atol=1e-5 * np.abs(mean).max())


def test_without_any_pooling_it_has_to_be_named(
    hub: Any, fake_hub: ModuleType, files: dict[str, bytes], encoder: onnx.ModelProto
) -> None:
    plain = without(files, "modules.json", "1_Pooling/config.json")
    hub.repositories["owner/sentences"] = fake_hub.Repository(
        {**plain, "model.onnx": encoder.SerializeToString()}
    )
    with pytest.raises(ParameterError, match="pooling"):
        vectors()
    assert not np.allclose(vectors(pooling="cls"), vectors(pooling="mean"))


def test_what_was_fetched_is_embedded_without_a_network(
    hub: Any,
    fake_hub: ModuleType,
    files: dict[str, bytes],
    encoder: onnx.ModelProto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = {**files, "onnx/model.onnx": encoder.SerializeToString()}
    hub.repositories["owner/sentences"] = fake_hub.Repository(published)
    first = vectors()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = hub.n_calls
    assert np.array_equal(vectors(), first)
    assert hub.n_calls == before
