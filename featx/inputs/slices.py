"""Files with several pictures as one sample a picture: slices of volumes, frames of DICOM files, pages of TIFFs.

A slice is known by its file's content and its number, see :mod:`featx.inputs.frames`. Slices of one file are alike, so they
belong to one group.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from featx.errors import ParameterError, SampleError, UnreadableSampleError
from featx.inputs.dataset import Dataset
from featx.inputs.dicom import count_dicom
from featx.inputs.dicom_headers import is_dicom
from featx.inputs.frames import AXES, Frame, parse_frame
from featx.inputs.images import count_pages
from featx.inputs.volumes import count_slices, middle_slice, volume_kind

__all__ = ["frame_beside_file", "list_slices", "slice_dataset"]


def list_slices(
    path: str | os.PathLike[str], *, axis: str = "axial", every: int = 1, volume: int = 0
) -> list[str]:
    """Samples for the pictures in a file, first to last.

    Parameters
    ----------
    path : path
        NIfTI or MGZ; or a multi-frame DICOM file, a TIFF or GIF with several pages, whose frames count whatever the axis.
    axis : {"axial", "coronal", "sagittal"}
        The direction that slices of a volume follow one another in.
    every : int
        Take each `every`-th, as many left out at either end.
    volume : int
        Of a series of volumes (4-D) the one to slice, counted from 0.

    Returns
    -------
    list of str
        Such as ``"scan.nii.gz#axial=40"``: samples for :class:`featx.ImageFeatures`, and names for the file column of a CSV.
        Of a file with one picture the path itself.

    Raises
    ------
    ParameterError
        No such axis, or `every` below 1.
    SampleError
        The file cannot be read or has no such volume.
    MissingExtraError
        nibabel or pydicom is not installed.
    """
    if axis not in AXES:
        raise ParameterError(f"axis={axis!r}: expected one of {', '.join(AXES)}.")
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
        raise ParameterError(f"every={every!r}: expected a whole number of at least 1.")
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UnreadableSampleError(f"cannot be read ({error.strerror}).", name=name) from error
    try:
        if volume_kind(data) is not None:
            n_slices, n_volumes = count_slices(data, axis)
            if not 0 <= volume < n_volumes:
                raise SampleError(f"volume={volume!r}: there is none, it has {n_volumes}, counted from 0.")
        else:
            axis, volume = "frame", 0
            n_slices = count_dicom(data) if is_dicom(data) else count_pages(data)
    except SampleError as error:
        raise type(error)(error.message, name=name) from error.__cause__
    if n_slices == 1:
        return [name]
    first = (n_slices - 1) % int(every) // 2
    return [f"{name}#{Frame(axis, index, volume)}" for index in range(first, n_slices, int(every))]


def frame_beside_file(data: bytes, frame: Frame | None) -> Frame | None:
    """Which picture a sample is beside the one that its file means: None where it is that one, named or not.

    The one definition of what two names of the same picture are: ``"run.dcm#frame=3"`` of seven frames and ``"run.dcm"``. Reads
    the header and no pixels.

    Parameters
    ----------
    data : bytes
        The file.
    frame : Frame or None
        As its name says.

    Raises
    ------
    MissingExtraError
        It takes nibabel or pydicom to tell, and that is not installed: what is not known is not guessed, as keys are made of it.
    """
    if frame is None:
        return None
    try:
        if volume_kind(data) is not None:
            meant = middle_slice(data)
        elif is_dicom(data):
            meant = Frame("frame", count_dicom(data) // 2)
        else:
            meant = Frame("frame", 0)
    except SampleError:  # a file that is none: whoever decodes it says so
        return frame
    return None if frame == meant else frame


def slice_dataset(dataset: Dataset, *, axis: str = "axial", every: int = 1) -> Dataset:
    """A data set of files as one of their slices; labels and split are those of the file.

    Parameters
    ----------
    dataset : Dataset
        Of images. Files that already name a slice stay as they are.
    axis, every
        As for :func:`list_slices`.

    Returns
    -------
    Dataset
        Its groups are those of `dataset`; where that has none the files, so that no fold parts slices of one.

    Raises
    ------
    ParameterError, SampleError, MissingExtraError
        As :func:`list_slices`.
    """
    if dataset.modality != "image":
        raise ParameterError(f"{dataset.name}: holds {dataset.noun}, which have no slices.")
    slices = [
        [sample] if parse_frame(sample)[1] else list_slices(sample, axis=axis, every=every)
        for sample in dataset.samples
    ]
    of = np.repeat(np.arange(len(slices)), [len(each) for each in slices])
    files = np.array([parse_frame(sample)[0] for sample in dataset.samples], dtype=str)
    groups = files if dataset.groups is None else dataset.groups
    return replace(
        dataset,
        samples=[sample for each in slices for sample in each],
        labels=None if dataset.labels is None else dataset.labels[of],
        groups=groups[of],
        split=None if dataset.split is None else dataset.split[of],
        places=None if dataset.places is None else [dataset.places[i] for i in of.tolist()],
    )
