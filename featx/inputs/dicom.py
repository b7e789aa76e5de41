"""One picture of a DICOM file, and its patient's ID.

Owns what DICOM says of pixels, in the order of the standard (PS3.3, C.11; PS3.4, N.2): modality LUT or rescale slope, VOI LUT or
window, MONOCHROME1; palettes and YBR as colour. Only the elements that decide pixels are parsed, so nothing that names a patient
is in memory, let alone in an error or a log. What a header claims is checked before memory is taken for it.

Refuses files without pixels, truncated ones, compressed ones whose decoder is not installed (with the package to install), and
sizes that no picture has.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import MissingExtraError, SampleError, UnreadableSampleError
from featx.inputs.frames import Frame
from featx.inputs.values import Share, Values, linear

__all__ = ["count_frames", "is_dicom", "patient_id", "read_dicom"]

_LARGEST_PX = 89_478_485  # rows times columns: PIL's own limit for a decompression bomb
_MOST_INFLATED_BYTES = 2 << 30
_REMOVE = 'Remove it, or pass on_error="nan".'

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
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
    *_PIXELS,
)
_DEFLATED = "1.2.840.10008.1.2.1.99"
# In this order, so that a lossy file has the same pixels wherever it is decoded: Pillow is always there.
_PLUGINS = ("pydicom", "pillow", "pylibjpeg", "pyjpegls", "gdcm")
_12_BIT_JPEG = "1.2.840.10008.1.2.4.51"
_VIDEO = ("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM: by its mark, or where that is left out, by its first element (group 0008, little endian)."""
    return data[128:132] == b"DICM" or re.match(rb"\x08\x00[\x00\x01\x05\x08\x16]\x00", data) is not None


def read_dicom(data: bytes, frame: Frame | None) -> Values:
    """One picture of a DICOM file.

    Parameters
    ----------
    data : bytes
        The file.
    frame : Frame or None
        Of a file with several; None takes the middle one.

    Raises
    ------
    MissingExtraError
        pydicom is not installed.
    UnreadableSampleError
        Truncated, or not decodable here; the message names the package that decodes it.
    SampleError
        Not an image, no such frame, or sizes that no picture has.
    """
    dataset = _parsed(data)
    n_frames = _checked(dataset, len(data))
    index = n_frames // 2 if frame is None else _index(frame, n_frames)
    try:
        return _values(dataset, index, n_frames)
    except (SampleError, MemoryError):
        raise
    except Exception as error:  # whatever a header made by hand brings pydicom to
        raise UnreadableSampleError(
            f"not a readable DICOM image ({type(error).__name__} in what its header says of pixels). {_REMOVE}"
        ) from None


def count_frames(data: bytes) -> int:
    """How many frames a DICOM file has.

    Raises
    ------
    As :func:`read_dicom`.
    """
    return _checked(_parsed(data), len(data))


def patient_id(path: str) -> str | None:
    """The PatientID of a DICOM file, in clear: for :mod:`featx.inputs.patients`, which hashes it; None where there is none.

    Raises
    ------
    MissingExtraError
        pydicom is not installed.
    """
    pydicom = _pydicom()
    try:
        with open(path, "rb") as file:
            head = file.read(132)
            file.seek(0)
            if not is_dicom(head):
                return None
            dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=["PatientID"])
            # As it is stored: what pydicom makes of a value it may also quote in a log.
            raw = dataset.get_item("PatientID")
    except (
        Exception
    ):  # a file that is not there or not DICOM; what it says may quote the ID, so it goes nowhere
        return None
    found = bytes(raw.value or b"").decode("latin-1").strip(" \0") if raw is not None else ""
    return found or None


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise MissingExtraError('DICOM files are read with pydicom: pip install "featx[medical]".') from error
    _ignore_pydicom_warnings()
    return pydicom


# (action, message, category, module, line) as in warnings.filters: pydicom's modules, UserWarning only.
_FILTER = ("ignore", None, UserWarning, re.compile(r"pydicom\."), 0)


