"""Which picture of a file with several a sample is: the part of its name behind ``#``.

``scan.nii.gz#axial=40`` is a slice of a volume, ``run.dcm#frame=7`` a frame; counted from 0. Without such a part a file means one
picture by a fixed rule: of frames of a DICOM file and of slices of a volume the middle one (axial, of the first volume), of other
files with several pages the first. Named or not, that picture is one sample (:func:`featx.inputs.slices.frame_beside_file`).
Opens nothing.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

__all__ = ["AXES", "Frame", "file_of", "parse_frame", "stat_file"]

AXES = ("axial", "coronal", "sagittal")

_PART = re.compile(r"#(frame|axial|coronal|sagittal)=(\d{1,9})(?:,volume=(\d{1,9}))?\Z")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a file with several.

    Parameters
    ----------
    axis : {"frame", "axial", "coronal", "sagittal"}
        ``"frame"`` of frames and pages; of volumes the direction that slices follow one another in.
    index : int
        Counted from 0: axial slices from the feet, coronal ones from the back, sagittal ones from the left.
    volume : int
        Of a series of volumes (4-D), counted from 0.
    """

    axis: str
    index: int
    volume: int = 0

    def __str__(self) -> str:
        return f"{self.axis}={self.index}" + (f",volume={self.volume}" if self.volume else "")


def parse_frame(sample: str) -> tuple[str, Frame | None]:
    """The file that a sample names, and which picture of it; None where it does not say.

    Examples
    --------
    >>> parse_frame("scan.nii.gz#axial=40,volume=2")
    ('scan.nii.gz', Frame(axis='axial', index=40, volume=2))
    >>> parse_frame("odd#name.png")
    ('odd#name.png', None)
    """
    found = _PART.search(sample) if "#" in sample else None
    if found is None:
        return sample, None
    return sample[: found.start()], Frame(found[1], int(found[2]), int(found[3] or 0))


def file_of(sample: str) -> str:
    """The file that a sample names."""
    return parse_frame(sample)[0]


def stat_file(sample: str) -> os.stat_result:
    """``os.stat`` of the file that a sample names."""
    return os.stat(parse_frame(sample)[0] if "#" in sample else sample)
