"""A folder among the temporary files that is gone with its object, or at the end of the process."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

__all__ = ["ScratchFolder"]


class ScratchFolder:
    """An empty folder for as long as this object lives; where files of it are still mapped (Windows), they are left.

    Parameters
    ----------
    prefix : str
        What its name begins with.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
