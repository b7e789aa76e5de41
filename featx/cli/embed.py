"""``featx embed``: vectors, and what says whose they are, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    features_choices,
    shows_progress,
    tap_of,
)
from featx.cli.output import print_json, say, say_skipped, skipped_as_rows
from featx.errors import ParameterError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("embed")(embed)


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

    files = embedding_files(out, overwrite=overwrite)  # refused before the work, not after it
    if any(file.exists() and data.exists() and file.samefile(data) for file in files):
        raise ParameterError(f"--out {out}: would replace {data}, which is read. Choose another name.")
    columns: dict[str, Any] = {
        "file_column": file_column,
        "label_column": label_column,
        "group_column": group_column,
        "split_column": split_column,
        "text_column": text_column,
        "image_root": image_root,
    }
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
        print_json({**counts, "files": names, "skipped": skipped_as_rows(result.skipped)})
        return
    say_skipped(result.skipped)
    missing = f", {len(result.errors)} of them NaN" if result.errors else ""
    say(
        f"{n} x {d} vectors{missing}, {result.n_computed} embedded now: {', '.join(str(path) for path in written)}"
    )
