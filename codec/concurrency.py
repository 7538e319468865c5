"""Several tiles in flight."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager


class AtOnce(Executor):
    """Runs what is submitted to it there and then."""

    def submit(self, function, /, *args, **kwargs) -> Future:
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def in_flight(tiles: int, at_once: int) -> Iterator[Executor]:
    """What works on so many tiles, several at once.

    A single one stays in the caller's thread: another has neither memory nor OpenMP threads yet, and loses a quarter.
    """
    pool = ThreadPoolExecutor(at_once) if tiles > 1 else AtOnce()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
