"""Where a checkpoint comes from: a folder, or a repository that lies in the hub's cache; and what it lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from featx import Backbone, export_backbone
from featx.errors import (
    BackboneNotFoundError,
    ConversionError,
    HubUnreachableError,
    ParameterError,
    PreprocessError,
)

pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
transformers = pytest.importorskip("transformers", minversion="5.0")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one repository, owner/resnet, in it, and no network; its snapshot's folder."""
    place = tmp_path / "hub" / "models--owner--resnet"
    snapshot = Path(shutil.copytree(checkpoint("resnet"), place / "snapshots" / COMMIT))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    (snapshot / "README.md").write_text("---\ntags:\n- x\nlicense: apache-2.0\n---\n# ResNet\nlicense: no\n")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return snapshot


@pytest.mark.parametrize(
    "reference", ["hf:owner/resnet", "hf:owner/resnet@main", f"hf:owner/resnet@{COMMIT}"]
)
def test_a_repository_is_exported_with_its_commit_and_licence(
    reference: str, cached: Path, tmp_path: Path
) -> None:
    card = Backbone.open(export_backbone(reference, tmp_path / "out")).card
    assert (card["name"], card["source"]) == ("out", "hf:owner/resnet")
    assert (card["revision"], card["licence"]) == (COMMIT, "apache-2.0")


def test_a_repository_is_downloaded_and_what_it_lacks_is_not_missed(
    checkpoint: Callable[[str], Path], hub: Any, fake_hub: ModuleType, tmp_path: Path
) -> None:
    """In a process of its own, as huggingface_hub reads where the hub is when it is imported."""
    files = {file.name: file.read_bytes() for file in checkpoint("resnet").iterdir()}
    hub.repositories["owner/resnet"] = fake_hub.Repository(files)
    code = "import sys; from featx.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        code,
        "backbones",
        "export",
        "hf:owner/resnet",
        str(tmp_path / "out"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    card = json.loads(done.stdout)
    assert (card["source"], card["revision"]) == ("hf:owner/resnet", fake_hub.commit_of(files))
    assert "licence" not in card  # it has no README


@pytest.mark.parametrize("reference", ["hf:owner/nothing", "hf:owner/resnet@v2"])
def test_a_repository_that_cannot_be_had_is_refused(reference: str, cached: Path, tmp_path: Path) -> None:
    with pytest.raises(HubUnreachableError, match=reference):
        export_backbone(reference, tmp_path / "out")


@pytest.mark.parametrize("reference", ["hf:", "hf:a b", "hf:a/b/c", "hf:./a", "hf:a/b#c", "hf:a/b@../c"])
def test_what_is_no_name_of_a_repository_is_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match=rf"{reference}: expected hf:owner/name.*the folder's path alone"
    ):
        export_backbone(reference, tmp_path / "out")


