"""How the commands print: messages in the command line's words, tables that fit, JSON that parses."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from featx.cli.output import one_line, print_csv, print_error, print_json, print_table, readable_bytes, say


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ('Remove it, or pass on_error="nan".', "Remove it, or pass --skip-unreadable."),
        ("or pass overwrite=True to replace it.", "or pass --overwrite to replace it."),
        ("Use cv=3, or add samples.", "Use --cv 3, or add samples."),
        ("cv=-3: expected more", "--cv -3: expected more"),
        ('device="cuda:1": no card. Pass device="cpu".', "--device cuda:1: no card. Pass --device cpu."),
        ("columns with file_column= and label_column=.", "columns with --file-column and --label-column."),
        ("no columns for group_column='patient no'.", "no columns for --group-column patient no."),
        ("heads=(): expected names", "--head (): expected names"),
        ("or pass cache=None to go without", "or pass --cache none to go without"),
        ("name another, or pass cache= (--cache).", "name another, or pass --cache (--cache)."),
        ("Correct it, or pass preprocess=ImagePreprocess(...).", "Correct it, or pass --preprocess FILE."),
        ("several\n  lines\n\nof text\n", "several lines of text"),
        ("a\x1b[31mred\x07.png", "a\\x1b[31mred\\x07.png"),
    ],
)
def test_messages_name_options_in_one_line(message: str, line: str) -> None:
    assert one_line(message) == line


@pytest.mark.parametrize("path", ["/data/cv=5/x.png", "runs/tap=a/device=b.png", "x-cache=None.png"])
def test_paths_that_look_like_parameters_stay(path: str) -> None:
    assert one_line(f"{path}: gone.") == f"{path}: gone."


def test_errors_go_to_standard_error_with_the_programs_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("no.")
    assert capsys.readouterr() == ("", "featx: no.\n")


def test_json_says_nan_as_null_and_numpy_as_plain(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "a": float("nan"),
        "b": np.float32(0.5),
        "c": np.arange(2),
        3: (np.str_("x"), float("inf"), None, True),
    }
    print_json(value)
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": 0.5,
        "c": [0, 1],
        "3": ["x", None, None, True],
    }


def test_csv_quotes_what_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"file": "a, b.png", "label": None}, {"file": 'say "c"', "label": "x"}])
    assert capsys.readouterr().out == 'file,label\n"a, b.png",\n"say ""c""",x\n'


def test_tables_line_up_also_with_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "n"], [["日本", 1], ["abc", 100], ["e\u0301", 20]], right=["n"])
    assert capsys.readouterr().out.splitlines() == ["name    n", "日本    1", "abc   100", "e\u0301      20"]


def test_a_table_for_a_pipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["file"], [["x" * 300]])
    assert "x" * 300 in capsys.readouterr().out


def test_a_table_on_a_terminal_fits_and_keeps_the_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(
        ["file", "label", "p"], [["photos/" + "d" * 50 + "/name.png", "a long label indeed", "0.123"]]
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[1].startswith("phot")
    assert "name.png" in lines[1]
    assert lines[1].endswith("0.123")


def test_a_terminal_of_another_encoding_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    say("0.9±0.1 日本")
    ascii_only.flush()
    assert ascii_only.buffer.getvalue() == b"0.9\\xb10.1 \\u65e5\\u672c\n"


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_for_people(n: int, text: str) -> None:
    assert readable_bytes(n) == text
