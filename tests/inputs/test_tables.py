"""CSV files as people and spreadsheets write them are read, and each mistake in one is named with its line."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from featx.errors import DatasetError
from featx.inputs.dataset import count_missing
from featx.inputs.datasets import read_dataset


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_csv_is_read_whatever_separates_it(
    tmp_path: Path, delimiter: str, encoding: str, newline: str
) -> None:
    rows = [
        ["file", "label", "group", "split"],
        ["x/ä.png", "cat", "p1", "Train"],
        ["b.png", "none", "p2", "dev"],
        [""],
    ]
    text = newline.join(delimiter.join(row) for row in rows)
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    dataset = read_dataset(path)
    assert dataset.samples == [os.path.join(tmp_path, "x/ä.png"), os.path.join(tmp_path, "b.png")]
    assert dataset.labels is not None
    assert dataset.labels.tolist() == ["cat", "none"]
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["p1", "p2"]
    assert dataset.split is not None
    assert dataset.split.tolist() == ["train", "val"]
    assert dataset.name == "table"
    assert count_missing(dataset) == 2


def test_a_separator_in_a_quoted_cell_is_text(tmp_path: Path, csv_file: Any) -> None:
    dataset = read_dataset(csv_file('file,label\n"a,b;c.png","x\ny"\nd.png,z\n'))
    assert dataset.samples[0] == os.path.join(tmp_path, "a,b;c.png")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == ["x\ny", "z"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\n", "expected column names and at least one row, found 1 rows"),
        ("", "found 0 rows"),
        (
            "path,label\na,x\n",
            r"no column 'file' or 'text'; found 'path', 'label'\..*file_column=.*text_column=",
        ),
        ("Text,label\na,x\n", r"no column 'file' or 'text'.*Did you mean 'Text'\?"),
        ("file,Label\na,x\n", "Did you mean 'Label'"),
        ("file,lable\na,x\n", "Did you mean 'lable'"),
        ("file,label\na,x\nb,\nc,y\n", r"column 'label' is empty in 1 of 3 rows \(line 3\)"),
        ("file,label\na,NaN\nb,\nc,y\n", r"column 'label' is empty in 2 of 3 rows \(lines 2, 3\)"),
        ("file,label\na,x\n,y\n", r"column 'file' is empty in 1 of 2 rows \(line 3\)"),
        ("file,label,group\na,x,g\nb,y,\n", r"column 'group' is empty in 1 of 2 rows \(line 3\)"),
        (
            "file,label,split\na,x,train\nb,y,trian\n",
            r"column 'split' holds 'trian' on line 3; expected train, val",
        ),
        ("file,label\na,x\nb,x\n", "all 2 samples are 'x'; expected at least two classes"),
        ("file,label\na,x\nb,y\na,y\n", "two labels, x in line 2 and y in line 4"),
        ("file,label\na,x\nb,y\n./a,y\n", "two labels"),
        ("file,label,group\na,x,g\nb,y,g\na,x,h\n", "two groups, g in line 2 and h in line 4"),
        (
            "file,label,split\na,x,train\nb,y,val\na,x,test\n",
            "two splits, train in line 2 and test in line 4",
        ),
        ("file,label\na,x\nb,y,z\nc\n", r"expected 2 cells a row .* lines 3, 4"),
        ("file,label,label\na,x,y\n", "column 'label' occurs 2 times"),
        ('file,label\n"a"b,x\n', "cannot be read as a CSV"),
    ],
)
def test_a_mistake_in_a_csv_is_named_with_its_line(csv_file: Any, text: str, words: str) -> None:
    path = csv_file(text)
    with pytest.raises(DatasetError, match=words) as caught:
        read_dataset(path)
    assert str(path) in str(caught.value)


def test_many_wrong_lines_are_shortened(csv_file: Any) -> None:
    text = "file,label\n" + "".join(f"{i},\n" for i in range(100))
    with pytest.raises(DatasetError, match=r"100 of 100 rows \(lines 2, 3, 4, 5, 6, \.\.\.\)"):
        read_dataset(csv_file(text))


def test_a_file_that_is_not_utf_8_is_refused(csv_file: Any) -> None:
    with pytest.raises(DatasetError, match="UTF-8"):
        read_dataset(csv_file("file,label\nä,x\n", encoding="latin-1"))


def test_the_advice_on_another_encoding_is_to_save_it_anew(csv_file: Any) -> None:
    for encoding in ("latin-1", "utf-16"):
        with pytest.raises(DatasetError, match="Save it as UTF-8"):
            read_dataset(csv_file("file,label\nä,x\n", encoding=encoding))


def test_a_cell_may_be_as_large_as_the_file(csv_file: Any) -> None:
    before = csv.field_size_limit()
    text = "x" * 1_000_000
    dataset = read_dataset(csv_file(f"text,label\n{text},a\nshort,b\n"))
    assert dataset.samples == [text, "short"]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "line"), [('text,label\na,x\n"b,y\nc,z\n', 2), ('text,label\na,x\nb,y\n"c" d,z\n', 3)]
)
def test_a_broken_quotation_is_found_by_its_line(csv_file: Any, text: str, line: int) -> None:
    with pytest.raises(DatasetError, match=rf"in the row after line {line}\)\. Look for a quotation mark"):
        read_dataset(csv_file(text))


def test_columns_that_are_not_asked_for_may_have_any_names(csv_file: Any) -> None:
    # What spreadsheets write for columns that were emptied.
    dataset = read_dataset(csv_file("text,label,,\na,x,,\nb,y,,\n"))
    assert (dataset.samples, dataset.column) == (["a", "b"], "text")


@pytest.mark.parametrize("before", ["sep=;\n", "\n", "\n\nsep=;\n"])
def test_lines_before_the_header_that_spreadsheets_write(tmp_path: Path, before: str) -> None:
    (tmp_path / "t.csv").write_text(f"{before}file;label\n1.png;x\n2.png;y\n", encoding="utf-8")
    dataset = read_dataset(tmp_path / "t.csv")
    assert dataset.classes == ["x", "y"]
    assert dataset.places is not None
    assert dataset.places[0] == f"t.csv, line {2 + before.count(chr(10))}"
