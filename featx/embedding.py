"""``embed``: the vectors of a data set, and files with which they can be used where the images may not go.

Owns what is written beside the vectors: a manifest of files and content digests, and the feature spaces. A file asked for
appears whole or not at all, and no file that it could be mistaken for is replaced.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featx.backbone_features import BackboneFeatures
from featx.backbones.backbone import Backbone
from featx.backbones.feature_space import FeatureSpace
from featx.errors import BackboneError, DatasetError, ParameterError, PreprocessError, SampleError
from featx.features import ImageFeatures, TextFeatures
from featx.inputs.dataset import Dataset, count_missing, warn_of_empty_texts
from featx.inputs.datasets import read_samples
from featx.inputs.samples import sample_name
from featx.outputs import check_output, npy_path, write_output

__all__ = ["DataLike", "Embedding", "embed", "embedding_files", "make_features", "write_embedding"]

DataLike: TypeAlias = Dataset | str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Vectors of a data set with what is needed to use them elsewhere.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        NaN where a sample could not be read.
    keys : ndarray of uint8, shape (n, 16)
        Content digests; zero where a sample could not be read.
    dataset : Dataset
        The samples with labels, groups and split, in the order of the rows.
    spaces : tuple of FeatureSpace
        What the columns mean.
    errors : dict of int to SampleError
        What could not be read, by index.
    n_computed : int
        Distinct samples that met the network in this call.
    """

    vectors: NDArray[np.float32]
    keys: NDArray[np.uint8]
    dataset: Dataset
    spaces: tuple[FeatureSpace, ...]
    errors: dict[int, SampleError]
    n_computed: int

    @property
    def skipped(self) -> tuple[SampleError, ...]:
        """What could not be read, in the order of the samples."""
        return tuple(self.errors[i] for i in sorted(self.errors))


def embed(
    data: DataLike,
    *,
    backbone: str | os.PathLike[str] | Backbone | None = None,
    skip_unreadable: bool = False,
    verbose: bool = False,
    **features: Any,
) -> Embedding:
    """Embed every image or text of a data set.

    Parameters
    ----------
    data : Dataset or path
        See :func:`featx.read_dataset`; labels are not needed.
    backbone : str, path or Backbone, optional
        See :class:`featx.ImageFeatures` and :class:`featx.TextFeatures`, whose defaults None takes.
    skip_unreadable : bool
        Give rows of NaN to samples that cannot be read, instead of raising.
    verbose : bool
        Show progress.
    **features
        Further parameters of these: ``tap``, ``pooling``, ``device``, ``cache`` ...

    Raises
    ------
    DatasetError
        No data set there, or no sample of it can be read.
    BackboneError, SampleError, ParameterError

    Warns
    -----
    FeatxWarning
        Texts are empty, or were cut off at the longest input.
    """
    dataset = data if isinstance(data, Dataset) else read_samples(data)
    transformer = make_features(
        dataset.modality, backbone, skip_unreadable=skip_unreadable, verbose=verbose, **features
    )
    _fit(transformer, dataset)
    try:
        extraction = transformer.extract(dataset.samples)
    except SampleError as error:
        raise placed(error, dataset) from error
    errors = {i: placed(error, dataset) for i, error in extraction.errors.items()}
    if len(errors) == len(dataset):
        first = errors[min(errors)]
        raise DatasetError(
            f"{dataset.name}: none of its {len(dataset)} {dataset.noun} could be read. The first: {first}"
        )
    warn_of_empty_texts(dataset, left_out=errors)
    keys = extraction.keys.copy()
    keys[sorted(errors)] = 0  # a file that was read and not decoded has a digest, and no vector
    return Embedding(
        vectors=extraction.vectors,
        keys=keys,
        dataset=dataset,
        spaces=tuple(transformer.spaces_),
        errors=errors,
        n_computed=extraction.n_computed,
    )


def _fit(transformer: BackboneFeatures, dataset: Dataset) -> None:
    """Open the backbone; where it takes what the data set does not have, say so in words of the data set."""
    try:
        transformer.fit(None)
    except PreprocessError as error:
        other = "text" if dataset.modality == "image" else "image"
        kind = TextFeatures if other == "text" else ImageFeatures
        try:
            backbone = kind(transformer.backbone, cache=None).fit(None).backbone_
        except (BackboneError, ParameterError):  # it is no backbone of theirs either
            raise error from None
        where = "" if dataset.column is None else f", in the column {dataset.column!r}"
        what = "file_column=" if other == "image" else "text_column="
        raise DatasetError(
            f"{dataset.name}: holds {dataset.noun}{where}, and {backbone.name} takes {other}s. Choose another backbone, or name "
            f"a column of {other}s with {what}."
        ) from error


