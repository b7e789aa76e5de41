"""A command line to call in this process, a small network and small pictures to call it with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.cli import main
from featx.cli.output import one_line
from featx.errors import FeatxError
from featx.testing import tiny_backbone


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, all of it, as JSON."""
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def featx(capsys: pytest.CaptureFixture[str]) -> Command:
    """``featx("train", folder, ...)`` runs the command here; no command may leave a traceback."""

    def call(*words: object) -> Ended:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Ended(status, captured.out, captured.err)

    return call


@pytest.fixture
def refused(featx: Command) -> Callable[..., str]:
    """Run a command that must end with exit status 2, nothing on standard output and one line, which it returns."""

    def call(*words: object) -> str:
        ended = featx(*words)
        assert (ended.status, ended.out) == (2, ""), ended
        lines = [line for line in ended.err.splitlines() if not line.startswith("featx: warning:")]
        assert len(lines) == 1, ended.err
        assert lines[0].startswith("featx: ")
        return lines[0].removeprefix("featx: ")

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


def write_picture(path: Path, *, seed: int, low: int = 0) -> Path:
    """A PNG of 40 x 36 noise, unlike that of another seed, brighter with a higher ``low``."""
    pixels = np.random.default_rng(seed).integers(low, low + 120, (36, 40, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    return write_picture


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 distinct pictures: ``dark/`` and ``light/`` hold 12 each."""
    folder = tmp_path_factory.mktemp("photos")
    for at, (label, low) in enumerate((("dark", 0), ("light", 120))):
        for i in range(12):
            write_picture(folder / label / f"{i:02}.png", seed=100 * at + i, low=low)
    return folder


@pytest.fixture(scope="session")
def model(tiny: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on ``photos``."""
    import featx

    out = tmp_path_factory.mktemp("models") / "model"
    featx.train(photos, backbone=tiny, heads=("logistic",), out=out, cache=None)
    return out


@pytest.fixture
def table(tmp_path: Path, photos: Path) -> Callable[..., Path]:
    """Write a CSV of the pictures of ``photos``, with further columns given as ``name=values``."""

    def write(name: str = "data.csv", *, without: tuple[str, ...] = (), **columns: list[Any]) -> Path:
        files = sorted(photos.glob("*/*.png"))
        cells = {"file": [str(f) for f in files], "label": [f.parent.name for f in files]} | columns
        kept = [column for column in cells if column not in without]
        rows = zip(*(cells[column] for column in kept), strict=True)
        lines = [",".join(kept), *(",".join(map(str, row)) for row in rows)]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def both(refused: Callable[..., str]) -> Callable[..., str]:
    """The command line refuses in one line what Python refuses with an exception, in the same words."""

    def check(
        words: list[object],
        call: Callable[[], object],
        error: type[FeatxError],
        *,
        builtin: type[Exception] = ValueError,
    ) -> str:
        with pytest.raises(error) as raised:
            call()
        assert type(raised.value) is error
        assert isinstance(raised.value, builtin)
        line = refused(*words)
        assert line == one_line(str(raised.value))
        assert len(line) > 20
        return line

    return check


@pytest.fixture
def copies(photos: Path, tmp_path: Path) -> Path:
    """A copy of ``photos`` to spoil."""
    return Path(shutil.copytree(photos, tmp_path / "copies"))
