"""What ``FineTuneClassifier`` refuses, in featx's words, and what its validation part keeps together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import featx
from featx import FineTuneClassifier, ImageFeatures
from featx.errors import DatasetError, ParameterError

Tuner = Callable[..., FineTuneClassifier]
CLASSES = np.asarray(["ant", "bee", "wasp"])


# --- what is refused ---


def test_fit_hands_groups_to_its_validation_part(
    network: str, pictures: list[np.ndarray], labels: np.ndarray, tuner: Tuner
) -> None:
    with pytest.raises(DatasetError, match="a class has too few of them"):
        tuner(network, validation_fraction=0.25).fit(pictures, labels, groups=labels)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"layer_decay": 1.5}, "layer_decay must be a number above 0, at most 1"),
        ({"freeze_until": 1.0}, "from 0, below 1"),
        ({"freeze_until": "stage9"}, "stage9"),
        ({"freeze_until": "pooled"}, "nothing between it and tap 'pooled' can be trained"),
        ({"freeze_until": 0.999}, "freeze_until=0.999: at most 0.001 of the weights"),
        ({"validation_fraction": 0.9}, "validation_fraction must be a share up to 0.5"),
        ({"patience": 0}, "patience must be a whole number of at least 1 or None"),
        ({"precision": "int8"}, "precision must be one of"),
        ({"device": "tensorrt"}, "to train"),
        ({"augment": 3}, "expected a featx.Augment"),
        ({"random_state": -1}, "random_state must be"),
        ({"checkpoints": ""}, "checkpoints must be a folder"),
        ({"checkpoints": 5}, "checkpoints must be a folder"),
    ],
)
def test_parameters_out_of_their_range_are_refused_in_words(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    given: dict[str, Any],
    words: str,
    tuner: Tuner,
) -> None:
    with pytest.raises(featx.errors.FeatxError, match=words):
        tuner(network, **given).fit(pictures, labels)


def test_several_taps_and_missing_labels_are_refused(
    network: str, pictures: list[np.ndarray], tuner: Tuner
) -> None:
    features = ImageFeatures(network, tap=["stage1", "pooled"])
    with pytest.raises(ParameterError, match="Name one"):
        tuner(features).fit(pictures, CLASSES[np.arange(48) % 3])
    with pytest.raises(DatasetError, match="requires y"):
        tuner(network).fit(pictures, None)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(DatasetError, match="47 labels for 48 samples"):
        tuner(network).fit(pictures, CLASSES[np.arange(47) % 3])


def test_cuda_by_name_raises_where_torch_has_none(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    tuner: Tuner,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(featx.errors.DeviceError, match="finds 0 CUDA device"):
        tuner(network, device="cuda").fit(pictures, labels)
