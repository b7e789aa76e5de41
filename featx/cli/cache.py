"""``featx cache``: what the store holds, and its upkeep."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.options import JsonOption
from featx.cli.output import print_json, print_table, readable_bytes, say
from featx.errors import ParameterError

if TYPE_CHECKING:
    from featx.store.store import EmbeddingStore, SpaceInfo

__all__ = ["app"]

app = typer.Typer(help="Look at and tidy the store of vectors.", no_args_is_help=True, rich_markup_mode=None)

_SHOWN_ID = 12  # hex digits of a space's id in a table; enough to name it

CacheOption = Annotated[
    str,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="The store's folder; \"default\" is FEATX_CACHE or the user's cache folder.",
    ),
]
SpaceArgument = Annotated[
    str, typer.Argument(metavar="SPACE", help="A space's id, or the beginning of it; see featx cache info.")
]


@app.command()
def info(cache: CacheOption = "default", as_json: JsonOption = False) -> None:
    """Show the feature spaces in the store."""
    store = _open(cache)
    spaces = store.spaces()
    total = sum(space.n_bytes for space in spaces)
    if as_json:
        print_json({"root": str(store.root), "n_bytes": total, "spaces": [_plain(space) for space in spaces]})
        return
    say(f"{store.root}  {readable_bytes(total) if spaces else 'empty'}")
    if spaces:
        columns = ["space", "what", "rows", "size", "last used"]
        print_table(columns, [_cells(space) for space in spaces], right=["rows", "size"])


@app.command()
def verify(
    cache: CacheOption = "default",
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged segments and files nothing refers to.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Recompute every checksum.

    Exit status 1 where something is damaged and not repaired.
    """
    report = _open(cache).verify(repair=repair)
    if as_json:
        print_json(report.to_dict())
    else:
        say(str(report))
    if not report.ok and not repair:
        raise typer.Exit(1)


@app.command()
def compact(cache: CacheOption = "default") -> None:
    """Merge the segments of every space into few files."""
    store = _open(cache)
    spaces = store.spaces()
    for space in spaces:
        store.merge(space.id)
    say(f"{store.root}: merged the segments of {len(spaces)} space(s).")


@app.command()
def prune(
    max_bytes: Annotated[
        str, typer.Option("--max", metavar="SIZE", help='Largest size to keep: "5GB", "500MiB" or bytes.')
    ],
    cache: CacheOption = "default",
) -> None:
    """Forget the least recently used spaces.

    Whole spaces go until the rest takes no more than the size given.
    """
    largest = parse_bytes(max_bytes)
    store = _open(cache)
    gone = store.prune(largest)
    left = sum(space.n_bytes for space in store.spaces())
    say(f"{store.root}: {len(gone)} space(s) forgotten, {readable_bytes(left)} left.")


@app.command()
def forget(
    space: SpaceArgument,
    cache: CacheOption = "default",
    digests: Annotated[
        list[str] | None,
        typer.Option(
            "--digest",
            metavar="HEX",
            help="Forget these samples only: 32 hex digits each.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Forget a feature space, or single samples of it."""
    from featx.store.digest import keys_array

    keys = keys_array(map(_digest, digests)) if digests else None
    store = _open(cache)
    chosen = _space_id(store, space)
    say(f"{store.root}: {store.forget(chosen, keys):,} row(s) of {chosen} forgotten.")


@app.command()
def export(
    space: SpaceArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Where to write the rows: .npy, with .keys.npy beside it."
        ),
    ],
    cache: CacheOption = "default",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are already there.")
    ] = False,
) -> None:
    """Write a space's rows and keys as two plain arrays."""
    import numpy as np

    from featx.outputs import check_output, npy_path, write_output

    array = npy_path(out)
    for path in (array, array.with_suffix(".keys.npy")):
        check_output(path, overwrite=overwrite)
    store = _open(cache)
    keys, rows = store.export(_space_id(store, space))
    write_output(array, lambda file: np.save(file, rows))
    write_output(array.with_suffix(".keys.npy"), lambda file: np.save(file, keys))
    say(f"{array}: {rows.shape[0]} x {rows.shape[1]} {rows.dtype}")


def parse_bytes(text: str) -> int:
    """``"5GB"``, ``"500 MiB"`` or ``"1000"`` as bytes; decimal and binary units are told apart.

    Raises
    ------
    ParameterError
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i)?)?b?\s*", text.lower())
    if found is None:
        raise ParameterError(f"--max must be a size such as 5GB, 500MiB or 1000000, got {text!r}.")
    number, letter, binary = found.groups()
    if text.strip().isdecimal() and 0 < int(number) < 1_000_000:
        raise ParameterError(
            f"--max {text}: so few bytes would forget everything. Name a unit, such as {text.strip()}GB."
        )
    power = " kmgt".index(letter or " ")
    return int(float(number) * (1024 if binary else 1000) ** power)


def _open(cache: str) -> EmbeddingStore:
    from featx.store.locate import open_cache
    from featx.store.store import EmbeddingStore

    if cache == "default":
        store = open_cache(cache)
        assert store is not None  # only cache=None opens none
        return store
    if not cache:
        raise ParameterError('--cache must be "default" or a folder, got an empty word.')
    return EmbeddingStore(cache, create=False)


def _space_id(store: EmbeddingStore, start: str) -> str:
    ids = [space.id for space in store.spaces() if space.id.startswith(start)]
    if len(ids) != 1:
        found = "none does" if not ids else f"{len(ids)} do"
        raise ParameterError(
            f"{start!r}: expected one space whose id begins so, but {found}. See featx cache info."
        )
    return ids[0]


def _digest(text: str) -> bytes:
    digits = text.removeprefix("digest:")
    if re.fullmatch(r"[0-9a-fA-F]{32}", digits) is None:
        raise ParameterError(f"--digest must be 32 hex digits, got {text!r}.")
    return bytes.fromhex(digits)


def _cells(space: SpaceInfo) -> tuple[object, ...]:
    return (
        space.id[:_SHOWN_ID] if re.fullmatch(r"[0-9a-f]{32}", space.id) else space.id,
        _words(space.description),
        f"{space.n_rows:,}",
        readable_bytes(space.n_bytes),
        _ago(space.last_used_s),
    )


def _plain(space: SpaceInfo) -> dict[str, Any]:
    return {
        "id": space.id,
        "n_rows": space.n_rows,
        "n_bytes": space.n_bytes,
        "last_used_s": space.last_used_s,
        "description": space.description,
    }


def _words(description: Mapping[str, Any] | None) -> str:
    if not description or "space" not in description:
        return f"memory of {(description or {}).get('memory', 'file digests')}"
    space = description["space"]
    pixels = space.get("preprocess", {})
    size = pixels.get("crop") or pixels.get("size")
    at = "" if size is None else f" {'x'.join(map(str, size)) if isinstance(size, list) else size}px"
    shown = pixels.get("window", {})
    window = "".join(
        f" {name} {shown[name]:g}" for name in ("center", "width", "low", "high") if name in shown
    )
    view = f" view {pixels['view']['number']}" if pixels.get("view") else ""
    return f"{description.get('backbone', '')} {space['tap']} {space['pooling']} {space['precision']}{at}{window}{view}".strip()


def _ago(then_s: float) -> str:
    days = (time.time() - then_s) / 86400
    return "today" if days < 1 else f"{days:.0f} days ago"
