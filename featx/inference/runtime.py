"""Sessions on ONNX Runtime: one pool a process, on a device that is proved to compute.

Owns the meaning of ``device=``, how many threads run beside each other, and the row independence of a session. Refuses to
compute on another device than the one asked for: a CUDA session is opened with a profile of its first run, and the operators
that carry the work must be found on CUDA in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from featx.errors import DeviceError, DeviceMemoryError, GraphError, ParameterError

__all__ = [
    "Device",
    "Session",
    "SessionPool",
    "count_cards",
    "cpu_threads",
    "default_batch",
    "gpu_libraries",
    "heavy_providers",
    "onnxruntime_providers",
    "parse_device",
    "resolve_device",
    "session_pool",
    "why_not_cuda",
]

# Operators that carry the work of an encoder. ONNX Runtime places shape arithmetic on the CPU on purpose, so their
# provider, not every node's, says where a network runs.
_HEAVY = frozenset(
    {
        "Conv",
        "FusedConv",
        "Gemm",
        "FusedGemm",
        "MatMul",
        "FusedMatMul",
        "Attention",
        "MultiHeadAttention",
        "NhwcConv",
    }
)

ROW_TOLERANCE = 1e-4
"""max |row alone - row among others| / max |row| up to which rows count as independent. float32 kernels that sum in another
order for another batch size stay near 1e-6; one shared quantisation scale moves rows by 1e-2 and more."""

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session computes: ``kind`` cpu, cuda or tensorrt, and the index of the card."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" or self.index == 0 else f"{self.kind}:{self.index}"


def parse_device(text: str) -> Device | None:
    """Read ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"tensorrt"``; ``"auto"`` is None.

    Raises
    ------
    ParameterError
        Anything else.
    """
    if isinstance(text, str):
        kind, _, index = text.partition(":")
        if text == "auto":
            return None
        if text == "cpu" or (kind in ("cuda", "tensorrt") and (not _ or index.isdecimal())):
            return Device(kind, int(index or 0))
    raise ParameterError(f"device must be auto, cpu, cuda, cuda:<index> or tensorrt, got {text!r}.")


def resolve_device(text: str) -> Device:
    """The device that ``device=`` means on this machine; ``"auto"`` takes CUDA where it works, else the CPU.

    Raises
    ------
    DeviceError
        CUDA was asked for by name and cannot compute here; the message says why and what to do.
    """
    device = parse_device(text)
    if device is None:
        return Device("cuda") if why_not_cuda() is None else Device("cpu")
    if device.kind != "cpu":
        reason = why_not_cuda(device.kind, device.index)
        if reason is not None:
            raise DeviceError(
                f'device="{text}": {reason} Pass device="cpu" to compute on the CPU, or run "featx doctor".'
            )
    return device


def why_not_cuda(kind: str = "cuda", index: int = 0) -> str | None:
    """One sentence on why CUDA (or TensorRT) cannot compute here, or None where it should.

    Looks at the ONNX Runtime build, the driver and the number of cards; opens no session, so it is cheap and silent.
    """
    import onnxruntime

    provider = _PROVIDERS[kind]
    if provider not in onnxruntime.get_available_providers():
        return (
            f"the installed onnxruntime {onnxruntime.__version__} has no {provider} (the CPU package is installed, or it was "
            'installed over onnxruntime-gpu). Run "pip uninstall onnxruntime onnxruntime-gpu", then "pip install onnxruntime-gpu".'
        )
    n_cards = count_cards()
    if n_cards is None:
        return "no NVIDIA driver was found on this machine."
    if index >= n_cards:
        return f"the driver sees {n_cards} card(s), so there is no card {index}."
    return None


def count_cards() -> int | None:
    """CUDA devices that the driver offers, or None without a driver (CUDA driver API: cuInit, cuDeviceGetCount)."""
    name = {"win32": "nvcuda.dll", "darwin": None}.get(sys.platform, "libcuda.so.1")
    if name is None:
        return None
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return None
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def onnxruntime_providers() -> list[str]:
    """Execution providers that the installed ONNX Runtime was built with."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def gpu_libraries() -> dict[str, bool]:
    """CUDA and cuDNN libraries that the CUDA provider opens, and whether each loads here.

    Names from the error messages of onnxruntime-gpu 1.22 to 1.31, which is built for CUDA 12 or 13 and cuDNN 9.
    """
    import onnxruntime

    _preload_gpu_libraries()
    major = str(getattr(onnxruntime, "cuda_version", "") or "13").split(".")[0]
    pattern = "{}64_{}.dll" if sys.platform == "win32" else "lib{}.so.{}"
    versions = {"cublasLt": major, "cublas": major, "cudart": major, "cudnn": "9"}
    return {
        name: _loads(name) for name in (pattern.format(lib, version) for lib, version in versions.items())
    }


