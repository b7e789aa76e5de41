"""One slice of a NIfTI or MGH/MGZ volume, oriented as radiologists look at it.

Owns what an axis is: a volume is read in the orientation nearest to RAS+ (nibabel's closest canonical one), so ``axial`` means
axial however the file lies. Slices are turned as DICOM shows them: the patient's right on the left of the picture; front (axial)
or head (coronal, sagittal) on top; of a sagittal slice the front on the left.

Such files say nothing of black and white, so values of more than 8 bits need a window. What a header claims is checked before
memory is taken for it.
"""

from __future__ import annotations

import io
import struct
import zlib
from math import prod
from typing import Any

import numpy as np

from featx.errors import MissingExtraError, SampleError, UnreadableSampleError
from featx.inputs.frames import AXES, Frame
from featx.inputs.values import Values, linear

__all__ = ["count_slices", "middle_slice", "read_volume", "volume_kind"]

_LARGEST_BYTES = 2 << 30
_HEADER_BYTES = 1024
_REMOVE = 'Remove it, or pass on_error="nan".'
# Along which axis of RAS+ slices follow one another, and which axes are the rows and columns of the picture.
_PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
_MGH_TYPES = (0, 1, 3, 4)


def volume_kind(data: bytes) -> str | None:
    """``"nifti"``, ``"nifti2"`` or ``"mgh"``, also of gzipped files; None of others."""
    head = _inflated(data, _HEADER_BYTES) if _is_gzip(data) else data[:_HEADER_BYTES]
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti2"
    if len(head) < 24:
        return None
    version, *sizes, kind = struct.unpack_from(">6i", head)
    return "mgh" if version == 1 and min(sizes) > 0 and kind in _MGH_TYPES else None


def read_volume(data: bytes, frame: Frame | None) -> Values:
    """One slice of a volume.

    Parameters
    ----------
    data : bytes
        The file, gzipped or not.
    frame : Frame or None
        None takes the middle axial slice of the first volume.

    Raises
    ------
    MissingExtraError
        nibabel is not installed.
    UnreadableSampleError
        Truncated or corrupt.
    SampleError
        No such slice, or no volume of numbers.
    """
    header = _header(data)
    shape = _shape(header)
    if frame is None:
        frame = _middle(header)
    if frame.axis not in AXES:
        raise SampleError(f"#{frame}: this is a volume. Its slices are named by their axis: #axial=0.")
    n_slices = _count_along(header, frame.axis)
    if frame.index >= n_slices or frame.volume >= shape[3]:
        raise SampleError(
            f"#{frame}: there is none, it has {n_slices} {frame.axis} slices in {shape[3]} volume(s), counted from 0."
        )
    if header.get_data_dtype().kind not in "iuf" and header.get_data_dtype().names != ("R", "G", "B"):
        raise SampleError(f"holds values of type {header.get_data_dtype()}, no picture. Leave it out.")
    try:
        return _slice(_whole(data, header), header, frame)
    except (SampleError, MemoryError):
        raise
    except Exception as error:  # of nibabel and numpy, where a header makes no sense
        raise UnreadableSampleError(
            f"not a readable volume ({type(error).__name__} at its slice {frame}). {_REMOVE}"
        ) from error


def count_slices(data: bytes, axis: str) -> tuple[int, int]:
    """How many slices along an axis a volume has, and how many volumes the file.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.

    Raises
    ------
    As :func:`read_volume`.
    """
    header = _header(data)
    return _count_along(header, axis), _shape(header)[3]


def middle_slice(data: bytes) -> Frame:
    """The slice that a volume means where none is named: the middle axial one of the first volume.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.

    Raises
    ------
    As :func:`read_volume`.
    """
    return _middle(_header(data))


