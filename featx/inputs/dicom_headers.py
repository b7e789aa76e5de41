"""DICOM files as the elements that decide pixels, and nothing else.

Only those elements are parsed, so nothing that names a patient is in memory. A damaged file may all the same hold a name where a
number belongs: so no message quotes a value, and what pydicom warns and logs meanwhile is kept back. What a header claims is
checked before memory is taken for it.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featx.errors import MissingExtraError, SampleError, UnreadableSampleError

__all__ = ["PIXELS", "count_frames", "is_dicom", "parsed", "patient_id", "reading", "table_of"]

_LARGEST_PX = 89_478_485  # rows times columns: PIL's own limit for a decompression bomb
_MOST_INFLATED_BYTES = 2 << 30
_REMOVE = 'Remove it, or pass on_error="nan".'
_DEFLATED = "1.2.840.10008.1.2.1.99"

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PALETTE = ("RedPaletteColorLookupTable", "GreenPaletteColorLookupTable", "BluePaletteColorLookupTable")
_KEYWORDS = (
    *("SOPClassUID", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PlanarConfiguration", "PhotometricInterpretation", "NumberOfFrames"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"{channel}{end}" for channel in _PALETTE for end in ("Data", "Descriptor")),
    *("PaletteColorLookupTableUID", *(f"Segmented{channel}Data" for channel in _PALETTE)),
    *PIXELS,
)


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM: by its mark, or where that is left out, by its first element (group 0008, little endian)."""
    return data[128:132] == b"DICM" or re.match(rb"\x08\x00[\x00\x01\x05\x08\x16]\x00", data) is not None


@contextmanager
def reading() -> Iterator[Any]:
    """pydicom, with what it says of odd headers in this thread kept back.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise MissingExtraError('DICOM files are read with pydicom: pip install "featx[medical]".') from error
    if not warnings.filters or warnings.filters[0] != _FILTER:  # see featx.inputs.pil_guards for the way
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")
    logger = logging.getLogger("pydicom")
    if _QUIET not in logger.filters:
        logger.addFilter(_QUIET)
    _QUIET.here.is_reading = True
    try:
        yield pydicom
    finally:
        _QUIET.here.is_reading = False


# (action, message, category, module, line) as in warnings.filters: pydicom's modules, UserWarning only.
_FILTER = ("ignore", None, UserWarning, re.compile(r"pydicom\."), 0)


class _Quiet(logging.Filter):
    """Drops what is logged in a thread that is reading; what others do with pydicom is their own."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "is_reading", False)


_QUIET = _Quiet()


def parsed(pydicom: Any, data: bytes) -> Any:
    """The elements that decide pixels, as a data set that knows its transfer syntax.

    Raises
    ------
    UnreadableSampleError
    """
    _refuse_inflated(data)
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_KEYWORDS))
    except Exception as error:  # a parser of files that anybody may have written
        raise UnreadableSampleError(
            f"not a readable DICOM file ({type(error).__name__} after {len(data):,} bytes). {_REMOVE}"
        ) from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain if little else pydicom.uid.ExplicitVRBigEndian
    return dataset


def patient_id(path: str) -> str | None:
    """The PatientID of a DICOM file, in clear: for :mod:`featx.inputs.patients`, which hashes it; None where there is none.

    Raises
    ------
    MissingExtraError
        pydicom is not installed.
    """
    try:
        with reading() as pydicom, open(path, "rb") as file:
            head = file.read(132)
            file.seek(0)
            if not is_dicom(head):
                return None
            dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=["PatientID"])
            # As it is stored: what pydicom makes of a value it may also quote in a log.
            raw = dataset.get_item("PatientID")
    except MissingExtraError:
        raise
    except Exception:  # not there, or not DICOM: what the error says may quote the ID, so it goes nowhere
        return None
    found = bytes(raw.value or b"").decode("latin-1").strip(" \0") if raw is not None else ""
    return found or None


def table_of(dataset: Any) -> dict[str, Any]:
    """The values of a file's own elements by keyword, but for its pixels."""
    return {name: dataset[name].value for name in _KEYWORDS if name in dataset and name not in PIXELS}


def count_frames(dataset: Any, n_bytes: int) -> int:
    """The number of frames, once the header is that of a picture and its sizes can be those of this file.

    Raises
    ------
    UnreadableSampleError, SampleError
    """
    pixels = next((name for name in PIXELS if name in dataset), None)
    try:
        kind: Any = dataset.get("SOPClassUID") or ""
        what = kind.name if kind and kind.name != kind else ""  # a UID that nobody knows is its own name
        compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
        rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        n_frames = max(1, int(dataset.get("NumberOfFrames") or 1))
        channels, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 0)
    except Exception:  # of pydicom, whose words may quote a value
        raise UnreadableSampleError(
            f"not a readable DICOM file (its header makes no sense). {_REMOVE}"
        ) from None
    if pixels is None and not rows:
        if not what:
            raise UnreadableSampleError(f"a DICOM file without pixels: truncated, or no image. {_REMOVE}")
        raise SampleError(f"a DICOM file without an image ({what}). Leave it out.")
    if pixels is None:
        raise UnreadableSampleError(f"truncated before its pixels, after {n_bytes:,} bytes. {_REMOVE}")
    if rows < 1 or columns < 1 or bits not in (1, 8, 16, 32, 64) or channels not in (1, 3):
        raise SampleError(
            f"{rows} x {columns} pixels of {channels} channel(s) of {bits} bits: no picture. Leave it out."
        )
    if rows * columns > _LARGEST_PX:
        raise SampleError(f"{rows:,} x {columns:,} pixels are more than {_LARGEST_PX:,}. Crop it first.")
    if not compressed:
        colour = 2 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else channels
        expected = (rows * columns * n_frames * colour * bits + 7) // 8
        found = len(dataset[pixels].value or b"")
        if found < expected:
            raise UnreadableSampleError(
                f"truncated: {found:,} bytes of pixels, expected {expected:,}. {_REMOVE}"
            )
    return n_frames


def _refuse_inflated(data: bytes) -> None:
    """Refuse a deflated file that would take too much memory; pydicom inflates one whole."""
    at = data.find(_DEFLATED.encode(), 132, 2048)
    if at < 0 or len(data) < 144:
        return
    # Behind the group of meta information, whose length is its first element.
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater, left, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    try:
        while left and not inflater.eof:
            n_bytes += len(inflater.decompress(left, 1 << 24))
            left = inflater.unconsumed_tail
            if n_bytes > _MOST_INFLATED_BYTES:
                raise SampleError(f"inflates to more than {_MOST_INFLATED_BYTES:,} bytes. {_REMOVE}")
    except zlib.error:
        raise UnreadableSampleError(f"a deflated DICOM file that does not inflate. {_REMOVE}") from None
