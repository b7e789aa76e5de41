"""Digits and sentences to try featx on: complete, grouped, and where an installation looks for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx import demo_data
from featx.demo_data import read_digits, sentences_path, write_digits
from featx.errors import DatasetError
from featx.inputs.datasets import read_dataset


def test_a_folder_of_digits_is_a_data_set_in_the_order_of_the_scans(tmp_path: Path) -> None:
    digits = read_digits(every=20)
    dataset = read_dataset(write_digits(tmp_path / "digits", every=20))
    assert len(dataset) == len(digits.pixels) == 90
    assert dataset.skipped == ()
    np.testing.assert_array_equal(dataset.labels, digits.labels)
    np.testing.assert_array_equal(dataset.groups, digits.groups)
    with Image.open(dataset.samples[7]) as picture:
        assert picture.size == (64, 64)
        np.testing.assert_array_equal(np.asarray(picture)[::8, ::8], digits.pixels[7])


def test_groups_of_digits_are_13_runs_of_neighbours() -> None:
    groups = read_digits(every=1).groups.tolist()
    assert groups == sorted(groups)
    sizes = Counter(groups)
    assert len(sizes) == 13
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_the_sentences_are_balanced_distinct_and_of_many_authors() -> None:
    dataset = read_dataset(sentences_path())
    assert dataset.modality == "text"
    counts = Counter(np.asarray(dataset.labels).tolist())
    assert set(counts) == {"negative", "neutral", "positive"}
    assert set(counts.values()) == {121}
    assert len(set(dataset.samples)) == len(dataset) == 363
    authors = Counter(np.asarray(dataset.groups).tolist())
    assert len(authors) > 150
    assert max(authors.values()) <= 5
    lengths = [len(text.split()) for text in dataset.samples]
    assert min(lengths) <= 4
    assert max(lengths) >= 35


def test_the_wheel_has_the_sentences_where_the_package_looks_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packed = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert '"examples/sentences.csv" = "featx/_examples/sentences.csv"' in packed
    installed = tmp_path / "site-packages" / "featx"
    (installed / "_examples").mkdir(parents=True)
    monkeypatch.setattr(demo_data, "_PACKAGE", installed)
    with pytest.raises(DatasetError, match="Install featx again"):
        sentences_path()
    (installed / "_examples" / "sentences.csv").write_text("text,label,group\n", encoding="utf-8")
    assert sentences_path() == installed / "_examples" / "sentences.csv"
