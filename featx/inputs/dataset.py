"""What is known of samples before they are looked at: :class:`Dataset`, and what is worth a warning in it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from featx.errors import DatasetError, FeatxWarning
from featx.inputs.frames import file_of
from featx.inputs.tables import is_missing

__all__ = ["Dataset", "count_missing", "warn_of_empty_texts"]

_SHOWN = 5  # classes that a summary lists


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Dataset:
    """Samples and what is known of them; every array has one entry a sample, in the same order.

    Attributes
    ----------
    samples : list of str
        Paths of the files, or texts; or ``"digest:<32 hex digits>"``.
    modality : {"image", "text"}
    labels : ndarray of str, shape (n_samples,), or None
    groups : ndarray of str, shape (n_samples,), or None
        What must not be parted by a fold: a patient, a source image.
    split : ndarray of str, shape (n_samples,), or None
        "train", "val" or "test"; "" where the file gives none.
    name : str
        The folder's name, or the CSV's.
    root : str
        What the paths in the file were relative to.
    skipped : tuple of str
        Files of a folder that are no images by their suffix, lie in no class, or are not in its ``labels.csv``; relative to
        `root`.
    column : str or None
        The column of a CSV that held the samples; None where none did.
    places : list of str, or None
        Where each sample is named, for messages: ``"labels.csv, line 19"``. None where the files themselves are listed.
    """

    samples: list[str]
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    split: np.ndarray | None = None
    name: str
    root: str
    skipped: tuple[str, ...] = field(default=())
    column: str | None = None
    places: Sequence[str] | None = None
    modality: str = "image"

    def __post_init__(self) -> None:
        if isinstance(self.samples, str):
            raise DatasetError(f"{self.name}: samples is a single string, expected a list of them.")
        if not isinstance(self.samples, list):  # a Series counts by its labels, not by its rows
            object.__setattr__(self, "samples", list(self.samples))
        for what, values in (("labels", self.labels), ("groups", self.groups), ("split", self.split)):
            if values is not None and len(values) != len(self.samples):
                raise DatasetError(f"{what}: expected {len(self.samples)} values, found {len(values)}.")

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        """A summary: a listing of 100,000 paths would help nobody."""
        counts = (
            [] if self.labels is None else [f"{c} {int((self.labels == c).sum()):,}" for c in self.classes]
        )
        shown = ", ".join(counts[:_SHOWN]) + (
            f", ... ({len(counts)} classes)" if len(counts) > _SHOWN else ""
        )
        extra = "" if self.groups is None else f"; {len(set(self.groups.tolist())):,} groups"
        parts = (
            []
            if self.split is None
            else [name for name in ("train", "val", "test") if (self.split == name).any()]
        )
        split = f"; split {', '.join(parts)}" if parts else ""
        return f"Dataset({self.name!r}: {len(self):,} samples{'; ' * bool(shown)}{shown}{extra}{split})"

    @property
    def noun(self) -> str:
        """What the samples are called: ``"images"`` or ``"texts"``."""
        return f"{self.modality}s"

    def name_of(self, index: int) -> str:
        """A sample as a person knows it: its path; of a text its line, for a text is no name and may be private."""
        sample = self.samples[index]
        if self.modality == "image" and isinstance(sample, str):
            return sample
        return self.places[index] if self.places is not None else f"{self.modality} {index}"

    def listed_name(self, index: int) -> str:
        """As :meth:`name_of`, a path as the folder or the table has it: relative to the root where it lies below that."""
        name, root = self.name_of(index), os.path.join(self.root, "")
        return name.removeprefix(root) if self.root else name

    @property
    def classes(self) -> list[str]:
        """The distinct labels, sorted; none where there are no labels."""
        return [] if self.labels is None else sorted(set(self.labels.tolist()))


def count_missing(dataset: Dataset) -> int:
    """How many of the samples are not files on this disk."""
    return sum(not os.path.isfile(file_of(sample)) for sample in dataset.samples)


def warn_of_empty_texts(dataset: Dataset, *, left_out: Collection[int] = ()) -> None:
    """Say how many texts have no words and what becomes of them; nothing of images, or where every text has some.

    Parameters
    ----------
    dataset : Dataset
    left_out : collection of int
        Positions of texts that got no vector.

    Warns
    -----
    FeatxWarning
        Texts are empty, of white space, or what pandas and numpy write for a missing value.
    """
    if dataset.modality != "text":
        return
    empty = [
        i
        for i, text in enumerate(dataset.samples)
        if isinstance(text, str) and is_missing(text.strip()) and i not in left_out
    ]
    if not empty:
        return
    n = len(empty)
    words = "is empty" if n == 1 else "are empty"
    if any(dataset.samples[i].strip() for i in empty):
        words += ' or "nan"'
    more = f" and {n - 1:,} more" if n > 1 else ""
    warnings.warn(
        f"{dataset.name}: {n:,} of {len(dataset):,} texts {words} ({dataset.name_of(empty[0])}{more}). They are kept: empty ones "
        "all have one vector, that of a text without words, and folds keep them together. Remove them if they mean nothing.",
        FeatxWarning,
        stacklevel=3,
    )
