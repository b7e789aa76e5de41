"""``featx evaluate``: what a head on a backbone, or a saved model, is worth on samples it has not seen."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import featx
from featx.cli.invocation import shown_command
from featx.cli.options import (
    CacheOption,
    GroupColumnOption,
    ImageRootOption,
    JsonOption,
    LabelColumnOption,
    LabelledDataArgument,
    LearnedFileColumnOption,
    LearnedTextColumnOption,
    MaxLengthOption,
    PoolingOption,
    PreprocessOption,
    QuietOption,
    SkipOption,
    SplitColumnOption,
    TapOption,
    WindowOption,
    cache_of,
    features_choices,
    names_of,
    shows_progress,
    tap_of,
)
from featx.cli.output import print_error, print_json, say, say_skipped
from featx.errors import LeakError, LeakWarning, ParameterError

if TYPE_CHECKING:
    from featx.reporting.comparisons import Comparison
    from featx.reporting.evaluations import Evaluation

__all__ = ["register"]

_PATHS = frozenset(
    {"data", "backbone", "model", "preprocess", "image_root", "cache", "report", "png", "predictions"}
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    context: typer.Context,
    data: LabelledDataArgument,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="REF",
            help="As for featx train; given several times, they are compared.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        str, typer.Option("--head", metavar="NAMES", help="Heads, separated by commas; several are compared.")
    ] = "logistic",
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Judge this saved model instead, on data that it was not trained on.",
            show_default=False,
        ),
    ] = None,
    tap: TapOption = None,
    pooling: PoolingOption = "auto",
    max_length: MaxLengthOption = None,
    preprocess: PreprocessOption = None,
    window: WindowOption = None,
    cv: Annotated[int, typer.Option("--cv", help="Folds, where the data have no split.")] = 5,
    search: Annotated[
        bool, typer.Option("--search", help="Search each head's parameters inside every training part.")
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="METHOD",
            help="sigmoid or isotonic: calibrate probabilities inside every training part.",
            show_default=False,
        ),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            "--aggregate",
            metavar="HOW",
            help="mean, median, max or vote: make one prediction a group, and judge groups.",
            show_default=False,
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            "--positive",
            metavar="LABEL",
            help="Of two classes the one that sensitivity is about. Default: the second by name.",
            show_default=False,
        ),
    ] = None,
    at_specificity: Annotated[
        str,
        typer.Option(
            "--at-specificity",
            metavar="SHARE",
            help="Of two classes: choose a threshold in training to reach this; none for none.",
        ),
    ] = "0.9",
    at_sensitivity: Annotated[
        str,
        typer.Option("--at-sensitivity", metavar="SHARE", help="The same for sensitivity; none for none."),
    ] = "0.9",
    learning_curve: Annotated[
        str | None,
        typer.Option(
            "--learning-curve",
            metavar="SHARES",
            help="Fit on these shares of every training part too, such as 0.1,0.25,0.5.",
            show_default=False,
        ),
    ] = None,
    on_leak: Annotated[
        str,
        typer.Option(
            "--on-leak",
            metavar="WHAT",
            help="group: keep copies together in folds; warn: only warn; raise: end with exit status 1.",
        ),
    ] = "group",
    file_column: LearnedFileColumnOption = None,
    label_column: LabelColumnOption = "label",
    group_column: GroupColumnOption = None,
    split_column: SplitColumnOption = None,
    text_column: LearnedTextColumnOption = None,
    image_root: ImageRootOption = None,
    ignore_split: Annotated[
        bool, typer.Option("--ignore-split", help="Cross-validate on all rows, whatever their split.")
    ] = False,
    skip_unreadable: SkipOption = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="Write a page to read: one HTML file.", show_default=False
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="FILE", help="Write a picture for slides.", show_default=False),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Write what was predicted of each sample: a CSV with row, file, fold, truth, prediction and p_<class>. It names "
            "files, being your own to work with; pages and pictures, which are handed on, do not.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(
            "--title",
            metavar="TEXT",
            help="Title of page and picture. Default: the model and the data set.",
            show_default=False,
        ),
    ] = None,
    show_names: Annotated[
        bool,
        typer.Option(
            "--show-names",
            help="Name files in the page, as the folder or CSV has them; they may name patients.",
        ),
    ] = False,
    show_all: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Print every figure of whatever was judged, not of the first alone; of several models too.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are already there.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="Where to compute: auto, cpu, cuda, cuda:1 or tensorrt.", show_default=False
        ),
    ] = None,
    cache: CacheOption = "default",
    seed: Annotated[int, typer.Option("--seed", help="Seed of folds and of the bootstrap.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Judge heads or a model on samples they have not seen.

    Every sample is predicted once, by a model whose training part held neither it nor any other of its group; with a split, one
    model is fitted on its part "train". Every figure has a 95 % interval, and leaks that were found stand above the figures.
    """
    from featx.evaluating import evaluate_heads, evaluate_model, read_for
    from featx.outputs import check_output

    outputs = [path for path in (report, png, predictions) if path is not None]
    for path in outputs:
        check_output(path, overwrite=overwrite)  # refused before the work, not after it
    columns: dict[str, Any] = {
        "label_column": label_column,
        "group_column": group_column,
        "split_column": split_column,
        "text_column": text_column,
        "image_root": image_root,
    }
    if model is None:
        dataset = featx.read_dataset(data, file_column=file_column or "file", **columns)
    else:
        dataset = read_for(model, data, file_column=file_column, **columns)
    shared: dict[str, Any] = {
        "aggregate": aggregate,
        "positive": positive,
        "on_leak": on_leak,
        "random_state": seed,
        "verbose": shows_progress(quiet),
        "ignore_split": ignore_split,
        "skip_unreadable": skip_unreadable,
    }
    result: Comparison | Evaluation
    evaluations: tuple[Evaluation, ...]
    warnings.simplefilter("ignore", LeakWarning)  # the result says them, and once is enough
    try:
        if model is not None:
            _only_for_training(
                backbone, search, calibrate, learning_curve, tap, preprocess, window, max_length
            )
            found = evaluate_model(model, dataset, device=device, cache=cache_of(cache), **shared)
            result, evaluations = found, (found,)
        else:
            compared = evaluate_heads(
                dataset,
                backbones=backbone or [None],
                heads=names_of(head),
                search=search,
                features={
                    "tap": tap_of(tap),
                    "pooling": pooling,
                    "device": device or "auto",
                    "cache": cache_of(cache),
                    **features_choices(
                        dataset.modality, preprocess=preprocess, max_length=max_length, window=window
                    ),
                },
                cv=cv,
                calibrate=calibrate,
                at_specificity=_share("at_specificity", at_specificity),
                at_sensitivity=_share("at_sensitivity", at_sensitivity),
                learning_curve=_shares(learning_curve),
                **shared,
            )
            evaluations = compared.evaluations
            result = compared if len(evaluations) > 1 else evaluations[0]
    except LeakError as error:
        print_error(str(error))
        raise typer.Exit(1) from error
    command = shown_command(context, paths=_PATHS)
    if report is not None:
        result.to_html(report, title=title, show_names=show_names, command=command, overwrite=overwrite)
    if png is not None:
        result.to_png(png, title=title, overwrite=overwrite)
    if predictions is not None:
        result.to_csv(predictions, show_names=True, overwrite=overwrite)
    written = [str(path) for path in outputs]
    if as_json:
        print_json({**result.to_dict(show_names=show_names), "command": command, "written": written})
        return
    say_skipped(evaluations[0].skipped)
    say(result.format_table(full=show_all))
    if written:
        say()
        say(f"Written: {', '.join(written)}")


def _only_for_training(
    backbone: list[str] | None,
    search: bool,
    calibrate: str | None,
    learning_curve: str | None,
    tap: list[str] | None,
    preprocess: Path | None,
    window: str | None,
    max_length: int | None,
) -> None:
    """Refuse what decides how a model is made, where there is one."""
    given = {
        "--backbone": backbone,
        "--search": search,
        "--calibrate": calibrate,
        "--learning-curve": learning_curve,
        "--tap": tap,
        "--preprocess": preprocess,
        "--window": window,
        "--max-length": max_length,
    }
    for option, value in given.items():
        if value:
            raise ParameterError(f"{option}: the model of --model is judged as it is. Leave one of them out.")


def _share(parameter: str, text: str) -> float | None:
    try:
        return None if text.strip().lower() == "none" else float(text)
    except ValueError:
        raise ParameterError(
            f"{parameter}={text!r}: expected a share above 0 and at most 1, such as 0.9, or none."
        ) from None


def _shares(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in (text or "").split(",") if word.strip())
    except ValueError:
        raise ParameterError(
            f"learning_curve={text!r}: expected shares between 0 and 1 with commas between them, such as 0.1,0.25,0.5."
        ) from None
