"""Without torch, fine-tuning says how to get it, and nothing else notices."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import featx.finetuning
from featx.errors import MissingExtraError


def test_what_needs_torch_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest)
    )
    for name in ("GraphModule", "write_back"):
        with pytest.raises(MissingExtraError, match=r'pip install "featx\[finetune\]"'):
            getattr(featx.finetuning, name)


def test_the_classifier_is_made_without_torch_and_says_on_fit_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest)
    )
    model = featx.FineTuneClassifier(network)
    with pytest.raises(MissingExtraError, match=r'pip install "featx\[finetune\]"'):
        model.fit([np.zeros((32, 32, 3), np.uint8)] * 4, ["a", "b"] * 2)


def test_splitting_loads_no_torch() -> None:
    code = "import sys; from featx.finetuning import Split, split_backbone, open_frozen; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_name_resolves_and_others_do_not() -> None:
    for name in featx.finetuning.__all__:
        found: Any = getattr(featx.finetuning, name)
        assert found.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = featx.finetuning.nothing


def test_the_command_says_it_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r'pip install "featx\[finetune\]"'):
        featx.finetune("no such folder")
