"""What a folder of sentence-transformers puts behind its encoder is read exactly, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from featx.backbones.text_modules import TextModules, module_files, read_modules, read_object
from featx.errors import PreprocessError

OLD = "sentence_transformers.models."  # as versions before 5 write a module's type
FLAGS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        content = values if isinstance(values, bytes) else json.dumps(values).encode()
        (folder / name).write_bytes(content)
    return folder


def modules(*kinds: str, prefix: str = OLD) -> list[dict[str, Any]]:
    return [
        {"idx": at, "name": str(at), "path": f"{at}_{kind}" if at else "", "type": f"{prefix}{kind}"}
        for at, kind in enumerate(kinds)
    ]


def pooling(*flags: str) -> dict[str, Any]:
    return {"word_embedding_dimension": 8, **{f"pooling_mode_{flag}": flag in flags for flag in FLAGS}}


def dense(folder: Path, *, seed: int = 0, bias: bool = True, **config: Any) -> Path:
    """A dense layer from 8 to 5."""
    rng = np.random.default_rng(seed)
    values = {"in_features": 8, "out_features": 5, "bias": bias} | config
    write(folder, {"config.json": values})
    weights = {"linear.weight": rng.standard_normal((5, 8)).astype(np.float32)}
    if bias:
        weights["linear.bias"] = rng.standard_normal(5).astype(np.float32)
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture
def with_dense(tmp_path: Path) -> Path:
    """Transformer, Pooling, Dense."""
    dense(tmp_path / "2_Dense", activation_function="torch.nn.modules.linear.Identity")
    return write(
        tmp_path,
        {
            "modules.json": modules("Transformer", "Pooling", "Dense"),
            "1_Pooling/config.json": pooling("mean_tokens"),
        },
    )


def test_a_folder_without_such_files_says_nothing(tmp_path: Path) -> None:
    assert read_modules(tmp_path) == TextModules()
    assert module_files(tmp_path) == []


@pytest.mark.parametrize(
    ("flag", "name"),
    [("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max"), ("lasttoken", "last")],
)
def test_a_flag_names_the_pooling_with_modules_and_without(tmp_path: Path, flag: str, name: str) -> None:
    write(tmp_path, {"1_Pooling/config.json": pooling(flag)})
    assert read_modules(tmp_path) == TextModules(name)
    write(tmp_path, {"modules.json": modules("Transformer", "Pooling")})
    assert read_modules(tmp_path) == TextModules(name)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"embedding_dimension": 8, "pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken", "include_prompt": True}, "last"),
        ({"pooling_mode": ["max"]}, "max"),
        ({"pooling_mode": "cls"} | pooling("mean_tokens"), "cls"),
        # sentence-transformers: what sets no flag is averaged.
        (pooling(), "mean"),
        ({"word_embedding_dimension": 8}, "mean"),
    ],
)
def test_the_pooling_of_newer_files(tmp_path: Path, config: dict[str, Any], name: str) -> None:
    write(tmp_path, {"1_Pooling/config.json": config})
    assert read_modules(tmp_path).pooling == name


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (pooling("cls_token", "mean_tokens"), "pools by cls and mean"),
        (pooling("mean_sqrt_len_tokens"), "pools by mean_sqrt_len_tokens"),
        (pooling("weightedmean_tokens"), "pools by weightedmean"),
        ({"pooling_mode": ["cls", "max"]}, "pools by cls and max"),
        ({"pooling_mode": "attention"}, "pools by attention"),
        ({"pooling_mode": {"a": 1}}, "featx pools by one of cls, mean, max, last"),
    ],
)
def test_other_poolings_are_refused_by_name(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    write(tmp_path, {"1_Pooling/config.json": config})
    with pytest.raises(PreprocessError, match=says) as caught:
        read_modules(tmp_path)
    assert str(tmp_path / "1_Pooling" / "config.json") in str(caught.value)


def test_a_pooling_whose_file_is_missing_is_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, {"modules.json": modules("Transformer", "Pooling")})
    with pytest.raises(PreprocessError, match=r"1_Pooling.config\.json: missing"):
        read_modules(tmp_path)


def test_prompts_that_are_not_pooled_are_noted(tmp_path: Path) -> None:
    for mode, pooled in (("mean", False), ("cls", False), ("lasttoken", True)):
        write(tmp_path, {"1_Pooling/config.json": {"pooling_mode": mode, "include_prompt": False}})
        assert read_modules(tmp_path).pools_prompt is pooled  # the last token is never the prompt's


@pytest.mark.parametrize(
    "types",
    [
        [f"{OLD}{kind}" for kind in ("Transformer", "Pooling", "Normalize")],
        [
            "sentence_transformers.base.modules.transformer.Transformer",
            "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
            "sentence_transformers.base.modules.normalize.Normalize",
        ],
        # The encoder is the ONNX file, whoever wrote the code around it.
        ["custom_st.Transformer", f"{OLD}Pooling", f"{OLD}Normalize"],
    ],
)
def test_types_of_old_and_new_versions_mean_the_same(tmp_path: Path, types: list[str]) -> None:
    named = modules("Transformer", "Pooling", "Normalize")
    for module, kind in zip(named, types, strict=True):
        module["type"] = kind
    write(tmp_path, {"modules.json": named, "1_Pooling/config.json": pooling("max_tokens")})
    assert read_modules(tmp_path) == TextModules("max", normalized=True)


def test_dropout_does_nothing(tmp_path: Path) -> None:
    kinds = ("Transformer", "Dropout", "Pooling", "Dropout", "Normalize")
    write(tmp_path, {"modules.json": modules(*kinds), "2_Pooling/config.json": pooling("cls_token")})
    assert read_modules(tmp_path) == TextModules("cls", normalized=True)


def test_a_dense_layer_is_read(with_dense: Path) -> None:
    (layer,) = read_modules(with_dense).dense
    assert (layer.activation, layer.n_features) == ("Identity", 5)
    weight, bias = layer.read()
    expected = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    np.testing.assert_array_equal(weight, expected)
    assert bias is not None
    assert bias.shape == (5,)


def test_a_dense_layer_is_known_by_its_weights_and_not_by_its_place(with_dense: Path, tmp_path: Path) -> None:
    before = read_modules(with_dense)
    with_dense.joinpath("2_Dense").rename(with_dense / "moved")
    named = modules("Transformer", "Pooling", "Dense")
    named[2]["path"] = "moved"
    assert read_modules(write(with_dense, {"modules.json": named})) == before
    dense(with_dense / "moved", seed=1, activation_function="torch.nn.modules.linear.Identity")
    assert read_modules(with_dense).dense[0].digest != before.dense[0].digest


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({}, "Tanh"),  # sentence-transformers' default
        ({"activation_function": "torch.nn.modules.activation.ReLU"}, "ReLU"),
        ({"activation_function": "torch.nn.modules.activation.GELU"}, "GELU"),
        ({"activation_function": "torch.nn.modules.activation.Sigmoid"}, "Sigmoid"),
        ({"activation_function": "torch.nn.Tanh", "module_input_name": "sentence_embedding"}, "Tanh"),
    ],
)
def test_activations_of_dense_layers(with_dense: Path, config: dict[str, Any], activation: str) -> None:
    dense(with_dense / "2_Dense", bias=False, **config)
    (layer,) = read_modules(with_dense).dense
    assert layer.activation == activation
    assert layer.read()[1] is None


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"activation_function": "torch.nn.modules.activation.SiLU"}, "SiLU is none of Identity, Tanh"),
        ({"activation_function": "somebody.activations.ReLU"}, "somebody.activations.ReLU is none of"),
        ({"activation_function": None}, "None is none of"),
        ({"use_residual": True}, "use_residual"),
        ({"module_input_name": "token_embeddings"}, "module_input_name is 'token_embeddings'"),
        ({"module_output_name": "other"}, "module_output_name is 'other'"),
    ],
)
def test_dense_layers_that_featx_cannot_do_are_refused(
    with_dense: Path, config: dict[str, Any], says: str
) -> None:
    dense(with_dense / "2_Dense", **config)
    with pytest.raises(PreprocessError, match=says) as caught:
        read_modules(with_dense)
    assert str(with_dense / "2_Dense" / "config.json") in str(caught.value)


def test_weights_of_a_dense_layer_must_be_there_and_no_pickle(with_dense: Path) -> None:
    weights = with_dense / "2_Dense" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(PreprocessError, match=r"model\.safetensors: missing.*pickle"):
        read_modules(with_dense)
    save_file({"linear.weight": np.zeros(5, np.float32)}, weights)
    with pytest.raises(PreprocessError, match=r"no linear\.weight \(out, in\)"):
        read_modules(with_dense)
    save_file({"weight": np.zeros((5, 8), np.float32)}, weights)
    with pytest.raises(PreprocessError, match=r"no linear\.weight"):
        read_modules(with_dense)


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (("Transformer", "LayerNorm"), "module 'LayerNorm' is none"),
        (("Transformer", "WeightedLayerPooling", "Pooling"), "module 'WeightedLayerPooling' is none"),
        (("Transformer", "Normalize", "Pooling"), "module 'Normalize' is none"),
        (("Transformer", "Dense", "Pooling"), "module 'Dense' is none"),
        (("Transformer", "Pooling", "Pooling"), "'Pooling' behind 'Pooling'"),
        (("Transformer", "Pooling", "Normalize", "Dense"), "'Dense' behind 'Normalize'"),
        (("StaticEmbedding",), "module 'StaticEmbedding' is none"),
    ],
)
def test_other_modules_and_other_orders_are_refused_by_name(
    tmp_path: Path, kinds: tuple[str, ...], says: str
) -> None:
    named = modules(*kinds)
    for module in named[1:]:
        write(tmp_path, {f"{module['path']}/config.json": pooling("mean_tokens")})
    with pytest.raises(PreprocessError, match=says) as caught:
        read_modules(write(tmp_path, {"modules.json": named}))
    assert str(tmp_path / "modules.json") in str(caught.value)


@pytest.mark.parametrize("kind", ["Pooling", "Dense", "Normalize"])
def test_a_module_of_somebody_elses_code_is_none_that_featx_knows(tmp_path: Path, kind: str) -> None:
    named = modules("Transformer", "Pooling", kind)
    named[2]["type"] = f"modeling_own.{kind}"
    write(tmp_path, {"modules.json": named, "1_Pooling/config.json": pooling("mean_tokens")})
    with pytest.raises(PreprocessError, match=rf"module 'modeling_own\.{kind}'"):
        read_modules(tmp_path)


def test_a_normalisation_of_tokens_is_refused(tmp_path: Path) -> None:
    files = {
        "modules.json": modules("Transformer", "Pooling", "Normalize"),
        "1_Pooling/config.json": pooling("mean_tokens"),
        "2_Normalize/config.json": {"module_input_name": "token_embeddings"},
    }
    with pytest.raises(PreprocessError, match=r"module_input_name is 'token_embeddings'"):
        read_modules(write(tmp_path, files))


@pytest.mark.parametrize("path", ["../1_Pooling", "/1_Pooling", "a/../../b", "C:\\1_Pooling", "..\\b"])
def test_a_module_outside_of_the_folder_is_not_read(tmp_path: Path, path: str) -> None:
    named = modules("Transformer", "Pooling")
    named[1]["path"] = path
    inside = write(tmp_path / "inside", {"modules.json": named})
    write(tmp_path, {"1_Pooling/config.json": pooling("mean_tokens")})
    for read in (read_modules, module_files):
        with pytest.raises(PreprocessError, match="outside of the folder"):
            read(inside)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read as JSON"),
        (b'[{"type": ', "cannot be read as JSON"),
        (b"\xff\xfe[", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"type": "x"}', "expected a list of modules"),
        (b'["Pooling"]', "expected a list of modules"),
        (b'[{"path": "1_Pooling"}]', "module ''"),
    ],
)
def test_a_broken_list_of_modules_is_refused_with_its_path(tmp_path: Path, content: bytes, says: str) -> None:
    write(tmp_path, {"modules.json": content})
    with pytest.raises(PreprocessError, match=says) as caught:
        read_modules(tmp_path)
    assert str(tmp_path / "modules.json") in str(caught.value)


def test_a_list_where_an_object_is_expected_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"1_Pooling/config.json": ["mean"]})
    with pytest.raises(PreprocessError, match="expected a JSON object, found list"):
        read_modules(tmp_path)


def test_an_object_is_read_with_a_byte_order_mark_and_is_empty_where_there_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, {"a.json": b'\xef\xbb\xbf{"a": 1}'})
    assert read_object(tmp_path / "a.json") == {"a": 1}
    assert read_object(tmp_path / "b.json") == {}
    assert read_object(tmp_path) == {}  # a folder is no file


def test_the_files_that_decide_are_listed_and_no_encoder_among_them(with_dense: Path) -> None:
    named = modules("Transformer", "Pooling", "Dense", "Normalize")
    named[0]["path"] = "0_Transformer"
    write(with_dense, {"modules.json": named, "0_Transformer/config.json": {}, "3_Normalize/config.json": {}})
    (with_dense / "0_Transformer" / "model.safetensors").write_bytes(bytes(100))
    assert [path.as_posix() for path in module_files(with_dense)] == [
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Normalize/config.json",
    ]


@pytest.mark.parametrize("kinds", [("Pooling", "Transformer"), ("Transformer", "Transformer", "Pooling")])
def test_an_encoder_stands_first_and_once(kinds: tuple[str, ...], tmp_path: Path) -> None:
    named = [{**one, "path": "1_Pooling"} for one in modules(*kinds)]
    write(tmp_path, {"modules.json": named, "1_Pooling/config.json": {}})
    with pytest.raises(PreprocessError, match=r"module 'Transformer'.* is none that featx can put there"):
        read_modules(tmp_path)


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_a_bias_of_another_shape_than_its_weight_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    named = modules("Transformer", "Pooling", "Dense")
    write(tmp_path, {"modules.json": named, "1_Pooling/config.json": {}, "2_Dense/config.json": {}})
    arrays = {"linear.weight": np.ones((4, 6), np.float32), "linear.bias": np.zeros(shape, np.float32)}
    save_file(arrays, tmp_path / "2_Dense" / "model.safetensors")
    with pytest.raises(PreprocessError, match=r"linear\.bias has shape .*expected \(4,\)"):
        read_modules(tmp_path)
