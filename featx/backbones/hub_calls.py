"""One call to a hub: where it goes, where its files end up, and what its errors mean in words.

Owns the environment variables of huggingface_hub as featx reads them, at the time of the call and not at the time that package
was imported, and the translation of its exceptions, whichever HTTP client it uses, into featx's own.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from featx.backbones.catalogue import ENTRIES
from featx.backbones.hub_layout import HubReference
from featx.errors import BackboneError, BackboneNotFoundError, HubUnreachableError, did_you_mean

__all__ = ["cache_folder", "call_hub", "endpoint", "refuse_full_disk"]

_T = TypeVar("_T")

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
# Packages whose exceptions mean that the network failed: what huggingface_hub speaks HTTP with has changed over the years.
_HTTP_CLIENTS = {"requests", "urllib3", "httpx", "httpx2", "httpcore"}


def cache_folder() -> Path:
    """Where huggingface_hub keeps repositories."""
    home = os.environ.get("HF_HOME")
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    chosen = named or (home and os.path.join(home, "hub"))
    if chosen:
        return Path(os.path.expandvars(chosen)).expanduser()
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def endpoint() -> str | None:
    """The hub that ``HF_ENDPOINT`` names; None is huggingface_hub's own."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def call_hub(reference: HubReference, call: Callable[[], _T]) -> _T:
    """The result of a call that goes over the network.

    Raises
    ------
    HubUnreachableError
        ``HF_HUB_OFFLINE`` is set, or the hub does not answer.
    BackboneNotFoundError
        It refuses: no such repository or revision, private, gated, or a token that does not count.
    BackboneError
        Anything else that went wrong, a full disk among it.
    """
    try:
        _refuse_offline()
        return call()
    except BackboneError:
        raise
    except Exception as error:  # of huggingface_hub, of whichever HTTP client it uses, of the disk
        raise _in_words(reference, error) from error


def refuse_full_disk(reference: HubReference, n_bytes: int) -> None:
    """Raise BackboneError where the cache has no room for so many bytes."""
    folder = cache_folder()
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with suppress(OSError):
        free = shutil.disk_usage(nearest).free
        if free < n_bytes:
            raise BackboneError(
                _no_room(reference, f"{n_bytes:,} bytes are to be fetched, {free:,} are free")
            )


def _is_offline() -> bool:
    from huggingface_hub import constants

    chosen = os.environ.get("HF_HUB_OFFLINE")
    return constants.HF_HUB_OFFLINE if chosen is None else chosen.upper() in ("1", "ON", "YES", "TRUE")


def _refuse_offline() -> None:
    if _is_offline():
        from huggingface_hub.utils import OfflineModeIsEnabled

        raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")


def _in_words(reference: HubReference, error: Exception) -> BackboneError:
    from huggingface_hub import utils

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, utils.GatedRepoError):
        return BackboneNotFoundError(_gated(reference, status))
    if status == 401 and "invalid credentials" in f"{error} {getattr(response, 'headers', '')}".lower():
        return BackboneNotFoundError(
            f"{reference}: the hub does not accept the access token (HF_TOKEN, or the one of hf auth login). It may have "
            "expired: make a new one in the hub's settings, or unset it for public repositories."
        )
    if isinstance(error, utils.RevisionNotFoundError) and reference.revision is None:
        return BackboneNotFoundError(
            f"{reference}: the repository is empty. Check the spelling of owner/name."
        )
    if isinstance(error, utils.RevisionNotFoundError):
        return BackboneNotFoundError(
            f"{reference}: the repository has no branch, tag or commit {reference.revision!r}. {_page(reference)} shows those "
            "there are."
        )
    if isinstance(error, utils.RepositoryNotFoundError | utils.HFValidationError):
        known = [re.split("[:@#]", entry.source)[1] for entry in ENTRIES.values() if ":" in entry.source]
        hint = did_you_mean(reference.repository, known)
        return BackboneNotFoundError(
            f"{reference}: the hub has no such repository, or a private one.{hint} Check the spelling of owner/name; for a "
            "private repository set HF_TOKEN to a token that may read it (or log in: hf auth login)."
        )
    if status == 404:
        place = endpoint() or "the hub"
        return BackboneNotFoundError(
            f"{reference}: {place} answers 404, not found. Try again, as a repository may have changed while it was read; where "
            "that does not help, HF_ENDPOINT names a server that is no hub, or a mirror that lacks the repository."
        )
    if status == 429:
        return HubUnreachableError(
            f"{reference}: not on this machine, and the hub asks to wait (429, too many requests). Try again in some minutes; a "
            "token (HF_TOKEN, or hf auth login) is granted more requests than none."
        )
    if status in (401, 403):
        return BackboneNotFoundError(
            f"{reference}: the hub refuses access ({status}). Give the token (HF_TOKEN) the permission to read "
            f"{reference.repository}."
        )
    if isinstance(error, utils.OfflineModeIsEnabled) or _is_of_network(error):
        return _unreachable(reference, error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return BackboneError(_no_room(reference, error.strerror or str(error)))
    if isinstance(error, PermissionError):
        return BackboneError(
            f"{reference}: {cache_folder()} cannot be written ({error.strerror}). Set HF_HOME to a folder that can."
        )
    return BackboneError(
        f"{reference}: the download failed ({_what_happened(error)}). Nothing half-done is used. Try again."
    )


def _gated(reference: HubReference, status: int | None) -> str:
    if status == 403:
        return (
            f"{reference}: a gated repository, and your token has no access to it yet. Open {_page(reference)} and accept the "
            "terms there (some publishers then have to agree), and try again."
        )
    return (
        f"{reference}: a gated repository. Open {_page(reference)}, accept the terms there, make an access token in the hub's "
        "settings and set HF_TOKEN to it (or log in: hf auth login)."
    )


def _is_of_network(error: BaseException | None) -> bool:
    """Whether the hub was not reached or is not well: no name, no route, no answer, or an answer of 429 or 5xx."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return bool(status == 429 or status >= 500)
        packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if isinstance(error, ConnectionError | TimeoutError) or packages & _HTTP_CLIENTS:
            return True
        error = error.__cause__
    return False


def _unreachable(reference: HubReference, error: Exception) -> HubUnreachableError:
    command = f"featx backbones pull {reference} --to FOLDER"
    if reference.scheme == "hf":
        command = f"featx backbones export {reference} FOLDER"
    elsewhere = (
        f'Or, on a machine that reaches the hub, "{command}" makes a folder that needs no network: copy it here and give its '
        "path instead of the reference."
    )
    if _is_offline():
        return HubUnreachableError(
            f"{reference}: not on this machine (looked in {cache_folder()}), and HF_HUB_OFFLINE forbids to fetch it: unset it. "
            f"{elsewhere}"
        )
    return HubUnreachableError(
        f"{reference}: not on this machine (looked in {cache_folder()}), and the hub does not answer ({_what_happened(error)}). "
        f"Behind a proxy set HTTPS_PROXY; HF_ENDPOINT names a mirror of the hub. {elsewhere}"
    )


def _no_room(reference: HubReference, why: str) -> str:
    return (
        f"{reference}: no room in {cache_folder()} ({why}). Nothing half-done is kept. Free some space, or set HF_HOME to a "
        "folder on another disk."
    )


def _page(reference: HubReference) -> str:
    from huggingface_hub import constants

    return f"{endpoint() or constants.ENDPOINT}/{reference.repository}"


def _what_happened(error: BaseException) -> str:
    """The failure below what wraps it, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
