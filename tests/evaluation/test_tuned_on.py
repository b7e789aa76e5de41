"""A backbone that was tuned on samples says so wherever they are judged."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

pytest.importorskip("torch")

import featx
from featx import Backbone, FineTuneClassifier, ImageFeatures, make_head
from featx.backbones.sources import TUNED_ON_NAME
from featx.errors import BackboneError, LeakWarning
from featx.evaluation.tuned_on import TUNED_ON
from featx.testing import tiny_backbone

N = 24


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (2 * N, 36, 36, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.asarray(["ant", "bee"])[np.random.default_rng(1).permutation(2 * N) % 2]


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray], labels: np.ndarray
) -> tuple[FineTuneClassifier, str]:
    """Tuned on the first half of the pictures, and its folder."""
    root = tmp_path_factory.mktemp("tuned")
    network = str(tiny_backbone(root / "origin", channels=(6, 8, 8, 12)))
    model = FineTuneClassifier(
        network, epochs=1, batch_size=8, validation_fraction=None, checkpoints=None, precision="float32"
    ).fit(pictures[:N], labels[:N])
    return model, str(model.save_backbone(root / "mine"))


def _pipeline(folder: str) -> Pipeline:
    return Pipeline([("features", ImageFeatures(folder)), ("head", make_head("logistic"))])


def _leaks(estimator: Any, X: Any, y: Any, **given: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        found = featx.evaluate(estimator, X, y, n_bootstrap=100, **given)
    return [leak for leak in found.leaks if leak.kind == TUNED_ON]


def test_folds_over_samples_that_it_was_tuned_on_are_a_leak(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray
) -> None:
    _, folder = tuned
    with pytest.warns(LeakWarning, match=f"mine was tuned on every one of these {N} samples, for example"):
        found = featx.evaluate(_pipeline(folder), pictures[:N], labels[:N], cv=2, n_bootstrap=100)
    assert "tuned on" in found.format_table()
    (leak,) = _leaks(_pipeline(folder), pictures, labels, cv=2)
    assert (leak.n, leak.samples[-1]) == (N, (N - 1,))
    assert f"{N} of these {2 * N} samples" in leak.message
    assert _leaks(_pipeline(folder), pictures[N:], labels[N:], cv=2) == []


def test_only_what_is_judged_counts(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray
) -> None:
    split = np.where(np.arange(2 * N) < N, "train", "test")
    assert _leaks(_pipeline(tuned[1]), pictures, labels, split=split) == []
    turned = np.where(np.arange(2 * N) < N, "test", "train")
    assert len(_leaks(_pipeline(tuned[1]), pictures, labels, split=turned)) == 1


def test_a_finished_model_is_judged_on_the_part_train_too(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray
) -> None:
    split = np.where(np.arange(2 * N) < N, "train", "test")
    finished = _pipeline(tuned[1]).fit(pictures[:N], labels[:N])
    (leak,) = _leaks(finished, pictures, labels, split=split, cv="prefit")
    assert leak.n == N


def test_tuning_it_again_in_folds_does_not_make_it_forget(
    tuned: tuple[FineTuneClassifier, str],
    pictures: list[np.ndarray],
    labels: np.ndarray,
    tmp_path: Path,
) -> None:
    _, folder = tuned
    again = FineTuneClassifier(
        folder, epochs=1, batch_size=8, validation_fraction=None, checkpoints=None, precision="float32"
    )
    assert len(_leaks(again, pictures[:N], labels[:N], cv=2)) == 1
    written = again.fit(pictures[N:], labels[N:]).save_backbone(tmp_path / "twice")
    memory = Backbone.open(written).tuned_on
    assert memory is not None
    assert len(memory) == 2 * N


def test_a_copy_of_a_tuned_backbone_that_was_kept_as_it_is_remembers_what_that_did(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path
) -> None:
    _, folder = tuned
    noise = np.random.default_rng(3).permutation(labels[N:])
    kept = FineTuneClassifier(
        folder, epochs=1, learning_rate=1e-9, checkpoints=None, precision="float32", validation_fraction=0.3
    ).fit(pictures[N:], noise)
    assert kept.choice_.network == "frozen"
    memory = Backbone.open(kept.save_backbone(tmp_path / "copy")).tuned_on
    np.testing.assert_array_equal(memory, Backbone.open(folder).tuned_on)


def test_a_comparison_says_it_of_the_one_that_was_tuned(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray
) -> None:
    model, folder = tuned
    origin = str(model.backbone)
    with pytest.warns(LeakWarning, match="was tuned on"):
        found = featx.compare(
            {"frozen": _pipeline(origin), "tuned": _pipeline(folder)},
            pictures[:N],
            labels[:N],
            cv=2,
            n_bootstrap=100,
        )
    assert [[leak.kind for leak in one.leaks] for one in found.evaluations] == [[], [TUNED_ON]]


def test_training_on_it_is_warned_of_too(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray
) -> None:
    data = featx.Dataset(name="known", modality="image", root="", samples=pictures[:N], labels=labels[:N])
    with pytest.warns(LeakWarning, match="was tuned on every one"):
        trained = featx.train(data, backbone=tuned[1], heads=("logistic",), cv=2)
    assert TUNED_ON in [leak.kind for leak in trained.leaks]


def test_a_saved_model_carries_the_memory_of_its_backbone(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path
) -> None:
    featx.save(tuned[0].to_pipeline(), tmp_path / "model")
    loaded = featx.load(tmp_path / "model")
    assert len(_leaks(loaded, pictures[:N], labels[:N], cv="prefit")) == 1


def test_a_folder_that_remembers_is_replaced_as_any_other(
    tuned: tuple[FineTuneClassifier, str], tmp_path: Path
) -> None:
    for _ in range(2):
        folder = tuned[0].save_backbone(tmp_path / "again", overwrite=True)
    assert Backbone.open(folder).tuned_on is not None


def test_what_is_not_to_be_remembered_is_not(
    tuned: tuple[FineTuneClassifier, str], pictures: list[np.ndarray], labels: np.ndarray, tmp_path: Path
) -> None:
    folder = tuned[0].save_backbone(tmp_path / "silent", remember_samples=False)
    assert Backbone.open(folder).tuned_on is None
    assert not (folder / TUNED_ON_NAME).exists()
    assert _leaks(_pipeline(str(folder)), pictures[:N], labels[:N], cv=2) == []


@pytest.mark.parametrize("content", [b"", b"not numpy", "wrong shape"])
def test_a_damaged_memory_is_an_error_and_not_none(
    tuned: tuple[FineTuneClassifier, str], tmp_path: Path, content: bytes | str
) -> None:
    folder = tuned[0].save_backbone(tmp_path / "broken")
    if isinstance(content, str):
        np.save(folder / TUNED_ON_NAME, np.zeros((3, 4), dtype=np.uint8))
    else:
        (folder / TUNED_ON_NAME).write_bytes(content)
    with pytest.raises(BackboneError, match="damaged"):
        _ = Backbone.open(folder).tuned_on
