"""``examine``: what works here, what does not, and what to do, on machines that are made up here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from featx import doctor
from featx.doctor import Finding, examine
from featx.errors import DeviceError
from featx.inference import devices, runtime


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which distributions of ONNX Runtime are installed."""

    def install(**versions: str) -> None:
        here = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name: str) -> str:
            if name not in here:
                raise metadata.PackageNotFoundError(name)
            return here[name]

        monkeypatch.setattr(doctor.metadata, "version", version)

    return install


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say what the driver counts, and which providers the runtime has."""

    def has(*, cards: int | None, cuda: bool = True) -> None:
        for module in (devices, doctor):
            monkeypatch.setattr(module, "count_cards", lambda: cards)
        providers = ["CPUExecutionProvider", *(["CUDAExecutionProvider"] if cuda else [])]
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)

    return has


def found(name: str) -> Finding:
    (finding,) = [finding for finding in examine() if finding.name == name]
    return finding


def test_every_part_is_looked_at_once() -> None:
    findings = examine()
    assert [finding.name for finding in findings] == [
        "featx",
        "onnxruntime",
        "cpu",
        "cuda",
        "cache",
        "backbones",
    ]
    assert {finding.status for finding in findings} <= {"ok", "note", "problem"}


def test_the_cpu_works_when_a_network_has_run_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("cpu").status == "ok"

    def broken(self: runtime.Session, batch: object) -> None:
        raise DeviceError("cpu: illegal instruction.")

    monkeypatch.setattr(runtime.Session, "run", broken)
    finding = found("cpu")
    assert (finding.status, finding.detail) == ("problem", "cpu: illegal instruction.")
    assert finding.advice


def test_two_wheels_in_one_folder_are_a_problem(wheels: Callable[..., None]) -> None:
    wheels(onnxruntime="1.31.0", onnxruntime_gpu="1.31.1")
    finding = found("onnxruntime")
    assert finding.status == "problem"
    assert "onnxruntime 1.31.0, onnxruntime-gpu 1.31.1: they unpack into one folder" in finding.detail
    assert "pip uninstall onnxruntime onnxruntime-gpu" in finding.advice


def test_one_wheel_is_fine(wheels: Callable[..., None]) -> None:
    wheels(onnxruntime="1.31.0")
    finding = found("onnxruntime")
    assert finding.status == "ok"
    assert finding.detail.startswith("onnxruntime 1.31.0; providers ")


def test_no_driver_is_nothing_to_worry_about(machine: Callable[..., None]) -> None:
    machine(cards=None)
    finding = found("cuda")
    assert (finding.status, finding.detail) == ("note", "no NVIDIA driver was found on this machine.")


def test_the_cpu_wheel_on_a_machine_without_cards_is_no_problem(machine: Callable[..., None]) -> None:
    machine(cards=None, cuda=False)
    assert found("cuda").status == "note"


def test_the_cpu_wheel_beside_a_card_is_a_problem(machine: Callable[..., None]) -> None:
    machine(cards=1, cuda=False)
    finding = found("cuda")
    assert finding.status == "problem"
    assert "an NVIDIA card is here and not used" in finding.detail
    assert "pip install onnxruntime-gpu" in finding.detail


def test_missing_cuda_libraries_are_named(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(cards=1)
    monkeypatch.setattr(devices, "_loads", lambda library: "cudnn" not in library)

    def elsewhere(*args: object) -> None:
        raise DeviceError("cuda: the network's operators ran on CPUExecutionProvider.")

    monkeypatch.setattr(runtime, "_open", lambda model, device, *rest: elsewhere())
    finding = found("cuda")
    assert finding.status == "problem"
    assert "operators ran on CPUExecutionProvider. Libraries that do not load: " in finding.detail
    assert "cudnn" in finding.detail
    assert "cublas" not in finding.detail
    assert 'pip install "featx[cuda]"' in finding.advice


def test_a_working_card_is_ok(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cards=1)
    monkeypatch.setattr(doctor, "_run_on", lambda device: None)
    assert found("cuda").status == "ok"


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "locks_work", refused)
    finding = found("cache")
    assert finding.status == "problem"
    assert "cannot be written (Permission denied)" in finding.detail
    assert "FEATX_CACHE" in finding.advice


def test_a_cache_below_a_file_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "file" / "cache"))
    assert found("cache").status == "problem"


def test_a_cache_of_a_newer_featx_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "featx-store.json").write_text('{"format": 99}', encoding="utf-8")
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path))
    finding = found("cache")
    assert finding.status == "problem"
    assert "format 99" in finding.detail


def test_no_locks_are_a_note_with_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "locks_work", lambda folder: False)
    finding = found("cache")
    assert finding.status == "note"
    assert "no working locks" in finding.detail


def test_looking_at_the_cache_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "not" / "there" / "yet"))
    assert found("cache").status == "ok"
    assert list(tmp_path.iterdir()) == []
