"""Saving and loading load no library that they do not use."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_skops_is_loaded_without_torch_and_leaves_it_usable() -> None:
    pytest.importorskip("torch")
    code = """
import sys
from sklearn.linear_model import LogisticRegression
from featx.artifact.skops_file import from_skops, to_skops
assert from_skops(to_skops(LogisticRegression(C=3))).C == 3
assert "torch" not in sys.modules
import sklearn.externals.array_api_compat.torch
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
