"""What ``device=`` means on this machine, and how many threads run beside each other.

Looks at the ONNX Runtime build, the driver and the number of cards; opens no session, so it is cheap and silent. Whether a device
computes is proved in :mod:`featx.inference.runtime`.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from dataclasses import dataclass

import joblib

from featx.errors import DeviceError, ParameterError

__all__ = [
    "PROVIDERS",
    "Device",
    "count_cards",
    "cpu_threads",
    "default_batch",
    "default_tokens",
    "gpu_libraries",
    "onnxruntime_providers",
    "parse_device",
    "preload_gpu_libraries",
    "resolve_device",
    "why_not_cuda",
]

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""ONNX Runtime's name for each kind of device."""


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

    provider = PROVIDERS[kind]
    if provider not in onnxruntime.get_available_providers():
        return (
            f"the installed onnxruntime {onnxruntime.__version__} has no {provider} (the CPU package is installed, or it was "
            'installed over onnxruntime-gpu). Run "pip uninstall onnxruntime onnxruntime-gpu", then '
            '"pip install onnxruntime-gpu".'
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

    preload_gpu_libraries()
    major = str(getattr(onnxruntime, "cuda_version", "") or "13").split(".")[0]
    pattern = "{}64_{}.dll" if sys.platform == "win32" else "lib{}.so.{}"
    versions = {"cublasLt": major, "cublas": major, "cudart": major, "cudnn": "9"}
    return {
        name: _loads(name) for name in (pattern.format(lib, version) for lib, version in versions.items())
    }


def preload_gpu_libraries() -> None:
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
"""On a CPU a batch should stay in the caches. Measured on an AMD EPYC 9005, milliseconds an image for batches of 1, 2, 4, 8
and 16: MobileNetV2 at 224 px 4.6, 4.4, 4.8, 5.3, 5.8; EfficientNet-B0 7.4, 7.3, 7.3, 8.2, 9.5; ViT-S 55, 54, 57, 60, 65;
ResNet-56 at 32 px 1.45, 1.46, 1.45, 1.41, 1.39; a network of microseconds, 32 px, 0.013, 0.009, 0.007, 0.006, 0.006."""


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


_GPU_TOKENS, _CPU_TOKENS = 16384, 512


def default_tokens(device: Device) -> int:
    """Tokens a run, padding included, where nobody says."""
    return _CPU_TOKENS if device.kind == "cpu" else _GPU_TOKENS
