"""Several tiles in flight, and what share of the cores each has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

MAX_TILES_IN_FLIGHT = 4


class AtOnce(Executor):
    """Runs what is submitted to it there and then."""

    def submit(self, function, /, *args, **kwargs) -> Future:
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(threads: int, tiles: int) -> int:
    """Into how many equal parts threads are divided for so many tiles: a few at most, for each takes memory."""
    return max(n for n in range(1, min(MAX_TILES_IN_FLIGHT, threads, tiles) + 1) if threads % n == 0)


@contextmanager
def in_flight(tiles: int, at_once: int) -> Iterator[Executor]:
    """A pool of `at_once` threads for so many tiles.

    A single one stays in the caller's thread: another has neither memory nor OpenMP threads yet, and loses a quarter.
    """
    pool = ThreadPoolExecutor(at_once) if tiles > 1 else AtOnce()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
