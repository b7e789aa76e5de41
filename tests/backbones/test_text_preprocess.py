"""Lengths, positions, prompts and the tokenizer, as a model's folder says them; what featx cannot do is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.backbones.text_modules import Dense
from featx.backbones.text_preprocess import TextPreprocess, published_files
from featx.errors import FeatxError, ParameterError, PreprocessError
from featx.store.digest import canonical_json, digest_file
from featx.testing import tiny_text_backbone


def write(folder: Path, **files: Any) -> Path:
    """A folder with a tokenizer and these JSON files, their names without suffix."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text("{}")
    for name, values in files.items():
        content = values if isinstance(values, bytes) else json.dumps(values).encode()
        (folder / f"{name}.json").write_bytes(content)
    return folder


def read(folder: Path, **files: Any) -> TextPreprocess:
    found = TextPreprocess.from_folder(write(folder, **files))
    assert found is not None
    return found


@pytest.fixture
def plain() -> TextPreprocess:
    return TextPreprocess(tokenizer="0" * 32, max_length=128, pooling="mean")


def test_a_folder_without_a_tokenizer_is_none_of_texts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("no JSON")
    assert TextPreprocess.from_folder(tmp_path) is None


def test_what_a_published_folder_says_is_read(tmp_path: Path) -> None:
    folder = tiny_text_backbone(tmp_path / "tiny", positions=40, pooling="cls", normalize=True)
    assert TextPreprocess.from_folder(str(folder)) == TextPreprocess(
        tokenizer=digest_file(folder / "tokenizer.json").hex(),
        max_length=40,
        max_positions=40,
        pooling="cls",
        ends_normalized=True,
    )


def test_a_tokenizer_alone_is_enough(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.max_length, found.max_positions, found.pooling) == (512, None, None)
    assert (found.prompt, found.lowercase, found.pad_id, found.ends_normalized) == ("", False, 0, False)


def test_another_tokenizer_is_another_preprocessing(tmp_path: Path) -> None:
    before = read(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"truncation": null}')
    assert TextPreprocess.from_folder(tmp_path) != before


BERT = {"model_type": "bert", "max_position_embeddings": 512}
NO_LIMIT = int(1e30)  # what transformers writes for a tokenizer that knows none


@pytest.mark.parametrize(
    ("files", "max_length", "max_positions"),
    [
        ({"config": BERT, "sentence_bert_config": {"max_seq_length": 256}}, 256, 512),
        ({"config": BERT, "tokenizer_config": {"model_max_length": 384}}, 384, 512),
        (
            {
                "config": BERT,
                "sentence_bert_config": {"max_seq_length": 256},
                "tokenizer_config": {"model_max_length": 128},
            },
            256,
            512,
        ),
        ({"config": BERT, "sentence_bert_config": {"max_seq_length": 8192}}, 512, 512),
        (
            {
                "config": BERT,
                "sentence_bert_config": {"max_seq_length": None},
                "tokenizer_config": {"model_max_length": NO_LIMIT},
            },
            512,
            512,
        ),
        ({"config": BERT}, 512, 512),
        ({"tokenizer_config": {"model_max_length": 77}}, 77, None),
        ({"tokenizer_config": {"model_max_length": 384.0}}, 384, None),
        ({"tokenizer_config": {"model_max_length": NO_LIMIT}}, 512, None),
        # Nothing that is no length counts as one.
        ({"config": BERT, "sentence_bert_config": {"max_seq_length": 0}}, 512, 512),
        ({"config": BERT, "sentence_bert_config": {"max_seq_length": True}}, 512, 512),
        ({"config": BERT, "sentence_bert_config": {"max_seq_length": 0.5}}, 512, 512),
        ({"config": BERT, "sentence_bert_config": {"max_seq_length": "256"}}, 512, 512),
        # Older versions named the file after the network.
        ({"config": BERT, "sentence_roberta_config": {"max_seq_length": 100}}, 100, 512),
        ({"config": BERT, "sentence_xlm-roberta_config": {"max_seq_length": 100}}, 100, 512),
        (
            {
                "config": BERT,
                "sentence_bert_config": {"max_seq_length": 90},
                "sentence_roberta_config": {"max_seq_length": 100},
            },
            90,
            512,
        ),
    ],
)
def test_the_longest_input(
    tmp_path: Path, files: dict[str, Any], max_length: int, max_positions: int | None
) -> None:
    found = read(tmp_path, **files)
    assert (found.max_length, found.max_positions) == (max_length, max_positions)


