"""Every error featx raises, in one tree; each also derives from the builtin that callers expect.

::

    FeatxError
    ├── ParameterError          (ValueError)         an argument or a combination of arguments is wrong
    ├── InputError              (ValueError)         the samples or the table cannot be used
    │   ├── SampleError                              one sample is wrong; carries ``index`` and ``name``
    │   │   └── UnreadableSampleError (OSError)      ... because it cannot be read or decoded
    │   └── DatasetError                             labels, groups, splits or columns are wrong
    │       └── LeakError                            ... and figures on them would flatter; only where that was to be refused
    ├── BackboneError           (ValueError)
    │   ├── BackboneNotFoundError (FileNotFoundError)
    │   │   └── HubUnreachableError (ConnectionError) ... and the model hub that has it cannot be reached
    │   ├── GraphError                               not ONNX, truncated, or a shape featx cannot cut
    │   ├── PreprocessError                          preprocessing missing or not expressible
    │   ├── ConversionError                          no ONNX file of a network agrees with the original
    │   └── DigestMismatchError                      a file is not the one its card describes
    ├── SpaceMismatchError      (ValueError)         a fitted transformer met another feature space
    ├── DeviceError             (RuntimeError)       the device asked for does not compute
    │   └── DeviceMemoryError   (MemoryError)
    ├── StoreError              (OSError)
    │   ├── StoreFormatError                         written by a newer featx, or not a store
    │   ├── StoreCorruptError                        a checksum does not hold
    │   └── StoreNotWritableError (PermissionError)
    ├── ArtifactError           (ValueError)
    │   └── UntrustedTypeError  (TypeError)
    ├── OutputError             (OSError)            a file asked for cannot be written
    └── MissingExtraError       (ImportError)        an optional dependency is absent; names the command

    FeatxWarning                (UserWarning)
    └── LeakWarning                                  what is learned from and what is judged on are not apart

A message says what, where, expected against found, and what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "ArtifactError",
    "BackboneError",
    "BackboneNotFoundError",
    "ConversionError",
    "DatasetError",
    "DeviceError",
    "DeviceMemoryError",
    "DigestMismatchError",
    "FeatxError",
    "FeatxWarning",
    "GraphError",
    "HubUnreachableError",
    "InputError",
    "LeakError",
    "LeakWarning",
    "MissingExtraError",
    "OutputError",
    "ParameterError",
    "PreprocessError",
    "SampleError",
    "SpaceMismatchError",
    "StoreCorruptError",
    "StoreError",
    "StoreFormatError",
    "StoreNotWritableError",
    "UnreadableSampleError",
    "UntrustedTypeError",
    "did_you_mean",
    "without_advice",
]


class FeatxError(Exception):
    """Root of every error that featx raises on purpose."""


class FeatxWarning(UserWarning):
    """A warning the user can act on."""


class LeakWarning(FeatxWarning):
    """What a model learns from and what it is judged on are not apart; it is part of the result too."""


class ParameterError(FeatxError, ValueError):
    """An argument, or a combination of arguments, is wrong."""


class InputError(FeatxError, ValueError):
    """The samples or the table given cannot be used."""


class SampleError(InputError):
    """One sample is wrong.

    Parameters
    ----------
    message : str
        What is wrong and what to do, without the sample's name.
    index : int or None
        Position of the sample in X, where it is known.
    name : str
        The sample as a person knows it: a path, or ``"sample 17 (bytes)"``.
    place : str
        Where the sample was named, such as ``"labels.csv, line 19"``; shown in place of the index.
    """

    def __init__(self, message: str, *, index: int | None = None, name: str = "", place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.name = name
        self.place = place

    def __str__(self) -> str:
        place = self.place or ("" if self.index is None else f"index {self.index}")
        return f"{self.name or 'sample'}{f' ({place})' if place else ''}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_sample_error, (type(self), self.message, self.index, self.name, self.place)


def _rebuild_sample_error(
    kind: type[SampleError], message: str, index: int | None, name: str, place: str = ""
) -> SampleError:
    return kind(message, index=index, name=name, place=place)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message on a name nobody knows: ``" Did you mean 'stage3'?"``, or nothing where no known one is near.

    Examples
    --------
    >>> did_you_mean("Stage_3", ["stage3", "stage4", "pooled"])
    " Did you mean 'stage3'?"
    """
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[near[0]]!r}?" if near else ""


def without_advice(message: str) -> str:
    """A message about a sample that has been left out already, without the advice to leave it out.

    Examples
    --------
    >>> without_advice('a.png: an empty file. Remove it, or pass on_error="nan".')
    'a.png: an empty file.'
    """
    return re.sub(r"""[^.()]*,? or pass on_error="nan"\.""", "", message).strip()


class UnreadableSampleError(SampleError, OSError):
    """A sample cannot be read or decoded."""


class DatasetError(InputError):
    """Labels, groups, splits or columns are wrong."""


class LeakError(DatasetError):
    """What a model learns from and what it is judged on are not apart, and that was to be refused."""


class BackboneError(FeatxError, ValueError):
    """A backbone cannot be used as asked."""


class BackboneNotFoundError(BackboneError, FileNotFoundError):
    """No backbone of that name, folder or file."""


class HubUnreachableError(BackboneNotFoundError, ConnectionError):
    """What a reference means is not here, and the model hub that has it cannot be reached."""


class GraphError(BackboneError):
    """The graph is not ONNX, is truncated, or cannot be cut as asked."""


class PreprocessError(BackboneError):
    """Preprocessing is missing, or cannot be expressed."""


class ConversionError(BackboneError):
    """A network cannot be exported, or what was exported does not agree with its original."""


class DigestMismatchError(BackboneError):
    """A file is not the one that its card describes."""


class SpaceMismatchError(FeatxError, ValueError):
    """A fitted transformer met another feature space than it was fitted with."""


class DeviceError(FeatxError, RuntimeError):
    """The device asked for does not compute."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device ran out of memory, also with one sample at a time."""


class StoreError(FeatxError, OSError):
    """The embedding store cannot do what was asked."""


class StoreFormatError(StoreError):
    """The folder was written by a newer featx, or is not a store."""


class StoreCorruptError(StoreError):
    """A checksum does not hold."""


class StoreNotWritableError(StoreError, PermissionError):
    """The folder given for the store cannot be written."""


class ArtifactError(FeatxError, ValueError):
    """A saved pipeline cannot be written or read."""


class UntrustedTypeError(ArtifactError, TypeError):
    """A saved pipeline names a type that is not on the allow list."""


class OutputError(FeatxError, OSError):
    """A file or stream that results were to go to cannot be written."""


class MissingExtraError(FeatxError, ImportError):
    """An optional dependency is absent; the message names the command that installs it."""
