"""One picture of a DICOM file as values.

Owns what DICOM says of pixels, in the order of the standard (PS3.3, C.11; PS3.4, N.2): modality LUT or rescale slope, VOI LUT or
window, MONOCHROME1; palettes and YBR as colour. Of enhanced files these are said frame by frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import MissingExtraError, SampleError, UnreadableSampleError
from featx.inputs.dicom_frames import decoded
from featx.inputs.dicom_headers import count_frames, parsed, reading, table_of
from featx.inputs.frames import Frame
from featx.inputs.values import Share, Values, linear, refuse_no_number

__all__ = ["count_dicom", "read_dicom"]

_NOT_SHOWN = (
    "HSV",
    "ARGB",
    "CMYK",
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
    "RGB",
    "YBR_FULL",
)  # of one channel
_REMOVE = 'Remove it, or pass on_error="nan".'


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
        Not an image, no such frame, sizes that no picture has, or no value that is a finite number.
    """
    try:
        with reading() as pydicom:
            dataset = parsed(pydicom, data)
            n_frames = count_frames(dataset, len(data))
            index = n_frames // 2 if frame is None else _index(frame, n_frames)
            return _values(pydicom, dataset, index, n_frames)
    except (SampleError, MissingExtraError, MemoryError):
        raise
    except Exception as error:  # whatever a header made by hand brings pydicom to
        raise UnreadableSampleError(
            f"not a readable DICOM image ({type(error).__name__} in what its header says of pixels). {_REMOVE}"
        ) from None


def count_dicom(data: bytes) -> int:
    """How many frames a DICOM file has.

    Raises
    ------
    MissingExtraError, UnreadableSampleError, SampleError
        As :func:`read_dicom`.
    """
    with reading() as pydicom:
        return count_frames(parsed(pydicom, data), len(data))


def _index(frame: Frame, n_frames: int) -> int:
    if frame.axis != "frame" or frame.volume:
        raise SampleError(f"#{frame}: this is no volume. Of DICOM files frames are named: #frame=0.")
    if frame.index >= n_frames:
        raise SampleError(f"#{frame}: there is none, it has {n_frames} frame(s), counted from 0.")
    return frame.index


def _values(pydicom: Any, dataset: Any, index: int, n_frames: int) -> Values:
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    stored = decoded(pydicom, dataset, index, n_frames)
    if photometric == "PALETTE COLOR":
        stored = pydicom.pixels.apply_color_lut(stored, dataset)
        return _colour(stored, 8 * stored.dtype.itemsize, dataset, index)
    if stored.ndim == 3:
        return _colour(stored, int(dataset.get("BitsStored") or 8), dataset, index)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        named = photometric if photometric in _NOT_SHOWN else "of one channel"
        raise SampleError(f"photometric interpretation {named}, which featx does not show. Leave it out.")
    slope, intercept, bits = 1.0, 0.0, None
    if dataset.get("ModalityLUTSequence"):
        stored = pydicom.pixels.apply_modality_lut(stored, dataset)
    else:
        groups = _grouped(dataset, "PixelValueTransformationSequence", index)
        slope = float(_first(groups.get("RescaleSlope", 1)))
        intercept = float(_first(groups.get("RescaleIntercept", 0)))
        bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    values = Values(
        stored=stored,
        slope=slope,
        intercept=intercept,
        own=_own_window(dataset, index) or _whole_range(dataset, bits, slope, intercept),
        inverted=photometric == "MONOCHROME1",
        padding=_padding(dataset),
        spacing=_spacing(dataset, index),
    )
    return refuse_no_number(values)


def _colour(stored: NDArray[Any], bits: int, dataset: Any, index: int) -> Values:
    """RGB of any depth as 8 bits: its whole range, as no window applies to colour (PS3.3, C.11.2.1.2)."""
    if stored.dtype != np.uint8 or bits != 8:
        largest = (1 << bits) - 1
        stored = (np.clip(stored, 0, largest).astype(np.float64) * (255 / largest) + 0.5).astype(np.uint8)
    return Values(stored=stored, spacing=_spacing(dataset, index))


def _own_window(dataset: Any, index: int) -> Share | None:
    """The file's VOI LUT or window (PS3.3, C.11.2.1): the first, where it offers several."""
    if dataset.get("VOILUTSequence"):
        return _own_table(dataset)
    found = _grouped(dataset, "FrameVOILUTSequence", index)
    if found.get("WindowCenter") is None or found.get("WindowWidth") is None:
        return None
    center, width = float(_first(found["WindowCenter"])), float(_first(found["WindowWidth"]))
    function = str(found.get("VOILUTFunction") or "LINEAR").upper()
    ends = (center - width, width, center + width)
    if not np.isfinite(ends).all() or width < (1 if function == "LINEAR" else 1e-12):
        return None
    if function == "SIGMOID":
        return lambda values: 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return linear(center - width / 2, center + width / 2)
    return linear(center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _own_table(dataset: Any) -> Share:
    """The file's first VOI LUT; where that makes no sense what raises once it is asked: under another window it is not."""
    try:
        first, shares = _table(dataset)
    except Exception as error:  # whatever a table made by hand brings pydicom and numpy to
        kind = type(error).__name__

        def refuse(values: NDArray[Any]) -> NDArray[Any]:
            raise UnreadableSampleError(
                f"its own table of grey levels (VOI LUT) makes no sense ({kind}). With window=featx.Window(center, width) it is "
                f"shown without. {_REMOVE}"
            )

        return refuse
    return lambda values: shares[np.clip(values - first, 0, len(shares) - 1).astype(np.intp)]


def _table(dataset: Any) -> tuple[int, NDArray[np.float64]]:
    """The value that a VOI LUT begins with, and the share of white of each value from there on (PS3.3, C.11.2.1.1).

    Read here and not by pydicom (3.0), whose indices into a table of 8 bits wrap at 256.
    """
    item = dataset.VOILUTSequence[0]
    n_entries, first, n_bits = map(int, item.LUTDescriptor)
    n_entries = n_entries & 0xFFFF or 1 << 16  # 0 stands for 65,536; and the element may be a signed one
    if not 8 <= n_bits <= 16:
        raise ValueError(n_bits)
    data = item.LUTData
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        words = np.frombuffer(data, "<u2" if little else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data, dtype=np.uint16))
    # The standard has two entries of 8 bits in a word; many write one.
    if n_bits == 8 and len(words) == (n_entries + 1) // 2:
        words = words.astype("<u2").view(np.uint8)
    if len(words) < n_entries:
        raise ValueError(len(words))
    return first, words[:n_entries] / ((1 << n_bits) - 1)


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
    return table_of(dataset)


def _first(value: Any) -> Any:
    many = hasattr(value, "__len__") and not isinstance(value, str)
    return value[0] if many else value
