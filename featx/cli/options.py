"""Options and arguments that several commands share, each written once."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from featx.errors import ParameterError, PreprocessError

__all__ = [
    "BackboneOption",
    "CacheOption",
    "DeviceOption",
    "FileColumnOption",
    "GroupColumnOption",
    "ImageRootOption",
    "JsonOption",
    "LabelColumnOption",
    "LabelledDataArgument",
    "LearnedFileColumnOption",
    "LearnedTextColumnOption",
    "MaxLengthOption",
    "PoolingOption",
    "PreprocessOption",
    "QuietOption",
    "RememberOption",
    "SkipOption",
    "SplitColumnOption",
    "TapOption",
    "TextColumnOption",
    "WindowOption",
    "cache_of",
    "features_choices",
    "names_of",
    "preprocess_of",
    "shows_progress",
    "tap_of",
    "window_of",
]

LabelledDataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A folder with one subfolder a class (or with a labels.csv), or a CSV with file or text,label[,group][,split].",
    ),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        "-b",
        metavar="REF",
        help="A name (see featx backbones list), a folder in Hugging Face layout, an .onnx file, or hub:owner/name. "
        "Default: compact for images, minilm for texts.",
        show_default=False,
    ),
]
TapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tap",
        help='Where to read the network (see featx backbones show); several, with commas, stand side by side. Default "pooled".',
        show_default=False,
    ),
]
PoolingOption = Annotated[
    str,
    typer.Option(
        "--pooling",
        help="How positions become one vector. Of images: auto; avg, max or gem of maps; cls, mean or max of tokens. Of texts: "
        "auto (as the publisher does), mean, cls, max or last. A tap that is one vector has none.",
    ),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        metavar="TOKENS",
        help="Of texts: the longest input. Default: the publisher's.",
        show_default=False,
    ),
]
PreprocessOption = Annotated[
    Path | None,
    typer.Option(
        "--preprocess",
        metavar="FILE",
        help="A preprocessor_config.json, for a backbone that comes without one, or to use instead of its own.",
        show_default=False,
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="WINDOW",
        help="Of images of more than 8 bits: CENTER,WIDTH such as -600,1500, or percentiles, or percentiles:LOW,HIGH. Default: "
        "what each file says itself, as DICOM files do.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Where to compute: auto, cpu, cuda, cuda:1 or tensorrt.")
]
CacheOption = Annotated[
    str,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help='Where vectors are kept; "default" is FEATX_CACHE or the user\'s cache folder, "none" keeps none.',
    ),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="Go on without samples that cannot be read, and list them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RememberOption = Annotated[
    bool,
    typer.Option(
        "--remember-samples/--no-remember-samples",
        help="Keep digests of the training samples in the model, so that featx evaluate --model can tell them from new ones. "
        "Whoever has the same file or text can tell by them that it was among these.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]

FileColumnOption = Annotated[
    str, typer.Option("--file-column", metavar="NAME", help="Column of a CSV that names the files.")
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help='Column of a CSV that holds texts. Default: "text", where there is no column of files.',
        show_default=False,
    ),
]
LearnedFileColumnOption = Annotated[
    str | None,
    typer.Option(
        "--file-column",
        metavar="NAME",
        help='Column of a CSV that names the files. Default: that of the model\'s training, else "file".',
        show_default=False,
    ),
]
LearnedTextColumnOption = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help='Column of a CSV that holds texts. Default: that of the model\'s training, else "text".',
        show_default=False,
    ),
]
ImageRootOption = Annotated[
    Path | None,
    typer.Option(
        "--image-root",
        metavar="FOLDER",
        help="What the files of a CSV are relative to. Default: the CSV's folder.",
        show_default=False,
    ),
]
LabelColumnOption = Annotated[
    str, typer.Option("--label-column", metavar="NAME", help="Column of a CSV that holds the labels.")
]
GroupColumnOption = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        metavar="NAME",
        help='Column of what must stay together, such as a patient. Default: "group", where there is one.',
        show_default=False,
    ),
]
SplitColumnOption = Annotated[
    str | None,
    typer.Option(
        "--split-column",
        metavar="NAME",
        help='Column of train, val and test. Default: "split", where there is one.',
        show_default=False,
    ),
]


def cache_of(text: str) -> str | None:
    """``cache=`` of an option's text."""
    if not text:
        raise ParameterError('--cache must be "default", "none" or a folder, got an empty word.')
    return None if text == "none" else text


def names_of(text: str) -> tuple[str, ...]:
    """The names in an option's text, with commas between them.

    Examples
    --------
    >>> names_of("logistic, svm,")
    ('logistic', 'svm')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def tap_of(names: Sequence[str] | None) -> str | list[str]:
    """``tap=`` of an option given any number of times, or with commas between names."""
    taps = [tap for text in names or ["pooled"] for tap in names_of(text)]
    return taps[0] if len(taps) == 1 else taps


def preprocess_of(path: Path | None) -> dict[str, Any] | None:
    """``preprocess=`` from a file in Hugging Face's format."""
    if path is None:
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PreprocessError(
            f"{path}: not readable as JSON ({error}). Give a preprocessor_config.json."
        ) from error
    if not isinstance(config, dict):
        raise PreprocessError(f"{path}: expected a JSON object, found {type(config).__name__}.")
    return config


def window_of(text: str | None) -> Any:
    """``window=`` of an option's text."""
    from featx import Window

    return None if text is None else Window.parse(text)


def features_choices(
    modality: str, *, preprocess: Path | None, max_length: int | None, window: str | None = None
) -> dict[str, Any]:
    """Parameters of the features estimator that only one modality has; one that does not fit is refused."""
    if modality == "text":
        for option, value in (("--preprocess", preprocess), ("--window", window)):
            if value is not None:
                raise ParameterError(f"{option}: is for images, and these are texts.")
        return {} if max_length is None else {"max_length": max_length}
    if max_length is not None:
        raise ParameterError("--max-length: is for texts, and these are images.")
    return {"preprocess": preprocess_of(preprocess), "window": window_of(window)}


def shows_progress(quiet: bool) -> bool:
    """Progress is for people: on a terminal, unless it is not wanted."""
    return not quiet and sys.stderr.isatty()
