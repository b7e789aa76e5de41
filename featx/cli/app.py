"""The commands of the main job; those on the cache and on backbones have files of their own.

A command parses, calls and prints. What it calls is imported in it, so that ``featx --help`` loads none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import featx
from featx.cli import backbones, cache, demo, evaluate, exporting, finetune
from featx.cli.options import (
    BackboneOption,
    CacheOption,
    DeviceOption,
    FileColumnOption,
    GroupColumnOption,
    ImageRootOption,
    JsonOption,
    LabelColumnOption,
    LearnedFileColumnOption,
    LearnedTextColumnOption,
    MaxLengthOption,
    PoolingOption,
    PreprocessOption,
    QuietOption,
    SkipOption,
    SplitColumnOption,
    TapOption,
    TextColumnOption,
    WindowOption,
    cache_of,
    column_choices,
    features_choices,
    shows_progress,
    tap_of,
)
from featx.cli.output import one_line, print_csv, print_error, print_json, print_table, say
from featx.errors import DatasetError, ParameterError, SampleError, without_advice

if TYPE_CHECKING:
    from featx.backbones.backbone import Backbone

__all__ = ["app"]

app = typer.Typer(
    name="featx",
    help="Embed images or texts with a frozen ONNX backbone, each once; train, save and use a scikit-learn head on top.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cache.app, name="cache")
app.add_typer(backbones.app, name="backbones")
exporting.register(backbones.app)

_MOST_COLUMNS = 5  # classes whose probabilities a table shows

_FIGURES = {  # of featx.evaluation.scores.Scores, to the titles of a table
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "roc_auc": "AUC",
    "log_loss": "log loss",
}


@app.command()
def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder with one subfolder a class (or with a labels.csv), or a CSV with file or text,label[,group][,split].",
        ),
    ],
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
    remember_samples: Annotated[
        bool,
        typer.Option(
            "--remember-samples/--no-remember-samples",
            help="Keep digests of the training samples in the model, so that featx evaluate --model can tell them from new ones. "
            "Whoever has the same file or text can tell by them that it was among these.",
        ),
    ] = True,
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
    columns = column_choices(
        file=file_column,
        label=label_column,
        group=group_column,
        split=split_column,
        text=text_column,
        root=image_root,
    )
    dataset = featx.read_dataset(data, **columns)  # before featx.train is loaded: a mistake is told at once
    result = featx.train(
        dataset,
        out=out,
        backbone=backbone,
        tap=tap_of(tap),
        pooling=pooling,
        **features_choices(dataset.modality, preprocess=preprocess, max_length=max_length, window=window),
        heads=tuple(name.strip() for name in head.split(",") if name.strip()),
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
        print_json({**result.to_dict(), "skipped": _skipped(result.skipped), "out": saved})
        return
    _say_skipped(result.skipped)
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


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model saved by featx train or featx.save.")
    ],
    samples: Annotated[
        list[str],
        typer.Argument(
            metavar="SAMPLES",
            help="Image files, folders of them, patterns like 'new/*.jpg', or a CSV with a column of files; for a model of texts "
            "the texts themselves, a CSV with a column of texts, or a .txt file with a text a line. Of a CSV the column is taken "
            "that the model was trained on.",
        ),
    ],
    file_column: LearnedFileColumnOption = None,
    text_column: LearnedTextColumnOption = None,
    image_root: ImageRootOption = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: file or text, label, p_<class> ..., error.")
    ] = False,
    as_json: JsonOption = False,
    skip_unreadable: SkipOption = False,
    device: Annotated[
        str | None,
        typer.Option("--device", help="Where to compute; default: as the model says.", show_default=False),
    ] = None,
    cache: CacheOption = "default",
    quiet: QuietOption = False,
) -> None:
    """Predict the labels of images or texts.

    One row a sample, in the order in which they are named; the images of a folder by name.
    """
    from featx.artifact import describe
    from featx.inputs.arguments import images_of, texts_of

    if as_csv and as_json:
        raise ParameterError("--csv and --json: give one of them.")
    known = describe(model)
    if {record.kind for record in known.features} == {"text"}:
        if file_column is not None or image_root is not None:
            raise ParameterError("--file-column and --image-root: are for images, and the model takes texts.")
        given = texts_of(samples, column=text_column, learned=known.sample_column)
    else:
        if text_column is not None:
            raise ParameterError("--text-column: is for texts, and the model takes images.")
        given = images_of(samples, column=file_column, learned=known.sample_column, image_root=image_root)
    result = featx.predict(
        model,
        given,
        device=device,
        cache=cache_of(cache),
        skip_unreadable=skip_unreadable,
        verbose=shows_progress(quiet),
    )
    rows = [{**row, "error": one_line(row["error"])} for row in result.rows()]
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(rows)
    else:
        numbers = [name for name in rows[0] if name.startswith("p_")]
        if len(numbers) > _MOST_COLUMNS:  # only that of the label itself; --csv and --json give all
            rows = [
                {**row, "p": row[f"p_{row['label']}"] if row["label"] is not None else None} for row in rows
            ]
            numbers = ["p"]
        names = [
            "file" if result.modality == "image" else "text",
            "label",
            *numbers,
            *(["error"] if result.errors else []),
        ]
        print_table(names, [[_cell(row[name]) for name in names] for row in rows], right=numbers)
    if len(result.errors) == len(rows):
        raise DatasetError(f"none of the {len(rows)} {result.modality}s could be read.")
    if result.errors:
        print_error(
            f"warning: {len(result.errors)} of {len(rows)} {result.modality}s could not be read and have no label."
        )


@app.command()
def embed(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder of images, a CSV with a column of files or texts, or a .txt file with a text a line.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write the vectors: a .npy file.")
    ],
    backbone: BackboneOption = None,
    tap: TapOption = None,
    pooling: PoolingOption = "auto",
    max_length: MaxLengthOption = None,
    preprocess: PreprocessOption = None,
    window: WindowOption = None,
    file_column: FileColumnOption = "file",
    label_column: LabelColumnOption = "label",
    group_column: GroupColumnOption = None,
    split_column: SplitColumnOption = None,
    text_column: TextColumnOption = None,
    image_root: ImageRootOption = None,
    skip_unreadable: SkipOption = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are already there.")
    ] = False,
    device: DeviceOption = "auto",
    cache: CacheOption = "default",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write vectors, and a manifest of files and digests.

    The manifest's digests are samples wherever the cache folder goes, without images or texts. What is skipped is a row of NaN.
    """
    from featx.embedding import embedding_files
    from featx.inputs.datasets import read_samples

    columns = column_choices(
        file=file_column,
        label=label_column,
        group=group_column,
        split=split_column,
        text=text_column,
        root=image_root,
    )
    files = embedding_files(out, overwrite=overwrite)  # refused before the work, not after it
    if any(file.exists() and data.exists() and file.samefile(data) for file in files):
        raise ParameterError(f"--out {out}: would replace {data}, which is read. Choose another name.")
    dataset = read_samples(data, **columns)
    result = featx.embed(
        dataset,
        backbone=backbone,
        tap=tap_of(tap),
        pooling=pooling,
        **features_choices(dataset.modality, preprocess=preprocess, max_length=max_length, window=window),
        skip_unreadable=skip_unreadable,
        device=device,
        cache=cache_of(cache),
        verbose=shows_progress(quiet),
    )
    written = featx.write_embedding(result, out, overwrite=overwrite)
    n, d = result.vectors.shape
    if as_json:
        names = [str(path) for path in written]
        counts = {"n": n, "d": d, "n_computed": result.n_computed}
        print_json({**counts, "files": names, "skipped": _skipped(result.skipped)})
        return
    _say_skipped(result.skipped)
    missing = f", {len(result.errors)} of them NaN" if result.errors else ""
    say(
        f"{n} x {d} vectors{missing}, {result.n_computed} embedded now: {', '.join(str(path) for path in written)}"
    )


demo.register(app)
evaluate.register(app)
finetune.register(app)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say which devices work here, and why others do not.

    Exit status 1 where something is wrong that can be mended.
    """
    from featx.doctor import examine

    findings = examine()
    if as_json:
        print_json([{n: getattr(f, n) for n in ("name", "status", "detail", "advice")} for f in findings])
    else:
        for finding in findings:
            say(f"{finding.name:12} {finding.status:8} {finding.detail}")
            if finding.advice:
                say(f"{'':21} {finding.advice}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)


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


def _say_terms(backbone: Backbone) -> None:
    if backbone.terms:
        say(f"The model holds a copy of {backbone.name}, whose terms are: {backbone.terms}")


def _say_skipped(errors: Sequence[SampleError]) -> None:
    for error in errors:
        say(f"skipped {one_line(without_advice(str(error)))}")


def _skipped(errors: Sequence[SampleError]) -> list[dict[str, Any]]:
    return [
        {
            "file": error.name,
            "index": error.index,
            "place": error.place,
            "reason": one_line(error.message),
        }
        for error in errors
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
