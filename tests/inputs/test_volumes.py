"""Volumes as slices: oriented whatever the file, one at a time, never more memory than the file is worth."""

from __future__ import annotations

import gzip
import itertools
import random
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.window import Window
from featx.errors import MissingExtraError, SampleError, UnreadableSampleError
from featx.inputs import volumes
from featx.inputs.frames import AXES, Frame
from featx.inputs.images import decode
from featx.inputs.volumes import count_slices, read_volume, volume_kind

AS_IS = ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1), window=Window(30, 60))
RAS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)  # from left to right, back to front, feet to head
ORIENTATIONS = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("LR", "PA", "IS"))
    for signs in itertools.product((0, 1), repeat=3)
]


def lying(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same volume stored along other axes, and the affine that says so."""
    image = nibabel.Nifti1Image(RAS, np.diag([2.0, 3.0, 4.0, 1.0]))
    turned = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    found = image.as_reoriented(turned)
    assert "".join(nibabel.aff2axcodes(found.affine)) == codes
    return np.asarray(found.dataobj), found.affine


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_slice_is_the_same_however_the_file_lies(medical: ModuleType, codes: str) -> None:
    data = medical.nifti(*lying(codes))
    expected = {
        "axial": RAS[::-1, ::-1, 1].T,  # the patient's right on the left, the front on top
        "coronal": RAS[::-1, 1, ::-1].T,  # the right on the left, the head on top
        "sagittal": RAS[1, ::-1, ::-1].T,  # the front on the left, the head on top
    }
    spacing = {"axial": (3, 2), "coronal": (4, 2), "sagittal": (4, 3)}
    for axis in AXES:
        values = read_volume(data, Frame(axis, 1))
        np.testing.assert_array_equal(values.stored, expected[axis])
        assert values.spacing == spacing[axis]
    assert [count_slices(data, axis) for axis in AXES] == [(5, 1), (4, 1), (3, 1)]


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image", "MGHImage"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_gives_the_same_slice(medical: ModuleType, kind: str, zipped: bool) -> None:
    data = medical.nifti(RAS, zipped=zipped, kind=kind)
    assert volume_kind(data) == {"Nifti1Image": "nifti", "Nifti2Image": "nifti2", "MGHImage": "mgh"}[kind]
    np.testing.assert_array_equal(read_volume(data, None).stored, RAS[::-1, ::-1, 2].T)


def test_slope_and_intercept_of_the_file_count(medical: ModuleType) -> None:
    image = nibabel.Nifti1Image(RAS.astype(np.float32) / 2 - 7, np.eye(4))
    image.set_data_dtype(np.int16)  # written with a slope
    stored = read_volume(image.to_bytes(), Frame("axial", 1)).stored
    np.testing.assert_allclose(stored, RAS[::-1, ::-1, 1].T / 2 - 7, atol=1e-3)  # int16 over a range of 30


def test_of_a_series_the_first_volume_is_meant_unless_another_is_named(medical: ModuleType) -> None:
    data = medical.nifti(np.stack([RAS, RAS + 100], axis=3), zipped=True)
    first = read_volume(data, Frame("axial", 2)).stored
    np.testing.assert_array_equal(read_volume(data, None).stored, first)
    np.testing.assert_array_equal(read_volume(data, Frame("axial", 2, volume=1)).stored, first + 100)
    with pytest.raises(
        SampleError, match=r"#axial=2,volume=2: there is none, it has 5 axial slices in 2 volume"
    ):
        read_volume(data, Frame("axial", 2, volume=2))


def test_slices_that_are_not_there_are_refused(medical: ModuleType) -> None:
    data = medical.nifti(RAS)
    with pytest.raises(SampleError, match=r"#axial=5: there is none, it has 5 axial slices in 1 volume\(s\)"):
        read_volume(data, Frame("axial", 5))
    with pytest.raises(SampleError, match="named by their axis: #axial=0"):
        read_volume(data, Frame("frame", 0))


def test_oblong_voxels_are_shown_square(medical: ModuleType) -> None:
    data = medical.nifti(RAS, np.diag([1.0, 1.0, 3.0, 1.0]))
    assert decode(data, AS_IS, frame=Frame("axial", 0)).shape == (4, 3, 3)
    assert decode(data, AS_IS, frame=Frame("coronal", 0)).shape == (15, 3, 3)


def test_8_bits_are_a_picture_and_more_need_a_window(medical: ModuleType) -> None:
    plain = ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1))
    small = decode(medical.nifti(RAS.astype(np.uint8)), plain)
    np.testing.assert_array_equal(small[..., 0], RAS[::-1, ::-1, 2].T)
    with pytest.raises(SampleError, match="16-bit values from 2 to 57, and no window of its own"):
        decode(medical.nifti(RAS), plain)
    with pytest.raises(SampleError, match="holds values from 2 to 57, and no window of its own"):
        decode(medical.nifti(RAS.astype(np.float32)), plain)


def test_colour_and_flat_files_are_pictures(medical: ModuleType) -> None:
    rgb = np.zeros((3, 4, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"], rgb["B"] = 255, RAS[:, :, :1]
    colour = read_volume(medical.nifti(rgb), None).stored
    assert colour.shape == (4, 3, 3)
    assert (colour[..., 0] == 255).all()
    np.testing.assert_array_equal(read_volume(medical.nifti(RAS[:, :, 0]), None).stored, RAS[::-1, ::-1, 0].T)
    with pytest.raises(SampleError, match="values of type complex64, no picture"):
        read_volume(medical.nifti(RAS.astype(np.complex64)), None)


@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_volumes_are_refused(medical: ModuleType, zipped: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 9999, (9, 9, 9), dtype=np.int16)
    data = medical.nifti(noise, zipped=zipped)
    with pytest.raises(UnreadableSampleError, match=r"truncated: [\d,]+ bytes, expected 1,810"):
        read_volume(data[:-200], None)


def test_headers_that_ask_for_too_much_are_refused_before_memory_is_taken(medical: ModuleType) -> None:
    head = bytearray(medical.nifti(RAS))
    head[40:48] = np.array([3, 30000, 30000, 30000], "<i2").tobytes()
    for data in (bytes(head), gzip.compress(bytes(head))):
        with pytest.raises(SampleError, match="30000 x 30000 x 30000 values, more than"):
            read_volume(data, None)


def test_a_gzip_bomb_is_inflated_as_far_as_its_header_says(
    medical: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(medical.nifti(RAS) + bytes(50_000_000), 1)
    inflated: list[int] = []
    real = volumes._inflated
    monkeypatch.setattr(volumes, "_inflated", lambda data, most: (inflated.append(most), real(data, most))[1])
    np.testing.assert_array_equal(read_volume(bomb, None).stored, RAS[::-1, ::-1, 2].T)
    assert max(inflated) == 1024


def test_an_affine_without_directions_is_refused(medical: ModuleType) -> None:
    image = nibabel.Nifti1Image(RAS, np.eye(4))
    image.header["srow_x"] = image.header["srow_y"] = image.header["srow_z"] = 0
    head = bytearray(image.to_bytes())
    head[280:328] = bytes(48)  # srow_x, srow_y, srow_z; sform_code stays
    with pytest.raises(SampleError, match=r"affine gives its axes no directions|not a readable volume"):
        read_volume(bytes(head), None)


def test_a_missing_package_is_named_in_one_line(medical: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    data = medical.nifti(RAS)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(
        MissingExtraError,
        match=r'^NIfTI and MGZ files are read with nibabel: pip install "featx\[medical\]"\.$',
    ):
        decode(data, AS_IS)


def test_damage_raises_sample_errors_only(medical: ModuleType) -> None:
    rng = random.Random(0)
    outcomes = {"pixels": 0, "refused": 0}
    for kind in ("Nifti1Image", "Nifti2Image", "MGHImage"):
        for zipped in (False, True):
            whole = medical.nifti(RAS, zipped=zipped, kind=kind)
            for _ in range(60):
                content = bytearray(whole)
                for _ in range(rng.randint(1, 6)):
                    content[rng.randrange(min(400, len(content)))] = rng.randrange(256)
                try:
                    decode(bytes(content), AS_IS)
                except SampleError:
                    outcomes["refused"] += 1
                else:
                    outcomes["pixels"] += 1
    assert min(outcomes.values()) > 20


def test_real_volumes_are_those_of_nibabel(data: Path) -> None:
    for name in ("nib_anatomical.nii", "nib_example4d.nii.gz", "nib_test.mgz", "someones_epi.nii.gz"):
        path = data / "dicom_nifti_samples" / name
        whole = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
        first = whole[..., 0] if whole.ndim == 4 else whole
        content = path.read_bytes()
        for index in range(first.shape[2]):
            found = read_volume(content, Frame("axial", index)).stored
            np.testing.assert_array_equal(found, first[::-1, ::-1, index].T)
