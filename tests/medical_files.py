"""Small DICOM and NIfTI files, made here. Loaded by the fixture ``medical``."""

from __future__ import annotations

import gzip
import io
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

PATIENT_NAME = "DOE^JANE"
PATIENT_ID = "MRN-0815-4711"


def lut(entries: NDArray[Any], first: int, n_bits: int) -> Dataset:
    """An item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, n_bits])
    item.add_new(0x00283006, "US", entries.tolist())
    return item


def dataset(pixels: NDArray[Any], *, photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """A data set of pixels (h, w), (h, w, 3) or, with ``NumberOfFrames``, (n, h, w), of a patient with a name."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    made.PatientName, made.PatientID = PATIENT_NAME, PATIENT_ID
    colour = pixels.shape[-1] == 3 and photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = (3 if colour else 1), photometric
    if colour:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.add_new(0x7FE00010, "OW" if pixels.dtype.itemsize > 1 else "OB", pixels.tobytes())
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def encoded(made: Dataset, *, preamble: bool = True) -> bytes:
    """The file."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=preamble)
    return file.getvalue()


def dicom(pixels: NDArray[Any], **elements: Any) -> bytes:
    """The file of such a data set."""
    return encoded(dataset(pixels, **elements))


def nifti(
    values: NDArray[Any],
    affine: NDArray[Any] | None = None,
    *,
    zipped: bool = False,
    kind: str = "Nifti1Image",
) -> bytes:
    """A NIfTI or MGH file; without an affine it lies in RAS+ with edges of 1 mm."""
    image = getattr(nibabel, kind)(values, np.eye(4) if affine is None else affine)
    data: bytes = image.to_bytes()
    return gzip.compress(data, 1) if zipped else data
