"""Hub references, against a hub on this machine: what is fetched, and what is kept."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from featx.backbones.backbone import Backbone
from featx.backbones.hub import fetch
from featx.backbones.hub_layout import HubReference
from featx.backbones.sources import locate
from featx.errors import (
    BackboneNotFoundError,
    DigestMismatchError,
)
from featx.features import ImageFeatures

ROOT = Path(__file__).resolve().parents[2]


def get(text: str, **options: Any) -> Any:
    return fetch(HubReference.parse(text), **options)


def test_one_variant_and_the_small_files_are_fetched(published: Any, fake_hub: ModuleType) -> None:
    snapshot = get("hub:owner/net")
    assert snapshot.files == ("onnx/model.onnx", "config.json", "preprocessor_config.json")
    assert sorted(published.downloaded()) == sorted(snapshot.files)
    assert snapshot.model_path.read_bytes() == published.repositories["owner/net"].files["onnx/model.onnx"]
    assert snapshot.revision == fake_hub.commit_of(published.repositories["owner/net"].files)
    assert snapshot.licence == "apache-2.0"


def test_a_reference_opens_and_says_where_it_is_from(published: Any) -> None:
    backbone = Backbone.open("hub:owner/net")
    assert backbone.name == "net"
    assert backbone.card["source"] == "hub:owner/net"
    assert backbone.card["revision"] == get("hub:owner/net").revision
    assert backbone.terms == "apache-2.0."
    pixels = [np.zeros((32, 32, 3), np.uint8)]
    assert ImageFeatures("hub:owner/net", cache=None).fit_transform(pixels).shape == (1, 16)


@pytest.mark.parametrize("pin", ["", "@main", "@v1", "@commit"])
def test_the_second_use_asks_nobody(
    published: Any, tiny_files: dict[str, bytes], fake_hub: ModuleType, pin: str
) -> None:
    published.repositories["owner/net"].older["v1"] = tiny_files
    pin = f"@{fake_hub.commit_of(tiny_files)}" if pin == "@commit" else pin
    first = get(f"hub:owner/net{pin}")
    assert published.n_calls > 0
    before = published.n_calls
    assert get(f"hub:owner/net{pin}") == first
    assert published.n_calls == before


def test_the_second_use_needs_no_network(
    published: Any, fake_hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get("hub:owner/net")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert get("hub:owner/net") == first
    assert get(f"hub:owner/net@{first.revision}").folder == first.folder


def test_a_new_process_loads_no_http_client_for_what_is_here(published: Any) -> None:
    get("hub:owner/net")
    code = (
        "import sys; from featx.backbones.sources import locate; print(locate('hub:owner/net').model_path.is_file());"
        "print(sorted({'httpx', 'httpx2', 'requests', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[:2] == ["True", "[]"]


def test_a_branch_that_moved_is_followed_only_when_asked(
    published: Any, tiny_files: dict[str, bytes]
) -> None:
    first = get("hub:owner/net")
    published.repositories["owner/net"].files = {**tiny_files, "config.json": b'{"new": 1}'}
    assert get("hub:owner/net") == first
    moved = get("hub:owner/net", refresh=True)
    assert moved.revision != first.revision
    assert get("hub:owner/net") == moved
    assert get(f"hub:owner/net@{first.revision}").folder == first.folder


def test_a_branch_with_a_slash_is_a_revision(published: Any, tiny_files: dict[str, bytes]) -> None:
    published.repositories["owner/net"].older["refs/pr/7"] = tiny_files
    assert get("hub:owner/net@refs/pr/7").model_path.name == "model.onnx"
    published.status = 500
    assert get("hub:owner/net@refs/pr/7").files[0] == "model.onnx"


@pytest.mark.parametrize("asked", ["onnx/model_O3.onnx", "model_O3.onnx", "model_O3"])
def test_a_variant_is_named_by_path_or_stem(published: Any, asked: str) -> None:
    published.repositories["owner/net"].files["onnx/model_O3.onnx"] = published.repositories[
        "owner/net"
    ].files["onnx/model.onnx"]
    located = locate(f"hub:owner/net#{asked}")
    assert located.model_path.name == "model_O3.onnx"
    assert located.name == "net-model_O3"
    assert "onnx/model.onnx" not in published.downloaded()


def test_two_variants_share_what_describes_them(published: Any, tiny_files: dict[str, bytes]) -> None:
    published.repositories["owner/net"].files["onnx/model_O3.onnx"] = tiny_files["model.onnx"]
    get("hub:owner/net")
    get("hub:owner/net#model_O3")
    assert published.downloaded().count("config.json") == 1


def test_an_unknown_variant_is_answered_with_those_there_are(published: Any) -> None:
    with pytest.raises(
        BackboneNotFoundError, match=r"no file 'model_O5'. Did you mean 'model_O\d'\?"
    ) as raised:
        get("hub:owner/net#model_O5")
    there_are = [name for name in published.repositories["owner/net"].files if name.endswith(".onnx")]
    assert len(there_are) > 1
    assert all(name in str(raised.value) for name in there_are)


def test_several_files_and_no_plain_one_are_listed(
    hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]
) -> None:
    files = {"onnx/text_model.onnx": b"t", "onnx/vision_model.onnx": tiny_files["model.onnx"]}
    hub.repositories["owner/clip"] = fake_hub.Repository(files)
    with pytest.raises(BackboneNotFoundError, match="several ONNX files") as raised:
        get("hub:owner/clip")
    assert "onnx/text_model.onnx, onnx/vision_model.onnx" in str(raised.value)
    assert "hub:owner/clip#onnx/text_model.onnx" in str(raised.value)
    assert get("hub:owner/clip#vision_model").files == ("onnx/vision_model.onnx",)


def test_an_only_file_needs_no_name(hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]) -> None:
    files = {"net-12.onnx": tiny_files["model.onnx"], "preprocessor_config.json": b"{}"}
    hub.repositories["owner/net"] = fake_hub.Repository(files)
    assert get("hub:owner/net").files == ("net-12.onnx", "preprocessor_config.json")


def test_a_stem_that_is_two_files_is_refused(hub: Any, fake_hub: ModuleType) -> None:
    hub.repositories["owner/net"] = fake_hub.Repository({"a/encoder.onnx": b"1", "b/encoder.onnx": b"2"})
    with pytest.raises(BackboneNotFoundError, match=r"is several files: a/encoder\.onnx, b/encoder\.onnx"):
        get("hub:owner/net#encoder")


@pytest.mark.parametrize("location", ["model.onnx_data", "model.onnx.data", "weights-of-it.bin"])
@pytest.mark.parametrize("model", ["onnx/model.onnx", "model.onnx"])
def test_external_data_is_fetched_by_the_name_in_the_graph(
    hub: Any, fake_hub: ModuleType, with_external: Any, model: str, location: str
) -> None:
    hub.repositories["owner/large"] = fake_hub.Repository(with_external(model, location))
    pixels = [np.full((32, 32, 3), 7, np.uint8)]
    features = ImageFeatures("hub:owner/large", cache=None)
    assert np.isfinite(features.fit_transform(pixels)).all()
    assert [name.rpartition("/")[2] for name in hub.downloaded()].count(location) == 1
    assert not any(name.endswith("other.onnx_data") for name in hub.downloaded())
    before = hub.n_calls
    get("hub:owner/large")
    assert hub.n_calls == before


def test_external_data_that_was_never_published(hub: Any, fake_hub: ModuleType, with_external: Any) -> None:
    files = with_external("model.onnx", "model.onnx_data")
    del files["model.onnx_data"]
    hub.repositories["owner/large"] = fake_hub.Repository(files)
    with pytest.raises(
        BackboneNotFoundError, match=r"keeps weights in model\.onnx_data, which the repository"
    ):
        get("hub:owner/large")


def test_files_of_modules_and_dense_layers_belong_to_it(
    hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]
) -> None:
    kept = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "modules.json"]
    kept += ["config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer.json"]
    left = ["2_Dense/pytorch_model.bin", "openvino/config.json", "data_config.json", "model.safetensors"]
    files = {name: name.encode() for name in [*kept, *left]} | {"model.onnx": tiny_files["model.onnx"]}
    hub.repositories["owner/sentences"] = fake_hub.Repository(files)
    assert sorted(get("hub:owner/sentences").files) == sorted(["model.onnx", *kept])


def test_a_model_is_described_by_its_own_folder_where_the_root_says_nothing(
    hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]
) -> None:
    files = {f"vision/{name}": content for name, content in tiny_files.items()} | {"config.json": b"{}"}
    hub.repositories["owner/both"] = fake_hub.Repository({**files, "text/model.onnx": b"t"})
    snapshot = get("hub:owner/both#vision/model.onnx")
    assert snapshot.files == ("model.onnx", "preprocessor_config.json")
    assert Backbone.open("hub:owner/both#vision/model.onnx").pixels().output_size == (32, 32)


def test_without_onnx_the_command_that_builds_it_is_named(hub: Any, fake_hub: ModuleType) -> None:
    files = {"model.safetensors": b"s" * 5000, "config.json": b'{"model_type": "bert"}'}
    hub.repositories["owner/bert"] = fake_hub.Repository(files)
    with pytest.raises(BackboneNotFoundError, match='"featx backbones pull hub:owner/bert"') as raised:
        locate("hub:owner/bert")
    assert "featx backbones export hf:owner/bert OUT" in str(raised.value)
    assert hub.downloaded() == []
    with pytest.raises(BackboneNotFoundError, match=r"Run: featx backbones pull hub:owner/bert#model\.saf"):
        locate("hub:owner/bert#model.safetensors")


def test_a_pickle_is_exported(hub: Any, fake_hub: ModuleType) -> None:
    hub.repositories["owner/old"] = fake_hub.Repository({"pytorch_model.bin": b"p", "config.json": b"{}"})
    with pytest.raises(BackboneNotFoundError, match="featx backbones export hf:owner/old OUT"):
        locate("hub:owner/old")


def test_what_another_program_left_is_used_without_a_network(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    for name in ("onnx/model.onnx", "preprocessor_config.json"):
        hf_hub_download(
            "owner/net", name, endpoint=published.url, cache_dir=Path(os.environ["HF_HOME"]) / "hub"
        )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snapshot = get("hub:owner/net")
    assert snapshot.files == ("onnx/model.onnx", "preprocessor_config.json")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert "config.json" in get("hub:owner/net").files, "with a network the rest is fetched"


def test_a_fetch_is_told_in_one_line(published: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="featx"):
        get("hub:owner/net")
        get("hub:owner/net")
    lines = [record.getMessage() for record in caplog.records if record.name == "featx"]
    assert len(lines) == 1
    assert lines[0].startswith("hub:owner/net: fetching onnx/model.onnx and 2 more")


def test_a_published_card_is_held_to_its_digest(published: Any, tiny_files: dict[str, bytes]) -> None:
    published.repositories["owner/net"].files["featx.json"] = (
        b'{"digest": "00112233445566778899aabbccddeeff"}'
    )
    with pytest.raises(DigestMismatchError, match="expected digest 00112233445566778899aabbccddeeff"):
        Backbone.open("hub:owner/net")


def test_names_that_leave_the_repository_are_not_followed(
    hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    files = {**tiny_files, "../../../../escaped/model.safetensors": b"x", "1_Pooling/../../config.json": b"x"}
    hub.repositories["owner/evil"] = fake_hub.Repository(files)
    assert get("hub:owner/evil").files == ("model.onnx", "preprocessor_config.json")
    assert not list(tmp_path.rglob("escaped"))
