"""Hub references, against a hub on this machine: what is fetched, what is kept, and what is said when it fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from featx.backbones.backbone import Backbone
from featx.backbones.hub import fetch
from featx.backbones.hub_layout import HubReference
from featx.backbones.sources import locate
from featx.errors import (
    BackboneError,
    BackboneNotFoundError,
    DigestMismatchError,
    HubUnreachableError,
    ParameterError,
)
from featx.features import ImageFeatures
from featx.testing import tiny_backbone

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = ("O1", "O2", "O3", "O4", "qint8_avx512", "quint8_avx2", "fp16", "quantized")


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return read_files(tiny_backbone(tmp_path_factory.mktemp("hub") / "tiny"))


@pytest.fixture
def published(hub: Any, fake_hub: ModuleType, tiny_files: dict[str, bytes]) -> Any:
    """``owner/net``: a plain file among optimised and quantised ones, as Optimum and sentence-transformers publish."""
    files = {f"onnx/model_{name}.onnx": name.encode() * 2000 for name in VARIANTS}
    files |= {
        "onnx/model.onnx": tiny_files["model.onnx"],
        "preprocessor_config.json": tiny_files["preprocessor_config.json"],
        "config.json": b"{}",
        "README.md": b"# net",
        "pytorch_model.bin": b"p" * 5000,
        "model.safetensors": b"s" * 5000,
        "images/sample.png": b"i" * 5000,
    }
    hub.repositories["owner/net"] = fake_hub.Repository(files, licence="apache-2.0")
    return hub


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
    assert all(f"onnx/model_{name}.onnx" in str(raised.value) for name in VARIANTS)


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


@pytest.fixture
def with_external(tiny_files: dict[str, bytes], tmp_path: Path) -> Callable[[str, str], dict[str, bytes]]:
    """The files of a repository whose graph keeps its weights in another file."""

    def make(model: str, location: str) -> dict[str, bytes]:
        graph = onnx.load_from_string(tiny_files["model.onnx"])
        folder = tmp_path / "external"
        folder.mkdir(exist_ok=True)
        onnx.save(
            graph, folder / "model.onnx", save_as_external_data=True, location=location, size_threshold=0
        )
        home = model.rpartition("/")[0]
        prefix = f"{home}/" if home else ""
        return {
            model: (folder / "model.onnx").read_bytes(),
            f"{prefix}{location}": (folder / location).read_bytes(),
            f"{prefix}other.onnx_data": b"o" * 4000,
            "preprocessor_config.json": tiny_files["preprocessor_config.json"],
        }

    return make


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


# --- access ---


def test_a_private_repository_is_read_with_the_token(
    published: Any, fake_hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.repositories["owner/net"].access = "private"
    with pytest.raises(BackboneNotFoundError, match="no such repository, or a private one") as raised:
        get("hub:owner/net")
    assert "HF_TOKEN" in str(raised.value)
    monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
    assert get("hub:owner/net").model_path.is_file()
    assert published.tokens_at_cdn
    assert set(published.tokens_at_cdn) == {None}, "the token was sent to another host"


def test_a_gated_repository_says_where_its_terms_are(
    published: Any, fake_hub: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.repositories["owner/net"].access = "gated"
    with pytest.raises(
        BackboneNotFoundError, match=rf"{published.url}/owner/net, accept the terms .* HF_TOKEN"
    ):
        get("hub:owner/net")
    monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
    with pytest.raises(BackboneNotFoundError, match="your token has no access to it yet"):
        get("hub:owner/net")
    published.repositories["owner/net"].readers = {fake_hub.TOKEN}
    assert get("hub:owner/net").model_path.is_file()


def test_a_token_that_does_not_count(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(BackboneNotFoundError, match="does not accept the access token"):
        get("hub:owner/net")


def test_an_unknown_repository_may_be_a_misspelt_one(hub: Any) -> None:
    with pytest.raises(BackboneNotFoundError, match="Did you mean 'Xenova/resnet-50'"):
        get("hub:xenova/resnet50")


def test_an_unknown_revision(published: Any) -> None:
    with pytest.raises(BackboneNotFoundError, match="no branch, tag or commit 'v9'"):
        get("hub:owner/net@v9")


@pytest.mark.parametrize(
    "text",
    [
        "hub:",
        "hub:/net",
        "hub:owner/",
        "hub:a/b/c",
        "hub:owner/net@",
        "hub:owner/net#",
        "hub:../../etc",
        "hub:o n/x",
        "hub:\u043ewner/net",
        "hub:owner/net@../../etc",
        "hub:owner/net@/etc",
        "hub:owner/net@a b",
        "hub:owner/net@--upload",
        "hub:owner/net@v1/",
        "hub:owner/net@v1\n",
        "hub:owner/net#../secret.onnx",
        "hub:owner/net#/etc/passwd",
        "hub:owner/net#C:\\net.onnx",
        "hub:owner/net#a\x00b",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="expected hub:owner/name"):
        locate(text)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "feature/x_y", "1", "a@b", "v1.0+cpu"])
def test_revisions_are_what_git_calls_branches_and_tags(revision: str) -> None:
    assert HubReference.parse(f"hub:owner/net@{revision}").revision == revision


# --- repositories without ONNX ---


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


# --- what goes wrong on the way ---


def test_without_a_network_the_error_says_what_to_do(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    began_s = time.monotonic()
    with pytest.raises(HubUnreachableError, match="the hub does not answer") as raised:
        locate("hub:owner/net")
    assert time.monotonic() - began_s < 5
    assert "featx backbones pull hub:owner/net --to FOLDER" in str(raised.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE forbids"):
        locate("hub:owner/net")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_not_well(published: Any, status: int) -> None:
    published.status = status
    with pytest.raises(HubUnreachableError, match=str(status)):
        get("hub:owner/net")


def test_a_download_that_breaks_off_goes_on(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda s: None)  # huggingface_hub waits between attempts
    published.repositories["owner/net"].cut["onnx/model.onnx"] = 2
    model = get("hub:owner/net").model_path
    assert model.read_bytes() == published.repositories["owner/net"].files["onnx/model.onnx"]


def test_nothing_half_done_is_used(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda s: None)
    repository = published.repositories["owner/net"]
    content = repository.files["onnx/model.onnx"]
    real = published.lie = {"onnx/model.onnx": content[:-100]}  # shorter than its metadata says
    with pytest.raises(BackboneError, match=r"Nothing half-done is used\. Try again"):
        get("hub:owner/net")
    published.status = 503
    with pytest.raises(HubUnreachableError):
        get("hub:owner/net")
    published.status = None
    real.clear()
    assert get("hub:owner/net").model_path.read_bytes() == content


def test_a_file_that_was_damaged_on_the_way_is_not_kept(published: Any) -> None:
    content = published.repositories["owner/net"].files["onnx/model.onnx"]
    published.lie = {"onnx/model.onnx": content[:-1] + bytes([content[-1] ^ 1])}
    with pytest.raises(DigestMismatchError, match=r"onnx/model\.onnx was damaged on the way"):
        get("hub:owner/net")
    published.lie = {}
    assert get("hub:owner/net").model_path.read_bytes() == content


def test_an_interrupted_fetch_is_completed_later(
    hub: Any, fake_hub: ModuleType, with_external: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["owner/large"] = fake_hub.Repository(with_external("model.onnx", "model.onnx_data"))
    hub.interrupt = "model.onnx_data"
    with pytest.raises(HubUnreachableError):
        get("hub:owner/large")
    hub.interrupt = None
    assert (get("hub:owner/large").folder / "model.onnx_data").is_file()
    assert hub.downloaded().count("model.onnx") == 1


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


def test_a_disk_without_room_is_told_before_the_download(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = published.repositories["owner/net"].claimed_sizes
    listed["onnx/model.onnx"] = 10**18
    with pytest.raises(BackboneError, match=r"no room in .*000,000,\d+ bytes are to be fetched") as raised:
        get("hub:owner/net")
    assert "HF_HOME" in str(raised.value)
    assert published.downloaded() == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_disk_that_fills_up_leaves_nothing_half_done(published: Any) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "from featx.backbones.sources import locate\n"
        "from featx.errors import BackboneError\n"
        "try: locate('hub:owner/net')\n"
        "except BackboneError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "no room in" in done.stdout
    assert "Set HF_HOME" in done.stdout or "set HF_HOME" in done.stdout
    assert get("hub:owner/net").model_path.stat().st_size > 3000


def test_processes_that_start_together_fetch_once(published: Any) -> None:
    code = "from featx.backbones.backbone import Backbone; print(Backbone.open('hub:owner/net').digest)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(3)
    ]
    digests = {process.communicate(timeout=120)[0] for process in started}
    assert digests == {Backbone.open("hub:owner/net").digest + "\n"}
    assert published.downloaded().count("onnx/model.onnx") == 1


def test_threads_that_start_together_agree(published: Any) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(get("hub:owner/net"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1


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
