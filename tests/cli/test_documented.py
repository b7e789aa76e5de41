"""Every command and option says what it does, and the README mentions every command, in forms that work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from featx.cli.app import app

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
# `featx ...` in running text, and lines of code blocks, up to a comment or a redirection
WRITTEN = re.findall(r"(?:`|^|&& (?:\.venv/bin/)?)featx ([^`\n#>]+)", README, re.MULTILINE)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command that does something."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        below = getattr(command, "commands", None)
        if below is None:
            yield words, command
            return
        assert command.help, f"{words}: no help"
        for name, inner in below.items():
            yield from walk(inner, (*words, name))

    return walk(get_command(app), ("featx",))


COMMANDS = dict(commands())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_option_says_what_it_does(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    first = command.help.strip().splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 60, "longer would be cut off in the list of commands"
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    for parameter in parameters:
        assert parameter.help, f"{' '.join(words)}: {parameter.name} has no help"
        assert parameter.help.rstrip().endswith(".")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_readme_mentions_every_command(words: tuple[str, ...]) -> None:
    assert " ".join(words) in README


@pytest.mark.parametrize("written", WRITTEN)
def test_what_the_readme_writes_can_be_typed(written: str) -> None:
    command, rest, name = get_command(app), shlex.split(written), "featx"
    while hasattr(command, "commands") and rest:
        name = rest.pop(0)
        if name == "...":
            return
        command = command.commands[name]
    if rest:  # without arguments the command is only named
        command.make_context(name, rest)


def test_the_readme_was_searched() -> None:
    assert len(WRITTEN) > 10
    assert any(written.startswith("train") and "--out" in written for written in WRITTEN)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_plain_and_fits_80_columns(
    featx: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = featx(*words[1:], "--help")
    assert (ended.status, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_defaults_of_train_are_shown(featx: Any) -> None:
    words = " ".join(featx("train", "--help").out.split())
    for default in ("logistic,svm,xgboost", "5", "auto"):
        assert f"[default: {default}]" in words
    assert "Default: compact for images, minilm for texts." in words


def test_version(featx: Any) -> None:
    from featx import __version__

    assert featx("--version").out == f"featx {__version__}\n"


def test_nothing_typed_shows_the_help(featx: Any) -> None:
    ended = featx()
    assert "Commands:" in ended.out + ended.err


def test_wrong_words_are_refused_with_usage(featx: Any) -> None:
    for words in (("trian",), ("train", "--hed", "svm", "x"), ("train",), ("train", "x", "--cv", "five")):
        ended = featx(*words)
        assert ended.status == 2
        assert ended.out == ""
        assert ended.err.startswith("Usage: featx")


def test_help_loads_no_library_it_does_not_need() -> None:
    """`featx --help` answers at once, as it loads next to nothing."""
    code = (
        "import sys; from featx.cli import main; main(['--help']);"
        "heavy = {'numpy', 'sklearn', 'onnxruntime', 'onnx', 'PIL', 'xgboost', 'skops', 'rich', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
