"""Which files are medical images, and one picture of such a file as values."""

from __future__ import annotations

from featx.inputs.dicom import read_dicom
from featx.inputs.dicom_headers import is_dicom
from featx.inputs.frames import Frame
from featx.inputs.values import Values
from featx.inputs.volumes import read_volume, volume_kind

__all__ = ["is_medical", "read_medical"]


def is_medical(data: bytes) -> bool:
    """Whether a file is DICOM, NIfTI or MGH/MGZ, by its first bytes."""
    return is_dicom(data) or volume_kind(data) is not None


def read_medical(data: bytes, frame: Frame | None) -> Values:
    """One picture of such a file; None as `frame` takes the middle one.

    Raises
    ------
    MissingExtraError, UnreadableSampleError, SampleError
        As :func:`featx.inputs.dicom.read_dicom` and :func:`featx.inputs.volumes.read_volume`.
    """
    return read_dicom(data, frame) if is_dicom(data) else read_volume(data, frame)
