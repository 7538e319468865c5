"""Where workers run: processes of this machine, or actors of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from codec import process
from codec.bulk.worker import Batch, Worker
from codec.errors import LatError, install, reason
from codec.job import Row


class WorkerDied(Exception):
    """The process of a worker ended: killed, or out of memory."""


class Engine(Protocol):
    """`count` workers, numbered from 0; what `submit` returns stands for the rows of that batch."""

    count: int

    def submit(self, worker: int, work: Batch) -> Any: ...

    def ready(self, futures: list) -> Any:
        """One whose batch is done; waits for it."""

    def result(self, future: Any) -> list[Row]:
        """Raises: WorkerDied."""

    def replace(self, worker: int) -> None:
        """A new worker in the place of a dead one."""

    def stop(self) -> None: ...


class LocalEngine:
    """Workers as processes of this machine; a single one is a thread of this process."""

    def __init__(self, make_worker: Callable[[], Worker], workers: int | None):
        self.make_worker, self.count = make_worker, workers or os.cpu_count() or 1
        self.pools: list[Executor] = [self._pool() for _ in range(self.count)]

    def _pool(self) -> Executor:
        if self.count == 1:
            return ThreadPoolExecutor(1, initializer=_start, initargs=(self.make_worker,))
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(self.make_worker, True))

    def submit(self, worker: int, work: Batch) -> Future:
        with process.uninterrupted_children():  # the first one starts the process
            return self.pools[worker].submit(_run, work)

    def ready(self, futures: list[Future]) -> Future:
        return next(iter(wait(futures, return_when=FIRST_COMPLETED).done))

    def result(self, future: Future) -> list[Row]:
        """Raises: WorkerDied."""
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise WorkerDied(reason(error)) from None

    def replace(self, worker: int) -> None:
        self.pools[worker].shutdown(wait=False)
        self.pools[worker] = self._pool()

    def stop(self) -> None:
        if _worker:  # the thread's: it ends after its picture
            _worker.stopped = True
        for pool in self.pools:
            pool.shutdown(wait=True, cancel_futures=True)


_worker: Worker | None = None  # of this process


def _start(make_worker: Callable[[], Worker], alone: bool = False) -> None:
    global _worker
    if alone:
        signal.signal(signal.SIGINT, lambda *_: process.end(130))  # Ctrl-C ends it at once, and no half file is left
        process.end_with_parent()
    _worker = make_worker()


def _run(work: Batch) -> list[Row]:
    assert _worker is not None  # made by `_start`
    return _worker.run(work)


class RayEngine:
    """Workers as actors of the Ray cluster that RAY_ADDRESS names, or this machine is part of, or of a new local one.

    Where the cluster has GPUs, they are shared out among the actors.
    """

    def __init__(self, make_worker: Callable[[], Worker], workers: int | None):
        """Raises: LatError where Ray is not installed."""
        try:
            import ray
        except ImportError:
            raise LatError(f"--engine ray needs Ray: {install('ray')}") from None
        self.ray = ray
        if not ray.is_initialized():
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a cluster started here reports to nobody
            ray.init(logging_level="WARNING", log_to_driver=False, include_dashboard=False)
        resources = ray.cluster_resources()
        self.count = workers or max(1, int(resources.get("CPU", 1)))
        self.make_worker = ray.put(make_worker)  # it holds the weights, which so go once to each node
        self.actor = ray.remote(num_cpus=1, num_gpus=min(1.0, resources.get("GPU", 0) / self.count))(RayWorker)
        self.actors = [self.actor.remote(self.make_worker) for _ in range(self.count)]

    def submit(self, worker: int, work: Batch):
        return self.actors[worker].run.remote(work)

    def ready(self, futures: list):
        return self.ray.wait(futures, num_returns=1)[0][0]

    def result(self, future) -> list[Row]:
        """Raises: WorkerDied."""
        try:
            return self.ray.get(future)
        except self.ray.exceptions.RayActorError as error:
            raise WorkerDied(reason(error).splitlines()[0]) from None

    def replace(self, worker: int) -> None:
        self.actors[worker] = self.actor.remote(self.make_worker)

    def stop(self) -> None:
        for actor in self.actors:
            self.ray.kill(actor)


class RayWorker:
    """A `Worker` made on the node where it works."""

    def __init__(self, make_worker: Callable[[], Worker]):
        self.worker = make_worker()

    def run(self, work: Batch) -> list[Row]:
        return self.worker.run(work)


ENGINES: dict[str, Callable[[Callable[[], Worker], int | None], Engine]] = {"local": LocalEngine, "ray": RayEngine}
