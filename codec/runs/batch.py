"""Thousands of files: so many at a time, in processes, and never less than a row for each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from codec.runs import process
from codec.runs.job import Options, Work, attempt
from codec.runs.plan import Job
from codec.runs.rows import Row


def run(
    work: Work, jobs: list[Job], options: Options, workers: int, progress: Callable[[int, int], None] | None = None
) -> Iterator[Row]:
    """Rows as files are finished; with several workers each is a process, and their order is not that of `jobs`.

    `progress` (done, all) is that within a picture, of which a single worker tells.
    """
    if workers == 1:
        for job in jobs:
            yield attempt(work, job, options, progress)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (options.max_pixels,)) as pool:
        with process.uninterrupted_children():  # begun files are finished
            waiting = {pool.submit(attempt, work, job, options): job for job in jobs}
        try:
            for done in as_completed(waiting):
                job = waiting.pop(done)
                error = done.exception()
                if error is None:
                    yield done.result()
                else:  # a worker died, by lack of memory for one; the pool is lost, the rest is named
                    yield Row(job.source, job.target, "failed", error=f"{job.source}: worker process died: {error}")
        finally:
            for future in waiting:
                future.cancel()


def _start_worker(max_pixels: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.end_with_parent()
    process.own(max_pixels)
