"""A folder comes to its place whole, and nothing of it lies about when it does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from featx.staging import publish, staged, why_lost, why_no_place

DAY_S = 24 * 3600.0


def fill(folder: Path, content: str) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text(content, encoding="utf-8")


def put(target: Path, content: str, *, fails: BaseException | None = None) -> None:
    with staged(target) as stage:
        fill(stage, content)
        if fails is not None:
            raise fails
        publish(stage, target)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_published_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with staged(target) as stage:
        fill(stage, "new")
        assert not target.exists()
        assert stage.parent == target.parent, "on the same disk, so that a rename does it"
        publish(stage, target)
    assert (target / "inner" / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path / "a") == ["b"]


def test_what_is_not_published_is_gone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "out", "half", fails=KeyboardInterrupt())
    assert names(tmp_path) == []


@pytest.mark.parametrize("before", ["full", "empty"])
def test_what_was_there_gives_way(before: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    if before == "full":
        fill(target, "old")
    put(target, "new")
    assert (target / "inner" / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["out"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    fill(target, "old")
    rename = Path.rename

    def failing(path: Path, to: Path) -> Path:
        if path.name.endswith(".partial"):
            raise PermissionError(13, "Permission denied")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError):
        put(target, "new")
    assert (target / "inner" / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["out"]


def test_of_a_link_only_the_link_is_replaced(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    fill(elsewhere, "mine")
    target = tmp_path / "out"
    try:
        target.symlink_to(elsewhere, target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    put(target, "new")
    assert not target.is_symlink()
    assert (elsewhere / "inner" / "file").read_text(encoding="utf-8") == "mine"
    assert names(tmp_path) == ["elsewhere", "out"]


@pytest.mark.parametrize("is_there", [True, False])
def test_what_killed_processes_left_is_swept_a_day_later(is_there: bool, tmp_path: Path) -> None:
    target = tmp_path / "out"
    if is_there:
        target.mkdir()
        fill(target, "old")
    before = time.time() - 2 * DAY_S
    for name in (".out.aaaa.partial", ".out.bbbb.old", ".other.cccc.partial", ".out.dddd.partial"):
        (tmp_path / name).mkdir()
        if "dddd" not in name:
            os.utime(tmp_path / name, (before, before))
    with staged(target):
        pass
    kept = {".other.cccc.partial", ".out.dddd.partial"} | ({"out"} if is_there else {".out.bbbb.old"})
    assert set(names(tmp_path)) == kept, "an old folder that nothing has replaced is the only one there is"


def test_files_and_the_working_folder_are_no_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "there is a file of that name" in (why_no_place(tmp_path / "file", "net") or "")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for place in (tmp_path / "a", tmp_path / "a" / "b"):
        assert f"such as {place / 'net'}." in (why_no_place(place, "net") or "")
    assert why_no_place(tmp_path / "a" / "c", "net") is None
    assert why_no_place(tmp_path / "new", "net") is None


def test_files_that_would_be_lost_are_named() -> None:
    assert why_lost(Path("out"), [], "a backbone") is None
    said = why_lost(Path("out"), ["a", "b", "c", "d"], "a backbone") or ""
    assert "would be lost: a, b, c and 1 more" in said
