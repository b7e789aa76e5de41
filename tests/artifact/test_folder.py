"""The folder appears whole or not at all, replaces nothing it should not, and is refused when it changed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import featx
from featx.artifact import describe
from featx.errors import ArtifactError

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs links and file modes of POSIX")


@pytest.fixture
def ridge() -> Ridge:
    return Ridge().fit(np.eye(3), [1.0, 2.0, 3.0])


def test_an_existing_folder_is_not_replaced_unasked(ridge: Ridge, tmp_path: Path) -> None:
    featx.save(ridge, tmp_path / "model")
    with pytest.raises(ArtifactError, match="overwrite=True"):
        featx.save(ridge, tmp_path / "model")
    created = describe(tmp_path / "model").created
    featx.save(ridge, tmp_path / "model", overwrite=True, notes="second")
    assert describe(tmp_path / "model").notes == "second"
    assert describe(tmp_path / "model").created >= created
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_missing_parents_are_made_and_an_empty_folder_is_taken(ridge: Ridge, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    featx.save(ridge, tmp_path / "empty")
    featx.save(ridge, tmp_path / "some" / "where" / "model")
    assert featx.load(tmp_path / "empty").predict(np.eye(3)) == pytest.approx(ridge.predict(np.eye(3)), abs=0)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("out", [".", "", "..", "../../model"])
def test_the_folder_the_process_works_in_is_not_replaced(
    ridge: Ridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, overwrite: bool
) -> None:
    inner = tmp_path / "model" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    with pytest.raises(ArtifactError, match=r"current working folder.*Name a new folder"):
        featx.save(ridge, out, overwrite=overwrite)
    assert Path.cwd() == inner
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "model", inner]
    featx.save(ridge, "here")
    assert (inner / "here" / "artifact.json").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_artefact_is_never_replaced(
    ridge: Ridge, tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"picture")
    (tmp_path / "file").write_bytes(b"text")
    for name in ("photos", "file"):
        with pytest.raises(ArtifactError):
            featx.save(ridge, tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"picture"
    assert (tmp_path / "file").read_bytes() == b"text"


def test_files_that_were_added_to_an_artefact_are_not_lost(ridge: Ridge, tmp_path: Path) -> None:
    featx.save(ridge, tmp_path / "model")
    (tmp_path / "model" / "results.csv").write_text("mine")
    with pytest.raises(ArtifactError, match=r"would be lost: results\.csv"):
        featx.save(ridge, tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "results.csv").read_text() == "mine"


@POSIX
def test_a_link_to_an_artefact_stays_a_link(ridge: Ridge, tmp_path: Path) -> None:
    featx.save(ridge, tmp_path / "version 1")
    (tmp_path / "current").symlink_to("version 1")
    featx.save(ridge, tmp_path / "current", overwrite=True, notes="new")
    assert (tmp_path / "current").is_symlink()
    assert describe(tmp_path / "version 1").notes == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [False, True])
def test_what_fails_on_the_way_leaves_nothing(
    error: BaseException, exists: bool, ridge: Ridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exists:
        featx.save(ridge, tmp_path / "model", notes="first")

    def fail(folder: Path) -> None:
        raise error

    monkeypatch.setattr("featx.artifact.saving.file_records", fail)
    with pytest.raises(ArtifactError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        featx.save(ridge, tmp_path / "model", overwrite=True)
    if isinstance(error, OSError):
        assert "No space left on device" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if exists else [])
    if exists:
        assert describe(tmp_path / "model").notes == "first"


def test_the_old_artefact_comes_back_when_the_new_one_cannot_take_its_place(
    ridge: Ridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    featx.save(ridge, tmp_path / "model", notes="first")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ArtifactError, match="Permission denied"):
        featx.save(ridge, tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert describe(tmp_path / "model").notes == "first"


_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from sklearn.linear_model import Ridge
import featx

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
model = Ridge().fit(np.eye(300), np.arange(300.0))
featx.save(model, folder / "warm")
chance = random.Random(seed)
for round in range(15):
    pid = os.fork()
    if pid == 0:
        while True:
            featx.save(model, folder / "model", overwrite=True)
    time.sleep(chance.uniform(0.002, 0.08))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    # Between the two renames of an overwrite the old artefact is beside its place, whole.
    candidates = [folder / "model", *folder.glob(".model.*.old")]
    whole = [place for place in candidates if place.exists()]
    if whole:
        assert np.array_equal(featx.load(whole[0]).coef_, model.coef_)
        if not (folder / "model").exists():
            whole[0].rename(folder / "model")
print("rounds", round + 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_leaves_a_whole_artefact_or_none(tmp_path: Path) -> None:
    seed = str(random.randrange(10_000))
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), seed],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "rounds 15", f"seed {seed}: {done.stderr}"


def test_every_changed_byte_is_noticed(saved: Path, tmp_path: Path) -> None:
    for record in describe(saved).files:
        copy = tmp_path / "copy"
        shutil.copytree(saved, copy)
        content = bytearray((copy / record.path).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / record.path).write_bytes(content)
        with pytest.raises(
            ArtifactError, match=f"{record.path}: not the file.*expected digest {record.digest}, found"
        ):
            featx.load(copy)
        shutil.rmtree(copy)


def test_a_shorter_file_and_a_missing_one_are_named(saved: Path) -> None:
    path = saved / "pipeline.skops"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
        ArtifactError, match=rf"pipeline\.skops: .*expected {len(content)} bytes, found {len(content) - 1}"
    ):
        featx.load(saved)
    path.unlink()
    with pytest.raises(
        ArtifactError, match=r"pipeline\.skops: a file of the artefact is missing.*Copy the whole folder"
    ):
        featx.load(saved)


def test_a_file_added_beside_a_backbone_is_refused_and_others_are_ignored(saved: Path) -> None:
    (saved / "scores.csv").write_text("0.9")
    (saved / "backbones" / "tiny" / ".DS_Store").write_bytes(b"desktop")
    featx.load(saved)
    (saved / "backbones" / "tiny" / "featx.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"featx\.json: not part of the artefact"):
        featx.load(saved)


@POSIX
def test_links_that_lead_out_are_refused(saved: Path, tmp_path: Path) -> None:
    path = saved / "pipeline.skops"
    path.rename(tmp_path / "pipeline.skops")
    path.symlink_to(tmp_path / "pipeline.skops")
    with pytest.raises(ArtifactError, match="leads out of the artefact"):
        featx.load(saved)
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    with pytest.raises(ArtifactError, match="is not a file"):
        featx.load(saved)


@POSIX
def test_a_backbone_folder_that_is_a_link_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved / "backbones" / "tiny", tmp_path / "tiny")
    (saved / "backbones" / "tiny").symlink_to(tmp_path / "tiny")
    with pytest.raises(ArtifactError, match="leads out of the artefact"):
        featx.load(saved)


def test_a_folder_without_artefact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not an artefact.*featx train"):
        featx.load(tmp_path)
    with pytest.raises(ArtifactError, match="not an artefact"):
        describe(tmp_path)


def test_a_wrong_name_is_told_from_a_wrong_folder(saved: Path, tmp_path: Path) -> None:
    near = saved.with_name(f"{saved.name}s")
    with pytest.raises(ArtifactError, match=rf"no such folder\. Did you mean '{saved.name}'\?"):
        featx.load(near)
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"is a file, and a model is a folder.*the images after it"):
        featx.load(picture)


def test_the_readme_may_be_edited_and_is_replaced_with_the_artefact(saved: Path) -> None:
    readme = saved / "README.md"
    readme.write_text("Validated by the ward on 2026-11-02.\n", encoding="utf-8")
    pipeline = featx.load(saved)
    featx.save(pipeline, saved, overwrite=True)
    assert readme.read_text(encoding="utf-8").startswith("# ")
    readme.unlink()
    featx.load(saved)