def _middle(header: Any) -> Frame:
    return Frame("axial", _count_along(header, "axial") // 2)


def _header(data: bytes) -> Any:
    """The header, whose sizes can be those of a volume."""
    try:
        import nibabel
    except ImportError as error:
        raise MissingExtraError(
            'NIfTI and MGZ files are read with nibabel: pip install "featx[medical]".'
        ) from error
    kinds: dict[str, Any] = {
        "nifti": nibabel.Nifti1Header,
        "nifti2": nibabel.Nifti2Header,
        "mgh": nibabel.freesurfer.MGHImage.header_class,
    }
    kind = kinds[volume_kind(data) or "nifti"]
    head = _inflated(data, _HEADER_BYTES) if _is_gzip(data) else data
    n_bytes = kind.template_dtype.itemsize
    try:
        # Of MGH the end of the header stands behind the values, and says nothing of them.
        header = kind(head[:n_bytes].ljust(n_bytes, b"\0"), check=False)
        shape, start, per_value = (
            header.get_data_shape(),
            header.get_data_offset(),
            header.get_data_dtype().itemsize,
        )
        oriented = np.isfinite(nibabel.orientations.io_orientation(header.get_best_affine())).all()
    except Exception as error:  # a header that anybody may have written
        raise UnreadableSampleError(
            f"not a readable volume ({type(error).__name__} in its header). {_REMOVE}"
        ) from error
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise SampleError(
            f"an array of shape {tuple(map(int, shape))}, expected a volume or a series of them. Leave it out."
        )
    if start < 0 or start + prod(map(int, shape)) * per_value > _LARGEST_BYTES:
        raise SampleError(
            f"its header says {' x '.join(map(str, shape))} values, more than {_LARGEST_BYTES:,} bytes. Split it first."
        )
    if not oriented:
        raise SampleError(
            "its header's affine gives its axes no directions. Write it anew with one that does."
        )
    return header


def _whole(data: bytes, header: Any) -> Any:
    """All values, encoded: an array that decodes what is taken from it, (i, j, k, volumes)."""
    from nibabel.arrayproxy import ArrayProxy

    n_bytes = (
        int(header.get_data_offset())
        + prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
    )
    if _is_gzip(data):
        data = _inflated(data, n_bytes)
    if len(data) < n_bytes:
        raise UnreadableSampleError(f"truncated: {len(data):,} bytes, expected {n_bytes:,}. {_REMOVE}")
    return ArrayProxy(io.BytesIO(data), header, mmap=False).reshape(_shape(header))


def _slice(volume: Any, header: Any, frame: Frame) -> Values:
    across, rows, columns = _PLANES[frame.axis]
    axes, forward = _orientation(header)
    at: list[Any] = [slice(None)] * 3
    n_slices = volume.shape[axes[across]]
    at[axes[across]] = frame.index if forward[across] else n_slices - 1 - frame.index
    plane = np.asanyarray(volume[(*at, frame.volume)])
    if axes[rows] > axes[columns]:
        plane = plane.T
    # Rows from the head or the front, columns from the right or the front: against the direction of RAS+ each.
    plane = plane[:: -1 if forward[rows] else 1, :: -1 if forward[columns] else 1]
    zooms = (*map(float, header.get_zooms()[:3]), 1.0)  # of two axes the third is one slice
    spacing = zooms[axes[rows]], zooms[axes[columns]]
    if plane.dtype.names:
        return Values(stored=np.stack([plane[name] for name in plane.dtype.names], axis=2), spacing=spacing)
    whole = plane.dtype == np.uint8
    return Values(stored=plane, own=linear(0, 255) if whole else None, spacing=spacing)


def _orientation(header: Any) -> tuple[list[int], list[bool]]:
    """Of each axis of RAS+, which axis of the array it is, and whether both go the same way."""
    from nibabel.orientations import io_orientation

    found = io_orientation(header.get_best_affine())
    axes = [int(np.flatnonzero(found[:, 0] == axis)[0]) for axis in range(3)]
    return axes, [bool(found[axis, 1] > 0) for axis in axes]


def _shape(header: Any) -> tuple[int, int, int, int]:
    first, second, third, fourth = (*map(int, header.get_data_shape()), 1, 1)[:4]
    return first, second, third, fourth


def _count_along(header: Any, axis: str) -> int:
    return _shape(header)[_orientation(header)[0][_PLANES[axis][0]]]


def _is_gzip(data: bytes) -> bool:
    return data[:2] == b"\x1f\x8b"


def _inflated(data: bytes, most: int) -> bytes:
    """The first `most` bytes of a gzip file's content, or as many as there are."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, most)
    except zlib.error:
        return b""
