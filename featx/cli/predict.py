"""``featx predict``: the labels that a saved model gives to images or texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import featx
from featx.cli.options import (
    CacheOption,
    ImageRootOption,
    JsonOption,
    LearnedFileColumnOption,
    LearnedTextColumnOption,
    QuietOption,
    SkipOption,
    cache_of,
    shows_progress,
)
from featx.cli.output import one_line, print_csv, print_error, print_json, print_table
from featx.errors import DatasetError, ParameterError

__all__ = ["register"]

_MOST_COLUMNS = 5  # classes whose probabilities a table shows


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


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


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
