"""``featx backbones``: what is here, and what a graph offers."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from featx.cli.options import JsonOption
from featx.cli.output import print_json, print_table, say

__all__ = ["app", "describe"]

_WIDTH = 80
_INDENT = 13  # columns before the facts

app = typer.Typer(help="Look at backbones.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the backbones that can be called by name."""
    from featx.backbones.sources import installed_names

    names = {name: str(folder) for name, folder in sorted(installed_names().items())}
    if as_json:
        print_json(names)
    else:
        print_table(["name", "folder"], list(names.items()))


@app.command()
def show(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="A name, a folder in Hugging Face layout, or an .onnx file.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Show a backbone's digest, input, preprocessing and taps."""
    facts = describe(reference)
    if as_json:
        print_json(facts)
        return
    for name in ("name", "file", "digest", "modality", "input", "producer", "parameters", "rows", "terms"):
        if facts[name]:
            say(f"{name:12} {facts[name]}")
    if facts["preprocess"]:
        fields = ", ".join(f"{name} {value}" for name, value in facts["preprocess"].items() if name != "kind")
        lines = textwrap.wrap(fields, _WIDTH - _INDENT, break_long_words=False)
        say("\n".join(f"{'' if i else 'preprocess':{_INDENT}}{line}" for i, line in enumerate(lines)))
    rows = [(t["name"], t["kind"], t["channels"], t["resolution"], t["tensor"]) for t in facts["taps"]]
    print_table(["tap", "kind", "channels", "resolution", "tensor"], rows, right=["channels"])


def describe(reference: str) -> dict[str, Any]:
    """What ``featx backbones show`` prints, as plain values."""
    from featx.backbones.backbone import Backbone

    backbone = Backbone.open(reference)
    info = backbone.info
    size = "any size" if info.input_size is None else f"{info.input_size[0]} x {info.input_size[1]} px"
    batch = "any batch" if info.fixed_batch is None else f"batch of {info.fixed_batch}"
    coupled = f"depend on their batch ({info.coupled_by}): computed one at a time" if info.coupled_by else ""
    return {
        "name": backbone.name,
        "file": str(backbone.model_path),
        "digest": backbone.digest,
        "modality": info.modality,
        "input": f"{info.input_name} {info.input_dtype} {info.layout or ''} {size}, {batch}",
        "producer": f"{info.producer}, opset {info.opset}",
        "parameters": f"{info.n_parameters:,}",
        "rows": coupled,
        "terms": backbone.terms,
        "preprocess": backbone.preprocess.to_dict() if backbone.preprocess is not None else None,
        "taps": [
            {
                "name": tap.name,
                "kind": tap.kind,
                "channels": tap.channels,
                "resolution": "" if tap.resolution is None else f"{tap.resolution[0]} x {tap.resolution[1]}",
                "tensor": tap.tensor,
            }
            for tap in info.taps
        ],
    }
