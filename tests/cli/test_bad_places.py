"""Places for results, saved models and caches that cannot be used, and disks that fill up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx as library
from featx.errors import (
    ArtifactError,
    FeatxWarning,
    OutputError,
    ParameterError,
    StoreError,
    StoreFormatError,
    StoreNotWritableError,
)
from featx.testing import counted_rows

Refused = Callable[..., str]


def test_out_that_is_there(both: Any, photos: Path, tiny: Path, model: Path) -> None:
    with counted_rows() as rows:
        line = both(
            ["train", photos, "-b", tiny, "--out", model],
            lambda: library.train(photos, backbone=tiny, out=model),
            ArtifactError,
        )
    assert "--overwrite" in line
    assert rows.n == 0


def test_a_folder_that_is_no_model_is_not_overwritten(
    both: Any, photos: Path, tiny: Path, copies: Path
) -> None:
    both(
        ["train", photos, "-b", tiny, "--out", copies, "--overwrite"],
        lambda: library.train(photos, backbone=tiny, out=copies, overwrite=True),
        ArtifactError,
    )
    assert len(list(copies.glob("*/*.png"))) == 24


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_out_that_is_a_file_or_below_one(
    both: Any, photos: Path, tiny: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    out = tmp_path / "file" / below
    with counted_rows() as rows:
        line = both(
            ["train", photos, "-b", tiny, "--out", out],
            lambda: library.train(photos, backbone=tiny, out=out),
            ArtifactError,
        )
    assert "file" in line
    assert rows.n == 0


def test_out_below_missing_folders_is_made(featx: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    ended = featx("train", photos, "-b", tiny, "--head", "logistic", "-o", tmp_path / "a" / "b" / "m")
    assert ended.status == 0
    assert (tmp_path / "a" / "b" / "m" / "artifact.json").is_file()


def test_out_that_may_not_be_written(
    both: Any, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = os.access
    closed = tmp_path / "closed"
    closed.mkdir()
    # root may write anywhere, so the answer is given here
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and ask(path, mode))
    with counted_rows() as rows:
        line = both(
            ["train", photos, "-b", tiny, "--out", closed / "m"],
            lambda: library.train(photos, backbone=tiny, out=closed / "m"),
            ArtifactError,
        )
    assert "cannot be written. Make it writable" in line
    assert rows.n == 0
    vectors = library.embed(photos, backbone=tiny)
    both(
        ["embed", photos, "-b", tiny, "--out", closed / "v.npy"],
        lambda: library.write_embedding(vectors, closed / "v.npy"),
        OutputError,
        builtin=OSError,
    )


@pytest.mark.parametrize("name", ["absent/v.npy", "."])
def test_vectors_without_a_place_are_refused_before_the_work(
    refused: Refused, photos: Path, tiny: Path, tmp_path: Path, name: str
) -> None:
    with counted_rows() as rows:
        line = refused("embed", photos, "-b", tiny, "--out", tmp_path / name)
    assert "there is no folder" in line or "is a folder" in line
    assert rows.n == 0


def tamper(model: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(model, folder / "tampered"))
    content = bytearray((copy / "pipeline.skops").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "pipeline.skops").write_bytes(content)
    return copy


def newer(model: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(model, folder / "newer"))
    text = (copy / "artifact.json").read_text(encoding="utf-8")
    (copy / "artifact.json").write_text(text.replace('"format": 1', '"format": 99', 1), encoding="utf-8")
    return copy


MODELS = {
    "missing": (lambda model, folder: folder / "absent", "no such folder"),
    "no model": (lambda model, folder: folder, "not an artefact"),
    "tampered with": (tamper, "not the file that was saved"),
    "newer": (newer, "99"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_cannot_be_loaded(
    both: Any, model: Path, photos: Path, tmp_path: Path, kind: str
) -> None:
    make, says = MODELS[kind]
    folder = make(model, tmp_path)
    image = photos / "dark" / "00.png"
    line = both(["predict", folder, image], lambda: library.predict(folder, [str(image)]), ArtifactError)
    assert says in line
    assert str(folder) in line


def test_a_pipeline_that_takes_no_images(tmp_path: Path, photos: Path) -> None:
    head = library.make_head("logistic").fit(np.eye(4), list("aabb"))
    library.save(head, tmp_path / "m")
    with pytest.raises(ParameterError, match="first step is an ImageFeatures"):
        library.predict(tmp_path / "m", [str(photos / "dark" / "00.png")])


def test_a_pattern_that_matches_nothing_and_a_folder_without_images(
    refused: Refused, model: Path, tmp_path: Path
) -> None:
    assert "no file matches" in refused("predict", model, tmp_path / "*.jpg")
    assert "a folder without images" in refused("predict", model, tmp_path)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small file system, where this machine lets us."""
    places: list[Path] = []

    def mount(*options: str) -> Path:
        place = tmp_path / f"mounted{len(places)}"
        place.mkdir()
        if sys.platform != "linux" or shutil.which("mount") is None:
            pytest.skip("mounting a small file system needs Linux")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip("mounting a small file system needs root")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", place], check=True)


