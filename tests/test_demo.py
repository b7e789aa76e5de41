"""``featx demo``: start to end on pictures that scikit-learn brings, and nothing left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from featx import demo
from featx.cli import main
from featx.demo import run_demo
from featx.testing import counted_rows, tiny_backbone


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the pictures, for the time it takes."""
    monkeypatch.setattr(demo, "_PER_CLASS", 8)


def test_the_second_run_is_served_from_the_cache(few: None, tmp_path: Path) -> None:
    lines: list[str] = []
    with counted_rows() as rows:
        result = run_demo(lines.append, backbone=str(tiny_backbone(tmp_path / "net")))
    assert rows.n == 80
    assert result.training.n_train == 80
    assert result.n_computed_again == 0
    assert 0.1 < result.pixel_accuracy <= 1
    text = "\n".join(lines)
    for words in (
        "80 handwritten digits",
        "0 images embedded",
        "logistic",
        "xgboost",
        "Raw pixels",
        "three/",
    ):
        assert words in text
    assert "featx train FOLDER --out MODEL" in text


def test_the_command_prints_it_and_leaves_nothing(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "users"))
    assert main(["demo", "--backbone", str(tiny_backbone(tmp_path / "net"))]) == 0
    assert "The saved model on three/" in capsys.readouterr().out
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "users").exists()


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--backbone", "no-such-backbone"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
