"""``featx demo``: start to end on digits or sentences that every installation has, and nothing left behind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx import demo
from featx.cli import main
from featx.demo import run_demo
from featx.inputs.datasets import Dataset
from featx.testing import counted_rows, tiny_backbone
from featx.testing_texts import tiny_text_backbone


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pictures and sentences, for the time it takes."""
    monkeypatch.setattr(demo, "_EVERY", 5)
    whole: Callable[..., Dataset] = demo.read_dataset

    def third(path: Path) -> Dataset:
        dataset = whole(path)
        if dataset.modality == "image":
            return dataset
        kept = [at for at, group in enumerate(np.asarray(dataset.groups)) if int(group[-3:]) % 3 == 0]
        return Dataset(
            samples=[dataset.samples[at] for at in kept],
            labels=np.asarray(dataset.labels)[kept],
            groups=np.asarray(dataset.groups)[kept],
            name=dataset.name,
            root=dataset.root,
            modality="text",
        )

    monkeypatch.setattr(demo, "read_dataset", third)


def test_the_second_run_is_served_from_the_cache(few: None, tmp_path: Path) -> None:
    lines: list[str] = []
    with counted_rows() as rows:
        result = run_demo(lines.append, backbone=str(tiny_backbone(tmp_path / "net")))
    n_held_out = len(result.predictions.names)
    assert result.n_computed == 360
    assert result.n_computed_again == result.training.n_computed == 0
    assert result.training.n_train == 360 - n_held_out
    assert rows.n == 360 + n_held_out, "the saved model computes by itself what it is asked"
    text = "\n".join(lines)
    for words in (
        "360 handwritten digits",
        "0 met it",
        "logistic",
        "xgboost",
        "raw pixels",
        "groups kept together",
    ):
        assert words in text
    for command in ("featx train FOLDER --out", "featx predict MODEL", "featx embed FOLDER -o"):
        assert command in text


def test_the_baseline_has_the_folds_of_the_heads(few: None, tmp_path: Path) -> None:
    result = run_demo([].append, backbone=str(tiny_backbone(tmp_path / "net")))
    assert len(result.baseline.folds) == result.training.comparison.n_folds
    assert result.baseline.proba.shape == result.training.comparison.results[0].proba.shape
    assert result.baseline.mean.accuracy > 0.6, "pixels read digits; vectors of another order would not"


def test_the_walk_over_sentences_is_the_same(few: None, tmp_path: Path) -> None:
    lines: list[str] = []
    result = run_demo(
        lines.append, modality="text", backbone=str(tiny_text_backbone(tmp_path / "net", positions=256))
    )
    assert result.n_computed > 100
    assert result.n_computed_again == 0
    assert set(result.predictions.labels) <= {"negative", "neutral", "positive"}
    text = "\n".join(lines)
    for words in ("negative, neutral or positive", "TF-IDF", "0 met it", "featx train FILE.csv --out MODEL"):
        assert words in text


def test_nothing_of_a_group_is_held_out_and_trained_on(tmp_path: Path) -> None:
    dataset = demo._sentences().dataset
    split, groups = np.asarray(dataset.split), np.asarray(dataset.groups)
    assert not set(groups[split == "train"]) & set(groups[split == "test"])
    assert 0.1 < (split == "test").mean() < 0.25


def test_the_command_prints_it_and_leaves_nothing(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "users"))
    net = tiny_backbone(tmp_path / "net")
    time.sleep(
        2.1
    )  # digests of files that are older than two seconds would be remembered, in the user's cache
    assert main(["demo", "--backbone", str(net)]) == 0
    assert "The saved model" in capsys.readouterr().out
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "users").exists()


def test_without_the_encoder_one_line_names_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEATX_BACKBONES", str(tmp_path / "none"))
    assert main(["demo", "--text"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "featx: minilm: not on this machine yet. Run: featx backbones pull minilm\n"


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--backbone", "no-such-backbone"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
