"""``pipeline.skops``: the scikit-learn part of an artefact, written and read through skops; nothing is ever unpickled.

Owns what is done with the allow list. The invariant: a file is looked through by featx and then by skops before anything that it
names is imported or built. Loaders that :mod:`featx.artifact.allow_list` does not know, and protocols older than the one featx
began with, are refused: skops lets a file choose which generation of its readers looks at it.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from featx.artifact.allow_list import CALL_BY_NAME, LOADERS, allowed
from featx.errors import ArtifactError, UntrustedTypeError

__all__ = ["from_skops", "to_skops", "untrusted_types"]

_FIRST_PROTOCOL = 2

# What a malformed file makes skops, numpy, scipy and zipfile raise; all of it means "this is not a pipeline".
_MALFORMED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


def to_skops(model: Any) -> bytes:
    """Write an object in skops' format, and make sure that it can be read back.

    Raises
    ------
    ArtifactError
        Part of it cannot be written, or only as a name that nothing can be found under later; the message says which part.
    """
    skops_io = _skops_io()
    try:
        content = skops_io.dumps(model)
    except _MALFORMED as error:
        raise ArtifactError(_not_writable(model, error)) from error
    for where, node in _nodes(_schema(content)):
        _check_findable(where, node)
    _audit(content, frozenset(untrusted_types(content)))
    try:
        skops_io.loads(content, trusted=skops_io.get_untrusted_types(data=content))
    except _MALFORMED as error:
        raise ArtifactError(f"the pipeline was written and cannot be read back: {error}") from error
    return content


def untrusted_types(content: bytes) -> tuple[str, ...]:
    """Names that have to be in ``trusted`` to read ``content``, sorted.

    Raises
    ------
    ArtifactError
        ``content`` is not in skops' format.
    """
    try:
        return tuple(sorted(set(_skops_io().get_untrusted_types(data=content)) - allowed().keys()))
    except _MALFORMED as error:
        raise ArtifactError(
            f"not a readable pipeline ({type(error).__name__}: {error}). Save it again."
        ) from error


def from_skops(content: bytes, *, trusted: Sequence[str] = ()) -> Any:
    """Rebuild what :func:`to_skops` wrote, from allow-listed types only.

    Parameters
    ----------
    content : bytes
        May be hostile.
    trusted : sequence of str
        Full names of further types and functions that the caller answers for.

    Raises
    ------
    UntrustedTypeError
        It names types that are neither allowed nor in ``trusted``; none of it was built.
    ArtifactError
        It is malformed.
    """
    _audit(content, frozenset(trusted))
    unknown = [name for name in untrusted_types(content) if name not in trusted]
    if unknown:
        raise UntrustedTypeError(_untrusted(unknown))
    try:
        return _skops_io().loads(content, trusted=[*allowed(), *trusted])
    except _MALFORMED as error:
        raise ArtifactError(f"the pipeline cannot be rebuilt ({type(error).__name__}: {error}).") from error


def _skops_io() -> Any:
    """``skops.io``, loaded without torch.

    To list scikit-learn's estimators, skops has every package below sklearn imported; among them are adapters to torch, cupy and
    dask, which load those where they are installed: 1.1 of the 2.6 seconds that it took with torch.
    """
    hidden = []
    if "skops.io" not in sys.modules:
        adapters = [f"sklearn.externals.array_api_compat.{library}" for library in ("cupy", "dask", "torch")]
        hidden = [name for name in adapters if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        import skops.io  # waits for a thread that is loading it
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
    return skops.io


def _audit(content: bytes, trusted: frozenset[str]) -> None:
    """Hold the file to what this module's docstring says, without building anything."""
    schema = _schema(content)
    protocol = schema.get("protocol")
    if isinstance(protocol, bool) or not isinstance(protocol, int) or protocol < _FIRST_PROTOCOL:
        raise ArtifactError(
            f"skops protocol {protocol!r}: featx never wrote this. The file was tampered with."
        )
    ours = allowed()
    for where, node in _nodes(schema):
        loader, name = node["__loader__"], _name(node)
        if not isinstance(loader, str) or loader not in LOADERS:
            raise ArtifactError(
                f"{where}: unknown loader {loader!r}. The file is from a newer featx, or was tampered with."
            )
        # A type of the caller's is the caller's to trust in whole.
        if name in ours and name not in trusted and loader != ours[name]:
            raise ArtifactError(
                f"{where}: {name} through {loader}, expected {ours[name]}. The file was tampered with."
            )


def _schema(content: bytes) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # skops stores, so whatever is packed is not from it, and may unpack to more than the memory.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ArtifactError(
                    "the pipeline is compressed: featx never wrote this. The file was tampered with."
                )
            schema = json.loads(archive.read("schema.json"))
    except _MALFORMED as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(
            f"not a readable pipeline ({type(error).__name__}: {error}). Save it again."
        ) from error
    if not isinstance(schema, dict):
        raise ArtifactError(
            f"not a readable pipeline (its schema is a {type(schema).__name__}). Save it again."
        )
    return schema


def _nodes(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with its place, such as ``steps.0.1.func``; in no particular depth, so that depth is no danger."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, dict):
            if "__loader__" in value:
                yield where or "the pipeline", value
            waiting += [(_below(where, key), child) for key, child in value.items()]
        elif isinstance(value, list):
            waiting += [(_below(where, str(index)), child) for index, child in enumerate(value)]


def _below(where: str, key: str) -> str:
    return where if key == "content" else f"{where}.{key}" if where else key


def _name(node: dict[str, Any]) -> str:
    return f"{node.get('__module__')}.{node.get('__class__')}"


def _check_findable(where: str, node: dict[str, Any]) -> None:
    if not isinstance(node["__loader__"], str) or node["__loader__"] not in CALL_BY_NAME:
        return  # the audit has its own word on the first
    module, name = node["__module__"], node["__class__"]
    if name == "<lambda>" or "<locals>" in name:
        raise ArtifactError(
            f"{where}: {module}.{name} has no name that it could be found under when the artefact is loaded. "
            "Define it with def, at the top of a module that can be imported."
        )
    if module == "__main__":
        raise ArtifactError(
            f"{where}: {name} is defined in the script or notebook that runs now, where no other program finds it. "
            "Move it to a module that can be imported, and import it from there."
        )
    if not hasattr(sys.modules.get(module), name):
        raise ArtifactError(
            f"{where}: {module}.{name} cannot be imported. Define it at the top of its module."
        )


def _not_writable(model: Any, error: BaseException) -> str:
    """Name the innermost parameter or attribute that cannot be written."""
    where, part = _culprit("", model)
    place = f" (at {where})" if where else ""
    return (
        f"{part!r:.200}{place} cannot be written without pickle ({error}). Replace it, or keep it out of the pipeline and apply "
        "it before."
    )


def _culprit(where: str, part: Any) -> tuple[str, Any]:
    if isinstance(part, dict):
        members = list(part.items())
    elif isinstance(part, list | tuple):
        members = list(enumerate(part))
    else:
        members = list(vars(part).items()) if hasattr(part, "__dict__") and not isinstance(part, type) else []
    for key, member in members:
        try:
            _skops_io().dumps(member)
        except RecursionError:
            break  # a circle: every member of it fails
        except _MALFORMED:
            return _culprit(_below(where, str(key)), member)
    return where, part


def _untrusted(names: list[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return (
        f"holds types or functions that featx does not build unasked: {', '.join(names)}. If you know who made the artefact and "
        f"what they do, load it with featx.load(folder, trusted=({listed},))."
    )
