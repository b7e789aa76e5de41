"""One frame of a DICOM file, decoded.

Owns which decoder reads which transfer syntax: always the first in one order that can, so that a file compressed with loss has
the same pixels wherever it is read. The size that a compressed frame says it has is checked before it is decoded.
"""

from __future__ import annotations

import struct
from typing import Any

from numpy.typing import NDArray

from featx.errors import SampleError, UnreadableSampleError

__all__ = ["decoded"]

_REMOVE = 'Remove it, or pass on_error="nan".'
_PLUGINS = ("pydicom", "pillow", "pylibjpeg", "pyjpegls", "gdcm")  # Pillow is always there
_12_BIT_JPEG = "1.2.840.10008.1.2.4.51"
_VIDEO = ("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")


def decoded(pydicom: Any, dataset: Any, index: int, n_frames: int) -> NDArray[Any]:
    """One frame as it is stored.

    Parameters
    ----------
    pydicom : module
    dataset : pydicom.Dataset
    index : int
        Of `n_frames`, counted from 0.

    Returns
    -------
    ndarray of shape (h, w), or (h, w, 3)
        YBR is RGB already.

    Raises
    ------
    UnreadableSampleError
        Truncated, or no decoder here reads it; names the package that does.
    SampleError
        A video, or a transfer syntax that pydicom does not know.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return pydicom.pixels.pixel_array(dataset, index=index)
    if syntax.startswith(_VIDEO):
        raise SampleError(f"a video ({syntax.name}). Extract pictures from it first.")
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise SampleError(
            f"compressed as {syntax.name}, which pydicom does not read. Convert it first."
        ) from None
    coded = _frame_bytes(pydicom, dataset, index, n_frames)
    size, expected = _coded_size(coded), (int(dataset.Rows), int(dataset.Columns))
    if size is not None and size != expected:
        raise UnreadableSampleError(
            f"its compressed frame has {size[0]:,} x {size[1]:,} pixels, its header says {expected[0]:,} x {expected[1]:,}. "
            f"{_REMOVE}"
        )
    for plugin in _PLUGINS:
        if plugin not in decoder.available_plugins:
            continue
        try:
            return pydicom.pixels.pixel_array(dataset, index=index, decoding_plugin=plugin)
        except MemoryError:
            raise
        except Exception:  # plugins raise what they please; the next one may read it
            continue
    raise UnreadableSampleError(_undecodable(syntax, decoder.available_plugins))


def _undecodable(syntax: Any, available: tuple[str, ...]) -> str:
    if syntax == _12_BIT_JPEG and "pylibjpeg" not in available:
        # Not in the extra: its licence is the GPL.
        return f"compressed as {syntax.name}, of 12 bits: pip install pylibjpeg pylibjpeg-libjpeg (GPL-3.0) reads it."
    if not available:
        return f'compressed as {syntax.name}: pip install "featx[medical]" brings what reads it.'
    return f"its pixels, compressed as {syntax.name}, cannot be decoded ({', '.join(available)} tried). {_REMOVE}"


def _frame_bytes(pydicom: Any, dataset: Any, index: int, n_frames: int) -> bytes:
    tables = [dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    try:
        return pydicom.encaps.get_frame(
            dataset.PixelData,
            index,
            number_of_frames=n_frames,
            extended_offsets=tuple(tables) if all(tables) else None,
        )
    except Exception:  # of lengths and offsets that lead nowhere
        raise UnreadableSampleError(
            f"truncated: its frame {index} of {n_frames:,} is not in it. {_REMOVE}"
        ) from None


def _coded_size(coded: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream says it has; None where it is neither.

    ISO/IEC 10918-1 B.2.2 and 14495-1 C.2.2 (SOF), 15444-1 A.5.1 (SIZ).
    """
    at = coded.find(b"\xff\x4f\xff\x51", 0, 1024)
    if at >= 0 and len(coded) >= at + 24:
        width, height, left, top = struct.unpack_from(">4I", coded, at + 8)
        return height - top, width - left
    if coded[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(coded) and coded[at] == 0xFF:
        marker, length = coded[at + 1], int.from_bytes(coded[at + 2 : at + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">2H", coded, at + 5)
            return rows, columns
        at += 2 + length if marker != 0xFF else 1
    return None
