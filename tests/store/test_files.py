"""The memory of file digests never answers for a file that has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.store.digest import Keys, digest_bytes, digest_file, keys_array
from featx.store.files import FileDigests, identify
from featx.store.store import EmbeddingStore


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``later(seconds)``: let that much time pass for the memory."""
    now = time.time_ns

    def pass_time(seconds: float) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: now() + int(seconds * 1e9))

    return pass_time


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 10)
    return [str(path) for path in sorted(folder.iterdir())]


def remember(files: FileDigests, paths: list[str]) -> Keys:
    _, _, identities = files.lookup(paths)
    keys = keys_array(map(digest_file, paths))
    files.remember(identities, keys)
    return keys


def test_an_unchanged_file_is_known_by_its_content(
    store: EmbeddingStore, paths: list[str], later: Callable[[float], None]
) -> None:
    later(3)
    expected = remember(FileDigests(store), paths)
    keys, known, _ = FileDigests(EmbeddingStore(store.root)).lookup(paths)
    assert known.all()
    assert (keys == expected).all()


def test_a_file_changed_within_two_seconds_is_not_remembered(
    store: EmbeddingStore, paths: list[str], later: Callable[[float], None]
) -> None:
    files = FileDigests(store)
    later(1.0)
    remember(files, paths)
    later(30)
    assert not files.lookup(paths)[1].any()


def test_identities_of_fresh_files_are_told_apart_too(paths: list[str]) -> None:
    assert len({identity.tobytes() for identity in identify(paths)}) == 3


def test_a_file_rewritten_in_place_with_its_old_times_is_not_known(
    store: EmbeddingStore, paths: list[str], later: Callable[[float], None]
) -> None:
    if os.name != "posix":
        pytest.skip("Windows keeps no change time")
    later(3)
    files = FileDigests(store)
    remember(files, paths)
    before = os.stat(paths[0])
    time.sleep(0.02)  # past the resolution of change times
    with open(paths[0], "r+b") as file:
        file.write(b"another!!!")
    os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    later(6)
    assert files.lookup(paths)[1].tolist() == [False, True, True]


@pytest.mark.parametrize("change", ["grow", "replace", "touch", "rename"])
def test_a_changed_file_is_not_known(
    store: EmbeddingStore, paths: list[str], later: Callable[[float], None], change: str
) -> None:
    later(3)
    files = FileDigests(store)
    remember(files, paths)
    time.sleep(0.02)
    path = Path(paths[1])
    if change == "grow":
        path.write_bytes(path.read_bytes() + b"!")
    elif change == "replace":
        other = path.with_suffix(".new")
        other.write_bytes(path.read_bytes())
        os.replace(other, path)
    elif change == "touch":
        path.touch()
    else:
        os.rename(paths[0], paths[1])
        Path(paths[0]).write_bytes(b"x")
    later(6)
    assert not files.lookup(paths)[1][1]


def test_missing_files_are_marked_not_raised(
    store: EmbeddingStore, paths: list[str], later: Callable[[float], None]
) -> None:
    later(3)
    files = FileDigests(store)
    asked = [paths[0], paths[0] + ".missing", "nul\0l", "", paths[1]]
    keys, known, identities = files.lookup(asked)
    assert not known.any()
    assert identities.any(axis=1).tolist() == [True, False, False, False, True]
    files.remember(identities, keys_array([digest_bytes(b"x")] * 5))
    assert files.lookup(asked)[1].tolist() == [True, False, False, False, True]
    assert not keys.any()


def test_what_is_not_a_file_counts_as_missing(paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    others = [str(tmp_path / "folder")]
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link to pipe").symlink_to("pipe")
        others += [str(tmp_path / "pipe"), str(tmp_path / "link to pipe"), "/dev/zero"]
    assert not identify(others).any()
    assert identify([paths[0], *others]).any(axis=1).tolist() == [True] + [False] * len(others)


def test_path_objects_relative_and_odd_names_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["plain", "mit Umlaut ü", "日本"]
    if os.name == "posix":
        names.append(os.fsdecode(b"latin-\xff"))
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    absolute = identify([str(tmp_path / name) for name in names])
    assert (identify(names) == absolute).all()
    assert (identify([tmp_path / name for name in names]) == absolute).all()
    assert len({identity.tobytes() for identity in absolute}) == len(names)


def test_links_to_one_file_have_identities_of_their_own(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("links need a privilege on Windows")
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "c")
    assert len({i.tobytes() for i in identify([str(tmp_path / n) for n in "abc"])}) == 3


def test_without_a_store_nothing_is_known_but_missing_files_are(paths: list[str]) -> None:
    files = FileDigests(None)
    keys, known, identities = files.lookup([*paths, "/no/such/file"])
    files.remember(identities, keys)
    assert not known.any()
    assert identities.any(axis=1).tolist() == [True, True, True, False]


def test_no_paths_at_all(store: EmbeddingStore) -> None:
    keys, known, identities = FileDigests(store).lookup([])
    assert keys.shape == identities.shape == (0, 16)
    assert known.shape == (0,)


def test_the_memory_is_an_ordinary_space(
    store: EmbeddingStore, paths: list[str], later: Callable[[float], None]
) -> None:
    later(3)
    remember(FileDigests(store), paths)
    (info,) = store.spaces()
    assert (info.id, info.n_rows) == ("file-digests", 3)
    _, rows = store.export("file-digests")
    assert rows.dtype == np.uint8
    assert {row.tobytes() for row in rows} == {digest_file(path) for path in paths}
    assert store.verify().ok
