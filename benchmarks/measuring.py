"""What the benchmarks share: the test material, rounds that take turns, and how a result is said.

Works take turns within a round and ratios are taken within a round, so that what else the machine does falls on all of
them; figures are medians over the rounds. A round in which other processes took more than a twentieth of the machine is
taken again, a few times at most; a result says what the others took in the rounds that count (on Linux).
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
    "MOST_ROUNDS_A_ROUND",
    "SHARED",
    "Rounds",
    "alternating",
    "filled_skeleton",
    "in_threads",
    "median_ratio",
    "parser",
    "report",
    "spread",
]

SHARED = Path(os.environ.get("FEATX_SHARED", Path(__file__).resolve().parents[2] / "shared"))
_QUIET = 0.05
MOST_ROUNDS_A_ROUND = 3
"""How often a round is taken at most, in the hope of an undisturbed one."""

_WAIT_S = 4.0
_LOOK_S = 0.2
_RESOLUTION_S = 0.03
"""Linux counts processor time in hundredths of a second."""

_RESULTS = Path(__file__).parent / "results"
_VERSIONS = ("numpy", "onnxruntime-gpu", "onnxruntime", "pillow", "scikit-learn", "torch")


def parser(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Arguments that every benchmark takes: ``--rounds``, ``--device`` in words, and ``--save``."""
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    arguments.add_argument("--device", default=_device(), help="the machine in words, for the result")
    arguments.add_argument("--save", action="store_true", help="write the result under benchmarks/results")
    return arguments


class Rounds(dict[str, list[float]]):
    """Seconds of each work in each round; values at one position were measured side by side.

    Attributes
    ----------
    others : float
        What other processes took of the machine in the worst of these rounds, 0 to 1.
    """

    def __init__(self, seconds: Mapping[str, list[float]], others: float) -> None:
        super().__init__(seconds)
        self.others = others

    def median(self, name: str) -> float:
        return statistics.median(self[name])

    def ratio(self, over: str | Sequence[str], under: str) -> float:
        """Median of the rounds' own ratios; seconds of several names are added up."""
        names = [over] if isinstance(over, str) else over
        sums = [sum(values) for values in zip(*(self[name] for name in names), strict=True)]
        return median_ratio(sums, self[under])


def alternating(works: Mapping[str, Callable[[], object]], rounds: int) -> Rounds:
    """Run every work once a round, the order turned round by round.

    Parameters
    ----------
    works : mapping of name -> callable
    rounds : int
        How many are wanted undisturbed. After three times as many the quietest are taken.
    """
    names = list(works)
    taken: list[tuple[float, dict[str, float]]] = []
    while len(taken) < MOST_ROUNDS_A_ROUND * rounds and sum(others <= _QUIET for others, _ in taken) < rounds:
        _wait_for_quiet()
        at = len(taken) % len(names)
        busy_s, own_s, began = _busy_s(), _own_s(), time.perf_counter()
        seconds = {}
        for name in names[at:] + names[:at]:
            start = time.perf_counter()
            works[name]()
            seconds[name] = time.perf_counter() - start
        elapsed_s = (time.perf_counter() - began) * (os.cpu_count() or 1)
        others_s = _busy_s() - busy_s - (_own_s() - own_s)
        taken.append((max(0.0, others_s - _RESOLUTION_S) / elapsed_s, seconds))
    best = sorted(taken, key=lambda one: one[0])[:rounds]
    return Rounds({name: [seconds[name] for _, seconds in best] for name in names}, best[-1][0])


def _wait_for_quiet() -> None:
    """Wait a while for other processes to come to rest."""
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        busy_s = _busy_s()
        time.sleep(_LOOK_S)
        if _busy_s() - busy_s <= _RESOLUTION_S:
            return


def _busy_s() -> float:
    """Processor seconds of all processes since the machine started; 0 where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Processor seconds of this process and of its children, ended and living."""
    seconds = sum(os.times()[:4])
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            try:
                stat = Path(f"/proc/{child}/stat").read_text(encoding="utf-8")
            except OSError:  # it has just ended
                continue
            # After the name in brackets: state, then user, system and the ended children's time in fields 12 to 15.
            ticks = stat.rpartition(")")[2].split()[11:15]
            seconds += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
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
    """Range of the middle half of the rounds over their median; above 0.1 the machine did something else as well."""
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
    words = []
    for name, value in vars(arguments).items():
        if name in ("device", "save") or value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += map(str, value if isinstance(value, list) else [value])
    return "".join(f" {word}" for word in words)


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