@pytest.mark.parametrize(
    ("config", "positions", "pad_id"),
    [
        (BERT | {"pad_token_id": 0}, 512, 0),
        # transformers, create_position_ids_from_input_ids: positions begin behind the padding id.
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512, 1),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512, 1),  # its own default
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512, 1),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512, 1),
        ({"model_type": "distilbert", "max_position_embeddings": 512}, 512, 0),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024, 0),
        ({"model_type": "t5", "n_positions": 512, "pad_token_id": 0}, None, 0),
        ({"model_type": "xlnet", "max_position_embeddings": -1, "pad_token_id": 5}, None, 5),
        ({"model_type": "bert", "max_position_embeddings": None}, None, 0),
        ({"model_type": "bert", "max_position_embeddings": True, "pad_token_id": True}, None, 0),
        ({"model_type": "bert", "max_position_embeddings": "512", "pad_token_id": -1}, None, 0),
        ({"model_type": "roberta", "max_position_embeddings": 2, "pad_token_id": 1}, None, 1),
        ({"model_type": ["bert"], "max_position_embeddings": 512}, 512, 0),
    ],
)
def test_positions_of_the_families(
    tmp_path: Path, config: dict[str, Any], positions: int | None, pad_id: int
) -> None:
    found = read(tmp_path, config=config)
    assert (found.max_positions, found.pad_id) == (positions, pad_id)
    assert found.first_position == (2 if pad_id == 1 else 0), "these pad with 1, and count from behind it"
    assert found.max_length == (positions or 512)


def test_lower_case_is_what_the_publisher_says(tmp_path: Path) -> None:
    assert read(tmp_path, sentence_bert_config={"do_lower_case": True}).lowercase is True
    assert read(tmp_path, sentence_bert_config={"do_lower_case": False}).lowercase is False


@pytest.mark.parametrize(
    ("config", "prompt"),
    [
        ({"prompts": {"query": "query: "}, "default_prompt_name": "query"}, "query: "),
        ({"prompts": {"query": "query: "}, "default_prompt_name": None}, ""),
        ({"prompts": {"query": "query: "}}, ""),
        ({"prompts": {"query": None}, "default_prompt_name": "query"}, ""),
        ({}, ""),
    ],
)
def test_the_default_prompt(tmp_path: Path, config: dict[str, Any], prompt: str) -> None:
    assert read(tmp_path, config_sentence_transformers=config).prompt == prompt


@pytest.mark.parametrize(
    "config",
    [
        {"default_prompt_name": "query"},
        {"default_prompt_name": "query", "prompts": {"passage": "p: "}},
        {"default_prompt_name": "query", "prompts": ["query"]},
        {"default_prompt_name": ["query"], "prompts": {"query": "q: "}},
        {"default_prompt_name": "query", "prompts": {"query": 3}},
    ],
)
def test_a_default_prompt_that_is_not_there_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(PreprocessError, match="Correct the file") as caught:
        read(tmp_path, config_sentence_transformers=config)
    assert "config_sentence_transformers.json" in str(caught.value)


