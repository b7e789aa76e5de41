"""``featx train``: heads compared on a backbone's vectors, and the best one saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import featx
from featx.cli.options import (
    BackboneOption,
    CacheOption,
    DeviceOption,
    FileColumnOption,
    GroupColumnOption,
    ImageRootOption,
    JsonOption,
    LabelColumnOption,
    LabelledDataArgument,
    MaxLengthOption,
    PoolingOption,
    PreprocessOption,
    QuietOption,
    RememberOption,
    SkipOption,
    SplitColumnOption,
    TapOption,
    TextColumnOption,
    WindowOption,
    cache_of,
    features_choices,
    names_of,
    shows_progress,
    tap_of,
)
from featx.cli.output import print_json, print_table, say, say_skipped, skipped_as_rows

if TYPE_CHECKING:
    from featx.backbones.backbone import Backbone

__all__ = ["register"]

_FIGURES = {  # of featx.evaluation.scores.Scores, to the titles of a table
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "roc_auc": "AUC",
    "log_loss": "log loss",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    data: LabelledDataArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where to save the model.", show_default=False),
    ] = None,
    backbone: BackboneOption = None,
    tap: TapOption = None,
    pooling: PoolingOption = "auto",
    max_length: MaxLengthOption = None,
    preprocess: PreprocessOption = None,
    window: WindowOption = None,
    head: Annotated[
        str, typer.Option("--head", metavar="NAMES", help="Heads to compare, separated by commas.")
    ] = "logistic,svm,xgboost",
    cv: Annotated[int, typer.Option("--cv", help="Folds of the comparison.")] = 5,
    search: Annotated[
        bool, typer.Option("--search", help="Search each head's parameters, nested inside the folds.")
    ] = False,
    file_column: FileColumnOption = "file",
    label_column: LabelColumnOption = "label",
    group_column: GroupColumnOption = None,
    split_column: SplitColumnOption = None,
    text_column: TextColumnOption = None,
    image_root: ImageRootOption = None,
    ignore_split: Annotated[
        bool, typer.Option("--ignore-split", help="Compare and fit on all rows, whatever their split.")
    ] = False,
    skip_unreadable: SkipOption = False,
    remember_samples: RememberOption = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is already there.")
    ] = False,
    device: DeviceOption = "auto",
    cache: CacheOption = "default",
    seed: Annotated[int, typer.Option("--seed", help="Seed of folds and heads.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Embed, compare heads, fit the best and save it.

    Heads are compared by cross-validation, groups together in every fold. With a split, they are compared and fitted on its
    part "train", and the other parts are predicted once, at the end.
    """
    dataset = featx.read_dataset(  # before featx.train is loaded: a mistake is told at once
        data,
        file_column=file_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        text_column=text_column,
        image_root=image_root,
    )
    result = featx.train(
        dataset,
        out=out,
        backbone=backbone,
        tap=tap_of(tap),
        pooling=pooling,
        **features_choices(dataset.modality, preprocess=preprocess, max_length=max_length, window=window),
        heads=names_of(head),
        cv=cv,
        search=search,
        ignore_split=ignore_split,
        skip_unreadable=skip_unreadable,
        remember_samples=remember_samples,
        overwrite=overwrite,
        device=device,
        cache=cache_of(cache),
        random_state=seed,
        verbose=shows_progress(quiet),
    )
    if as_json:
        saved = None if out is None else str(out)
        print_json({**result.to_dict(), "skipped": skipped_as_rows(result.skipped), "out": saved})
        return
    say_skipped(result.skipped)
    if result.ignored:
        n = len(result.ignored)
        say(
            f"ignored {n} file{'s' * (n > 1)}, no images, in no class or not in labels.csv, for example {result.ignored[0]}"
        )
    say(result.comparison.format_table())
    if result.held_out:
        say()
        titles = [title for name, title in _FIGURES.items() if name in next(iter(result.held_out.values()))]
        rows = [
            [part, *(f"{scores[name]:.3f}" for name in _FIGURES if name in scores)]
            for part, scores in result.held_out.items()
        ]
        print_table(["held out", *titles], rows)
    say()
    say(
        f"{result.comparison.best}, fitted on {result.n_train} {dataset.noun}; {result.n_computed} embedded now."
    )
    if out is not None:
        say(f"Saved {out}. Next: featx predict {out} {dataset.noun.upper()}...")
        _say_terms(result.pipeline["features"].backbone_)
    else:
        say("Not saved: pass --out FOLDER.")


def _say_terms(backbone: Backbone) -> None:
    if backbone.terms:
        say(f"The model holds a copy of {backbone.name}, whose terms are: {backbone.terms}")