def _preload_gpu_libraries() -> None:
    """Open CUDA and cuDNN from NVIDIA's packages, where they are installed; what does not load shows in :func:`gpu_libraries`."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it misses
            onnxruntime.preload_dlls()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def cpu_threads() -> int:
    """Threads that this process may load: its share of the cores.

    joblib's count knows affinity and container limits; ``OMP_NUM_THREADS`` is how joblib tells a worker its share (and how a
    user limits one). ONNX Runtime reads neither by itself.
    """
    cores = joblib.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(cores, int(limit))) if limit.isdecimal() and int(limit) > 0 else max(1, cores)


_GPU_BATCH = 64
_CPU_BATCH_PX = 1 << 16
_LARGEST_CPU_BATCH = 8
"""On a CPU a batch should stay in the caches. Measured on an AMD EPYC 9005, milliseconds an image for batches of 1, 2, 4, 8 and 16:
MobileNetV2 at 224 px 4.6, 4.4, 4.8, 5.3, 5.8; EfficientNet-B0 7.4, 7.3, 7.3, 8.2, 9.5; ViT-S 55, 54, 57, 60, 65; ResNet-56 at
32 px 1.45, 1.46, 1.45, 1.41, 1.39, and more where a run costs as much as the arithmetic in it: 0.013, 0.009, 0.007, 0.006, 0.006."""


def default_batch(device: Device, n_pixels: int) -> int:
    """Images a run, where nobody says.

    Parameters
    ----------
    device : Device
    n_pixels : int
        Of one image, height times width.

    Examples
    --------
    >>> [default_batch(Device("cpu"), edge * edge) for edge in (32, 96, 128, 224)]
    [8, 7, 4, 1]
    """
    if device.kind != "cpu":
        return _GPU_BATCH
    return max(1, min(_LARGEST_CPU_BATCH, _CPU_BATCH_PX // n_pixels))


class Session:
    """A cut graph, ready to run: uint8 pixels in, float32 vectors out.

    Safe to run from several threads at once. One thread computes a run on a CPU: lanes side by side beat one wide run.

    Parameters
    ----------
    model : bytes
        A serialised graph from :func:`featx.backbones.surgery.cut_image_graph`.
    device : Device
        Where it computes.
    folder : Path
        Where the graph's external data lies.
    fixed_batch : int or None
        The batch size the graph insists on.
    coupled : bool
        Whether the graph is known to couple the rows of a batch.
    probe : ndarray of uint8, shape (1, h, w, 3)
        A picture the session can run, used to prove its device and the independence of its rows.
    """

    def __init__(
        self,
        model: bytes,
        *,
        device: Device,
        folder: Path,
        fixed_batch: int | None,
        coupled: bool,
        probe: NDArray[np.uint8],
    ) -> None:
        self.device = device
        self.fixed_batch = fixed_batch
        self._ort = _open(model, device, folder, probe)
        self._input = self._ort.get_inputs()[0].name
        self._outputs = [output.name for output in self._ort.get_outputs()]
        self._probe = probe
        self._independent: bool | None = False if coupled or fixed_batch is not None else None
        self._probing = threading.Lock()

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Vectors of a batch.

        Parameters
        ----------
        batch : ndarray of uint8, shape (n, h, w, 3)

        Returns
        -------
        list of ndarray of float32, shape (n, d)
            One array a tap.

        Raises
        ------
        DeviceMemoryError
            The device has no memory for this batch.
        """
        if self.fixed_batch is None or len(batch) == self.fixed_batch:
            return self._run(batch)
        # A graph that insists on its batch gets each row repeated: slow, and right for any graph.
        rows = [self._run(np.repeat(row[None], self.fixed_batch, axis=0)) for row in batch]
        return [np.concatenate([parts[i][:1] for parts in rows]) for i in range(len(self._outputs))]

    def _run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            outputs: list[NDArray[np.float32]] = self._ort.run(self._outputs, {self._input: batch})
        except Exception as error:  # ONNX Runtime raises its own types and bare RuntimeError alike
            if _is_out_of_memory(error):
                raise DeviceMemoryError(
                    f"{self.device}: out of memory for a batch of {len(batch)}."
                ) from error
            raise
        return outputs

    @property
    def rows_are_independent(self) -> bool:
        """Whether a row's vectors do not depend on what else is in its batch; measured on first use.

        A row alone is held against the same row beside others, to :data:`ROW_TOLERANCE`.
        """
        with self._probing:
            if self._independent is None:
                self._independent = self._probe_rows()
            return self._independent

    def _probe_rows(self) -> bool:
        row = self._probe[:1]
        # Contrast in the neighbours matters: a shared quantisation scale shows only where the range of the batch moves.
        together = self._run(np.concatenate([row, np.zeros_like(row), np.full_like(row, 255), 255 - row]))
        alone = self._run(row)
        return all(
            float(np.abs(a[0] - b[0]).max(initial=0))
            <= ROW_TOLERANCE * max(float(np.abs(b[0]).max(initial=0)), 1e-12)
            for a, b in zip(together, alone, strict=True)
        )


