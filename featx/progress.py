"""Progress of long work, on the terminal and nowhere else.

Work that may take long calls ``update(n)`` on a :class:`Progress`; whether anybody sees it is decided once,
by :func:`progress_bar`. Where nothing is drawn, rich is not imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

__all__ = ["Progress", "progress_bar"]

_UPDATES_PER_S = 4
_BAR_CELLS = 20  # with counts, rate and times the line fits 80


class Progress(Protocol):
    """What long work needs to know of its progress bar. Safe to call from any thread."""

    def update(self, n: int) -> None:
        """`n` more are done."""


@contextmanager
def progress_bar(
    total: int, description: str, enabled: bool | None = None, *, stream: TextIO | None = None
) -> Iterator[Progress]:
    """Show the progress of `total` steps on standard error while the block runs.

    Parameters
    ----------
    total : int
        Number of steps.
    description : str
        A word before the bar: ``"embedding"``.
    enabled : bool or None
        True draws wherever the output goes: a log gets the last line. None draws on a terminal only, False
        nowhere.
    stream : text file or None
        Another place than standard error.

    Yields
    ------
    progress : Progress
        Its ``update`` costs microseconds: the bar is redrawn at most four times a second, and at the end,
        also after an error, with the total time and the rate.

    Examples
    --------
    >>> with progress_bar(2, "counting", enabled=False) as progress:
    ...     progress.update(2)
    """
    out = sys.stderr if stream is None else stream
    shown = out.isatty() if enabled is None else enabled
    if not shown:
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=_BAR_CELLS),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=out),
        refresh_per_second=_UPDATES_PER_S,
    )
    with bar:
        yield _Bar(bar, total, description)


class _Silent:
    def update(self, n: int) -> None:
        pass


class _Bar:
    def __init__(self, bar: RichProgress, total: int, description: str) -> None:
        self._bar = bar
        self._started_s = time.monotonic()
        self._task = bar.add_task(description, total=total, rate="")

    def update(self, n: int) -> None:
        done = self._bar.tasks[0].completed + n
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        self._bar.update(self._task, advance=n, rate=f"{done / elapsed_s:,.1f}/s")