def _ignore_pydicom_warnings() -> None:
    """Keep pydicom's remarks on odd headers, which quote them, from the user; see :mod:`featx.inputs.images` for the way."""
    if not warnings.filters or warnings.filters[0] != _FILTER:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")


def _parsed(data: bytes) -> Any:
    """The elements that decide pixels."""
    pydicom = _pydicom()
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


def _refuse_inflated(data: bytes) -> None:
    """Refuse a deflated file that would take too much memory; pydicom inflates one whole."""
    at = data.find(_DEFLATED.encode(), 132, 2048)
    if at < 0 or len(data) < 144:
        return
    start = 144 + int.from_bytes(
        data[140:144], "little"
    )  # behind the file meta group, whose length is its first element
    inflater, left, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    try:
        while left and not inflater.eof:
            n_bytes += len(inflater.decompress(left, 1 << 24))
            left = inflater.unconsumed_tail
            if n_bytes > _MOST_INFLATED_BYTES:
                raise SampleError(f"inflates to more than {_MOST_INFLATED_BYTES:,} bytes. {_REMOVE}")
    except zlib.error:
        raise UnreadableSampleError(f"a deflated DICOM file that does not inflate. {_REMOVE}") from None


def _checked(dataset: Any, n_bytes: int) -> int:
    """The number of frames, once the header is that of a picture and its sizes can be those of this file."""
    pixels = next((name for name in _PIXELS if name in dataset), None)
    what = getattr(dataset.get("SOPClassUID"), "name", "")
    if pixels is None and "Rows" not in dataset:
        if not what:
            raise UnreadableSampleError(f"a DICOM file without pixels: truncated, or no image. {_REMOVE}")
        raise SampleError(f"a DICOM file without an image ({what}). Leave it out.")
    try:
        rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        n_frames = max(1, int(dataset.get("NumberOfFrames") or 1))
        channels, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 0)
    except (TypeError, ValueError):
        raise UnreadableSampleError(f"its header's sizes are no numbers. {_REMOVE}") from None
    if pixels is None:
        raise UnreadableSampleError(f"truncated before its pixels, after {n_bytes:,} bytes. {_REMOVE}")
    if rows < 1 or columns < 1 or bits not in (1, 8, 16, 32, 64) or channels not in (1, 3):
        raise SampleError(
            f"{rows} x {columns} pixels of {channels} channel(s) of {bits} bits: no picture. Leave it out."
        )
    if rows * columns > _LARGEST_PX:
        raise SampleError(f"{rows:,} x {columns:,} pixels are more than {_LARGEST_PX:,}. Crop it first.")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        colour = 2 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else channels
        expected = (rows * columns * n_frames * colour * bits + 7) // 8
        found = len(dataset[pixels].value or b"")
        if found < expected:
            raise UnreadableSampleError(
                f"truncated: {found:,} bytes of pixels, expected {expected:,}. {_REMOVE}"
            )
    return n_frames


def _index(frame: Frame, n_frames: int) -> int:
    if frame.axis != "frame" or frame.volume:
        raise SampleError(f"#{frame}: this is no volume. Of DICOM files frames are named: #frame=0.")
    if frame.index >= n_frames:
        raise SampleError(f"#{frame}: there is none, it has {n_frames} frame(s), counted from 0.")
    return frame.index


def _values(dataset: Any, index: int, n_frames: int) -> Values:
    pydicom = _pydicom()
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    stored = _decoded(dataset, index, n_frames)
    if photometric == "PALETTE COLOR":
        stored = pydicom.pixels.apply_color_lut(stored, dataset)
        return _colour(stored, 8 * stored.dtype.itemsize, dataset, index)
    if stored.ndim == 3:
        return _colour(stored, int(dataset.get("BitsStored") or 8), dataset, index)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise SampleError(
            f"photometric interpretation {photometric[:16]!r}, expected MONOCHROME1 or 2. Leave it out."
        )
    slope, intercept, bits = 1.0, 0.0, None
    if dataset.get("ModalityLUTSequence"):
        stored = pydicom.pixels.apply_modality_lut(stored, dataset)
    else:
        groups = _grouped(dataset, "PixelValueTransformationSequence", index)
        slope = float(_first(groups.get("RescaleSlope", 1)))
        intercept = float(_first(groups.get("RescaleIntercept", 0)))
        bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    return Values(
        stored=stored,
        slope=slope,
        intercept=intercept,
        own=_own_window(dataset, index) or _whole_range(dataset, bits, slope, intercept),
        inverted=photometric == "MONOCHROME1",
        padding=_padding(dataset),
        spacing=_spacing(dataset, index),
    )


