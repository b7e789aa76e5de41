"""DICOM files as pictures: as pydicom shows them, or refused in words without a patient's name."""

from __future__ import annotations

import io
import random
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.errors import MissingExtraError, SampleError, UnreadableSampleError
from featx.inputs import dicom_frames, dicom_headers
from featx.inputs.dicom import read_dicom
from featx.inputs.dicom_headers import is_dicom
from featx.inputs.frames import Frame
from featx.inputs.images import decode
from featx.inputs.values import pixels_of

AS_IS = ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1))
RAMP = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)


def shown(data: bytes, window: Window | None = None, frame: Frame | None = None) -> np.ndarray:
    return pixels_of(read_dicom(data, frame), window)


def as_pydicom_shows(data: bytes) -> np.ndarray:
    """pydicom's own modality and VOI transformation, its range of output as 0 to 255."""
    made = pydicom.dcmread(io.BytesIO(data))
    values = apply_modality_lut(made.pixel_array, made)
    out = apply_voi_lut(values, made).astype(np.float64)
    if "VOILUTSequence" in made:
        low, high = 0.0, 2.0 ** made.VOILUTSequence[0].LUTDescriptor[2] - 1
    else:  # of pydicom.pixels.processing.apply_windowing: the range that the bits of a file can hold, rescaled
        signed = made.PixelRepresentation == 1
        ends = (
            np.array([-(2 ** (made.BitsStored - 1)), 2 ** (made.BitsStored - 1) - 1])
            if signed
            else (np.array([0, 2**made.BitsStored - 1]))
        )
        low, high = sorted(ends * float(made.get("RescaleSlope", 1)) + float(made.get("RescaleIntercept", 0)))
    grey = (out - low) / (high - low)
    return 255 * (1 - grey if made.PhotometricInterpretation == "MONOCHROME1" else grey)


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 40, "WindowWidth": 400},
        {"WindowCenter": 40, "WindowWidth": 400, "photometric": "MONOCHROME1"},
        {"WindowCenter": [40, 300], "WindowWidth": [400, 1500]},
        {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": -600, "WindowWidth": 1500, "RescaleSlope": "1.5", "RescaleIntercept": "-1024"},
        {"WindowCenter": 1, "WindowWidth": 1},
    ],
    ids=["linear", "monochrome1", "two windows", "exact", "sigmoid", "rescaled", "a step"],
)
def test_grey_is_shown_as_pydicom_shows_it(medical: ModuleType, elements: dict[str, Any]) -> None:
    data = medical.dicom(RAMP, **elements)
    # Half a level is rounding; pydicom gives no levels but numbers.
    np.testing.assert_allclose(shown(data), as_pydicom_shows(data), atol=0.5 + 1e-6)
    assert len(np.unique(shown(data))) > (1 if elements["WindowWidth"] == 1 else 100)


