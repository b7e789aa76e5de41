"""The ``featx`` command put together from files that hold a command each, or one of its groups: ``cache``, ``backbones``.

A command parses, calls and prints. What it calls is imported in it, so that ``featx --help`` loads none of it.
"""

from __future__ import annotations

from typing import Annotated

import typer

import featx
from featx.cli import backbones, cache, demo, doctor, embed, evaluate, exporting, finetune, predict, train
from featx.cli.output import say

__all__ = ["app"]

app = typer.Typer(
    name="featx",
    help="Embed images or texts with a frozen ONNX backbone, each once; train, save and use a scikit-learn head on top.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (train, predict, embed, demo, evaluate, finetune, doctor):  # in the order of the help
    command.register(app)
app.add_typer(cache.app, name="cache")
app.add_typer(backbones.app, name="backbones")
exporting.register(backbones.app)


def _version(asked: bool) -> None:
    if asked:
        say(f"featx {featx.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of featx itself."""
