"""ARCHITECTURE.md's table of rooms is held to the imports of the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "featx"
# Facades: they name rooms, they hold nothing.
FACADES = {"__init__.py", "__main__.py"}


def rooms() -> list[tuple[int, str, set[str]]]:
    """(level, path below featx/, packages that only this room may import) for each row of the table."""
    found = []
    for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| (\d+) \| (.+?) \| .+ \| (.*) ?\|$", line)
        if match:
            level, names, sole = match.groups()
            packages = {p.strip() for p in re.sub(r"\(.*?\)", "", sole).split(",") if p.strip()}
            found += [(int(level), name, packages) for name in re.findall(r"`([^`]+)`", names)]
    return found


def source_files() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.name not in FACADES)


def level_of(relative: str) -> int | None:
    for level, room, _ in rooms():
        if relative == room or (room.endswith("/") and relative.startswith(room)):
            return level
    return None


def imported_modules(path: Path) -> set[str]:
    """Absolute names of everything a file imports, wherever in the file the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def featx_files(names: set[str]) -> set[str]:
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "featx" and len(parts) > 1:
            candidate = "/".join(parts[1:]) + ".py"
            if (PACKAGE / candidate).is_file():
                found.add(candidate)
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_every_file_is_a_room_and_imports_only_lower_ones(path: Path) -> None:
    relative = path.relative_to(PACKAGE).as_posix()
    level = level_of(relative)
    assert level is not None, f"{relative} is not in ARCHITECTURE.md's table"
    for other in featx_files(imported_modules(path)) - {relative}:
        other_level = level_of(other)
        same_room = (
            relative.split("/")[0] == other.split("/")[0]
            and level_of(relative.split("/")[0] + "/") is not None
        )
        assert other_level is not None
        assert other_level < level or same_room, (
            f"{relative} (level {level}) imports {other} (level {other_level})"
        )


def test_every_room_in_the_table_exists() -> None:
    missing = [room for _, room, _ in rooms() if not (PACKAGE / room).exists()]
    assert missing == []


def test_packages_with_one_importer_have_one() -> None:
    owners: dict[str, set[str]] = {}
    for _, room, packages in rooms():
        for package in packages:
            owners.setdefault(package, set()).add(room)
    assert "onnxruntime" in owners, "the table was not read"
    for path in source_files():
        relative = path.relative_to(PACKAGE).as_posix()
        for name in imported_modules(path):
            rooms_allowed = owners.get(name.split(".")[0])
            if rooms_allowed is not None and not _guarded_by_type_checking(path, name):
                assert any(relative == r or relative.startswith(r) for r in rooms_allowed if r), (
                    f"{relative} imports {name}"
                )


def _guarded_by_type_checking(path: Path, name: str) -> bool:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            inside = {a.name for n in ast.walk(node) if isinstance(n, ast.Import) for a in n.names}
            if name in inside:
                return True
    return False


def test_import_featx_loads_nothing_heavy() -> None:
    code = (
        "import sys, featx; heavy = {'onnxruntime', 'onnx', 'PIL', 'sklearn', 'xgboost', 'matplotlib', 'torch', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    import featx

    for name in featx.__all__:
        assert getattr(featx, name) is not None
