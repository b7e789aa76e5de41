"""A command is shown as it was given, with the last part of every path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer

from featx.cli.invocation import shown_command


def shown(*words: str) -> str:
    """What a small command says of itself."""
    app, said = typer.Typer(), []

    @app.command("weigh")
    def weigh(
        context: typer.Context,
        data: Path,
        backbone: Annotated[list[str] | None, typer.Option("--backbone", "-b")] = None,
        label: Annotated[str, typer.Option("--label")] = "label",
        seed: Annotated[int, typer.Option("--seed")] = 0,
        keep: Annotated[bool, typer.Option("--keep/--no-keep")] = True,
        quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
    ) -> None:
        said.append(shown_command(context, paths={"data", "backbone"}))

    @app.command("other")
    def other() -> None:
        """Another, so that the first has a name."""

    app(args=["weigh", *words], standalone_mode=False)
    return said[0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("scans.csv",), "featx weigh scans.csv"),
        (("/home/jane/scans.csv",), "featx weigh …/scans.csv"),
        (("/home/jane/my scans/",), "featx weigh '…/my scans'"),
        (("a", "-b", "/x/y/tiny", "-b", "compact"), "featx weigh a --backbone …/tiny --backbone compact"),
        (("a", "-b", "hub:owner/name"), "featx weigh a --backbone hub:owner/name"),
        (("a", "--label", "is/not a path"), "featx weigh a --label 'is/not a path'"),
        (("a", "--seed", "0"), "featx weigh a --seed 0"),
        (("a", "--no-keep", "-q"), "featx weigh a --no-keep --quiet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_command_is_shown_without_folders(words: tuple[str, ...], line: str) -> None:
    assert shown(*words) == line
