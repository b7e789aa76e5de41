"""Medical images from file to model: windows and frames in feature spaces and keys, a saved model, the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import featx
from featx.cli import main
from featx.errors import MissingExtraError, SampleError, UnreadableSampleError
from featx.inference.contents import content_keys
from featx.inference.reading import ImageSource
from featx.inputs.images import decode
from featx.store.digest import digest_bytes
from featx.store.files import FileDigests
from featx.testing import counted_rows, tiny_backbone

AS_IS = featx.ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1))
LUNG, BONE = featx.Window(-600, 1500), featx.Window(400, 1800)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture(scope="session")
def scans(medical: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class of 12 CT slices without windows of their own, of 6 patients each."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for label, middle in (("air", -700), ("bone", 700)):
        for i in range(12):
            path = folder / label / f"IM{i:03}"  # as scanners name them
            path.parent.mkdir(exist_ok=True)
            values = rng.normal(middle, 200, (20, 24)).astype(np.int16)
            content = medical.dicom(values + 1024, RescaleIntercept=-1024, PatientID=f"MRN-{label}-{i // 2}")
            path.write_bytes(content)
            os.utime(path, (1_700_000_000, 1_700_000_000))
    return folder


@pytest.fixture
def files(scans: Path) -> list[str]:
    return featx.read_dataset(scans).samples


def test_each_window_is_a_space_and_each_file_is_computed_once_in_it(tiny: Path, files: list[str]) -> None:
    features = featx.ImageFeatures(str(tiny), window=LUNG, device="cpu")
    vectors = features.fit_transform(files)
    with counted_rows() as rows:
        np.testing.assert_array_equal(clone(features).fit_transform(files), vectors)
        np.testing.assert_array_equal(features.transform([Path(f).read_bytes() for f in files]), vectors)
    assert rows.n == 0
    with counted_rows() as rows:
        other = features.set_params(window=BONE).fit_transform(files)
    assert rows.n == len(files)
    assert not np.allclose(other, vectors)


def test_the_window_may_stand_in_the_preprocessing_too(tiny: Path, files: list[str]) -> None:
    pixels = featx.Backbone.open(tiny).pixels()
    as_parameter = featx.ImageFeatures(str(tiny), window=LUNG).fit(None)
    config = {**pixels.to_config(), "featx": {"window": {"center": -600, "width": 1500}}}
    for preprocess in (config, featx.ImagePreprocess.from_config(config)):
        assert featx.ImageFeatures(str(tiny), preprocess=preprocess).fit(None).spaces_ == as_parameter.spaces_
        over = featx.ImageFeatures(str(tiny), preprocess=preprocess, window=BONE).fit(None)
        assert over.spaces_ != as_parameter.spaces_
    plain = featx.ImageFeatures(str(tiny)).fit(None)
    assert plain.spaces_ == [featx.Backbone.open(tiny).space()]
    with pytest.raises(
        SampleError, match=r"IM000 \(index 0\): holds 16-bit values from .* no window of its own"
    ):
        plain.transform(files)


def test_arrays_of_hounsfield_units_are_samples_with_a_window(tiny: Path) -> None:
    slices = [np.full((8, 8), value, np.int16) for value in (-975, 0, 1000)]
    vectors = featx.ImageFeatures(str(tiny), window=LUNG).fit_transform(slices)
    shown = [np.full((8, 8), level, np.uint8) for level in (64, 230, 255)]  # (v + 1350) / 1500 * 255
    np.testing.assert_array_equal(featx.ImageFeatures(str(tiny)).fit_transform(shown), vectors)


def test_frames_have_keys_of_their_own_that_follow_the_file(
    medical: ModuleType, tiny: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    volumes = rng.integers(0, 200, (2, 6, 7, 5), dtype=np.uint8)
    path = tmp_path / "scan.nii.gz"

    def write(volume: np.ndarray) -> None:
        path.write_bytes(medical.nifti(volume, zipped=True))
        os.utime(path, (1_700_000_000, 1_700_000_000))

    write(volumes[0])
    features = featx.ImageFeatures(str(tiny), device="cpu", batch_size=2).fit(None)
    samples = featx.list_slices(path)
    first = features.extract(samples)
    assert len({key.tobytes() for key in first.keys}) == 5
    shown = [volume[::-1, ::-1].T for volume in np.moveaxis(volumes[0], 2, 0)]
    np.testing.assert_allclose(first.vectors, features.transform(shown), atol=1e-6)  # the batches differ
    np.testing.assert_array_equal(features.transform([str(path)]), first.vectors[2:3])
    with counted_rows() as rows:
        np.testing.assert_array_equal(features.transform(samples[::-1]), first.vectors[::-1])
        digests = [f"digest:{key.tobytes().hex()}" for key in first.keys]
        np.testing.assert_array_equal(features.transform(digests), first.vectors)
    assert rows.n == 0
    write(volumes[1])
    with counted_rows() as rows:
        changed = features.transform(samples)
    assert rows.n == 5
    assert not np.allclose(changed, first.vectors)


def test_the_picture_that_a_file_means_is_one_sample_however_it_is_named(
    medical: ModuleType, tiny: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    one, run, scan = tmp_path / "one.dcm", tmp_path / "run.dcm", tmp_path / "scan.nii.gz"
    one.write_bytes(medical.dicom(rng.integers(0, 200, (6, 7), dtype=np.uint8)))
    run.write_bytes(medical.dicom(rng.integers(0, 200, (3, 6, 7), dtype=np.uint8), NumberOfFrames=3))
    scan.write_bytes(medical.nifti(rng.integers(0, 200, (6, 7, 5), dtype=np.uint8), zipped=True))
    bare = [str(path) for path in (one, run, scan)]
    named = [f"{one}#frame=0", f"{run}#frame=1", f"{scan}#axial=2"]
    others = [f"{run}#frame=0", f"{scan}#axial=1", f"{scan}#coronal=2"]
    features = featx.ImageFeatures(str(tiny), device="cpu").fit(None)
    first = features.extract(bare)
    assert [key.tobytes() for key in first.keys] == [digest_bytes(Path(path).read_bytes()) for path in bare]
    with counted_rows() as rows:
        found = features.extract(named)
    assert rows.n == 0
    np.testing.assert_array_equal(found.keys, first.keys)
    np.testing.assert_array_equal(found.vectors, first.vectors)
    keys, errors = content_keys(named + others, ImageSource(AS_IS), FileDigests(None), n_workers=1)
    assert not errors
    np.testing.assert_array_equal(keys[:3], first.keys)
    assert len({key.tobytes() for key in keys}) == 6


def test_a_slice_that_is_not_there_is_one_bad_sample(medical: ModuleType, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(medical.nifti(np.zeros((3, 3, 3), np.uint8)))
    features = featx.ImageFeatures(str(tiny), on_error="nan").fit(None)
    found = features.extract([f"{path}#axial=1", f"{path}#axial=3", f"{tmp_path}/gone.nii#axial=0"])
    assert [i for i in range(3) if np.isnan(found.vectors[i]).any()] == [1, 2]
    assert "it has 3 axial slices" in str(found.errors[1])
    assert "no such file" in str(found.errors[2])


def test_a_search_over_windows_is_saved_and_loaded_with_the_best(
    tiny: Path, scans: Path, files: list[str], tmp_path: Path
) -> None:
    data = featx.read_dataset(scans)
    model = Pipeline([("features", featx.ImageFeatures(str(tiny))), ("head", LogisticRegression())])
    search = GridSearchCV(model, {"features__window": [LUNG, featx.Window.percentiles()]}, cv=2)
    search.fit(data.samples, data.labels)
    best = search.best_estimator_
    assert best["features"].window == LUNG  # percentiles of flat noise look alike in both classes
    for how in ("copy", "reference"):
        out = tmp_path / how
        featx.save(best, out, backbone=how)
        again = featx.load(out, backbone=str(tiny)) if how == "reference" else featx.load(out)
        assert again["features"].window == LUNG
        assert again["features"].preprocess is None
        np.testing.assert_array_equal(again.predict_proba(files), best.predict_proba(files))
        assert "shown through a window of center -600, width 1500" in (out / "README.md").read_text()
    featx.save(search, tmp_path / "search")
    again = featx.load(tmp_path / "search")
    assert again.best_params_ == {"features__window": LUNG.to_dict()}
    np.testing.assert_array_equal(again.predict(files), best.predict(files))


def test_the_command_line_trains_and_predicts_with_a_window(
    tiny: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "model")
    common = ["--backbone", str(tiny), "--head", "logistic", "--cv", "3"]
    assert main(["train", str(scans), *common, "--out", out]) == 2
    assert "--window CENTER,WIDTH, or --window percentiles" in capsys.readouterr().err
    patients = ["--group-column", "PatientID"]
    assert main(["train", str(scans), *common, *patients, "--window", "-600,1500", "--out", out]) == 0
    shown = capsys.readouterr().out
    assert "12 groups" in shown
    assert "MRN" not in shown + "".join(p.read_text() for p in Path(out).glob("*.[jm][sd]*"))
    assert main(["predict", out, str(scans / "bone"), "--csv"]) == 0
    assert capsys.readouterr().out.count(",bone,") == 12
    common = ["--backbone", str(tiny), "--window", "percentiles", *patients]
    assert main(["embed", str(scans), *common, "-o", str(tmp_path / "v.npy")]) == 0
    manifest = (tmp_path / "v.manifest.csv").read_text()
    assert "patient 12" in manifest
    assert "MRN" not in manifest
    capsys.readouterr()
    assert main(["cache", "info"]) == 0
    told = capsys.readouterr().out
    assert "center -600 width 1500" in told
    assert "low 1 high 99" in told
    assert main(["train", str(scans), "--window", "lung"]) == 2
    assert capsys.readouterr().err.startswith("featx: --window lung: expected CENTER,WIDTH")


def test_without_the_extra_one_line_says_what_to_install(
    tiny: Path, scans: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert main(["train", str(scans), "--backbone", str(tiny), "--skip-unreadable"]) == 2
    assert (
        capsys.readouterr().err == 'featx: DICOM files are read with pydicom: pip install "featx[medical]".\n'
    )
    with pytest.raises(MissingExtraError):
        featx.patient_groups(featx.read_dataset(scans).samples)


# Of the 40 real files: (height, width) and whether the file says itself what is black and white, or the error and its words.
_PICTURES: dict[str, tuple[tuple[int, int], bool]] = {
    "693_J2KI.dcm": ((512, 512), True),
    "CT_small.dcm": ((128, 128), False),
    "ExplVR_BigEnd.dcm": ((60, 80), True),
    "J2K_pixelrep_mismatch.dcm": ((512, 512), True),
    "JPEG2000.dcm": ((1024, 256), False),
    "MR_small.dcm": ((64, 64), True),
    "MR_small_RLE.dcm": ((64, 64), True),
    "MR_small_bigendian.dcm": ((64, 64), True),
    "MR_small_expb.dcm": ((64, 64), True),
    "MR_small_implicit.dcm": ((64, 64), True),
    "MR_small_jp2klossless.dcm": ((64, 64), True),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64), True),
    "SC_rgb_jpeg_dcmtk.dcm": ((100, 100), True),
    "SC_rgb_rle_16bit.dcm": ((100, 100), True),
    "SC_rgb_rle_2frame.dcm": ((100, 100), True),
    "SC_ybr_full_422_uncompressed.dcm": ((100, 100), True),
    "examples_jpeg2k.dcm": ((480, 640), True),
    "examples_overlay.dcm": ((300, 484), True),
    "examples_palette.dcm": ((350, 800), True),
    "examples_rgb_color.dcm": ((240, 320), True),
    "examples_ybr_color.dcm": ((240, 320), True),
    "image_dfl.dcm": ((512, 512), True),
    "liver_1frame.dcm": ((512, 512), True),
    "nib_0.dcm": ((256, 256), True),
    "nib_1.dcm": ((256, 256), True),
    "nib_anatomical.nii": ((41, 33), False),
    "nib_example4d.nii.gz": ((96, 128), False),
    "nib_example_nifti2.nii.gz": ((20, 32), False),
    "nib_functional.nii": ((21, 17), False),
    "nib_resampled_anat_moved.nii": ((21, 17), False),
    "nib_standard.nii.gz": ((15, 4), True),  # its voxels are three times as long as wide
    "nib_test.mgz": ((4, 5), False),
    "someones_anatomy.nii.gz": ((67, 57), False),
    "someones_epi.nii.gz": ((61, 53), False),
}
_ERRORS: dict[str, tuple[type[SampleError], str]] = {
    "JPEG-lossy.dcm": (UnreadableSampleError, r"12 bits: pip install pylibjpeg pylibjpeg-libjpeg"),
    "JPGExtended.dcm": (UnreadableSampleError, r"12 bits: pip install pylibjpeg pylibjpeg-libjpeg"),
    "MR_truncated.dcm": (UnreadableSampleError, "truncated: 8,130 bytes of pixels, expected 8,192"),
    "no_meta.dcm": (
        UnreadableSampleError,
        "no known image format",
    ),  # a stray byte comes before its first element
    "rtplan.dcm": (SampleError, r"without an image \(RT Plan Storage\)"),
    "test-SR.dcm": (SampleError, r"without an image \(Comprehensive SR Storage\)"),
}


def test_every_real_file_has_an_outcome(data: Path) -> None:
    assert {path.name for path in (data / "dicom_nifti_samples").iterdir()} == set(_PICTURES) | set(_ERRORS)


@pytest.mark.parametrize("name", _PICTURES)
def test_a_real_file_is_a_picture(data: Path, name: str) -> None:
    content = (data / "dicom_nifti_samples" / name).read_bytes()
    size, says_itself = _PICTURES[name]
    stretched = featx.ImagePreprocess(
        size=None, mean=(0, 0, 0), std=(1, 1, 1), window=featx.Window.percentiles()
    )
    if says_itself:
        pixels = decode(content, AS_IS)
    else:
        with pytest.raises(SampleError, match="no window of its own"):
            decode(content, AS_IS)
        pixels = decode(content, stretched)
    assert pixels.shape == (*size, 3)
    assert int(pixels.max()) - int(pixels.min()) > 200


@pytest.mark.parametrize("name", _ERRORS)
def test_a_real_file_that_is_none_is_refused_in_one_line(data: Path, name: str) -> None:
    error, words = _ERRORS[name]
    with pytest.raises(error, match=words) as caught:
        decode((data / "dicom_nifti_samples" / name).read_bytes(), AS_IS, name=name)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_one_picture_is_the_same_in_every_transfer_syntax(data: Path) -> None:
    folder = data / "dicom_nifti_samples"

    def shown(name: str) -> Any:
        return decode((folder / name).read_bytes(), AS_IS)

    for name in sorted(n for n in _PICTURES if n.startswith("MR_small")):
        np.testing.assert_array_equal(shown(name), shown("MR_small.dcm"))
    bars = shown("SC_rgb_rle_16bit.dcm")
    # Eight bits of YBR are coarser than eight of RGB: blue is 1.77 levels a level, and the encoder rounded twice.
    np.testing.assert_allclose(shown("SC_ybr_full_422_uncompressed.dcm").astype(int), bars, atol=6)
    np.testing.assert_allclose(shown("SC_rgb_jpeg_dcmtk.dcm").astype(int), bars, atol=6)
