"""Patients as groups: told apart, and never by their ID."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import patient_groups, read_dataset
from featx.errors import DatasetError, InputError, ParameterError, SampleError
from featx.inputs.patients import pseudonyms

SALT = bytes(range(32))
IDS = ["MRN-0815-4711", "MRN-23", "MRN-0815-4711 ", "MRN-42"]  # DICOM pads with a space


@pytest.fixture
def files(medical: ModuleType, tmp_path: Path) -> list[str]:
    """A folder a class; of the first patient a slice in each."""
    paths = []
    for i, (label, patient) in enumerate(zip(("ill", "ill", "well", "well"), IDS, strict=True)):
        path = tmp_path / "data" / label / f"{i}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 4), 50 * i, np.uint8)
        path.write_bytes(medical.dicom(pixels, PatientID=patient))
        paths.append(str(path))
    return paths


def test_patients_are_numbered_as_they_appear(files: list[str]) -> None:
    assert patient_groups(files).tolist() == ["patient 1", "patient 2", "patient 1", "patient 3"]
    assert patient_groups([f"{file}#frame=0" for file in files]).tolist() == patient_groups(files).tolist()


def test_paths_may_be_of_any_kind_and_in_any_sequence(files: list[str]) -> None:
    expected = patient_groups(files).tolist()
    kinds: list[Any] = [[Path(file) for file in files], tuple(files), np.array(files), pd.Series(files)]
    for given in kinds:
        assert patient_groups(given).tolist() == expected
    assert patient_groups([]).tolist() == []


def test_what_is_no_list_of_paths_is_refused_in_words(files: list[str]) -> None:
    for single in (files[0], files[0].encode(), Path(files[0])):
        with pytest.raises(InputError, match=r"a single path, expected a list of them: give \[path\]"):
            patient_groups(single)  # type: ignore[arg-type]  # that it is wrong is the test
    with pytest.raises(InputError, match="NoneType, expected a list of the paths"):
        patient_groups(None)  # type: ignore[arg-type]  # as above
    for wrong in (None, b"x.dcm", 7):
        words = rf"sample 1 \(index 1\): expected the path of a DICOM file, found {type(wrong).__name__}"
        with pytest.raises(SampleError, match=words):
            patient_groups([files[0], wrong])  # type: ignore[list-item]  # as above


def test_with_a_salt_pseudonyms_are_the_same_everywhere_and_without_it_nothing(files: list[str]) -> None:
    named = patient_groups(files, salt=SALT)
    assert named[0] == named[2]
    assert len(set(named.tolist())) == 3
    assert patient_groups(files[::-1], salt=SALT).tolist() == named[::-1].tolist()
    assert set(patient_groups(files, salt=SALT[::-1])) & set(named) == set()
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in named)


@pytest.mark.parametrize("salt", [b"", b"short", "a string of enough characters"])
def test_a_salt_that_keeps_nothing_secret_is_refused(salt: object) -> None:
    with pytest.raises(ParameterError, match="secret bytes"):
        pseudonyms(IDS, salt=salt)  # type: ignore[arg-type]  # that it is wrong is the test


def test_a_folder_is_grouped_by_its_headers(files: list[str], tmp_path: Path) -> None:
    data = read_dataset(tmp_path / "data", group_column="PatientID")
    assert data.groups is not None
    assert data.groups.tolist() == ["patient 1", "patient 2", "patient 1", "patient 3"]
    assert not any(
        patient.strip() in repr(vars_of) for patient in IDS for vars_of in (data.groups, data.samples)
    )


def test_a_csv_is_grouped_by_its_column_or_else_by_the_headers(files: list[str], tmp_path: Path) -> None:
    lines = [f"{file},{label}" for file, label in zip(files, ("ill", "ill", "well", "well"), strict=True)]
    table = tmp_path / "plain.csv"
    table.write_text("\n".join(["file,label", *lines]))
    told = tmp_path / "told.csv"
    own = [f"{line},{patient}" for line, patient in zip(lines, ("x", "y", "y", "x"), strict=True)]
    told.write_text("\n".join(["file,label,PatientID", *own]))
    for path, expected in ((table, "1 2 1 3"), (told, "1 2 2 1")):
        groups = read_dataset(path, group_column="PatientID").groups
        assert groups is not None
        assert " ".join(group.removeprefix("patient ") for group in groups) == expected


def test_files_without_an_id_are_refused_by_name(
    medical: ModuleType, files: list[str], tmp_path: Path
) -> None:
    nobody, picture = tmp_path / "nobody.dcm", tmp_path / "picture.png"
    nobody.write_bytes(medical.dicom(np.zeros((4, 4), np.uint8), PatientID=""))
    picture.write_bytes(b"\x89PNG")
    with pytest.raises(
        DatasetError, match=r"2 of 6 files have no PatientID in a DICOM header, .*nobody\.dcm"
    ):
        patient_groups([*files, str(nobody), str(picture)])


def test_the_real_files_are_grouped(data: Path) -> None:
    folder = data / "dicom_nifti_samples"
    names = ["MR_small.dcm", "nib_0.dcm", "MR_small_RLE.dcm", "nib_1.dcm", "MR_small_bigendian.dcm"]
    found = patient_groups([str(folder / name) for name in names]).tolist()
    assert found == [f"patient {i}" for i in (1, 2, 1, 2, 1)]
