"""Sessions on ONNX Runtime: one pool a process, on a device that is proved to compute.

Owns the row independence of a session. Refuses to compute on another device than the one asked for: a CUDA session is opened
with a profile of its first run, and the operators that carry the work must be found on CUDA in it.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DeviceError, DeviceMemoryError, GraphError
from featx.inference.devices import PROVIDERS, Device, preload_gpu_libraries

__all__ = ["Session", "SessionPool", "heavy_providers", "session_pool"]

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


class Session:
    """A cut graph, ready to run: uint8 pixels or int32 token ids in, float32 vectors out.

    Safe to run from several threads at once. One thread computes a run on a CPU: lanes side by side beat one wide run.

    Parameters
    ----------
    model : bytes
        A serialised graph from :mod:`featx.backbones.surgery`.
    device : Device
        Where it computes.
    external : mapping of str to ndarray of uint8
        The files that hold the graph's external weights, by the names that it calls them.
    fixed_batch : int or None
        The batch size the graph insists on.
    coupled : bool
        Whether the graph is known to couple the rows of a batch.
    probe : ndarray, shape (1, ...)
        A batch of one sample that the session can run, used to prove its device and the independence of its rows.
    crowd : ndarray, shape (k, ...)
        A batch that begins with the same sample, in texts padded, and holds others that are as different as can be.
    """

    def __init__(
        self,
        model: bytes,
        *,
        device: Device,
        external: Mapping[str, NDArray[np.uint8]],
        fixed_batch: int | None,
        coupled: bool,
        probe: NDArray[Any],
        crowd: NDArray[Any],
    ) -> None:
        self.device = device
        self.fixed_batch = fixed_batch
        self._ort = _open(model, device, external, probe)
        self._input = self._ort.get_inputs()[0].name
        self._outputs = [output.name for output in self._ort.get_outputs()]
        self._probe, self._crowd = probe, crowd
        self._independent: bool | None = False if coupled or fixed_batch is not None else None
        self._probing = threading.Lock()

    def run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Vectors of a batch.

        Parameters
        ----------
        batch : ndarray of uint8, shape (n, h, w, 3), or of int32, shape (n, t)

        Returns
        -------
        list of ndarray of float32, shape (n, d)
            One array a tap.

        Raises
        ------
        DeviceMemoryError
            The device has no memory for this batch.
        GraphError
            The network cannot take samples of this size.
        """
        if self.fixed_batch is None or len(batch) == self.fixed_batch:
            return self._run(batch)
        # A graph that insists on its batch gets each row repeated: slow, and right for any graph.
        rows = [self._run(np.repeat(row[None], self.fixed_batch, axis=0)) for row in batch]
        return [np.concatenate([parts[i][:1] for parts in rows]) for i in range(len(self._outputs))]

    def _run(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        try:
            outputs: list[NDArray[np.float32]] = self._ort.run(self._outputs, {self._input: batch})
        except Exception as error:  # ONNX Runtime raises its own types and bare RuntimeError alike
            if _is_out_of_memory(error):
                raise DeviceMemoryError(
                    f"{self.device}: out of memory for a batch of {len(batch)}."
                ) from error
            shape = " x ".join(str(edge) for edge in batch.shape)
            what = "pixels" if batch.dtype == np.uint8 else "tokens"
            raise GraphError(f"ONNX Runtime cannot run the network on {what} of {shape}: {error}") from error
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
        together, alone = self._run(self._crowd), self._run(self._probe)
        return all(
            float(np.abs(a[0] - b[0]).max(initial=0))
            <= ROW_TOLERANCE * max(float(np.abs(b[0]).max(initial=0)), 1e-12)
            for a, b in zip(together, alone, strict=True)
        )


def _open(
    model: bytes, device: Device, external: Mapping[str, NDArray[np.uint8]], probe: NDArray[Any]
) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = (
        3  # errors come as exceptions; warnings on placement are for the profile to judge
    )
    if external:
        # In memory rather than by folder: hub snapshots are links, which ONNX Runtime refuses to follow.
        files = list(external.values())
        options.add_external_initializers_from_files_in_memory(
            list(external), files, [file.size for file in files]
        )
    if device.kind == "cpu":
        return _create(model, options, [PROVIDERS["cpu"]], device)
    preload_gpu_libraries()
    with tempfile.TemporaryDirectory() as traces:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(traces) / "featx")
        session = _create(model, options, _gpu_providers(device), device)
        session.run(None, {session.get_inputs()[0].name: probe})
        placed = heavy_providers(Path(session.end_profiling()).read_text(encoding="utf-8"))
    if placed != {PROVIDERS[device.kind]}:
        raise DeviceError(
            f"{device}: the network's operators ran on {', '.join(sorted(placed)) or 'no provider'}, expected "
            f'{PROVIDERS[device.kind]}. CUDA or cuDNN libraries are missing or of another version: run "featx doctor".'
        )
    return session


def _gpu_providers(device: Device) -> list[Any]:
    cuda = (
        "CUDAExecutionProvider",
        {"device_id": device.index, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"},
    )
    tensorrt = ("TensorrtExecutionProvider", {"device_id": device.index})
    return [tensorrt, cuda, PROVIDERS["cpu"]] if device.kind == "tensorrt" else [cuda, PROVIDERS["cpu"]]


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