def _open(model: bytes, device: Device, folder: Path, probe: NDArray[np.uint8]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = (
        3  # errors come as exceptions; warnings on placement are for the profile to judge
    )
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if device.kind == "cpu":
        return _create(model, options, [_PROVIDERS["cpu"]], device)
    _preload_gpu_libraries()
    with tempfile.TemporaryDirectory() as traces:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(traces) / "featx")
        session = _create(model, options, _gpu_providers(device), device)
        session.run(None, {session.get_inputs()[0].name: probe})
        placed = heavy_providers(Path(session.end_profiling()).read_text(encoding="utf-8"))
    if placed != {_PROVIDERS[device.kind]}:
        raise DeviceError(
            f"{device}: the network's operators ran on {', '.join(sorted(placed)) or 'no provider'}, expected "
            f'{_PROVIDERS[device.kind]}. CUDA or cuDNN libraries are missing or of another version: run "featx doctor".'
        )
    return session


def _gpu_providers(device: Device) -> list[Any]:
    cuda = (
        "CUDAExecutionProvider",
        {"device_id": device.index, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"},
    )
    tensorrt = ("TensorrtExecutionProvider", {"device_id": device.index})
    return [tensorrt, cuda, _PROVIDERS["cpu"]] if device.kind == "tensorrt" else [cuda, _PROVIDERS["cpu"]]


def _create(model: bytes, options: Any, providers: list[Any], device: Device) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own types and bare RuntimeError alike
        if _is_out_of_memory(error):
            raise DeviceMemoryError(f"{device}: out of memory while loading the network.") from error
        raise GraphError(f"ONNX Runtime cannot run this graph on {device}: {error}") from error


def heavy_providers(profile: str) -> set[str]:
    """Providers on which the operators that carry the work ran, from the text of an ONNX Runtime profile."""
    return {
        event["args"]["provider"]
        for event in json.loads(profile)
        if event.get("cat") == "Node"
        and event.get("args", {}).get("op_name") in _HEAVY
        and event["args"].get("provider")
    }


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return (
        "failed to allocate memory" in text or "out of memory" in text or "cudaerrormemoryallocation" in text
    )


class SessionPool:
    """The few sessions that a process keeps open, least recently used closed first.

    Parameters
    ----------
    capacity : int
        Sessions kept open.
    """

    def __init__(self, capacity: int = 3) -> None:
        self._capacity = capacity
        self._open: OrderedDict[Any, Session] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Session]) -> Session:
        """The session of ``key``, opened by ``make`` where there is none."""
        with self._lock:
            if key not in self._open:
                self._open[key] = make()
                while len(self._open) > self._capacity:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
            return self._open[key]

    def clear(self) -> None:
        """Close every session that nobody is running."""
        with self._lock:
            self._open.clear()


_pool = SessionPool()
_abandoned: Sequence[Any] = ()


def session_pool() -> SessionPool:
    """The pool of this process."""
    return _pool


def _after_fork() -> None:
    # The parent's sessions own threads that do not exist in the child: running or even destroying them can hang, so they are
    # left alone and a new pool begins.
    global _pool, _abandoned
    _abandoned = (*_abandoned, _pool)
    _pool = SessionPool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
