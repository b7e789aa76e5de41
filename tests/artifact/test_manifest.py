"""A manifest is read only where every value in it is what it should be, and names no file outside."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featx
from featx.artifact import describe
from featx.artifact.format import FORMAT
from featx.artifact.manifest import from_json, to_json
from featx.errors import ArtifactError


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((folder / "artifact.json").read_text())
    change(values)
    (folder / "artifact.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/passwd",
        "a/../../b",
        "C:\\x",
        "a\\b",
        "a//b",
        "./a",
        "a/",
        "",
        "nul",
        "a\0b",
        "COM1.txt",
        "a.",
        3,
    ],
)
def test_names_that_could_lead_out_are_refused(name: Any, saved: Path) -> None:
    rewrite(saved, lambda values: values["files"][0].update(path=name))
    with pytest.raises(ArtifactError, match="not the name of a file inside"):
        describe(saved)
    rewrite(saved, lambda values: values["files"][0].update(path="README.md"))
    describe(saved)
    rewrite(saved, lambda values: values["backbones"][0].update(name=name))
    with pytest.raises(ArtifactError, match="not a backbone's name"):
        featx.load(saved)


def test_a_file_listed_twice_and_a_needed_one_not_listed_are_refused(saved: Path) -> None:
    rewrite(
        saved,
        lambda values: values["files"].append(
            {**values["files"][0], "path": values["files"][0]["path"].upper()}
        ),
    )
    with pytest.raises(ArtifactError, match="listed twice"):
        featx.load(saved)
    rewrite(saved, lambda values: values.update(files=[]))
    with pytest.raises(ArtifactError):
        featx.load(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "does not name the number"),
        ("{}", "does not name the number"),
        ('{"format": true}', "does not name the number"),
        ('{"format": 0}', "does not name the number"),
        ('{"format": 1}', "missing"),
        ("[" * 100_000, "not JSON"),
        (f'{{"format": {FORMAT + 1}}}', f"format {FORMAT + 1}.*reads formats up to {FORMAT}.*pip install -U"),
    ],
)
def test_a_manifest_that_is_none_or_newer_is_refused(text: str, message: str, saved: Path) -> None:
    (saved / "artifact.json").write_text(text)
    with pytest.raises(ArtifactError, match=message) as raised:
        featx.load(saved)
    assert str(saved / "artifact.json") in str(raised.value)


# A value of every type that JSON has, and some that only look right.
OTHERS: tuple[Any, ...] = (
    None,
    True,
    -1,
    7,
    10**30,
    1.5,
    "text",
    "\ud800",
    [],
    [None],
    [[]],
    ["text"],
    {},
    {"a": None},
)


@pytest.mark.filterwarnings("ignore:.*saved with scikit-learn")
def test_every_value_of_a_manifest_is_checked(saved: Path) -> None:
    """Each in turn becomes one of another type or is left out: read as something valid, or refused as an ArtifactError."""
    text = (saved / "artifact.json").read_text()
    refused = 0
    for path in _paths(json.loads(text)):
        for other in (*OTHERS, KeyError):
            values = json.loads(text)
            _set(values, path, other)
            (saved / "artifact.json").write_text(json.dumps(values))
            described = None
            with contextlib.suppress(ArtifactError):
                described = describe(saved)
            try:
                featx.load(saved, cache=None)
            except ArtifactError:
                refused += 1
                continue
            assert described is not None, f"load takes {path} = {other!r} and describe does not"
            assert from_json(to_json(described)) == described
    assert refused > 1000


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [below for key, child in items for below in _paths(child, (*path, key))]


def _set(values: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        values = values[key]
    if value is KeyError:
        del values[path[-1]]
    else:
        values[path[-1]] = value


def test_describe_reads_the_manifest_alone(saved: Path) -> None:
    expected = describe(saved)
    for record in expected.files:
        (saved / record.path).unlink()
    assert describe(saved) == expected
