"""Files with several pictures as a sample each."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from featx import list_slices, read_dataset, slice_dataset
from featx.errors import MissingExtraError, ParameterError, SampleError
from featx.inputs.dataset import Dataset
from featx.inputs.frames import Frame
from featx.inputs.slices import frame_beside_file


@pytest.fixture
def scan(medical: ModuleType, tmp_path: Path) -> str:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(medical.nifti(np.zeros((4, 5, 12, 2), np.int16), zipped=True))
    return str(path)


def test_slices_are_listed_from_first_to_last(scan: str) -> None:
    assert list_slices(scan) == [f"{scan}#axial={i}" for i in range(12)]
    assert list_slices(scan, axis="sagittal", volume=1) == [f"{scan}#sagittal={i},volume=1" for i in range(4)]


@pytest.mark.parametrize(
    ("every", "indices"), [(1, range(12)), (5, [0, 5, 10]), (4, [1, 5, 9]), (12, [5]), (99, [5])]
)
def test_as_many_slices_are_left_out_at_either_end(scan: str, every: int, indices: list[int]) -> None:
    assert list_slices(scan, every=every) == [f"{scan}#axial={i}" for i in indices]


def test_frames_count_whatever_the_axis_and_one_picture_is_its_file(
    medical: ModuleType, tmp_path: Path
) -> None:
    several, one = tmp_path / "run.dcm", tmp_path / "one.dcm"
    several.write_bytes(medical.dicom(np.zeros((3, 4, 5), np.uint8), NumberOfFrames=3))
    one.write_bytes(medical.dicom(np.zeros((4, 5), np.uint8)))
    assert list_slices(several) == [f"{several}#frame={i}" for i in range(3)]
    assert list_slices(one) == [str(one)]


def test_a_frame_that_its_file_means_is_none_beside_it(
    medical: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = io.BytesIO()
    Image.new("L", (4, 4)).save(pages, "TIFF", save_all=True, append_images=[Image.new("L", (4, 4), 9)])
    lying = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # its second axis is axial
    volume = medical.nifti(np.zeros((4, 7, 12, 2), np.int16), zipped=True)
    cases = [
        (medical.dicom(np.zeros((4, 5), np.uint8)), Frame("frame", 0)),
        (medical.dicom(np.zeros((4, 4, 5), np.uint8), NumberOfFrames=4), Frame("frame", 2)),
        (volume, Frame("axial", 6)),
        (medical.nifti(np.zeros((4, 7, 12), np.uint8), lying), Frame("axial", 3)),
        (medical.nifti(np.zeros((4, 7), np.uint8)), Frame("axial", 0)),
        (pages.getvalue(), Frame("frame", 0)),
    ]
    for data, meant in cases:
        assert frame_beside_file(data, None) is None
        assert frame_beside_file(data, meant) is None
        others = [Frame(meant.axis, meant.index + 1), Frame(meant.axis, meant.index, 1), Frame("coronal", 6)]
        assert [frame_beside_file(data, other) for other in others] == others
    broken = medical.dicom(np.zeros((4, 5), np.uint8))[:-9]
    assert frame_beside_file(broken, Frame("frame", 0)) == Frame("frame", 0)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert frame_beside_file(volume, None) is None
    with pytest.raises(MissingExtraError):  # not a key that another machine would not give
        frame_beside_file(volume, Frame("axial", 6))


@pytest.mark.parametrize(
    ("choice", "words"), [({"axis": "z"}, "axial, coronal, sagittal"), ({"every": 0}, "at least 1")]
)
def test_wrong_choices_are_refused(scan: str, choice: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        list_slices(scan, **choice)  # type: ignore[arg-type]  # that they are wrong is the test


def test_what_is_not_there_is_a_sample_error_with_a_name(scan: str, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"scan\.nii\.gz: volume=2: there is none, it has 2"):
        list_slices(scan, volume=2)
    with pytest.raises(SampleError, match=r"gone\.nii: cannot be read"):
        list_slices(tmp_path / "gone.nii")
    (tmp_path / "text.nii").write_text("no volume")
    with pytest.raises(SampleError, match=r"text\.nii: not a readable image"):
        list_slices(tmp_path / "text.nii")


def test_slices_of_a_file_share_its_label_and_are_a_group(medical: ModuleType, tmp_path: Path) -> None:
    for label, name, n in (("ill", "a", 3), ("ill", "b", 4), ("well", "c", 5)):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{name}.nii").write_bytes(medical.nifti(np.zeros((2, 2, n), np.int16)))
    sliced = slice_dataset(read_dataset(tmp_path), every=2)
    names = [Path(sample).name for sample in sliced.samples]
    assert names == [
        *("a.nii#axial=0", "a.nii#axial=2", "b.nii#axial=0", "b.nii#axial=2"),
        *("c.nii#axial=0", "c.nii#axial=2", "c.nii#axial=4"),
    ]
    assert sliced.labels is not None
    assert sliced.labels.tolist() == ["ill"] * 4 + ["well"] * 3
    assert sliced.groups is not None
    assert [Path(group).name for group in sliced.groups] == ["a.nii"] * 2 + ["b.nii"] * 2 + ["c.nii"] * 3


def test_groups_split_and_named_slices_of_the_data_stay(scan: str) -> None:
    data = Dataset(
        samples=[scan, f"{scan}#axial=3"],
        groups=np.array(["p", "q"]),
        split=np.array(["train", "test"]),
        places=["line 2", "line 3"],
        name="d",
        root="",
    )
    sliced = slice_dataset(data, every=6)
    assert [sample.rpartition("#")[2] for sample in sliced.samples] == ["axial=2", "axial=8", "axial=3"]
    for values, expected in ((sliced.groups, ["p", "p", "q"]), (sliced.split, ["train", "train", "test"])):
        assert values is not None
        assert values.tolist() == expected
    assert sliced.places == ["line 2", "line 2", "line 3"]
    with pytest.raises(ParameterError, match="texts, which have no slices"):
        slice_dataset(Dataset(samples=["a text"], name="t", root="", modality="text"))
