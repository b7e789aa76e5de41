"""``featx finetune``: what it tunes on, what it judges, what it writes, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featx.cli.finetune import _advice
from featx.evaluation.bootstrap import Estimate

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait take more than networks this small


QUICK = ("--epochs", "2", "--freeze-until", "stage1", "--learning-rate", "0.003", "--batch-size", "8")


def test_the_tuned_backbone_is_written_with_figures_beside_the_frozen_one(
    featx: Any, table: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    parts = [part for i in range(24) for part in [("train", "train", "test")[i % 3]]]
    data, out = (
        table(split=parts, group=[f"p{i // 3}" if i % 3 < 2 else f"q{i}" for i in range(24)]),
        tmp_path / "out",
    )
    ended = featx("finetune", data, "-b", tiny, "--out", out, "--validation-fraction", "0", *QUICK)
    assert ended.status == 0, ended
    assert "* frozen" in ended.out or "* tuned" in ended.out
    assert f"Written {out}" in ended.out
    card = json.loads((out / "featx.json").read_text())
    assert card["tuning"]["samples"] == 16
    assert set(card["held_out"]["test"]) == {"frozen", "tuned"}
    figure = card["held_out"]["test"]["tuned"]["accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    shown = featx("backbones", "show", out)
    assert shown.status == 0
    assert "tuned on     16 samples (" in shown.out
    assert "), 16 remembered; epoch 2 of 2" in shown.out
    assert "judged       test: balanced accuracy " in shown.out
    assert "a backbone, which makes vectors and predicts nothing" in featx("predict", out, data).err
    trained = featx("train", data, "-b", out, "--head", "logistic", "--cv", "2", "--json")
    assert trained.json["n_train"] == 16


def test_without_a_split_a_fifth_is_held_out_and_groups_stay_together(
    featx: Any, table: Callable[..., Path], tiny: Path
) -> None:
    data = table(group=[f"patient {i // 2}" for i in range(24)])
    found = featx("finetune", data, "-b", tiny, "--json", *QUICK).json
    assert [each["name"] for each in found["comparison"]["evaluations"]] == ["frozen", "tuned"]
    n = found["comparison"]["evaluations"][0]["judgements"][0]["n"]
    assert n + found["n_train"] == 24
    assert n % 2 == 0
    assert found["out"] is None
    assert [record["epoch"] for record in found["history"]][:2] == [0, 1]


def test_views_are_named_as_pairs(featx: Any, photos: Path, tiny: Path) -> None:
    words = ("--augment", "horizontal_flip=true,brightness_range=0.8:1.2,rotation_range=10", "--json")
    assert featx("finetune", photos, "-b", tiny, *QUICK, *words).json["n_train"] == 19


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--augment", "horizontal_flip"), "gives no value"),
        (("--augment", "horizontal=true"), "augment: expected some of"),
        (("--freeze-until", "stage9"), "stage9"),
        (("--freeze-until", "1.5"), "--freeze-until must be"),
        (
            ("--freeze-until", "pooled"),
            "--freeze-until pooled: nothing between it and tap 'pooled' can be trained",
        ),
        (("--epochs", "0"), "--epochs must be a whole number"),
        (("--learning-rate", "inf"), "--learning-rate must be a number above 0 and at most 1e+30"),
        (("--learning-rate", "1e300"), "--learning-rate must be a number above 0 and at most 1e+30"),
        (("--validation-fraction", "0.7"), "--validation-fraction must be a share up to 0.5"),
        (("--folds", "1"), "--folds 1: expected a whole number, at least 2"),
        (("--folds", "1000"), "1000 folds need 1000. Use --folds 12, or add samples"),
        (("--device", "gpu"), "device must be"),
    ],
)
def test_a_mistake_is_one_line(
    refused: Callable[..., str], photos: Path, tiny: Path, words: tuple[str, ...], part: str
) -> None:
    assert part in refused("finetune", photos, "-b", tiny, *words)


def test_a_place_that_is_taken_is_refused_before_the_work(
    refused: Callable[..., str], photos: Path, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "out" in refused("finetune", photos, "-b", tiny, "--out", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    refused: Callable[..., str], photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(self: Any, X: Any) -> None:
        raise AssertionError("samples were looked at before the place")

    monkeypatch.setattr("featx.ImageFeatures.extract", compute)
    (tmp_path / "file").write_text("mine")
    line = refused("finetune", photos, "-b", tiny, "--out", tmp_path / "file" / "deep" / "out")
    assert "the tuned backbone cannot be kept there" in line


def test_a_sample_that_cannot_be_read_ends_it_without_advice_that_it_does_not_take(
    refused: Callable[..., str], table: Callable[..., Path], photos: Path, tiny: Path
) -> None:
    files = [str(file) for file in sorted(photos.glob("*/*.png"))]
    line = refused("finetune", table(file=[*files[:-1], "lost.png"]), "-b", tiny, *QUICK)
    assert "lost.png" in line
    assert line.endswith("no such file. Check the path.")


def test_advice_on_the_validation_part_names_its_option(
    refused: Callable[..., str], table: Callable[..., Path], tiny: Path
) -> None:
    kinds = ["dark"] * 12 + ["light"] * 12
    parts = ["train" if i % 12 < 8 else "test" for i in range(24)]
    data = table(
        split=parts, group=[kinds[i] if parts[i] == "train" else f"patient {i}" for i in range(24)]
    )  # two patients to train on, one of each class
    line = refused("finetune", data, "-b", tiny, "--group-column", "group", *QUICK)
    assert "or pass --validation-fraction 0 and few epochs" in line


def test_without_a_validation_part_the_last_epoch_is_kept(featx: Any, photos: Path, tiny: Path) -> None:
    found = featx("finetune", photos, "-b", tiny, *QUICK, "--validation-fraction", "0", "--json").json
    assert found["choice"]["n_validation"] == 0
    assert found["best_epoch"] == 2


def test_where_the_frozen_network_was_kept_nothing_claims_that_it_was_tuned(
    featx: Any, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    import featx as library

    out = tmp_path / "out"
    words = ("--freeze-until", "stage1", "--epochs", "1", "--learning-rate", "1e-9", "--out", out)
    ended = featx("finetune", photos, "-b", tiny, *words)
    assert ended.status == 0, ended
    assert "; kept the frozen backbone, unchanged" in ended.out
    assert (
        f"Written {out}: a copy of the frozen backbone, as its card says. Nothing in it was tuned."
        in ended.out
    )
    assert "Tuned on" not in ended.out
    card = json.loads((out / "featx.json").read_text())
    assert "finetuned" not in card
    assert card["copied"]["from"]["digest"] == card["digest"] == library.Backbone.open(tiny).digest
    assert card["tuning"]["best_epoch"] == 0


def test_a_split_without_two_parts_is_refused(
    refused: Callable[..., str], table: Callable[..., Path], tiny: Path
) -> None:
    line = refused("finetune", table(split=["train"] * 24), "-b", tiny)
    assert "expected train and another one" in line


def test_in_folds_every_sample_is_judged_and_all_of_them_are_tuned_on_at_the_end(
    featx: Any, table: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    data = table(group=[f"patient {i // 2}" for i in range(24)], split=["train", "test"] * 12)
    out = tmp_path / "out"
    found = featx("finetune", data, "-b", tiny, "--folds", "2", "--out", out, "--json", *QUICK).json
    assert found["n_train"] == 24
    for each in found["comparison"]["evaluations"]:
        assert each["judgements"][0]["n"] == 24
    frozen, tuned = (
        each["judgements"][0]["figures"]["balanced_accuracy"]["value"]
        for each in found["comparison"]["evaluations"]
    )
    assert found["gain"]["value"] == pytest.approx(tuned - frozen)
    card = json.loads((out / "featx.json").read_text())
    assert card["tuning"]["samples"] == 24
    (part,) = card["folds"].values()
    assert set(part) == {"frozen", "tuned"}


def test_it_says_what_was_kept_and_whether_it_helps(featx: Any, photos: Path, tiny: Path) -> None:
    lines = featx("finetune", photos, "-b", tiny, *QUICK).out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(("Tuned on", "Trained on")))
    found = featx("finetune", photos, "-b", tiny, "--json", *QUICK).json  # the same training, not done again
    assert lines[at].startswith("Tuned on" if found["choice"]["network"] == "tuned" else "Trained on")
    assert "; kept " in lines[at]
    assert lines[at + 1].startswith(
        "So both predict the same" if found["gain"]["value"] == 0 else "Whether tuning helps"
    )


@pytest.mark.parametrize(
    ("low", "value", "high", "words"),
    [
        (
            0.01,
            0.04,
            0.08,
            "Tuning helps here (tuned less frozen, balanced accuracy: 0.040 (0.010 to 0.080)).",
        ),
        (-0.08, -0.04, -0.01, "Tuning harms here"),
        (-0.04, 0.04, 0.08, "Whether tuning helps cannot be told here"),
        (None, 0.04, None, "Whether tuning helps cannot be told here"),
        (0.0, 0.0, 0.0, "So both predict the same."),
    ],
)
def test_its_advice_goes_by_the_interval(
    low: float | None, value: float, high: float | None, words: str
) -> None:
    gain = Estimate(value=value, low=low, high=high, draws=np.empty(0), left_out=np.empty(0))
    main = SimpleNamespace(headline="balanced_accuracy")
    comparison = SimpleNamespace(evaluations=[SimpleNamespace(main=main)])
    assert _advice(SimpleNamespace(gain=gain, comparison=comparison)).startswith(words)


def test_a_whole_model_is_saved_ready_to_predict_and_knows_its_samples(
    featx: Any, table: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    data, model = table(split=["train", "train", "test"] * 8), tmp_path / "model"
    ended = featx("finetune", data, "-b", tiny, "--model", model, *QUICK)
    assert ended.status == 0, ended
    assert f"Next: featx predict {model} NEW" in ended.out
    assert "judged beside the frozen backbone" in (model / "README.md").read_text()
    predicted = featx("predict", model, data, "--json")
    assert predicted.status == 0, predicted
    judged = featx("evaluate", data, "--model", model, "--ignore-split")
    assert "was trained on 16 of these 24 samples" in judged.out + judged.err


def test_one_folder_for_backbone_and_model_is_refused_before_the_work(
    refused: Callable[..., str], photos: Path, tiny: Path, tmp_path: Path
) -> None:
    line = refused("finetune", photos, "-b", tiny, "--out", tmp_path / "one", "--model", tmp_path / "one")
    assert "one folder" in line
    assert not (tmp_path / "one").exists()
