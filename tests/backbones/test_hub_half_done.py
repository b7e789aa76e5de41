"""Nothing half-done of a fetch is ever used: cut, damaged, without room, or begun by several at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from featx.backbones.backbone import Backbone
from featx.backbones.hub import fetch
from featx.backbones.hub_layout import HubReference
from featx.errors import (
    BackboneError,
    DigestMismatchError,
    HubUnreachableError,
)

ROOT = Path(__file__).resolve().parents[2]


def get(text: str, **options: Any) -> Any:
    return fetch(HubReference.parse(text), **options)


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