def test_lookup_tables_are_applied_as_pydicom_applies_them(medical: ModuleType) -> None:
    voi = medical.lut(np.arange(4096) ** 2 // 4095, -2048 & 0xFFFF, 12)
    voi[0x00283002].VR = "SS"
    voi.LUTDescriptor = [4096, -2048, 12]
    made = medical.dataset(RAMP, VOILUTSequence=[voi], WindowCenter=0, WindowWidth=10)
    data = medical.encoded(made)
    np.testing.assert_allclose(shown(data), as_pydicom_shows(data), atol=0.5 + 1e-6)
    assert len(np.unique(shown(data))) == 256
    modality = medical.lut(np.arange(256, dtype=np.uint16)[::-1] * 4, 0, 16)
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = medical.dicom(stored, ModalityLUTSequence=[modality])
    values = read_dicom(data, None)
    np.testing.assert_array_equal(values.stored, (255 - stored.astype(int)) * 4)
    assert values.own is None  # units of a table are no 8-bit picture


@pytest.mark.parametrize("n_bits", [8, 9, 16])
def test_a_long_table_of_few_bits_keeps_its_levels(medical: ModuleType, n_bits: int) -> None:
    """Not as pydicom 3.0 applies it, whose indices into a table of 8 bits wrap at 256, and which has none of 9."""
    entries = np.arange(4096) * ((1 << n_bits) - 1) // 4095
    stored = (RAMP + 2048).astype(np.uint16)
    pixels = shown(medical.dicom(stored, VOILUTSequence=[medical.lut(entries, 0, n_bits)]))
    np.testing.assert_allclose(
        pixels, stored / 4095 * 255, atol=1
    )  # a level of the table and one of the picture, rounded


@pytest.mark.parametrize("n_entries", [256, 255])
def test_8_bit_tables_may_hold_two_entries_a_word(medical: ModuleType, n_entries: int) -> None:
    """As PS3.3, C.11.2.1.1 has them, since CP 522."""
    levels = np.arange(256, dtype=np.uint8)[::-1]
    table = medical.lut(levels[:n_entries], 0, 8)
    table.add_new(0x00283006, "OW", levels.tobytes())
    stored = np.arange(n_entries, dtype=np.uint8).reshape(1, n_entries)
    assert shown(medical.dicom(stored, VOILUTSequence=[table])).tolist() == [levels[:n_entries].tolist()]


def test_values_beyond_a_table_take_its_ends(medical: ModuleType) -> None:
    table = medical.lut(np.array([51, 102, 204]), 10, 8)
    stored = np.array([[0, 9, 10, 11, 12, 13, 65535]], np.uint16)
    pixels = shown(medical.dicom(stored, VOILUTSequence=[table]))
    assert pixels.tolist() == [[51, 51, 51, 102, 204, 204, 204]]


def _malformed(medical: ModuleType, wrong: str) -> Dataset:
    table = medical.lut(np.arange(4096), 0, {"no bits": 0, "40 bits": 40}.get(wrong, 12))
    if wrong == "too short":
        table.add_new(0x00283006, "OW", bytes(100))
    elif wrong == "no data":
        del table[0x00283006]
    elif wrong == "no descriptor":
        del table[0x00283002]
    return table


@pytest.mark.parametrize("wrong", ["no bits", "40 bits", "too short", "no data", "no descriptor"])
def test_a_table_that_makes_no_sense_is_one_bad_sample_and_nothing_under_a_window(
    medical: ModuleType, wrong: str
) -> None:
    data = medical.dicom(RAMP, VOILUTSequence=[_malformed(medical, wrong)])
    with pytest.raises(UnreadableSampleError, match=r"^ct\.dcm \(index 3\): its own table of grey levels"):
        decode(data, AS_IS, name="ct.dcm", index=3)
    plain = medical.dicom(RAMP)
    np.testing.assert_array_equal(shown(data, Window(0, 2000)), shown(plain, Window(0, 2000)))


@pytest.mark.parametrize(
    "elements",
    [{"RescaleSlope": slope} for slope in ("nan", "inf", "-inf", "1e308")] + [{"RescaleIntercept": "nan"}],
    ids=str,
)
@pytest.mark.parametrize("window", [None, Window(40, 400), Window.percentiles()])
def test_a_slope_that_makes_no_numbers_is_refused(
    medical: ModuleType, elements: dict[str, str], window: Window | None
) -> None:
    (name, said), marker = next(iter(elements.items())), "7777777"
    whole = medical.dicom(RAMP, WindowCenter=40, WindowWidth=400, **{name: marker})
    data = whole.replace(marker.encode(), said.encode().ljust(len(marker)))
    with pytest.raises(SampleError, match="its rescale slope and intercept make no finite numbers"):
        shown(data, window)


def test_float_pixels_without_a_number_are_refused(medical: ModuleType) -> None:
    def floats(value: float) -> bytes:
        made = medical.dataset(np.zeros((4, 4), np.uint32), WindowCenter=5, WindowWidth=10)
        del made[0x7FE00010]
        pixels = np.full((4, 4), value, np.float32)
        pixels[0, 0] = np.nan
        made.add_new(0x7FE00008, "OF", pixels.tobytes())
        return medical.encoded(made)

    assert shown(floats(20.0)).tolist() == [[0, 255, 255, 255]] + [[255] * 4] * 3
    with pytest.raises(SampleError, match="not one of its values is a finite number"):
        shown(floats(np.nan))


@pytest.mark.parametrize(("photometric", "ends"), [("MONOCHROME2", [0, 255]), ("MONOCHROME1", [255, 0])])
def test_8_bits_without_a_window_are_a_picture_as_they_stand(
    medical: ModuleType, photometric: str, ends: list[int]
) -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = shown(medical.dicom(stored, photometric=photometric))
    assert [pixels[0, 0], pixels[-1, -1]] == ends
    assert (np.sort(pixels.reshape(-1)) == np.arange(256)).all()
    bits = medical.dicom(stored // 16, BitsStored=4, HighBit=3)
    assert np.unique(shown(bits)).tolist() == list(range(0, 256, 17))


def test_more_bits_without_a_window_need_one(medical: ModuleType) -> None:
    data = medical.dicom(RAMP, RescaleSlope=2, RescaleIntercept=-1000)
    with pytest.raises(
        SampleError, match=r"16-bit values from -5096 to 3094, and no window of its own"
    ) as caught:
        decode(data, AS_IS, name="ct.dcm", index=3)
    assert str(caught.value).startswith("ct.dcm (index 3): ")
    assert not isinstance(caught.value, UnreadableSampleError)
    np.testing.assert_array_equal(
        shown(data, Window(-1000, 2)), np.where(RAMP > 0, 255, np.where(RAMP < 0, 0, 128))
    )


@pytest.mark.parametrize(("center", "width"), [(40, 0), (40, -5), (40, 0.5), ("1.7e308", "1.7e308")])
def test_a_window_that_makes_no_sense_is_none(
    medical: ModuleType, center: float | str, width: float | str
) -> None:
    with pytest.raises(SampleError, match="no window of its own"):
        shown(medical.dicom(RAMP, WindowCenter=center, WindowWidth=width))


def test_padding_does_not_count_among_percentiles(medical: ModuleType) -> None:
    stored = np.where(RAMP < 0, -2000, RAMP).astype(np.int16)
    made = medical.dataset(stored)
    made.add_new(0x00280120, "SS", -2000)
    assert np.mean(shown(medical.encoded(made), Window.percentiles())[RAMP >= 0]) == pytest.approx(
        127.5, abs=1
    )


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_is_rgb_and_no_window_applies(medical: ModuleType, photometric: str) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    expected = stored if photometric == "RGB" else convert_color_space(stored, photometric, "RGB")
    data = medical.dicom(stored, photometric=photometric, WindowCenter=10, WindowWidth=20)
    np.testing.assert_array_equal(shown(data), expected)
    np.testing.assert_array_equal(shown(data, Window(10, 20)), expected)


def test_deep_colour_and_palettes_keep_their_whole_range(medical: ModuleType) -> None:
    deep = np.array([[[0, 32768, 65535]]], np.uint16)
    assert shown(medical.dicom(deep, photometric="RGB")).tolist() == [[[0, 128, 255]]]
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    made = medical.dataset(indices, photometric="PALETTE COLOR")
    for offset, factor in enumerate((257, 128, 0)):
        made.add_new(0x00281101 + offset, "US", [256, 0, 16])
        made.add_new(0x00281201 + offset, "OW", (np.arange(256) * factor).astype("<u2").tobytes())
    data = medical.encoded(made)
    expected = apply_color_lut(indices, made) / 257
    np.testing.assert_allclose(shown(data), expected, atol=0.5 + 1e-6)
    assert shown(data)[-1, -1].tolist() == [255, 127, 0]


def test_the_middle_frame_is_meant_unless_another_is_named(medical: ModuleType) -> None:
    frames = np.stack([np.full((4, 4), level, np.uint8) for level in (10, 20, 30, 40, 50)])
    data = medical.dicom(frames, NumberOfFrames=5)
    assert shown(data)[0, 0] == 30
    assert [int(shown(data, frame=Frame("frame", i))[0, 0]) for i in range(5)] == [10, 20, 30, 40, 50]
    with pytest.raises(SampleError, match=r"#frame=5: there is none, it has 5 frame\(s\)"):
        shown(data, frame=Frame("frame", 5))
    with pytest.raises(SampleError, match="this is no volume"):
        shown(data, frame=Frame("axial", 0))


def test_enhanced_files_say_window_slope_and_spacing_a_frame(medical: ModuleType) -> None:
    def item(**elements: Any) -> Dataset:
        made = Dataset()
        for name, value in elements.items():
            setattr(made, name, value)
        return made

    frames = np.stack([RAMP, RAMP])
    transform = item(RescaleSlope=2, RescaleIntercept=100)
    shared = item(
        PixelValueTransformationSequence=[transform], PixelMeasuresSequence=[item(PixelSpacing=[2, 1])]
    )
    each = [item(FrameVOILUTSequence=[item(WindowCenter=c, WindowWidth=400)]) for c in (0, 1000)]
    data = medical.dicom(
        frames,
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=each,
    )
    flat = [
        medical.dicom(RAMP, RescaleSlope=2, RescaleIntercept=100, WindowCenter=c, WindowWidth=400)
        for c in (0, 1000)
    ]
    for i in range(2):
        np.testing.assert_array_equal(shown(data, frame=Frame("frame", i)), shown(flat[i]))
    assert decode(data, AS_IS).shape == (128, 64, 3)


@pytest.mark.parametrize(
    "syntax", ["ImplicitVRLittleEndian", "DeflatedExplicitVRLittleEndian", "ExplicitVRBigEndian"]
)
def test_uncompressed_transfer_syntaxes_give_the_same_picture(medical: ModuleType, syntax: str) -> None:
    expected = shown(medical.dicom(RAMP, WindowCenter=40, WindowWidth=400))
    made = medical.dataset(RAMP, WindowCenter=40, WindowWidth=400)
    made.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    if syntax == "ExplicitVRBigEndian":
        made.PixelData = RAMP.astype(">i2").tobytes()
    np.testing.assert_array_equal(shown(medical.encoded(made)), expected)


def test_a_file_without_meta_information_is_read_where_its_pixels_are_complete(medical: ModuleType) -> None:
    whole = medical.dicom(RAMP, WindowCenter=40, WindowWidth=400)
    start = 144 + int.from_bytes(whole[140:144], "little")
    bare = whole[start:]
    assert is_dicom(bare)
    np.testing.assert_array_equal(decode(bare, AS_IS), decode(whole, AS_IS))


def test_rle_gives_the_same_picture(medical: ModuleType) -> None:
    made = medical.dataset(RAMP, WindowCenter=40, WindowWidth=400)
    expected = shown(medical.encoded(made))
    made.compress(pydicom.uid.RLELossless)
    np.testing.assert_array_equal(shown(medical.encoded(made)), expected)


def test_files_without_a_picture_are_refused(medical: ModuleType) -> None:
    made = medical.dataset(RAMP)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    with pytest.raises(
        SampleError, match=r"without an image \(Secondary Capture Image Storage\)\. Leave it out"
    ):
        read_dicom(medical.encoded(made), None)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65,535 x 65,535 pixels are more than"),
        ({"NumberOfFrames": 1_000_000}, r"truncated: 8,192 bytes of pixels, expected 8,192,000,000"),
        ({"Rows": 65}, "truncated: 8,192 bytes of pixels, expected 8,320"),
        ({"Rows": 0}, "no picture"),
        ({"BitsAllocated": 12}, "of 12 bits: no picture"),
        ({"SamplesPerPixel": 4}, "4 channel"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation HSV"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(
    medical: ModuleType, elements: dict[str, Any], words: str
) -> None:
    with pytest.raises(SampleError, match=words):
        shown(medical.dicom(RAMP, **elements))


def test_a_deflated_bomb_is_refused(medical: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made = medical.dataset(np.zeros((512, 512), np.uint16))
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data = medical.encoded(made)
    assert len(data) < 5_000
    monkeypatch.setattr(dicom_headers, "_MOST_INFLATED_BYTES", 100_000)
    with pytest.raises(SampleError, match="inflates to more than 100,000 bytes"):
        read_dicom(data, None)


def test_a_compressed_frame_of_another_size_is_refused_before_it_is_decoded(data: Path) -> None:
    content = bytearray((data / "dicom_nifti_samples" / "MR_small_jp2klossless.dcm").read_bytes())
    at = content.index(b"\xff\x4f\xff\x51") + 8
    content[at : at + 8] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(
        UnreadableSampleError, match="compressed frame has 60,000 x 60,000 pixels, its header says 64 x 64"
    ):
        read_dicom(bytes(content), None)


def test_a_missing_package_is_named_in_one_line(
    medical: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twelve_bits = (data / "dicom_nifti_samples" / "JPGExtended.dcm").read_bytes()
    with pytest.raises(
        UnreadableSampleError, match=r"12 bits: pip install pylibjpeg pylibjpeg-libjpeg \(GPL-3\.0\)"
    ):
        read_dicom(twelve_bits, None)
    lossless = (data / "dicom_nifti_samples" / "MR_small_jpeg_ls_lossless.dcm").read_bytes()
    monkeypatch.setattr(dicom_frames, "_PLUGINS", ())
    with pytest.raises(UnreadableSampleError, match="JPEG-LS Lossless"):
        read_dicom(lossless, None)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        MissingExtraError, match=r'^DICOM files are read with pydicom: pip install "featx\[medical\]"\.$'
    ):
        decode(medical.dicom(RAMP), AS_IS)


def test_damage_raises_sample_errors_and_names_nobody(
    medical: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes flipped, cut and doubled anywhere, patients' elements included."""
    rng = random.Random(0)
    whole = medical.dicom(RAMP, WindowCenter=40, WindowWidth=400, RescaleSlope=1, RescaleIntercept=0)
    header = whole.index(RAMP.tobytes()[:16])
    n_pixels = n_refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(header if rng.random() < 0.9 else len(content))] = rng.randrange(256)
        if rng.random() < 0.3:
            del content[rng.randrange(len(content)) :]
        try:
            pixels = decode(bytes(content), AS_IS)
        except SampleError as error:
            n_refused += 1
            told = "".join(traceback.format_exception(error))
            assert "DOE" not in told
            assert "0815" not in told
        else:
            n_pixels += 1
            assert pixels.dtype == np.uint8
    assert min(n_pixels, n_refused) > 50
    assert "DOE" not in caplog.text
    assert "0815" not in caplog.text
