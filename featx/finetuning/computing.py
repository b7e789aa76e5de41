"""Where a training computes: the device, this process's share of the cores, and kernels that repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from joblib.parallel import get_active_backend

from featx.errors import DeviceError, DeviceMemoryError
from featx.inference.devices import cpu_threads, parse_device

if TYPE_CHECKING:
    import torch

__all__ = ["computing", "torch_device"]


def torch_device(text: str) -> torch.device:
    """The device of the training.

    Raises
    ------
    DeviceError
        CUDA was asked for by name, and torch has none.
    """
    import torch

    parsed = parse_device(text)
    if parsed is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if parsed.kind == "cuda" and parsed.index >= torch.cuda.device_count():
        raise DeviceError(
            f'device="{text}": torch {torch.__version__} finds {torch.cuda.device_count()} CUDA device(s). Install a build of '
            'torch for CUDA, or pass device="cpu".'
        )
    return torch.device(parsed.kind, parsed.index) if parsed.kind == "cuda" else torch.device("cpu")


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """This process's share of the cores, and kernels that give the same each time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(_n_threads())
    try:
        # float32 means float32: TF32 is off.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(f"{device}: out of memory. Lower batch_size, or freeze more.") from error
    finally:
        torch.set_num_threads(before)


def _n_threads() -> int:
    """All of this process's share; one where fits run beside each other on threads, as an evaluation's folds do."""
    beside_others = get_active_backend()[0].nesting_level > 0 and current_thread() is not main_thread()
    return 1 if beside_others else cpu_threads()
