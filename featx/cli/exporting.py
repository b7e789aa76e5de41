"""``featx backbones export``: a torch network as a backbone's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from featx.cli.options import JsonOption, PreprocessOption, preprocess_of
from featx.cli.output import print_json, print_table, say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to those on backbones."""
    app.command("export")(export)


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="hf:owner/name[@revision], the folder of a transformers checkpoint, timm:name or torchvision:name.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            metavar="NAME",
            help="mean, cls, last or max: how tokens become one vector, for texts whose source does not say.",
            show_default=False,
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality",
            metavar="NAME",
            help="image or text: which part of a network that has both.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="PIXELS",
            help="Edge of the square pictures that it takes; default: as its own processor makes them.",
            show_default=False,
        ),
    ] = None,
    preprocess: PreprocessOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What its card calls it; default: as the folder.",
            show_default=False,
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(
            "--opset", metavar="N", help="Of ONNX's operators; default: what suits.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a backbone that is already there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a backbone of a torch network, compared with it.

    Nothing is written unless the two agree. Needs the extra "finetune".
    """
    from featx.backbones.sources import CARD_NAME
    from featx.exporting import export_backbone

    folder = export_backbone(
        source,
        out,
        name=name,
        preprocess=preprocess_of(preprocess),
        pooling=pooling,
        modality=modality,
        image_size=size,
        opset=opset,
        overwrite=overwrite,
    )
    card = json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
    if as_json:
        print_json({"folder": str(folder), **card})
        return
    worst = max(card["agreement"]["found"].values())
    say(
        f"{card['name']}: {card['parameters']:,} parameters; agrees with the original to {worst:.1e} of its largest value."
    )
    print_table(["tap", "channels"], list(card["taps"].items()), right=["channels"])
    for note in card.get("notes", []):
        say(note)
    if card.get("licence"):
        say(f"Licence of the weights: {card['licence']}.")
    say(f"Saved {out}. Next: featx backbones show {out}")
