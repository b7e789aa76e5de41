"""What the benchmarks share: the test material, rounds that take turns, and how a result is said.

Works take turns within a round and ratios are taken within a round, so that what else the machine does falls on all of
them; figures are medians over the rounds. A spread is the range of the middle half of the rounds over their median: above
0.1 the machine was busy with something else, and the figure is to be taken again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = [
    "SHARED",
    "alternating",
    "filled_skeleton",
    "in_threads",
    "median_ratio",
    "parser",
    "report",
    "spread",
]

SHARED = Path(os.environ.get("FEATX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
_RESULTS = Path(__file__).parent / "results"
_VERSIONS = ("numpy", "onnxruntime-gpu", "onnxruntime", "pillow", "scikit-learn", "torch")


def parser(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Arguments that every benchmark takes: ``--rounds``, ``--device`` in words, and ``--save``."""
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    arguments.add_argument("--device", default=_device(), help="the machine in words, for the result")
    arguments.add_argument("--save", action="store_true", help="write the result under benchmarks/results")
    return arguments


def alternating(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round; the order is turned round by round.

    Parameters
    ----------
    works : mapping of name -> callable
    rounds : int

    Returns
    -------
    dict of name -> list of float
        In the order of the rounds, so that values at one position were measured side by side.
    """
    names = list(works)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            began = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def in_threads(work: Callable[[Any], object], items: Iterable[Any], n_threads: int) -> None:
    """Call ``work`` on every item, each thread taking the next one when it is free."""
    todo, turn = iter(items), threading.Lock()

    def lane() -> None:
        while True:
            with turn:
                item = next(todo, todo)
            if item is todo:
                return
            work(item)

    threads = [threading.Thread(target=lane) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def spread(values: Sequence[float]) -> float:
    """Range of the middle half over the median."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / statistics.median(values)


def filled_skeleton(name: str, folder: Path, preprocessing_of: str = "mobilenet_v2") -> Path:
    """A backbone folder of the architecture ``name`` with seeded random weights: for speed, not for accuracy."""
    target = folder / name
    target.mkdir(parents=True)
    fill = SHARED / "tools" / "fill_weights.py"
    skeleton = SHARED / "weights" / "skeletons" / f"{name}.onnx"
    command = [sys.executable, str(fill), str(skeleton), str(target / "model.onnx")]
    subprocess.run(command, check=True, capture_output=True)
    config = SHARED / "weights" / preprocessing_of / "preprocessor_config.json"
    (target / "preprocessor_config.json").write_bytes(config.read_bytes())
    return target


def report(script: str, arguments: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    """Print the result as one JSON line; with ``--save`` write it to ``results/<date>-<script>.json`` too."""
    name = Path(script).stem
    result = {
        "benchmark": name,
        "date": date.today().isoformat(),
        "command": f"python benchmarks/{name}.py" + _given(arguments),
        "device": arguments.device,
        "versions": {"python": platform.python_version(), **_versions()},
        "figures": figures,
    }
    print(json.dumps(result))
    if arguments.save:
        _RESULTS.mkdir(exist_ok=True)
        path = _RESULTS / f"{result['date']}-{name}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _given(arguments: argparse.Namespace) -> str:
    said = {k: v for k, v in vars(arguments).items() if k not in ("device", "save") and v is not None}
    return "".join(
        f" --{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in said.items()
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except ImportError:  # PackageNotFoundError is one
            continue
    return found


def _device() -> str:
    """Cores and the processor's name, never the machine's."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores, {model}"
