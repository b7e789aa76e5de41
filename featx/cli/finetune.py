"""``featx finetune``: a backbone tuned on a data set, beside what it does frozen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import featx
from featx.cli.options import (
    BackboneOption,
    CacheOption,
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
    SplitColumnOption,
    TapOption,
    TextColumnOption,
    WindowOption,
    cache_of,
    features_choices,
    shows_progress,
    tap_of,
)
from featx.cli.output import print_json, say
from featx.errors import LeakWarning, ParameterError, SampleError

if TYPE_CHECKING:
    from featx.tuning import Tuning

__all__ = ["register"]

_FEW = 20
"""Samples set aside, below which a standard error means little."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("finetune")(finetune)


def finetune(
    data: LabelledDataArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where to write the tuned backbone.", show_default=False
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FOLDER",
            help="Where to save the whole model, tuned backbone and head: for featx predict.",
            show_default=False,
        ),
    ] = None,
    backbone: BackboneOption = None,
    freeze_until: Annotated[
        str | None,
        typer.Option(
            "--freeze-until",
            metavar="WHERE",
            help="A tap up to which the network stays as it is (see featx backbones show), or the share of its weights to "
            "freeze, such as 0.7. Default: all of it is trained.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="At most.")] = 10,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Of AdamW, for the head and the last weights.")
    ] = 1e-4,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Samples a step.")] = 32,
    augment: Annotated[
        str | None,
        typer.Option(
            "--augment",
            metavar="RANGES",
            help="Of images: what may happen to them in an epoch, as featx.Augment names it, such as "
            "rotation_range=15,zoom_range=0.15,horizontal_flip=true.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        int, typer.Option("--patience", help="Stop after so many epochs without a better validation figure.")
    ] = 5,
    validation_fraction: Annotated[
        float,
        typer.Option(
            "--validation-fraction",
            metavar="SHARE",
            help="Of the samples to tune on: set aside to choose the epoch by, and whether tuning is worth it at all. With 0 the "
            "last epoch is kept, whatever it is worth.",
        ),
    ] = 0.1,
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
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            metavar="K",
            help="Judge in K folds over all rows, whatever their split, and tune on all of them at the end: K + 1 trainings.",
            show_default=False,
        ),
    ] = None,
    ignore_split: Annotated[
        bool, typer.Option("--ignore-split", help="Hold out a fifth of all rows, whatever their split.")
    ] = False,
    remember_samples: RememberOption = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a backbone or model that featx wrote.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="Where to train: auto, cpu, cuda or cuda:1.")
    ] = "auto",
    cache: CacheOption = "default",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the training and of what is held out.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tune a backbone on a data set, and write it.

    The head is fitted first, on the frozen backbone, and then both are trained from there; the epoch is chosen inside the
    training part. Beside the figures of the tuned backbone stand those of the frozen one, on the same samples that neither has
    seen. A run that was killed goes on where it was when the same command is given again.
    """
    from featx.tuning import finetune as tune

    dataset = featx.read_dataset(
        data,
        file_column=file_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        text_column=text_column,
        image_root=image_root,
    )
    warnings.simplefilter("ignore", LeakWarning)  # the result says them, and once is enough
    with _leaving_none_out():
        result = tune(
            dataset,
            out=out,
            model=model,
            remember_samples=remember_samples,
            backbone=backbone,
            features={
                "tap": tap_of(tap),
                "pooling": pooling,
                "cache": cache_of(cache),
                **features_choices(
                    dataset.modality, preprocess=preprocess, max_length=max_length, window=window
                ),
            },
            freeze_until=_boundary_of(freeze_until),
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            augment=_augment_of(augment),
            patience=patience,
            validation_fraction=validation_fraction,
            folds=folds,
            ignore_split=ignore_split,
            overwrite=overwrite,
            device=device,
            random_state=seed,
            verbose=shows_progress(quiet),
        )
    if as_json:
        print_json(result.to_dict())
        return
    say(result.comparison.format_table())
    say()
    say(_kept(result, dataset.noun))
    say(_advice(result))
    if out is not None:
        say(_written(result, out))
    if model is not None:
        say(f"Written {model}. Next: featx predict {model} NEW")
    if out is None and model is None:
        say("Not written: pass --model FOLDER to predict with it, or --out FOLDER for the backbone alone.")


def _kept(result: Tuning, noun: str) -> str:
    """Which network and head came out."""
    classifier, choice = result.classifier, result.classifier.choice_
    if choice.network == "tuned":
        head = "a head fitted anew" if choice.head == "refitted" else "the head trained along"
        few = ""
        if 0 < choice.n_validation < _FEW:
            few = f" Chosen on {choice.n_validation} {noun} that were set aside, which tell little: see --validation-fraction."
        epochs = f"kept epoch {classifier.best_epoch_} of {classifier.n_iter_}"
        return f"Tuned on {result.n_train} {noun}; {epochs}, with {head}.{few}"
    trained = f"Trained on {result.n_train} {noun}; kept the frozen backbone, unchanged"
    if choice.gain is None:
        return f"{trained}: no epoch came to an end that can be kept."
    gain, side = choice.gain.value, "lower" if choice.gain.value > 0 else "higher"
    few = (
        " So few tell little: set more aside with --validation-fraction."
        if choice.n_validation < _FEW
        else ""
    )
    return (
        f"{trained}: on {choice.n_validation} of them that were set aside the tuned one's log loss, at the best temperature of "
        f"each, was {abs(gain):.3f} {side}, with a standard error of {choice.gain.standard_error:.3f}.{few}"
    )


def _written(result: Tuning, out: Path) -> str:
    """What the folder is."""
    if result.classifier.choice_.network == "frozen":
        return f"Written {out}: a copy of the frozen backbone, as its card says. Nothing in it was tuned."
    return f"Written {out}: a backbone like any other, --backbone {out}. Judge it on samples that it was not tuned on."


def _advice(result: Tuning) -> str:
    """Whether it was worth it."""
    gain, figure = result.gain, result.comparison.evaluations[0].main.headline.replace("_", " ")
    words = f"tuned less frozen, {figure}: {gain}"
    if gain.low is not None and gain.low > 0:
        return f"Tuning helps here ({words})."
    if gain.high is not None and gain.high < 0:
        return f"Tuning harms here ({words}). Stay with the frozen backbone: featx train."
    if gain.value == 0 and (gain.low, gain.high) in ((None, None), (0, 0)):
        return "So both predict the same. The frozen backbone is all that is needed: featx train."
    return f"Whether tuning helps cannot be told here ({words}). The frozen backbone costs less: featx train."


@contextmanager
def _leaving_none_out() -> Iterator[None]:
    """Let the error of a sample not advise to leave it out by an option, which this command does not have."""
    try:
        yield
    except SampleError as error:
        message = error.message.replace(', or pass on_error="nan"', "")
        raise type(error)(message, index=error.index, name=error.name, place=error.place) from error


def _boundary_of(text: str | None) -> str | float | None:
    """A share where the text is a number, else a name."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _augment_of(text: str | None) -> dict[str, Any] | None:
    """``rotation_range=15,brightness_range=0.8:1.2,horizontal_flip=true`` as :class:`featx.Augment` takes it."""
    if text is None:
        return None
    values: dict[str, Any] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ParameterError(
                f"--augment: {part!r} gives no value; expected pairs such as rotation_range=15,horizontal_flip=true."
            )
        values[name.strip()] = _value_of(value.strip())
    return values


def _value_of(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        bounds = tuple(float(bound) for bound in text.split(":"))
    except ValueError:
        return text
    return bounds[0] if len(bounds) == 1 else bounds
