"""``featx cache``: what the store holds, checked, tidied, forgotten and taken out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx as library
from featx.cli.cache import parse_bytes
from featx.errors import ParameterError
from featx.testing import counted_rows, tiny_backbone


@pytest.fixture
def cache(photos: Path, tiny: Path, tmp_path: Path) -> Path:
    """A store with the vectors of 24 pictures in one feature space."""
    folder = tmp_path / "cache"
    library.embed(photos, backbone=tiny, cache=folder)
    return folder


def space_id(tiny: Path) -> str:
    return str(library.ImageFeatures(tiny).fit(None).spaces_[0].id)


def test_info_lists_spaces_with_what_they_are(featx: Any, cache: Path, tiny: Path) -> None:
    lines = featx("cache", "info", "--cache", cache).out.splitlines()
    assert lines[0].startswith(str(cache))
    assert lines[1].split() == ["space", "what", "rows", "size", "last", "used"]
    (line,) = [line for line in lines if line.startswith(space_id(tiny)[:12])]
    assert "tiny pooled" in line
    assert " 24 " in line
    assert "today" in line
    assert max(map(len, lines[1:])) <= 80


def test_info_as_json(featx: Any, cache: Path, tiny: Path) -> None:
    found = featx("cache", "info", "--cache", cache, "--json").json
    spaces = {space["id"]: space for space in found["spaces"]}
    assert spaces[space_id(tiny)]["n_rows"] == 24
    assert spaces[space_id(tiny)]["description"]["space"]["tap"] == "pooled"
    assert found["n_bytes"] == sum(space["n_bytes"] for space in found["spaces"])


def test_the_default_cache_may_be_empty(featx: Any) -> None:
    ended = featx("cache", "info")
    assert ended.status == 0
    assert ended.out.rstrip().endswith("empty")
    assert featx("cache", "info", "--json").json["spaces"] == []


def test_a_cache_that_was_named_must_be_there(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "no embedding store here" in refused("cache", "info", "--cache", tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def damage(cache: Path, tiny: Path) -> None:
    library.EmbeddingStore(cache).merge(space_id(tiny))  # however many windows it was stored in
    (rows,) = (cache / space_id(tiny)).glob("*.rows.npy")
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)


def test_verify_ends_with_1_where_something_is_damaged_and_repairs_it(
    featx: Any, cache: Path, tiny: Path, photos: Path
) -> None:
    assert featx("cache", "verify", "--cache", cache).status == 0
    damage(cache, tiny)
    ended = featx("cache", "verify", "--cache", cache)
    assert ended.status == 1
    assert "1 DAMAGED" in ended.out
    found = featx("cache", "verify", "--cache", cache, "--json")
    assert (found.status, found.json["ok"]) == (1, False)
    assert featx("cache", "verify", "--cache", cache, "--repair").status == 0
    assert featx("cache", "verify", "--cache", cache).status == 0
    with counted_rows() as rows:
        library.embed(photos, backbone=tiny, cache=cache)
    assert rows.n == 24


def test_compact_leaves_the_rows(featx: Any, cache: Path, tiny: Path, photos: Path) -> None:
    assert "merged the segments of " in featx("cache", "compact", "--cache", cache).out
    with counted_rows() as rows:
        library.embed(photos, backbone=tiny, cache=cache)
    assert rows.n == 0


def test_prune_forgets_spaces_until_the_rest_fits(featx: Any, cache: Path) -> None:
    assert "0 space(s) forgotten" in featx("cache", "prune", "--max", "1GB", "--cache", cache).out
    ended = featx("cache", "prune", "--max", "0", "--cache", cache)
    assert " space(s) forgotten, 0 B left." in ended.out
    assert featx("cache", "info", "--cache", cache, "--json").json["spaces"] == []


def test_forget_takes_the_beginning_of_an_id(
    featx: Any, refused: Callable[..., str], cache: Path, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    other = tiny_backbone(tmp_path / "other", seed=1)
    library.embed(photos, backbone=other, cache=cache)
    assert "none does" in refused("cache", "forget", "zzz", "--cache", cache)
    assert "do. See featx cache info" in refused("cache", "forget", "", "--cache", cache)
    ended = featx("cache", "forget", space_id(tiny)[:8], "--cache", cache)
    assert f"24 row(s) of {space_id(tiny)} forgotten" in ended.out
    assert space_id(other) in featx("cache", "info", "--cache", cache, "--json").out


def test_forget_takes_single_samples(featx: Any, cache: Path, tiny: Path, photos: Path) -> None:
    embedding = library.embed(photos, backbone=tiny, cache=cache)
    digests = [key.tobytes().hex() for key in embedding.keys[:2]]
    words = ("cache", "forget", space_id(tiny), "--cache", cache)
    ended = featx(*words, "--digest", digests[0], "--digest", f"digest:{digests[1]}")
    assert "2 row(s) of " in ended.out
    with counted_rows() as rows:
        library.embed(photos, backbone=tiny, cache=cache)
    assert rows.n == 2


def test_export_writes_rows_and_keys(
    featx: Any, cache: Path, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    ended = featx("cache", "export", space_id(tiny), "--cache", cache, "--out", tmp_path / "rows.npy")
    assert "24 x 16 float32" in ended.out
    rows, keys = np.load(tmp_path / "rows.npy"), np.load(tmp_path / "rows.keys.npy")
    embedding = library.embed(photos, backbone=tiny, cache=cache)
    order = {key.tobytes(): i for i, key in enumerate(embedding.keys)}
    np.testing.assert_array_equal(rows, embedding.vectors[[order[key.tobytes()] for key in keys]])


def test_mistakes_are_refused(refused: Callable[..., str], cache: Path, tiny: Path, tmp_path: Path) -> None:
    at = ("--cache", cache)
    assert "--max must be a size" in refused("cache", "prune", "--max", "many", *at)
    assert "--digest must be 32 hex" in refused("cache", "forget", space_id(tiny), "--digest", "12", *at)
    assert "there is no folder" in refused("cache", "export", "x", "--out", tmp_path / "a" / "b.npy", *at)
    shutil.rmtree(cache)
    cache.mkdir()
    (cache / "thesis.txt").write_text("not a store", encoding="utf-8")
    assert "not an embedding store" in refused("cache", "prune", "--max", "0", *at)
    assert (cache / "thesis.txt").is_file()


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("0", 0),
        ("1000000", 1_000_000),
        ("5GB", 5_000_000_000),
        ("5 gb", 5_000_000_000),
        ("500MiB", 500 << 20),
        ("1.5k", 1500),
        ("2T", 2_000_000_000_000),
        ("1 GiB ", 1 << 30),
        ("7b", 7),
    ],
)
def test_sizes_in_words(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "1e400", "nan", "5 GB 3", "0x10", "1,5GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="such as 5GB"):
        parse_bytes(text)


def test_looking_at_the_cache_loads_neither_scikit_learn_nor_the_runtime(cache: Path) -> None:
    code = (
        "import sys; from featx.cli import main; status = main(sys.argv[1:]); assert status == 0;"
        "heavy = {'sklearn', 'scipy', 'onnxruntime', 'onnx', 'PIL', 'xgboost', 'skops', 'torch', 'rich', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    for words in (["cache", "info", "--cache", str(cache)], ["backbones", "list"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"
