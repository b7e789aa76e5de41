"""Samples of any container make a data set, and texts without words are worth a warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.errors import DatasetError, FeatxWarning
from featx.inputs.dataset import Dataset, warn_of_empty_texts
from featx.inputs.datasets import read_dataset


@pytest.mark.parametrize("cell", ["", "  ", '"\n\t"', "NaN", "<NA>"])
def test_texts_without_words_are_told_by_their_line(csv_file: Any, cell: str) -> None:
    dataset = read_dataset(csv_file(f"text,label\na,x\n{cell},y\nb,y\n{cell},y\n"))
    with pytest.warns(
        FeatxWarning, match=r"^table: 2 of 4 texts are empty.* \(table\.csv, line \d and 1 more\)"
    ):
        warn_of_empty_texts(dataset)


def test_texts_that_got_no_vector_are_not_said_to_be_kept(csv_file: Any) -> None:
    dataset = read_dataset(csv_file("text,label\n,x\nb,y\n,y\n"))
    warn_of_empty_texts(dataset, left_out={0, 2})
    with pytest.warns(FeatxWarning, match=r"1 of 3 texts is empty \(table\.csv, line 4\)"):
        warn_of_empty_texts(dataset, left_out={0})


def test_samples_of_any_container_are_a_list() -> None:
    for samples in (pd.Series(["a", ""], index=[7, 3]), np.array(["a", ""]), ("a", "")):
        dataset = Dataset(samples=samples, name="mine", root=".", modality="text")  # type: ignore[arg-type]  # as users do
        assert dataset.samples == ["a", ""]
    with pytest.raises(DatasetError, match="a single string"):
        Dataset(samples="a text", name="mine", root=".")  # type: ignore[arg-type]  # a mistake


def test_nothing_is_said_of_texts_that_all_have_words(csv_file: Any) -> None:
    warn_of_empty_texts(read_dataset(csv_file("text,label\na,x\nnone,y\n")))
    warn_of_empty_texts(Dataset(samples=["", ""], name="images", root="."))


def test_arrays_of_another_length_are_refused() -> None:
    with pytest.raises(DatasetError, match="labels: expected 2 values, found 1"):
        Dataset(samples=["a", "b"], labels=np.array(["x"]), name="", root="")
