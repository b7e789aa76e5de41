"""Which store a ``cache=`` argument means.

Owns the default folder: ``FEATX_CACHE``, else the platform's cache folder, with a size cap.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from featx.errors import ParameterError
from featx.store.store import EmbeddingStore

__all__ = ["default_cache_folder", "open_cache"]

DEFAULT_MAX_BYTES = 20 << 30
"""Cap of the default folder, 20 GiB: 4 million vectors of 1280 features. ``FEATX_CACHE_MAX_BYTES`` sets another."""


def default_cache_folder() -> Path:
    """``FEATX_CACHE``, else the platform's cache folder for featx."""
    chosen = os.environ.get("FEATX_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("featx", appauthor=False))


def open_cache(cache: str | os.PathLike[str] | EmbeddingStore | None) -> EmbeddingStore | None:
    """The store that ``cache`` means.

    Parameters
    ----------
    cache : "default", path, EmbeddingStore or None
        ``"default"`` is :func:`default_cache_folder`; None is no store.

    Raises
    ------
    ParameterError
        Anything else.
    StoreFormatError
        The folder holds something else, or a newer format.
    """
    if cache is None or isinstance(cache, EmbeddingStore):
        return cache
    if isinstance(cache, str) and cache == "default":
        return EmbeddingStore(default_cache_folder(), max_bytes=_cap())
    if isinstance(cache, str | os.PathLike) and str(cache):
        return EmbeddingStore(Path(cache).expanduser())
    raise ParameterError(f'cache must be "default", a path, an EmbeddingStore or None, got {cache!r}.')


def _cap() -> int:
    text = os.environ.get("FEATX_CACHE_MAX_BYTES", str(DEFAULT_MAX_BYTES))
    if not text.isdecimal():
        raise ParameterError(f"FEATX_CACHE_MAX_BYTES must be a number of bytes, got {text!r}.")
    return int(text)
