"""Which bytes a backbone's graph and weights are.

The invariant: two model files have one digest if and only if every byte of them is the same, and their external files have the
same names and bytes. All of it is read, but for files whose digests are remembered.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from featx.backbones.onnx_file import external_files
from featx.errors import BackboneError, BackboneNotFoundError, StoreError
from featx.store.digest import digest_file, digest_json, keys_array
from featx.store.files import FileDigests

__all__ = ["weights_digest"]

_external: dict[str, tuple[str, ...]] = {}


def weights_digest(model_path: Path, files: FileDigests) -> str:
    """Digest of a model file and, where its weights lie outside, of every external file by name.

    Parameters
    ----------
    model_path : Path
        The ``.onnx`` file.
    files : FileDigests
        The memory of file digests, which spares reading a file again.

    Returns
    -------
    str
        32 hex digits; without external files those of the model file itself.

    Raises
    ------
    BackboneNotFoundError
        A file is missing.
    BackboneError
        A file cannot be read.
    GraphError
        The file is not ONNX, or is truncated.
    """
    graph_digest = _file_digest(model_path, files)
    # Weights inside the file are covered already; looking for external ones means parsing the graph, so a small
    # memory by digest spares that for a file met before in this process.
    names = _external_names(model_path, graph_digest)
    external = {name: _file_digest(model_path.parent / name, files) for name in names}
    return digest_json({"graph": graph_digest, "external": external}) if external else graph_digest


def _external_names(path: Path, graph_digest: str) -> tuple[str, ...]:
    if graph_digest not in _external:
        _external[graph_digest] = tuple(external_files(path))
    return _external[graph_digest]


def _file_digest(path: Path, files: FileDigests) -> str:
    keys, known, identities = files.lookup([str(path)])
    if known[0]:
        return bytes(keys[0]).hex()
    try:
        digest = digest_file(path)
    except FileNotFoundError as error:
        raise BackboneNotFoundError(
            f"{path}: missing, and the model needs it: copy or download it into the same folder, under this name."
        ) from error
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if identities.any():
        # Only a saving of time: whoever stores vectors says that the store cannot be written.
        with contextlib.suppress(StoreError):
            files.remember(identities, keys_array([digest]))
    return digest.hex()
