"""``featx.finetune`` in Python: what is held out, what leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import featx
from featx.errors import DatasetError, LeakWarning
from featx.inputs.dataset import Dataset
from featx.testing import tiny_backbone

N, COPIES = 20, 3


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_backbone(tmp_path_factory.mktemp("tiny"), channels=(6, 8, 8, 12)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait take more than networks this small
    return {"epochs": 1, "batch_size": 16, "precision": "float32", "checkpoints": None}


@pytest.fixture
def edited() -> Dataset:
    """Pictures with two near-copies each, as an export of a film has them; labels are drawn by picture."""
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (N, 40, 40, 3))
    pictures = [
        np.clip(one + rng.integers(-2, 3, one.shape), 0, 255).astype(np.uint8)
        for one in originals
        for _ in range(COPIES)
    ]
    labels = np.repeat(np.asarray(["ant", "bee"])[rng.permutation(N) % 2], COPIES)
    return Dataset(name="edited", modality="image", root="", samples=pictures, labels=labels)


def test_near_copies_are_held_out_together(network: str, edited: Dataset, quick: dict[str, Any]) -> None:
    found = featx.finetune(edited, backbone=network, **quick)
    rows = found.comparison.evaluations[0].predictions(show_names=True)
    held_out = [int(row["name"].removeprefix("image ")) for row in rows if row["part"] == "held out"]
    assert 0 < len(held_out) < N * COPIES
    assert sorted(held_out) == sorted(
        COPIES * original + i for original in {at // COPIES for at in held_out} for i in range(COPIES)
    )
    assert found.n_train == N * COPIES - len(held_out)
    assert found.comparison.evaluations[0].leaks == ()


def test_near_copies_across_a_given_split_are_reported_and_left_out_of_the_first_figures(
    network: str, edited: Dataset, quick: dict[str, Any]
) -> None:
    split = np.where(np.arange(N * COPIES) < 36, "train", "test")
    split[0] = "test"  # its two siblings are trained on
    leaking = Dataset(
        name="edited", modality="image", root="", samples=edited.samples, labels=edited.labels, split=split
    )
    with pytest.warns(LeakWarning, match="near-cop"):
        found = featx.finetune(leaking, backbone=network, **quick)
    evaluation = found.comparison.evaluations[0]
    first, given = evaluation.judgements
    assert first.part == "test, only what training has not seen"
    assert given.part == "test, as given"
    assert all("train" not in judged.part.split(",")[0] for judged in evaluation.judgements)


def test_a_class_that_training_lacks_is_refused_before_the_work(
    network: str, edited: Dataset, quick: dict[str, Any]
) -> None:
    labels = np.asarray(edited.labels).astype("<U8")
    labels[-3:] = "stranger"
    strange = Dataset(
        name="strange",
        modality="image",
        root="",
        samples=edited.samples,
        labels=labels,
        split=np.where(np.arange(N * COPIES) < 36, "train", "test"),
    )
    with pytest.raises(DatasetError, match="no sample of 'stranger' is in the part train"):
        featx.finetune(strange, backbone=network, **quick)


def test_a_part_whose_name_begins_like_that_of_training_is_judged(
    network: str, edited: Dataset, quick: dict[str, Any]
) -> None:
    named = Dataset(
        name="edited",
        modality="image",
        root="",
        samples=edited.samples,
        labels=edited.labels,
        split=np.where(np.arange(N * COPIES) < 36, "train", "trains"),
    )
    found = featx.finetune(named, backbone=network, **quick)
    assert [judged.part for judged in found.comparison.evaluations[0].judgements] == ["trains"]
