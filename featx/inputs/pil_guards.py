"""How featx lets PIL read what somebody sent.

Owns PIL's guards and moods: which formats it may open, sizes it only warns of, its remarks on odd metadata, images that several
threads load at once, and whatever its decoders raise, told as one error. No message quotes what a file holds. Never loosens PIL's
guards against truncated files and decompression bombs, and changes no PIL setting.
"""

from __future__ import annotations

import os
import re
import threading
import warnings

from PIL import Image

from featx.errors import UnreadableSampleError
from featx.inputs.refusals import looks_like

__all__ = ["FORMATS", "REMOVE", "as_unreadable", "ignore_pil_warnings", "loading_lock", "refuse_bomb"]

# Not PIL's whole list: EPS would start Ghostscript, and formats without a signature accept any bytes.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

REMOVE = 'Remove it, or pass on_error="nan".'


def refuse_bomb(size: tuple[int, int]) -> None:
    """Refuse what PIL only warns of: sizes (width, height) between its limit and twice its limit.

    Raises
    ------
    PIL.Image.DecompressionBombError
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > limit:
        raise Image.DecompressionBombError(f"{size[0]:,} x {size[1]:,}")


def as_unreadable(
    error: Exception, data: bytes, *, name: str = "", index: int | None = None
) -> UnreadableSampleError:
    """What PIL raised over an image, in words.

    Its decoders raise whatever their parsing meets: OSError, SyntaxError, ValueError, struct.error.

    Parameters
    ----------
    data : bytes
        What was to be decoded; empty where it is not known.
    name, index
        The sample as errors name it, and its position in X.
    """
    return UnreadableSampleError(
        f"not a readable image ({_reason(error, data)}). {REMOVE}", index=index, name=name
    )


def _reason(error: Exception, data: bytes) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"a decompression bomb by PIL's guard of {Image.MAX_IMAGE_PIXELS:,} pixels: {error}; "
            "a large image that you trust can be made smaller first"
        )
    if isinstance(error, Image.UnidentifiedImageError):
        return f"{looks_like(data)}; featx reads {', '.join(FORMATS)}, DICOM, NIfTI, MGZ"
    if "truncated" in str(error).lower():
        return f"truncated after {len(data):,} bytes" if data else "truncated"
    words = re.sub(
        r"""b?['"].*['"]""", "...", str(error), flags=re.DOTALL
    )  # where PIL quotes bytes of the file
    return f"{type(error).__name__}: {words}"


# (action, message, category, module, line) as in warnings.filters: PIL's modules, UserWarning only.
_PIL_FILTER = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)


def ignore_pil_warnings() -> None:
    """Keep PIL's remarks on odd metadata from the user, and from failing a decode under ``-W error``.

    ``warnings.catch_warnings`` is not safe in threads: one filter for PIL's modules is put first and stays.
    """
    filters = warnings.filters
    if not filters or filters[0] != _PIL_FILTER:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _new_locks() -> tuple[threading.Lock, ...]:
    return tuple(threading.Lock() for _ in range(64))


_LOADING = _new_locks()


def loading_lock(image: Image.Image) -> threading.Lock:
    """Held while an image is loaded: the same lazily opened one may stand twice in X, and loading moves its file's position."""
    return _LOADING[id(image) % len(_LOADING)]


def _forget_after_fork() -> None:
    """In a forked child: a lock that a thread of the parent held would never be free again."""
    global _LOADING
    _LOADING = _new_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