def test_a_hub_out_of_reach_says_so_at_once_and_what_would_help(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    with pytest.raises(HubUnreachableError, match="does not answer") as raised:
        export_backbone("hf:owner/name", tmp_path / "out")
    assert slept == [], "huggingface_hub waits half a minute before it gives up on a file"
    for words in ("HTTPS_PROXY", "HF_ENDPOINT", "featx backbones export hf:owner/name FOLDER"):
        assert words in str(raised.value)
    assert "there is no folder owner/name here" in str(raised.value).replace("\\", "/")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(HubUnreachableError, match="that is here is given without hf:"):
        export_backbone("hf:owner/name", tmp_path / "out")


def test_a_folder_of_a_repositorys_name_is_not_taken_for_it(
    checkpoint: Callable[[str], Path],
    hub: Any,
    fake_hub: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """transformers itself prefers a folder in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint("vit"), tmp_path / "owner" / "resnet")
    files = {file.name: file.read_bytes() for file in checkpoint("resnet").iterdir()}
    hub.repositories["owner/resnet"] = fake_hub.Repository(files, licence="mit")
    card = Backbone.open(export_backbone("hf:owner/resnet", tmp_path / "out")).card
    assert card["revision"] == fake_hub.commit_of(files)
    assert (
        card["parameters"]
        == Backbone.open(export_backbone(checkpoint("resnet"), tmp_path / "own")).card["parameters"]
    )
    assert card["licence"] == "mit"


def test_only_what_transformers_reads_is_downloaded_and_never_code(
    checkpoint: Callable[[str], Path], hub: Any, fake_hub: ModuleType, tmp_path: Path
) -> None:
    files = {file.name: file.read_bytes() for file in checkpoint("resnet").iterdir()}
    others = (
        "modeling_evil.py",
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "../../evil.json",
        "a:b.json",
    )
    hub.repositories["owner/resnet"] = fake_hub.Repository(files | dict.fromkeys(others, b"x" * 2000))
    export_backbone("hf:owner/resnet", tmp_path / "out")
    assert sorted(hub.downloaded()) == sorted(files)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README.md": b""}, r"has no config\.json"),
        ({"onnx/model.onnx": b""}, r"featx backbones pull hub:owner/net"),
        ({"config.json": b"{}", "flax_model.msgpack": b""}, r"no weights that transformers reads"),
    ],
)
def test_a_repository_that_is_no_checkpoint_is_refused(
    files: dict[str, bytes], words: str, hub: Any, fake_hub: ModuleType, tmp_path: Path
) -> None:
    hub.repositories["owner/net"] = fake_hub.Repository(files)
    with pytest.raises(BackboneNotFoundError, match=words):
        export_backbone("hf:owner/net", tmp_path / "out")
    assert hub.downloaded() == []


def test_weights_in_several_files_are_fetched_together(
    checkpoint: Callable[[str], Path], hub: Any, fake_hub: ModuleType, tmp_path: Path
) -> None:
    model = transformers.AutoModel.from_pretrained(checkpoint("resnet"))
    model.save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    files = {file.name: file.read_bytes() for file in (tmp_path / "parts").iterdir()}
    assert len([name for name in files if name.endswith(".safetensors")]) > 1
    files["preprocessor_config.json"] = (checkpoint("resnet") / "preprocessor_config.json").read_bytes()
    hub.repositories["owner/resnet"] = fake_hub.Repository(files)
    export_backbone("hf:owner/resnet", tmp_path / "out")
    assert sorted(hub.downloaded()) == sorted(files)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("owner/resnet", "is written hf:owner/resnet"),
        ("nowhere", "no such folder"),
        ("hub:owner/net", "Run: featx backbones pull hub:owner/net"),
        ("resnet50", "Run: featx backbones pull resnet50"),
        ("efficientnet_b0", "featx backbones export hf:google/efficientnet-b0 efficientnet_b0"),
        ("compact", "comes with featx"),
        (".", r"no config\.json"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    reference: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneNotFoundError, match=words):
        export_backbone(reference, tmp_path / "out")


@pytest.fixture
def copied(checkpoint: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a checkpoint, to be spoiled."""
    return lambda name: Path(shutil.copytree(checkpoint(name), tmp_path / "copied"))


def test_weights_that_are_missing_are_told(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("resnet")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConversionError, match="checkpoint folder copied: transformers cannot read it"):
        export_backbone(folder, tmp_path / "out")


def test_weights_of_another_architecture_are_not_filled_with_chance(
    copied: Callable[[str], Path], checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied("bert")
    shutil.copy(checkpoint("gpt2") / "model.safetensors", folder)
    with pytest.raises(ConversionError, match=r"lacks \d+ weights of its BertModel"):
        export_backbone(folder, tmp_path / "out")


def test_an_output_of_untrained_weights_is_left_out(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """A classifier's checkpoint has no weights for the pooler that the base model has."""
    config = transformers.AutoConfig.from_pretrained(checkpoint("vit"))
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "classifier")
    shutil.copy(checkpoint("vit") / "preprocessor_config.json", tmp_path / "classifier")
    found = Backbone.open(export_backbone(tmp_path / "classifier", tmp_path / "out"))
    assert found.info.outputs == ("last_hidden_state",)
    whole = Backbone.open(export_backbone(checkpoint("vit"), tmp_path / "whole"))
    assert whole.info.outputs == ("last_hidden_state", "pooler_output")


def test_no_preprocessing_is_a_question_and_can_be_answered(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied("resnet")
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(PreprocessError, match=r"no preprocessor_config\.json.*preprocess="):
        export_backbone(folder, tmp_path / "out")
    found = Backbone.open(export_backbone(folder, tmp_path / "out", preprocess=config))
    assert found.info.input_size == (64, 64)


def test_a_processor_that_featx_cannot_express_is_refused(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied("resnet")
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "SamImageProcessor"}')
    with pytest.raises(
        PreprocessError, match=r"checkpoint folder copied: .*SamImageProcessor.*does not know its rules"
    ):
        export_backbone(folder, tmp_path / "out")


def test_a_processor_without_a_class_is_the_architectures_own(
    copied: Callable[[str], Path], exported: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copied("resnet")
    config = json.loads((folder / "preprocessor_config.json").read_text())
    del config["image_processor_type"]
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    found = Backbone.open(export_backbone(folder, tmp_path / "out"))
    assert found.preprocess == Backbone.open(exported("resnet")).preprocess


def test_a_preprocessing_of_another_size_than_the_network_takes_is_refused(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"ViTModel does not run.*Input image size \(32\*32\)"):
        export_backbone(copied("vit"), tmp_path / "out", image_size=32)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet", {"pooling": "mean"}, "pooling='mean': is for texts"),
        ("resnet", {"modality": "text"}, "modality='text' was asked for"),
        ("bert", {"image_size": 224}, "preprocess and image_size are for pictures"),
    ],
)
def test_options_of_the_other_modality_are_refused(
    name: str, options: dict[str, object], words: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=words):
        export_backbone(checkpoint(name), tmp_path / "out", **options)  # type: ignore[arg-type]  # of each its own


def test_networks_of_sounds_are_refused(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7
    )
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "sounds")
    with pytest.raises(ParameterError, match="takes input_values; featx exports networks of pictures"):
        export_backbone(tmp_path / "sounds", tmp_path / "out")
