"""``featx demo``: the main job on what every installation has."""

from __future__ import annotations

from typing import Annotated

import typer

from featx.cli.options import BackboneOption, DeviceOption
from featx.cli.output import say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to those of the main job."""
    app.command("demo")(demo)


def demo(
    text: Annotated[
        bool,
        typer.Option(
            "--text", help="On sentences that come with featx, with minilm, which is pulled beforehand."
        ),
    ] = False,
    backbone: BackboneOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Do the main job on pictures that come with scikit-learn.

    Embeds, embeds again from the cache, compares heads with a baseline, saves a model and uses it, in a folder that is gone
    afterwards. Downloads nothing.
    """
    from featx.demo import run_demo

    run_demo(say, modality="text" if text else "image", backbone=backbone, device=device)