def _decoded(dataset: Any, index: int, n_frames: int) -> NDArray[Any]:
    """One frame as it is stored, (h, w) or (h, w, 3); YBR as RGB."""
    pydicom = _pydicom()
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
    coded = _frame_bytes(dataset, index, n_frames)
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


def _frame_bytes(dataset: Any, index: int, n_frames: int) -> bytes:
    pydicom = _pydicom()
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


def _colour(stored: NDArray[Any], bits: int, dataset: Any, index: int) -> Values:
    """RGB of any depth as 8 bits: its whole range, as no window applies to colour (PS3.3, C.11.2.1.2)."""
    if stored.dtype != np.uint8 or bits != 8:
        largest = (1 << bits) - 1
        stored = (np.clip(stored, 0, largest).astype(np.float64) * (255 / largest) + 0.5).astype(np.uint8)
    return Values(stored=stored, spacing=_spacing(dataset, index))


def _own_window(dataset: Any, index: int) -> Share | None:
    """The file's VOI LUT or window (PS3.3, C.11.2.1): the first, where it offers several."""
    tables = dataset.get("VOILUTSequence")
    if tables:
        n_bits = int(tables[0].LUTDescriptor[2])
        apply = _pydicom().pixels.apply_voi
        return lambda values: apply(values, dataset, index=0).astype(np.float64) / ((1 << n_bits) - 1)
    found = _grouped(dataset, "FrameVOILUTSequence", index)
    if found.get("WindowCenter") is None or found.get("WindowWidth") is None:
        return None
    center, width = float(_first(found["WindowCenter"])), float(_first(found["WindowWidth"]))
    function = str(found.get("VOILUTFunction") or "LINEAR").upper()
    if not np.isfinite((center, width)).all() or width < (1 if function == "LINEAR" else 1e-12):
        return None
    if function == "SIGMOID":
        return lambda values: 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return linear(center - width / 2, center + width / 2)
    return linear(center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _whole_range(dataset: Any, bits: int | None, slope: float, intercept: float) -> Share | None:
    """Of up to 8 bits, the range that they can hold: a picture as it stands."""
    if bits is None or bits > 8 or slope == 0:
        return None
    least = -(1 << bits - 1) if dataset.get("PixelRepresentation") == 1 else 0
    ends = [(least + end) * slope + intercept for end in (0, (1 << bits) - 1)]
    return linear(min(ends), max(ends))


def _padding(dataset: Any) -> tuple[float, float] | None:
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = sorted(float(_first(end)) for end in (value, value if limit is None else limit))
    return ends[0], ends[1]


def _spacing(dataset: Any, index: int) -> tuple[float, float]:
    """(between rows, between columns): PixelSpacing, on detectors ImagerPixelSpacing, else the aspect ratio."""
    found = _grouped(dataset, "PixelMeasuresSequence", index)
    for name in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        values = found.get(name) or dataset.get(name)
        if values is not None and not isinstance(values, str) and len(values) == 2:
            return float(values[0]), float(values[1])
    return 1.0, 1.0


def _grouped(dataset: Any, sequence: str, index: int) -> Mapping[str, Any]:
    """Elements by keyword: of a frame's functional group, else of the group all frames share, else of the file itself."""
    for groups, at in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(groups)
        macro = items[at].get(sequence) if items and at < len(items) else None
        if macro:
            return {element.keyword: element.value for element in macro[0]}
    return {name: dataset[name].value for name in _KEYWORDS if name in dataset and name not in _PIXELS}


def _first(value: Any) -> Any:
    many = hasattr(value, "__len__") and not isinstance(value, str)
    return value[0] if many else value
