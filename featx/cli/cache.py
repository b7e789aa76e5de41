"""``featx cache``: what the store holds, and its upkeep."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from featx.cli.output import console, print_json, print_table, readable_bytes
from featx.errors import ParameterError
from featx.store.locate import open_cache
from featx.store.store import EmbeddingStore

__all__ = ["app"]

app = typer.Typer(help="Look at and tidy the store of vectors.", no_args_is_help=True)

CacheOption = Annotated[
    str,
    typer.Option(
        "--cache", help="The store's folder; \"default\" is FEATX_CACHE or the user's cache folder."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def info(cache: CacheOption = "default", as_json: JsonOption = False) -> None:
    """Show the feature spaces in the store, their rows, size and last use."""
    store = _open(cache)
    spaces = store.spaces()
    total = sum(space.n_bytes for space in spaces)
    if as_json:
        print_json({"root": str(store.root), "n_bytes": total, "spaces": [_plain(space) for space in spaces]})
        return
    rows = [
        (
            space.id,
            _words(space.description),
            space.n_rows,
            readable_bytes(space.n_bytes),
            _ago(space.last_used_s),
        )
        for space in spaces
    ]
    print_table(
        f"{store.root}  {readable_bytes(total)}", ["space", "what", "rows", "size", "last used"], rows
    )


@app.command()
def verify(
    cache: CacheOption = "default",
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged segments and files nothing refers to.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Recompute every checksum; exit status 1 where something is damaged."""
    report = _open(cache).verify(repair=repair)
    if as_json:
        print_json(report.to_dict())
    else:
        console().print(str(report))
    if not report.ok and not repair:
        raise typer.Exit(1)


@app.command()
def compact(cache: CacheOption = "default") -> None:
    """Merge the segments of every space into few files."""
    store = _open(cache)
    for space in store.spaces():
        store.merge(space.id)
    console().print(f"{store.root}: merged {len(store.spaces())} spaces.")


@app.command()
def prune(
    max_bytes: Annotated[
        str, typer.Option("--max", help='Largest size to keep, for example "5GB" or bytes.')
    ],
    cache: CacheOption = "default",
) -> None:
    """Forget the least recently used spaces until the store is small enough."""
    store = _open(cache)
    gone = store.prune(parse_bytes(max_bytes))
    left = sum(space.n_bytes for space in store.spaces())
    console().print(f"{store.root}: {len(gone)} space(s) forgotten, {readable_bytes(left)} left.")


@app.command()
def forget(
    space: Annotated[str, typer.Argument(help="A space's id, or the beginning of it; see featx cache info.")],
    cache: CacheOption = "default",
    digests: Annotated[
        list[str] | None, typer.Option("--digest", help="Forget these samples only (32 hex digits).")
    ] = None,
) -> None:
    """Forget a feature space, or single samples of it."""
    store = _open(cache)
    chosen = _space_id(store, space)
    keys = None
    if digests:
        keys = np.stack([_key(text) for text in digests])
    store.forget(chosen, keys)
    console().print(f"{store.root}: forgot {len(digests) if digests else 'all'} row(s) of {chosen}.")


@app.command()
def export(
    space: Annotated[str, typer.Argument(help="A space's id, or the beginning of it; see featx cache info.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write; .npy, with .keys.npy beside it.")],
    cache: CacheOption = "default",
) -> None:
    """Write a space's rows and keys as two plain arrays."""
    store = _open(cache)
    keys, rows = store.export(_space_id(store, space))
    np.save(out, rows)
    np.save(out.with_suffix(".keys.npy"), keys)
    console().print(f"{out}: {rows.shape[0]} x {rows.shape[1]} {rows.dtype}")


def parse_bytes(text: str) -> int:
    """``"5GB"``, ``"500 MiB"`` or ``"1000"`` as bytes; decimal and binary units are told apart."""
    units = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", start=1):
        units |= {letter: 1000**power, f"{letter}b": 1000**power, f"{letter}ib": 1024**power}
    number = text.strip().rstrip("bBkKmMgGtTiI ").strip()
    unit = text.strip()[len(number) :].strip().lower()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError):
        raise ParameterError(f"--max must be a size such as 5GB, 500MiB or 1000000, got {text!r}.") from None


def _open(cache: str) -> EmbeddingStore:
    store = open_cache(cache)
    assert store is not None  # only cache=None opens none, and the command line cannot say it
    return store


def _space_id(store: EmbeddingStore, start: str) -> str:
    ids = [space.id for space in store.spaces() if space.id.startswith(start)]
    if len(ids) != 1:
        found = "none does" if not ids else f"{len(ids)} do"
        raise ParameterError(
            f"{start}: expected one space whose id begins so, but {found}. See featx cache info."
        )
    return ids[0]


def _key(text: str) -> Any:
    digits = text.removeprefix("digest:")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise ParameterError(f"--digest must be 32 hex digits, got {text!r}.")
    return np.frombuffer(raw, dtype=np.uint8)


def _plain(space: Any) -> dict[str, Any]:
    return {
        "id": space.id,
        "n_rows": space.n_rows,
        "n_bytes": space.n_bytes,
        "last_used_s": space.last_used_s,
        "description": space.description,
    }


def _words(description: Mapping[str, Any] | None) -> str:
    if not description or "space" not in description:
        return "memory of file digests"
    space = description["space"]
    return f"{description.get('backbone', '')} {space['tap']} {space['pooling']} {space['precision']}".strip()


def _ago(then_s: float) -> str:
    days = (time.time() - then_s) / 86400
    return "today" if days < 1 else f"{days:.0f} days ago"