def test_a_prompt_that_the_publisher_does_not_pool_is_refused(tmp_path: Path) -> None:
    folder = tiny_text_backbone(tmp_path / "tiny")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean", "include_prompt": false}')
    found = TextPreprocess.from_folder(folder)
    assert found is not None
    with pytest.raises(ParameterError, match="leaves a prompt's tokens out of the pooling"):
        dataclasses.replace(found, prompt="Represent: ")
    prompts = {"prompts": {"a": "Represent: "}, "default_prompt_name": "a"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with pytest.raises(PreprocessError, match="the default prompt's tokens are left out"):
        TextPreprocess.from_folder(folder)


@pytest.mark.parametrize(
    "name", ["config", "tokenizer_config", "sentence_bert_config", "config_sentence_transformers", "modules"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b'"text"', b"3"])
def test_a_file_that_is_no_json_object_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(PreprocessError) as caught:
        read(tmp_path, **{name: content})
    assert str(tmp_path / f"{name}.json") in str(caught.value)


@pytest.mark.parametrize(
    "name", ["config", "tokenizer_config", "sentence_bert_config", "config_sentence_transformers"]
)
def test_a_list_where_an_object_is_expected_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(PreprocessError, match=rf"{name}\.json: expected a JSON object, found list"):
        read(tmp_path, **{name: []})


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_length": 0},
        {"max_length": True},
        {"max_length": 12.0},
        {"max_length": None},
        {"max_length": 129, "max_positions": 128},
        {"prompt": 3},
        {"prompt": None},
        {"normalize": "auto"},
        {"normalize": 1},
    ],
)
def test_wrong_fields_raise(plain: TextPreprocess, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        dataclasses.replace(plain, **wrong)


def test_a_length_of_numpys_is_an_int(plain: TextPreprocess) -> None:
    given = dataclasses.replace(plain, max_length=np.int64(64))
    assert given == dataclasses.replace(plain, max_length=64)
    assert canonical_json(given.space_dict("mean", published=True))


LAYER = Dense(path=Path("a"), digest="1" * 32, activation="Tanh", n_features=5)


@pytest.mark.parametrize(
    ("normalize", "pooling", "published", "dense", "normalized"),
    [
        (None, "mean", True, True, True),
        (True, "mean", True, True, True),
        (False, "mean", True, True, False),
        # Another pooling or tap than the publisher's is followed by nothing of the publisher's.
        (None, "cls", True, False, False),
        (None, "mean", False, False, False),
        (True, "cls", True, False, True),
        (True, "mean", False, False, True),
    ],
)
def test_what_follows_a_pooling(
    plain: TextPreprocess,
    normalize: bool | None,
    pooling: str,
    published: bool,
    dense: bool,
    normalized: bool,
) -> None:
    text = dataclasses.replace(plain, dense=(LAYER,), ends_normalized=True, normalize=normalize)
    assert text.ends(pooling, published=published) == ((LAYER,) if dense else (), normalized)
    described = text.space_dict(pooling, published=published)
    assert described["normalize"] is normalized
    assert len(described["dense"]) == dense


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer": "1" * 32},
        {"max_length": 64},
        {"prompt": "query: "},
        {"lowercase": True},
        {"pad_id": 1},
        {"normalize": True},
        {"dense": (LAYER,)},
        {"dense": (dataclasses.replace(LAYER, activation="ReLU"),)},
        {"ends_normalized": True},
    ],
)
def test_what_decides_a_vector_is_in_the_space(plain: TextPreprocess, change: dict[str, Any]) -> None:
    before = plain.space_dict("mean", published=True)
    after = dataclasses.replace(plain, **change).space_dict("mean", published=True)
    assert canonical_json(before) != canonical_json(after)


@pytest.mark.parametrize(
    "change",
    [
        {"max_positions": 512},
        {"normalize": False},  # as the publisher's
        {"pooling": "cls"},  # the space names the tap's own
        {"pools_prompt": False},
    ],
)
def test_what_does_not_decide_a_vector_is_not(plain: TextPreprocess, change: dict[str, Any]) -> None:
    after = dataclasses.replace(plain, **change)
    assert after.space_dict("mean", published=True) == plain.space_dict("mean", published=True)


def test_the_place_of_dense_weights_is_not_in_the_space(plain: TextPreprocess) -> None:
    here, there = (
        dataclasses.replace(plain, dense=(dataclasses.replace(LAYER, path=Path(name)),)) for name in "ab"
    )
    assert here == there
    assert here.space_dict("mean", published=True) == there.space_dict("mean", published=True)


def test_people_see_the_pooling_and_the_positions(plain: TextPreprocess) -> None:
    described = dataclasses.replace(plain, max_positions=512, ends_normalized=True).to_dict()
    assert (described["pooling"], described["positions"], described["normalize"]) == ("mean", 512, True)


def test_published_files_are_all_that_is_read(tmp_path: Path) -> None:
    folder = tiny_text_backbone(tmp_path / "tiny", normalize=True)
    write_also = {
        "sentence_bert_config.json": {"max_seq_length": 20},
        "tokenizer_config.json": {},
        "config_sentence_transformers.json": {"prompts": {"q": "q "}, "default_prompt_name": "q"},
        "other.json": {},
    }
    for name, values in write_also.items():
        (folder / name).write_text(json.dumps(values))
    names = published_files(folder)
    assert sorted(name.as_posix() for name in names) == [
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    copy = tmp_path / "copy"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((folder / name).read_bytes())
    assert TextPreprocess.from_folder(copy) == TextPreprocess.from_folder(folder)


def test_published_files_of_a_broken_folder_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FeatxError, match="expected a list of modules"):
        published_files(write(tmp_path, modules=["Pooling"]))