def test_a_cache_that_is_read_only_is_an_error_when_it_was_named(
    both: Any, photos: Path, tiny: Path, mounted: Any
) -> None:
    cache = mounted("ro", "size=1m")
    line = both(
        ["train", photos, "-b", tiny, "--cache", cache],
        lambda: library.train(photos, backbone=tiny, cache=cache),
        StoreNotWritableError,
        builtin=PermissionError,
    )
    assert "--cache none" in line


def test_a_default_cache_that_is_read_only_costs_one_warning(
    featx: Any, photos: Path, tiny: Path, mounted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_CACHE", str(mounted("ro", "size=1m")))
    ended = featx("train", photos, "-b", tiny, "--head", "logistic")
    assert ended.status == 0
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("featx: warning: ")
    assert "cannot be written" in ended.err
    with pytest.warns(FeatxWarning, match="cannot be written"):
        library.embed(photos, backbone=tiny)


def test_a_disk_that_fills_up_keeps_what_was_stored(
    featx: Any, photos: Path, tiny: Path, mounted: Any
) -> None:
    cache = mounted("size=256k")
    half = photos / "dark"
    words = ("-b", tiny, "--cache", cache, "--overwrite", "--out", cache.parent / "v.npy")
    assert featx("embed", half, *words).status == 0
    (cache / ".filler").write_bytes(bytes(shutil.disk_usage(cache).free))
    ended = featx("embed", photos, *words)
    assert ended.status == 2
    assert "no room for" in ended.err
    (cache / ".filler").unlink()
    with counted_rows() as rows:
        assert featx("embed", photos, *words).status == 0
    assert rows.n == 12  # the light half; the dark one was stored before the disk filled up


def test_a_disk_that_is_full_from_the_beginning(
    refused: Refused, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", photos, "-b", tiny, "--head", "logistic", "--cache", tmp_path / "c")

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("featx.store.disk.os.write", full)
        assert "no room for" in refused(*words)
        with pytest.raises(StoreError, match="no room for"):
            library.train(photos, backbone=tiny, heads=["logistic"], cache=tmp_path / "c")
    library.train(photos, backbone=tiny, heads=["logistic"], cache=tmp_path / "c")


def test_a_disk_that_is_full_while_the_model_is_saved(
    featx: Any, photos: Path, tiny: Path, mounted: Any
) -> None:
    disk = mounted("size=8k")
    words = ("train", photos, "-b", tiny, "--head", "logistic", "--out", disk / "m")
    ended = featx(*words)
    assert ended.status == 2
    assert "could not be written (No space left on device)" in ended.err
    assert list(disk.iterdir()) == []
    with counted_rows() as rows:
        assert featx(*words[:-1], disk.parent / "m").status == 0
    assert rows.n == 0


def test_a_disk_that_is_full_while_vectors_are_written_keeps_the_old_file(
    featx: Any, photos: Path, tiny: Path, mounted: Any
) -> None:
    disk = mounted("size=8k")
    (disk / "v.npy").write_bytes(b"old")
    (disk / "filler").write_bytes(bytes(4096))
    ended = featx("embed", photos, "-b", tiny, "--out", disk / "v.npy", "--overwrite")
    assert ended.status == 2
    assert "v.npy: cannot be written (No space left on device)" in ended.err
    assert (disk / "v.npy").read_bytes() == b"old"
    assert {path.name for path in disk.iterdir()} == {"v.npy", "filler"}


@pytest.mark.parametrize("named", [True, False])
def test_a_cache_from_a_newer_featx(
    both: Any, photos: Path, tiny: Path, tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "newer"
    cache.mkdir()
    (cache / "featx-store.json").write_text('{"format": 99}', encoding="utf-8")
    monkeypatch.setenv("FEATX_CACHE", str(cache))
    chosen = {"cache": cache} if named else {}
    line = both(
        ["train", photos, "-b", tiny, *(["--cache", cache] if named else [])],
        lambda: library.train(photos, backbone=tiny, **chosen),
        StoreFormatError,
        builtin=OSError,
    )
    assert "format 99" in line


def test_a_folder_of_something_else_is_not_made_into_a_cache(
    both: Any, photos: Path, tiny: Path, copies: Path
) -> None:
    before = sorted(copies.rglob("*"))
    both(
        ["train", photos, "-b", tiny, "--cache", copies],
        lambda: library.train(photos, backbone=tiny, cache=copies),
        StoreFormatError,
        builtin=OSError,
    )
    assert sorted(copies.rglob("*")) == before
