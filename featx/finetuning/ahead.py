"""Work done ahead on threads, in order, and never more of it than is soon needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], *, n_threads: int = 1) -> Generator[Made]:
    """What ``make`` gives of each item, in the order of the items; made on threads, two ahead for each of them.

    Parameters
    ----------
    make : callable
        Safe to call from several threads; what it raises is raised where its result would have come.
    items : iterable
        Taken as they are needed.
    n_threads : int
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(n_threads, "featx-ahead") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(make, item))
                if len(waiting) > 2 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
