"""The commands, and how their errors leave the process."""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

import featx
from featx.cli import backbones, cache
from featx.cli.output import console, print_error, print_json, print_table
from featx.errors import FeatxError, FeatxWarning, ParameterError

__all__ = ["app", "run"]

app = typer.Typer(
    name="featx",
    help="Embed images with a frozen ONNX backbone, each once; train, save and use a scikit-learn head on top.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cache.app, name="cache")
app.add_typer(backbones.app, name="backbones")

# typer carries a click of its own in some versions and imports click in others; this is whichever it raises.
_UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

Backbone = Annotated[
    str, typer.Option("--backbone", "-b", help="A name, a folder in Hugging Face layout, or an .onnx file.")
]
Tap = Annotated[
    list[str] | None, typer.Option("--tap", help="Where to read the network; may be given several times.")
]
Pooling = Annotated[str, typer.Option("--pooling", help="auto, avg, max, gem, cls or mean.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or tensorrt.")]
Cache = Annotated[str, typer.Option("--cache", help='Folder of the store; "default" or "none".')]
Skip = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and list them.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status; see :mod:`featx.cli`."""
    warnings.showwarning = _show_warning
    try:
        result = app(args=arguments, prog_name="featx", standalone_mode=False)
    except _UsageError as error:
        error.show()
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted. What was computed is stored: run the same command to go on.")
        return 130
    except FeatxError as error:
        print_error(str(error))
        return 2
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0


def _show_warning(message: Warning | str, category: type[Warning], *details: Any, **named: Any) -> None:
    """featx's own warnings are for the user, in one line; others are a developer's and would only worry."""
    if issubclass(category, FeatxWarning):
        print_error(f"warning: {message}")


@app.command()
def train(
    data: Annotated[
        Path, typer.Argument(help="A folder a class, or a CSV with file, label[, group][, split].")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to save the model (a folder).")
    ] = None,
    backbone: Backbone = "compact",
    tap: Tap = None,
    pooling: Pooling = "auto",
    head: Annotated[
        str, typer.Option("--head", help="Heads to compare, comma-separated.")
    ] = "logistic,svm,xgboost",
    group_column: Annotated[
        str | None, typer.Option("--group-column", help="Column of samples that belong together.")
    ] = None,
    cv: Annotated[int, typer.Option("--cv", help="Folds.")] = 5,
    search: Annotated[
        bool, typer.Option("--search", help="Search each head's grid, nested inside the folds.")
    ] = False,
    ignore_split: Annotated[
        bool, typer.Option("--ignore-split", help="Use all rows, whatever their split.")
    ] = False,
    skip_unreadable: Skip = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is already there.")
    ] = False,
    device: Device = "auto",
    cache: Cache = "default",
    seed: Annotated[int, typer.Option("--seed", help="Seed of folds and heads.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Embed, compare heads by cross-validation, fit the best and save it."""
    result = featx.train(
        data,
        out=out,
        backbone=backbone,
        tap=tap or "pooled",
        pooling=pooling,
        heads=tuple(name.strip() for name in head.split(",") if name.strip()),
        group_column=group_column,
        cv=cv,
        search=search,
        ignore_split=ignore_split,
        skip_unreadable=skip_unreadable,
        overwrite=overwrite,
        device=device,
        cache=_cache(cache),
        random_state=seed,
        verbose=not quiet and sys.stderr.isatty(),
    )
    if as_json:
        print_json({**result.to_dict(), "out": None if out is None else str(out)})
        return
    show = console().print
    for error in result.skipped:
        show(f"skipped  {error}")
    show(result.comparison.format_table(), markup=False)
    for part, scores in result.held_out.items():
        show(f"held out, {part}: " + "  ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    show(
        f"best head: {result.comparison.best}, fitted on {result.n_train} images; {result.n_computed} computed now."
    )
    if out is not None:
        show(f"saved {out}. Next: featx predict {out} IMAGES...")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model saved by featx train or featx.save.")],
    files: Annotated[list[str], typer.Argument(help="Image files.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
    skip_unreadable: Skip = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Where to compute; default: as the model was saved.")
    ] = None,
    cache: Cache = "default",
    quiet: Quiet = False,
) -> None:
    """Predict the labels of image files."""
    result = featx.predict(
        model,
        files,
        device=device,
        cache=_cache(cache),
        skip_unreadable=skip_unreadable,
        verbose=not quiet and sys.stderr.isatty(),
    )
    rows = result.rows()
    if as_json:
        print_json(rows)
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        columns = ["file", "label", *(f"p({c})" for c in result.classes if result.probabilities is not None)]
        print_table("", columns, [_prediction_row(row) for row in rows])


@app.command()
def embed(
    data: Annotated[Path, typer.Argument(help="A folder of images, or a CSV with a file column.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the vectors: a .npy file.")],
    backbone: Backbone = "compact",
    tap: Tap = None,
    pooling: Pooling = "auto",
    skip_unreadable: Skip = False,
    device: Device = "auto",
    cache: Cache = "default",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the vectors of a data set, and a manifest of its files and content digests."""
    result = featx.embed(
        data,
        backbone=backbone,
        tap=tap or "pooled",
        pooling=pooling,
        skip_unreadable=skip_unreadable,
        device=device,
        cache=_cache(cache),
        verbose=not quiet and sys.stderr.isatty(),
    )
    written = featx.write_embedding(result, out)
    n, d = result.vectors.shape
    if as_json:
        print_json(
            {"n": n, "d": d, "n_computed": result.n_computed, "files": [str(path) for path in written]}
        )
        return
    for i in sorted(result.errors):
        console().print(f"skipped  {result.errors[i]}")
    console().print(
        f"{n} x {d} vectors, {result.n_computed} computed now: {', '.join(str(path) for path in written)}"
    )


@app.command()
def demo(
    backbone: Backbone = "compact",
    device: Device = "auto",
) -> None:
    """Do the main job on pictures that every installation has; downloads nothing."""
    from featx.demo import run_demo

    run_demo(lambda line: console().print(line, markup=False), backbone=backbone, device=device)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say which devices work here, why others do not, and what to do."""
    from featx.doctor import examine

    findings = examine()
    if as_json:
        print_json([{n: getattr(f, n) for n in ("name", "status", "detail", "advice")} for f in findings])
    else:
        for finding in findings:
            console().print(f"{finding.name:12} {finding.status:8} {finding.detail}", markup=False)
            if finding.advice:
                console().print(f"{'':21} {finding.advice}", markup=False)
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)


def _version(asked: bool) -> None:
    if asked:
        console().print(f"featx {featx.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of featx itself."""


def _cache(text: str) -> str | None:
    if not text:
        raise ParameterError('--cache must be "default", "none" or a folder, got an empty word.')
    return None if text == "none" else text


def _prediction_row(row: dict[str, Any]) -> list[str]:
    if row["error"]:
        return [row["file"], f"- {row['error']}", *("" for name in row if name.startswith("p_"))]
    return [
        row["file"],
        str(row["label"]),
        *(f"{value:.3f}" for name, value in row.items() if name.startswith("p_")),
    ]
