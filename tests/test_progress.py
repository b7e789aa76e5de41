"""Progress is drawn where somebody looks, and nowhere else."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from featx.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("enabled", [None, False])
def test_nothing_is_written_to_a_pipe(enabled: bool | None) -> None:
    stream = io.StringIO()
    with progress_bar(10, "embedding", enabled, stream=stream) as progress:
        progress.update(10)
    assert stream.getvalue() == ""


def test_a_terminal_shows_the_bar_unless_told_not_to() -> None:
    shown, hidden = Terminal(), Terminal()
    with progress_bar(10, "embedding", stream=shown) as progress:
        progress.update(10)
    with progress_bar(10, "embedding", False, stream=hidden) as progress:
        progress.update(10)
    assert "embedding" in shown.getvalue()
    assert hidden.getvalue() == ""


def test_a_log_gets_one_line_with_count_rate_and_time_when_asked() -> None:
    stream = io.StringIO()
    with progress_bar(2000, "embedding", True, stream=stream) as progress:
        for _ in range(20):
            progress.update(100)
    lines = stream.getvalue().strip().splitlines()
    assert len(lines) == 1
    assert re.search(r"embedding .* 2000/2000 [\d,.]+/s 0:00:0\d", lines[0])


def test_the_last_state_is_shown_after_an_error() -> None:
    stream = io.StringIO()

    def work() -> None:
        with progress_bar(10, "embedding", True, stream=stream) as progress:
            progress.update(3)
            raise KeyError("work")

    with pytest.raises(KeyError):
        work()
    assert "3/10" in stream.getvalue()


def test_threads_lose_no_step() -> None:
    stream = io.StringIO()
    with progress_bar(4000, "embedding", True, stream=stream) as progress, ThreadPoolExecutor(8) as pool:
        list(pool.map(progress.update, [1] * 4000))
    assert "4000/4000" in stream.getvalue()


def test_a_terminal_is_redrawn_at_most_four_times_a_second() -> None:
    stream = Terminal()
    with progress_bar(100, "embedding", stream=stream) as progress:
        started_s = time.monotonic()
        for _ in range(100):
            time.sleep(0.01)
            progress.update(1)
        elapsed_s = time.monotonic() - started_s
    # one when it starts, one when it stops
    assert stream.getvalue().count("embedding") <= 4 * elapsed_s + 3


def test_a_silent_bar_imports_nothing() -> None:
    code = (
        "import sys; from featx.progress import progress_bar\n"
        "with progress_bar(1, 'x') as progress: progress.update(1)\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
