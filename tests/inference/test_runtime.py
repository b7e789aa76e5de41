"""Sessions and devices: what computes is what was asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
import numpy as np
import pytest

from featx import Backbone, ImageFeatures
from featx.errors import DeviceError, GraphError, ParameterError
from featx.inference import devices
from featx.inference.devices import Device, parse_device, resolve_device
from featx.inference.runtime import Session, SessionPool, heavy_providers
from featx.testing import tiny_backbone

PROBE = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)


def crowd_of(row: np.ndarray) -> np.ndarray:
    return np.concatenate([row, np.zeros_like(row), np.full_like(row, 255), 255 - row])


def session_of(folder: Path, *, coupled: bool = False, probe: np.ndarray = PROBE) -> Session:
    backbone = Backbone.open(folder)
    graph = backbone.cut([backbone.space()])
    return Session(
        graph.SerializeToString(),
        device=Device("cpu"),
        external=backbone.external_data(graph),
        fixed_batch=backbone.info.fixed_batch,
        coupled=coupled,
        probe=probe,
        crowd=crowd_of(probe),
    )


@pytest.mark.parametrize(
    ("text", "device"),
    [("auto", None), ("cpu", Device("cpu")), ("cuda", Device("cuda")), ("cuda:1", Device("cuda", 1))],
)
def test_device_names_are_read(text: str, device: Device | None) -> None:
    assert parse_device(text) == device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:1", "CUDA", "", None, 0])
def test_other_device_names_are_refused(text: object) -> None:
    with pytest.raises(ParameterError, match="device must be"):
        parse_device(text)  # type: ignore[arg-type]  # the wrong type is the point


def test_cuda_is_refused_with_the_reason_where_no_driver_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_cards", lambda: None)
    with pytest.raises(DeviceError, match=r"driver|onnxruntime"):
        resolve_device("cuda")
    assert resolve_device("auto") == Device("cpu")


def test_a_card_beyond_those_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_cards", lambda: 1)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(DeviceError, match="no card 3"):
        resolve_device("cuda:3")


def test_cuda_missing_from_the_wheel_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="pip install onnxruntime-gpu"):
        resolve_device("cuda")


@pytest.mark.skipif(devices.why_not_cuda() is None, reason="CUDA works here")
def test_a_session_that_fell_back_to_the_cpu_is_refused(tmp_path: Path) -> None:
    # ONNX Runtime hands out a CPU session for a CUDA request here: the profile of the first run gives it away.
    backbone = Backbone.open(tiny_backbone(tmp_path))
    with pytest.raises(DeviceError, match="ran on CPUExecutionProvider"):
        Session(
            backbone.cut([backbone.space()]).SerializeToString(),
            device=Device("cuda"),
            external={},
            fixed_batch=None,
            coupled=False,
            probe=PROBE,
            crowd=crowd_of(PROBE),
        )


def test_providers_are_read_from_the_operators_that_carry_the_work() -> None:
    def event(op: str, provider: str) -> dict[str, object]:
        return {"cat": "Node", "args": {"op_name": op, "provider": provider}}

    profile = json.dumps([event("Conv", "CUDA"), event("Shape", "CPU"), {"cat": "Session", "args": {}}])
    assert heavy_providers(profile) == {"CUDA"}


def test_float32_rows_are_independent_and_measured(tmp_path: Path) -> None:
    assert session_of(tiny_backbone(tmp_path)).rows_are_independent


def test_dynamic_quantisation_is_measured_as_dependent(weights: Path) -> None:
    folder = weights / "mobilenet_v2_int8_dynamic"
    probe = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    # `coupled=False` withholds what the graph says, so that the measurement has to find it.
    assert not session_of(folder, coupled=False, probe=probe).rows_are_independent


def test_a_dependent_graph_gives_the_same_rows_whatever_the_batch(weights: Path, data: Path) -> None:
    files = sorted(str(p) for p in (data / "bccd_crops" / "WBC").iterdir())[:6]
    one = ImageFeatures(weights / "mobilenet_v2_int8_dynamic", cache=None, batch_size=1)
    many = ImageFeatures(weights / "mobilenet_v2_int8_dynamic", cache=None, batch_size=6)
    np.testing.assert_array_equal(one.fit_transform(files), many.fit_transform(files))


def test_the_pool_opens_once_and_closes_the_least_recently_used() -> None:
    opened = []
    pool = SessionPool(capacity=2)
    for key in "abacab":
        pool.get(key, lambda key=key: opened.append(key))  # type: ignore[arg-type,misc,return-value]  # any object will do
    assert opened == ["a", "b", "c", "b"]


def test_a_graph_that_cannot_run_is_a_graph_error(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot run"):
        Session(
            b"not a graph",
            device=Device("cpu"),
            external={},
            fixed_batch=None,
            coupled=False,
            probe=PROBE,
            crowd=crowd_of(PROBE),
        )


def test_lanes_follow_the_thread_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert devices.cpu_threads() == 8
    for limit, lanes in (("3", 3), ("64", 8), ("0", 8), ("nonsense", 8), ("2,1", 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert devices.cpu_threads() == lanes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_opens_sessions_of_its_own(tmp_path: Path) -> None:
    features = ImageFeatures(tiny_backbone(tmp_path / "b"), cache=None).fit(None)
    expected = features.transform(list(PROBE))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, features.transform(list(PROBE)).tobytes())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        received = np.frombuffer(pipe.read(), dtype=np.float32)
    os.waitpid(child, 0)
    np.testing.assert_array_equal(received, expected[0])
