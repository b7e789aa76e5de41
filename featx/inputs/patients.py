"""Which samples are of one patient, told from the headers of DICOM files and never by the ID itself.

Owns the way from a PatientID to a pseudonym: hashed with a salt at once, so that no ID is kept, written or shown. Without a salt
of the user's the hash only tells patients apart, and they are numbered in the order in which they appear: the same data set gives
the same groups, and nothing can be looked up.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DatasetError, InputError, ParameterError, SampleError
from featx.inputs.dicom_headers import patient_id
from featx.inputs.frames import file_of
from featx.store.digest import digest_keyed

__all__ = ["patient_groups", "pseudonyms"]

_LEAST_SALT_BYTES = 16


def patient_groups(samples: Sequence[str | os.PathLike[str]], *, salt: bytes | None = None) -> NDArray[Any]:
    """The patient of each DICOM file, as a pseudonym: groups for folds.

    Parameters
    ----------
    samples : sequence of n paths
        DICOM files, with or without ``#frame=`` behind them. Only the element PatientID is read.
    salt : bytes, optional
        At least 16, kept secret: pseudonyms are then hexadecimal and the same in every call with this salt, so that data sets can
        be joined. Whoever has the salt can find out whether a known ID is among them. Without, patients are numbered.

    Returns
    -------
    ndarray of str, shape (n,)
        ``"patient 1"`` ... in the order in which they appear, or 32 hex digits each.

    Raises
    ------
    DatasetError
        A file is not DICOM or has no PatientID.
    InputError
        `samples` is a single path, or no sequence.
    SampleError
        One of them is no path; names its index.
    ParameterError
        A salt that is too short to keep IDs secret.
    MissingExtraError
        pydicom is not installed.

    Notes
    -----
    Two patients of different hospitals with the same ID become one group, which is on the safe side: nothing leaks.
    """
    names = _names(samples)
    found = [patient_id(file_of(name)) for name in names]
    unknown = [name for name, each in zip(names, found, strict=True) if each is None]
    if unknown:
        raise DatasetError(
            f"{len(unknown):,} of {len(names):,} files have no PatientID in a DICOM header, {unknown[0]} for one. List "
            "the files in a CSV with a column of what belongs together, and name it with group_column=."
        )
    return pseudonyms((each for each in found if each is not None), salt=salt)


def _names(samples: Any) -> list[str]:
    """Paths as strings, one a sample."""
    if isinstance(samples, str | bytes | os.PathLike):
        raise InputError(
            "samples: a single path, expected a list of them: give [path]. For every image below a folder, "
            "featx.read_dataset(folder).samples."
        )
    if not isinstance(samples, Iterable):
        raise InputError(f"samples: {type(samples).__name__}, expected a list of the paths of DICOM files.")
    names = list(samples)
    for index, name in enumerate(names):
        if not isinstance(name, str | os.PathLike):
            raise SampleError(
                f"expected the path of a DICOM file, found {type(name).__name__}. Leave it out.",
                index=index,
                name=f"sample {index}",
            )
    return [os.fsdecode(name) for name in names]


def pseudonyms(ids: Iterable[str], *, salt: bytes | None = None) -> NDArray[Any]:
    """Pseudonyms of IDs, in their order; see :func:`patient_groups`.

    Raises
    ------
    ParameterError
        A salt that is too short to keep IDs secret.

    Examples
    --------
    >>> pseudonyms(["0815", "4711", "0815"]).tolist()
    ['patient 1', 'patient 2', 'patient 1']
    """
    if salt is not None and (not isinstance(salt, bytes) or len(salt) < _LEAST_SALT_BYTES):
        raise ParameterError(
            f"salt: expected at least {_LEAST_SALT_BYTES} secret bytes, such as secrets.token_bytes(32)."
        )
    key = secrets.token_bytes(32) if salt is None else salt
    hashed = [digest_keyed(each, key).hex() for each in ids]
    if salt is not None:
        return np.array(hashed, dtype=str)
    numbers: dict[str, int] = {}
    return np.array([f"patient {numbers.setdefault(each, len(numbers) + 1)}" for each in hashed], dtype=str)