def placed(error: SampleError, dataset: Dataset) -> SampleError:
    """The error with the line of the data set's file that names its sample, and with a hint where none of its files is there."""
    if dataset.places is None or error.index is None:
        return error
    message = error.message
    paths = dataset.modality == "image" and dataset.column != "digest"
    if paths and len(dataset) > 1 and count_missing(dataset) == len(dataset):
        message += " None of the files is there: they are looked for beside the table, or in image_root=."
    return type(error)(message, index=error.index, name=error.name, place=dataset.places[error.index])


def make_features(
    modality: str,
    backbone: str | os.PathLike[str] | Backbone | None = None,
    *,
    skip_unreadable: bool = False,
    verbose: bool = False,
    **parameters: Any,
) -> BackboneFeatures:
    """An unfitted :class:`featx.ImageFeatures` or :class:`featx.TextFeatures`; names that it does not know are refused in words.

    Raises
    ------
    ParameterError
    """
    kind: type[BackboneFeatures] = ImageFeatures if modality == "image" else TextFeatures
    known = sorted(set(kind().get_params()) - {"backbone", "on_error", "verbose"})
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        hint = " on_error is skip_unreadable here." if "on_error" in unknown else ""
        raise ParameterError(
            f"unknown parameter(s) {', '.join(unknown)}; of {kind.__name__}'s parameters {', '.join(known)} can be given.{hint}"
        )
    if backbone is not None:
        parameters["backbone"] = backbone
    return kind(on_error="nan" if skip_unreadable else "raise", verbose=verbose, **parameters)


def embedding_files(out: str | os.PathLike[str], *, overwrite: bool = False) -> tuple[Path, Path, Path]:
    """The files that :func:`write_embedding` makes: ``<out>.npy``, ``<out>.manifest.csv``, ``<out>.spaces.json``.

    Raises
    ------
    OutputError
        One of them cannot be written there, or is there already and ``overwrite`` is not given.
    """
    array = npy_path(out)
    files = array, array.with_suffix(".manifest.csv"), array.with_suffix(".spaces.json")
    for path in files:
        check_output(path, overwrite=overwrite)
    return files


def write_embedding(
    embedding: Embedding, out: str | os.PathLike[str], *, overwrite: bool = False
) -> tuple[Path, Path, Path]:
    """Write vectors as ``.npy``, and beside it a manifest as ``.manifest.csv`` and the feature spaces as ``.spaces.json``.

    The manifest's ``digest`` column holds ``digest:<32 hex>`` for each row: :class:`featx.ImageFeatures` takes these as samples
    and serves their vectors from a store, so a model can be made where the images may not go.

    Parameters
    ----------
    embedding : Embedding
    out : path
        Gets ``.npy`` at its end where it has another.
    overwrite : bool, default=False
        Replace files of these names.

    Returns
    -------
    tuple of Path
        The three files.

    Raises
    ------
    OutputError
        They cannot be written, or one is there already and ``overwrite`` is not given.
    """
    array, manifest, spaces = embedding_files(out, overwrite=overwrite)
    described = {
        "n": len(embedding.vectors),
        "spaces": [{"id": space.id, **space.to_dict()} for space in embedding.spaces],
    }
    table = _manifest(embedding).encode()
    text = (json.dumps(described, indent=2) + "\n").encode()
    write_output(array, lambda file: np.save(file, embedding.vectors))
    write_output(manifest, lambda file: file.write(table))
    write_output(spaces, lambda file: file.write(text))
    return array, manifest, spaces


def _manifest(embedding: Embedding) -> str:
    dataset = embedding.dataset
    columns: dict[str, Sequence[Any]] = {"row": range(len(dataset))}
    if dataset.modality == "image":  # texts stay where they are
        columns["file"] = [_file(sample, i, dataset.root) for i, sample in enumerate(dataset.samples)]
    columns["digest"] = ["" if not key.any() else f"digest:{key.tobytes().hex()}" for key in embedding.keys]
    optional = {"label": dataset.labels, "group": dataset.groups, "split": dataset.split}
    columns |= {name: values.tolist() for name, values in optional.items() if values is not None}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _file(sample: Any, index: int, root: str) -> str:
    name = sample_name(sample, index)
    with suppress(ValueError):
        name = Path(name).relative_to(root).as_posix()
    # Names that no CSV in UTF-8 can hold are written with escapes: to be read by people, and by nobody as a path.
    return name.encode("utf-8", "backslashreplace").decode().replace("\r", "\\r")
