"""A training that was killed goes on where it was, and ends where it would have ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx import FineTuneClassifier
from featx.finetuning import loop
from featx.finetuning.checkpoints import Checkpoints

KILLED = """
import os, signal, sys
import numpy as np
import featx
from featx.finetuning import checkpoints, loop

loop._CHECKPOINT_S = 0.0  # after every step
keep, count = checkpoints.Checkpoints.save, []

def save(self, state):
    keep(self, state)
    count.append(state["step"])
    if len(count) == 9:  # in the middle of the second epoch
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints.Checkpoints.save = save
X = list(np.load(sys.argv[2]))
y = np.asarray(["ant", "bee", "wasp"])[np.arange(len(X)) % 3]
featx.FineTuneClassifier(
    sys.argv[1], freeze_until="stage1", epochs=3, learning_rate=3e-3, batch_size=8, precision="float32",
    validation_fraction=0.25, checkpoints=sys.argv[3],
).fit(X, y)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_training_goes_on_and_ends_as_an_uninterrupted_one(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    tmp_path: Path,
    tuner: Callable[..., FineTuneClassifier],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "x.npy", np.stack(pictures))
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", KILLED, network, str(tmp_path / "x.npy"), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(runs.iterdir())) == 1
    taken_up = []
    load = Checkpoints.load

    def watched(own: Checkpoints) -> dict | None:
        taken_up.append(load(own))
        return taken_up[-1]

    monkeypatch.setattr(Checkpoints, "load", watched)
    resumed = tuner(
        network, freeze_until="stage1", checkpoints=runs, validation_fraction=0.25, verbose=True
    ).fit(pictures, labels)
    assert "going on where an earlier run was, after epoch 1" in capsys.readouterr().err
    assert taken_up[0] is not None
    assert (taken_up[0]["epoch"], taken_up[0]["step"] > 0) == (2, True)
    assert [path.name for path in runs.glob("*/*")] == ["ended.pt"]
    whole = tuner(network, freeze_until="stage1", validation_fraction=0.25).fit(pictures, labels)
    np.testing.assert_array_equal(resumed.head_.weight, whole.head_.weight)
    assert resumed.backbone_.digest == whole.backbone_.digest
    for one, other in zip(resumed.history_, whole.history_, strict=True):
        assert (one.loss, one.validation_loss) == (other.loss, other.validation_loss)


def test_another_run_does_not_take_up_the_state(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    tmp_path: Path,
    tuner: Callable[..., FineTuneClassifier],
) -> None:
    for given in (
        {},
        {"epochs": 2},
        {"freeze_until": "stage1"},
        {"layer_decay": 0.5},
        {"class_weight": None},
    ):
        tuner(network, checkpoints=tmp_path, **given).fit(pictures, labels)
    tuner(network, checkpoints=tmp_path).fit(pictures, labels[::-1])
    assert len(list(tmp_path.glob("*/ended.pt"))) == 6
    tuner(network, checkpoints=tmp_path).fit(pictures, labels)
    assert len(list(tmp_path.glob("*/ended.pt"))) == 6


def test_a_fit_that_was_done_is_not_trained_again(
    network: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    tmp_path: Path,
    tuner: Callable[..., FineTuneClassifier],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = tuner(network, checkpoints=tmp_path).fit(pictures, labels)
    monkeypatch.setattr(loop._Training, "pass_through", None)  # whoever trains fails
    again = tuner(network, checkpoints=tmp_path, verbose=True).fit(pictures, labels)
    assert "trained by an earlier run, in 3 epochs:" in capsys.readouterr().err
    assert again.history_ == first.history_
    assert again.backbone_.digest == first.backbone_.digest
    np.testing.assert_array_equal(again.head_.weight, first.head_.weight)
    with pytest.raises(TypeError):
        tuner(network, checkpoints=tmp_path, random_state=1).fit(pictures, labels)
